# The commands of the repository; what they do stands in scripts/.
#
# PG_CONFIG chooses the PostgreSQL (default: Debian's 15), PREFIX where `make install` puts the programs.

export PG_CONFIG PREFIX

.PHONY: help demo check check-slow check-mutants check-fuzz check-kills check-leaks-17 check-strangers check-schemathesis check-scale check-soak check-overload bench bench-quick up down install extension deps

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

demo: deps ## play the main job, from an empty cluster to a .env in CI, and every refusal on the way
	@scripts/build.sh
	@scripts/dev.sh demo

check: ## format, lints, docs, every test, the documentation's examples; .ci/run calls it
	@scripts/check.sh

check-slow: ## the long proofs, hours in all: check-mutants, -fuzz, -kills, -leaks-17, -strangers, -schemathesis, -scale, -soak, -overload
	@scripts/check-slow.sh

check-mutants check-fuzz check-kills check-leaks-17 check-strangers check-schemathesis check-scale check-soak check-overload:
	@scripts/check-slow.sh $(@:check-%=%)

bench: ## pulls per second and their latency, beside what PostgreSQL commits at best; a table and JSON lines
	@scripts/bench.sh pulls
	@cargo bench --locked --package lpm-core --bench core

bench-quick: ## the same in under a minute, once everything is built
	@scripts/bench.sh pulls --slices 2 --seconds 2 --vaults 1000

up: deps ## start a private cluster, an issuer and the gateway in the background; writes .lpm-dev/env
	@scripts/build.sh
	@scripts/dev.sh up

down: ## end what `make up` started
	@scripts/dev.sh down

install: deps ## the extension into the PostgreSQL of PG_CONFIG, the programs into PREFIX/bin
	@scripts/install.sh

extension: deps ## the extension as it stands, into the PostgreSQL of PG_CONFIG, for `cargo test`
	@scripts/install-extension.sh

deps: ## install what is missing
	@scripts/install-deps.sh
