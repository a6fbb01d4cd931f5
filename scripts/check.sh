#!/usr/bin/env bash
# `make check`: everything that must hold before a push, stage by stage; the first failure ends it.
#
#   scripts/check.sh            all stages
#   scripts/check.sh fmt unit   only these
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

stages=(deps fmt clippy doc deny machete unit extension end-to-end examples demo)

stage_deps() { scripts/install-deps.sh check; }
stage_fmt() { cargo fmt --all --check; }
stage_clippy() {
    cargo clippy --locked --workspace --exclude pg_lpm --all-targets -- -D warnings
    cargo clippy --locked --package pg_lpm --all-targets --no-default-features --features "pg$(pg_major)" -- -D warnings
}
stage_doc() {
    # for those who work on it, so links to private items are welcome
    local -x RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links"
    cargo doc --locked --no-deps --document-private-items
    cargo doc --locked --no-deps --document-private-items --package pg_lpm --no-default-features --features "pg$(pg_major)"
}
stage_deny() { cargo deny --locked check bans licenses sources; }
stage_machete() { cargo machete; }
stage_unit() {
    cargo test --locked --lib --bins
    cargo test --locked --doc
}
stage_extension() { scripts/build.sh; }
# The programs that the tests run were built by the stage before.
stage_end-to-end() { LPM_BIN_DIR=$(target)/debug cargo test --locked --test '*'; }
stage_examples() { scripts/dev.sh docs; }
stage_demo() { scripts/dev.sh demo; }

target() { cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory; }

times=()
current=
finish() {
    local code=$?
    echo
    printf '%s\n' "${times[@]}"
    if [ "$code" = 0 ]; then
        printf '%5d s  in all\nmake check: passed\n' "$SECONDS"
    else
        echo "make check: FAILED in stage \`$current\`; alone: scripts/check.sh $current" >&2
    fi
}
trap finish EXIT

[ $# = 0 ] || stages=("$@")
for current in "${stages[@]}"; do
    declare -F "stage_$current" >/dev/null || die "no stage \`$current\`; there are: ${stages[*]}"
    printf '\n=== %s\n' "$current"
    find_pg_config
    began=$SECONDS
    "stage_$current"
    times+=("$(printf '%5d s  %s' $((SECONDS - began)) "$current")")
done
