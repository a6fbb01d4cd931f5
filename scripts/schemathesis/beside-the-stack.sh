#!/usr/bin/env bash
# What scripts/schemathesis.sh runs beside a stack: fills it, so that there is something to be found, and runs schemathesis
# twice, as `alice` and as nobody.
#
#   beside-the-stack.sh PROGRAM CASES SEED
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

program=$1 cases=$2 seed=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Writes a dictionary of the configuration, a line of input an entry.
dictionary() { sed 's/.*/"&"/' >"$scratch/$1"; }

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$LPM_DEV_DATABASE_URL" --command "$1"; }

# A vault with this id, open to CI, of the account whose token LPM_TOKEN is.
open_vault() {
    local project=$scratch/$1
    mkdir "$project"
    echo "{\"vault\":\"$1\"}" >"$project/lpm.json"
    (
        cd "$project"
        lpm env set API_KEY=1 --env=production
        lpm env push
        lpm env oidc allow --provider=github --repo=acme/web --branch=main --env=production
    ) >/dev/null
}

# `bob` has what CI jobs pull: `alice`, who is played, revokes and overwrites what she has.
fill() {
    local claims='{"repository":"acme/web","repository_owner":"acme","ref":"refs/heads/main","event_name":"push"}'
    sql "select lpm.create_user(h, plan => 'org') from unnest(array['bob', 'carol', 'dave']) h" >/dev/null
    sql "select lpm.add_member('acme', 'alice', role => 'owner'), lpm.add_member('acme', 'bob', role => 'developer')" >/dev/null
    sql "select lpm.create_org('umbrella', plan => 'org'), lpm.add_member('umbrella', 'bob', role => 'owner')" >/dev/null
    open_vault web
    (cd "$scratch/web" && lpm env share --org=acme --yes) >/dev/null
    (
        LPM_TOKEN=$(sql "select lpm.create_token('bob', name => 'laptop')")
        export LPM_TOKEN
        open_vault job
        lpm org invite umbrella alice
    ) >/dev/null
    sql "select id from lpm.account where handle = 'bob'" | dictionary owners
    sql "select id from lpm.account where handle in ('alice', 'bob', 'carol')" | dictionary members
    sql "select lpm.create_token('alice', name => 'token ' || n) from generate_series(1, 50) n" | dictionary tokens
    for _ in {1..50}; do
        curl -sf "$LPM_DEV_ISSUER_URL/mint" -H 'content-type: application/json' -d "{\"provider\":\"github\",\"claims\":$claims}" | jq -r .token
    done | dictionary jobs
    LPM_DEV_OWNER=$(tr -d '"' <"$scratch/owners")
    export LPM_DEV_OWNER
}

# run WHO EXAMPLES [OPTION…]: at most so many random cases per operation; prints how many cases there were in all.
run() {
    local report=$scratch/$1.json
    LPM_DEV_PLAY=$1 "$program" --config-file "$scratch/schemathesis.toml" run "$LPM_REGISTRY_URL/openapi.json" \
        --seed "$seed" --max-examples "$2" --report-json-path "$report" "${@:3}" >&2 || return
    jq .test_cases.generated "$report"
}

fill
cp scripts/schemathesis/{schemathesis.toml,hooks.py} "$scratch"
export PYTHONPATH=$scratch
# what is left behind is left there
cd "$scratch"

# Two thousand cases are not random: examples, and what lies at the borders of each value. Some operations take nothing, and
# have one case only.
signed_in=$(run alice $((cases / 60)))
anonymous=$(run nobody $((cases / 100)) --phases fuzzing)
total=$((signed_in + anonymous))
[ "$total" -ge "$cases" ] || die "only $total cases of $cases"
echo "$total cases, $signed_in of them signed in, seed $seed: no finding"
