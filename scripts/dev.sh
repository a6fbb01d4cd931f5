#!/usr/bin/env bash
# Runs `lpm-dev` with the programs as they were built: up, down, demo, docs.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
find_pg_config
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
export LPM_BIN_DIR=$target/debug
exec "$LPM_BIN_DIR/lpm-dev" "$@"
