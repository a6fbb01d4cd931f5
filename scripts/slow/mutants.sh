#!/usr/bin/env bash
# Changes the core in every way that cargo-mutants knows, one at a time, and runs its tests: a change that no test
# notices is a rule that no test holds. What is looked at, and which changes are equivalent: .cargo/mutants.toml.
#
#   scripts/slow/mutants.sh                        everything
#   scripts/slow/mutants.sh --re 'src/token/'      arguments go to cargo-mutants
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. scripts/stages.sh

# Debug information is what a build spends most of its time on.
export CARGO_PROFILE_DEV_DEBUG=0
output=$(target)/mutants
# each copy of the tree builds into its own: in a common one they would wait for each other
unset CARGO_TARGET_DIR
cargo mutants --package lpm-core --jobs 2 --no-shuffle --output "$output" "$@" || code=$?
outcomes=$output/mutants.out
printf 'mutants: %s caught, %s timed out, %s unviable, %s survived\n' \
    "$(wc -l <"$outcomes/caught.txt")" "$(wc -l <"$outcomes/timeout.txt")" \
    "$(wc -l <"$outcomes/unviable.txt")" "$(wc -l <"$outcomes/missed.txt")"
# 3: nothing survived, but some ran into the time limit, which is to be noticed as well
[ "${code:-0}" = 3 ] || exit "${code:-0}"
