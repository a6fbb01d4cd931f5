#!/usr/bin/env bash
# Runs every fuzz target of the core for a while, two at a time; a finding fails, and its input is named.
#
#   scripts/slow/fuzz.sh                      all targets, ten minutes each
#   scripts/slow/fuzz.sh 60                   all targets, a minute each
#   scripts/slow/fuzz.sh 60 token patterns    only these
#
# libFuzzer needs a nightly Rust. New inputs go to a scratch copy of the corpus, never into the tree.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. scripts/stages.sh

fuzz=pg_lpm/core/fuzz

seconds=600
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
known=("$fuzz"/fuzz_targets/*.rs)
known=("${known[@]##*/}")
known=("${known[@]%.rs}")
[ $# -gt 0 ] || set -- "${known[@]}"
for name in "$@"; do
    [ -f "$fuzz/fuzz_targets/$name.rs" ] || die "no target \`$name\`; there are: ${known[*]}"
done

cargo +nightly --version >/dev/null 2>&1 ||
    die "libFuzzer needs a nightly Rust: rustup toolchain install nightly --profile minimal"
cargo fuzz --version >/dev/null 2>&1 || die "there is no cargo-fuzz: scripts/install-deps.sh slow"

cargo +nightly fuzz build --fuzz-dir "$fuzz" --features libfuzzer
programs=$(target)/$(rustc +nightly -vV | sed -n 's/^host: //p')/release

scratch=$(mktemp -d "${TMPDIR:-/tmp}/lpm-fuzz.XXXXXX")
mkdir "$scratch/findings"

# Replaces this process by one target, with its own corpus and log.
run_target() {
    local name=$1 words regressions=()
    local options=(
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
        "-artifact_prefix=$scratch/findings/$name-"
    )
    case $name in
        token | token_signed | claims) words=(claims json) ;;
        decision) words=(claims policy json) ;;
        policy | keys) words=("$name" json) ;;
        environment) words=(json) ;;
        render) words=(dotenv) ;;
        *) words=("$name") ;;
    esac
    # libFuzzer takes one dictionary, and no empty one.
    for word in "${words[@]}"; do
        [ ! -f "$fuzz/dictionaries/$word.dict" ] || cat "$fuzz/dictionaries/$word.dict" >>"$scratch/$name.dict"
    done
    [ ! -f "$scratch/$name.dict" ] || options+=("-dict=$scratch/$name.dict")
    [ ! -d "$fuzz/regressions/$name" ] || regressions=("$fuzz/regressions/$name")
    cp -r "$fuzz/corpus/$name" "$scratch/$name"
    exec "$programs/$name" "${options[@]}" "$scratch/$name" "${regressions[@]}" >"$scratch/$name.log" 2>&1
}

# The closing line of a target, from libFuzzer's own numbers.
summary() {
    local log=$scratch/$1.log runs rate edges
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    edges=$(sed -n 's/^#[0-9].* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-13s %9s runs  %6s/s  %5s edges  %s findings\n' "$1" "${runs:-?}" "${rate:-?}" "${edges:-?}" \
        "$(find "$scratch/findings" -name "$1-*" | wc -l)"
}

running=() # name:pid
failed=()
trap 'for job in "${running[@]}"; do kill "${job#*:}" 2>/dev/null || true; done' EXIT

# Waits for the target that was started first.
finish_first() {
    local job=${running[0]}
    wait "${job#*:}" || failed+=("${job%:*}")
    running=("${running[@]:1}")
    summary "${job%:*}"
}

for name in "$@"; do
    [ ${#running[@]} -lt 2 ] || finish_first
    run_target "$name" &
    running+=("$name:$!")
done
while [ ${#running[@]} -gt 0 ]; do finish_first; done

for name in "${failed[@]}"; do
    printf '\n--- %s\n' "$name"
    grep -A 6 -E 'panicked at|^==[0-9]+==|^SUMMARY' "$scratch/$name.log" || tail -n 20 "$scratch/$name.log"
    find "$scratch/findings" -name "$name-*" -printf "again: $programs/$name %p\n"
done
[ ${#failed[@]} = 0 ] || die "findings in: ${failed[*]}"
rm -rf "$scratch"
