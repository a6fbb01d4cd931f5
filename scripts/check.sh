#!/usr/bin/env bash
# `make check`: everything that must hold before a push, stage by stage; the first failure ends it.
#
#   scripts/check.sh            all stages
#   scripts/check.sh fmt unit   only these
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. scripts/stages.sh

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
# The programs that the tests run were built by the stage before. Two binaries at a time, because most of them wait for
# servers, and the longest first; after a failure no more are started.
stage_end-to-end() {
    local -x LPM_BIN_DIR
    LPM_BIN_DIR=$(target)/debug
    cargo test --locked --test '*' --no-run
    {
        printf '%s\n' faults operations
        cargo metadata --format-version 1 --no-deps --locked | jq -r '.packages[].targets[] | select(.kind == ["test"]).name'
    } | awk '!seen[$0]++' | xargs -P 2 -I '{}' scripts/test-binary.sh '{}'
}
stage_schemathesis() { scripts/schemathesis.sh 300; }
# The unit as it stands, but for the place of its program. `verify` only warns of what it does not know, so it may not say anything.
stage_systemd() {
    local unit said
    unit=$(mktemp -d)/lpm-gateway.service
    sed "s|^ExecStart=/usr/local/bin/|ExecStart=$(target)/debug/|" docker/systemd/lpm-gateway.service >"$unit"
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) && [ -z "$said" ] || die "docker/systemd/lpm-gateway.service: $said"
    systemd-analyze security --offline=true --threshold=14 --no-pager "$unit" | grep 'Overall exposure level'
    rm -r "$(dirname "$unit")"
}
stage_examples() { scripts/dev.sh docs; }
stage_demo() { scripts/dev.sh demo; }

[ $# -gt 0 ] || set -- deps fmt clippy doc deny machete unit extension end-to-end schemathesis systemd examples demo
run_stages 'make check' "$@"
