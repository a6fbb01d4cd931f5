#!/usr/bin/env bash
# Schemathesis over /openapi.json: does the gateway, with a real database behind it, keep to its own document?
#
#   scripts/schemathesis.sh 300           at least so many cases, always the same ones
#   scripts/schemathesis.sh 20000 SEED    other ones
#   scripts/schemathesis.sh 20000 random  with a seed that is printed
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. scripts/stages.sh

cases=${1:?how many cases}
seed=${2:-1}
[ "$seed" != random ] || seed=$(od -An -N4 -tu4 /dev/urandom | xargs)

# A Python of its own, made anew when what is pinned changes.
venv=$(target)/schemathesis
pinned=scripts/schemathesis/requirements.txt
if ! cmp -s "$pinned" "$venv/.installed"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$pinned"
    cp "$pinned" "$venv/.installed"
fi

scripts/dev.sh run scripts/schemathesis/beside-the-stack.sh "$venv/bin/schemathesis" "$cases" "$seed"
