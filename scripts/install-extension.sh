#!/usr/bin/env bash
# Installs the extension into the PostgreSQL of PG_CONFIG; arguments (such as --release) go to `cargo pgrx install`.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
find_pg_config

# Files of the cluster belong to root, who installed it.
for directory in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)/extension"; do
    [ -w "$directory" ] || set -- --sudo "$@"
done
cargo pgrx install --package pg_lpm --pg-config "$PG_CONFIG" --no-default-features --features "pg$(pg_major)" "$@"
