#!/usr/bin/env bash
# Builds the programs and installs the extension into the PostgreSQL of PG_CONFIG, for development and tests.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
find_pg_config

cargo build --locked --bins
scripts/install-extension.sh
