#!/usr/bin/env bash
# Runs one binary of tests and prints what it says in one piece, so that several can run beside each other. For xargs:
# exit code 255 has it start no more.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if said=$(cargo test --locked --test "$1" 2>&1); then
    printf '\n%s\n' "$said"
else
    printf '\n%s\n' "$said" >&2
    exit 255
fi
