#!/usr/bin/env bash
# Builds everything with optimisation, installs the extension so into the PostgreSQL of PG_CONFIG, and measures.
# Arguments go to `lpm-bench`. The next `make check`, `make up` or `make extension` installs the other build again.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. scripts/stages.sh

scripts/install-deps.sh bench
find_pg_config
cargo build --locked --release --bins
scripts/install-extension.sh --release
LPM_BIN_DIR=$(target)/release
export LPM_BIN_DIR
[ "${1:-}" != build ] || exit 0

printf '%s x %s, %s, %s, %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(free -h --si | awk '/^Mem/ { print $2 " memory" }')" "$("$PG_CONFIG" --version)" "Linux $(uname -r)" >&2
exec "$LPM_BIN_DIR/lpm-bench" "$@"
