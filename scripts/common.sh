# What every script here needs: the directory, PostgreSQL, and how to become root. Sourced, not run.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The environment of a login shell may be missing, as in CI.
if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    # shellcheck disable=SC1091
    . "$HOME/.cargo/env"
fi

# The version that CI runs, where PG_CONFIG names no other.
DEFAULT_PG_MAJOR=15

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# Sets PG_CONFIG, when it is not set, to the one in PATH, or to where Debian's packages put it.
find_pg_config() {
    if [ -z "${PG_CONFIG:-}" ]; then
        PG_CONFIG=$(command -v pg_config || true)
        [ -n "$PG_CONFIG" ] || [ ! -x /usr/lib/postgresql/$DEFAULT_PG_MAJOR/bin/pg_config ] ||
            PG_CONFIG=/usr/lib/postgresql/$DEFAULT_PG_MAJOR/bin/pg_config
    fi
    export PG_CONFIG
}

# `15` of `PostgreSQL 15.8 (Debian …)`.
pg_major() {
    "$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'
}
