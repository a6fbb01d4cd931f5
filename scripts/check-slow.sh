#!/usr/bin/env bash
# `make check-slow`: the long proofs. Hours in all; each also alone: `make check-mutants`, `make check-fuzz`, …
#
#   scripts/check-slow.sh                    all of them
#   scripts/check-slow.sh kills strangers    only these
#
# Whoever changes what one of them covers runs it and notes its closing line.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. scripts/stages.sh

# Runs the tests of this name that are marked as too long for `make check`; what a test prints is its closing line.
ignored_tests() {
    LPM_BIN_DIR=$(target)/debug cargo test --locked --package lpm-tests --test "$1" -- --ignored --nocapture "${@:2}"
}

stage_build() {
    scripts/install-deps.sh slow
    scripts/build.sh
}
# Is every rule of the core held by a test?
stage_mutants() { scripts/slow/mutants.sh; }
# Ten minutes of random input for each parser and decision.
stage_fuzz() { scripts/slow/fuzz.sh; }
# Twenty thousand requests that the document describes, or just does not.
stage_schemathesis() { scripts/schemathesis.sh 20000 random; }
# A thousand kills of backend, server and gateway under running pulls.
stage_kills() { ignored_tests faults a_thousand_kills; }
# A million attempts of repositories that no policy names.
stage_strangers() { ignored_tests strangers a_million; }
# The leak search again, on PostgreSQL 17.
stage_leaks-17() { scripts/slow/leaks-17.sh; }
# Pulls with a million vaults and ten million audit rows.
stage_scale() { scripts/bench.sh scale; }
# A million pulls, and what is held in memory.
stage_soak() { scripts/bench.sh soak; }
# Three times what can be served, from 2,000 connections.
stage_overload() { scripts/slow/overload.sh; }

[ $# -gt 0 ] || set -- strangers schemathesis kills leaks-17 fuzz mutants scale soak overload
run_stages 'make check-slow' build "$@"
