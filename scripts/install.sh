#!/usr/bin/env bash
# Installs the extension into the PostgreSQL of PG_CONFIG and the programs into PREFIX/bin.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
find_pg_config
prefix=${PREFIX:-/usr/local}

scripts/install-extension.sh --release
cargo build --release --locked --package lpm-gateway --package lpm-cli
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
run=()
[ -w "$prefix" ] || [ -w "$prefix/bin" ] || mkdir -p "$prefix/bin" 2>/dev/null || run=(as_root)
"${run[@]}" install -D -m 0755 -t "$prefix/bin" "$target/release/lpm" "$target/release/lpm-gateway"
echo "Installed lpm and lpm-gateway into $prefix/bin, and pg_lpm into $("$PG_CONFIG" --pkglibdir)."
echo "Next: shared_preload_libraries = 'pg_lpm', a restart, and \`create extension pg_lpm cascade\`: see README.md."
