#!/usr/bin/env bash
# Overload on two cores: the generator on one, gateway and PostgreSQL on the other. Three times what can be served, from
# 2,000 connections, for a minute; fails where less is left of it than should be.
#
#   scripts/slow/overload.sh [--times 3] [--connections 2000] [--seconds 60]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. scripts/stages.sh

[ "$(nproc)" -ge 2 ] || die "this needs two cores"
scripts/bench.sh build
find_pg_config
LPM_BIN_DIR=$(target)/release
export LPM_BIN_DIR

# what it starts stays on its core, but for the generator
figures=$(taskset --cpu-list 1 "$LPM_BIN_DIR/lpm-bench" overload --generator-core 0 "$@")
echo "$figures"

# holds METRIC CONDITION: the figure is there and meets the condition
holds() {
    jq -se --arg metric "$1" "map(select(.metric == \$metric)) | length == 1 and (.[0].value | $2)" <<<"$figures" >/dev/null ||
        die "$1 should be $2"
}
holds overload_goodput_per_sustainable '. >= 0.7'
holds overload_refusals_p99_ms '. <= 50'
holds overload_recovery_s '. <= 2'
