# Runs functions called `stage_…` one after the other, until the first failure, and prints the time of each.
# Sourced after common.sh by what has stages.
# shellcheck shell=bash

target() { cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory; }

times=()
current=
command_line=

finish() {
    local code=$?
    echo
    printf '%s\n' "${times[@]}"
    if [ "$code" = 0 ]; then
        printf '%5d s  in all\n%s: passed\n' "$SECONDS" "$command_line"
    else
        echo "$command_line: FAILED in stage \`$current\`; alone: $0 $current" >&2
    fi
}

# run_stages 'make check' STAGE…
run_stages() {
    local began
    command_line=$1
    shift
    trap finish EXIT
    for current in "$@"; do
        declare -F "stage_$current" >/dev/null || die "no stage \`$current\`; there are: $(declare -F | sed -n 's/^declare -f stage_//p' | xargs)"
        printf '\n=== %s\n' "$current"
        find_pg_config
        began=$SECONDS
        "stage_$current"
        times+=("$(printf '%5d s  %s' $((SECONDS - began)) "$current")")
    done
}
