#!/usr/bin/env bash
# Installs what building and testing need, and only what is missing. On Debian with rustup it needs nothing else.
#
#   scripts/install-deps.sh          what `make demo`, `make up` and `make install` need
#   scripts/install-deps.sh check    also the tools of `make check`
#   scripts/install-deps.sh slow     also those of `make check-slow`
#   scripts/install-deps.sh bench    what `make bench` needs
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CARGO_PGRX=0.18.0
CARGO_DENY=0.20.2
CARGO_MACHETE=0.9.2
CARGO_MUTANTS=27.1.0
CARGO_FUZZ=0.13.2

purpose=${1:-build}

# System packages. `curl` and `jq` are what the documentation's examples use.
packages=(build-essential clang libclang-dev pkg-config libssl-dev ca-certificates curl jq)
# the tests lay cables that they cut, set clocks, keep secrets in a keychain, and pool connections; systemd judges its unit;
# schemathesis is Python
case $purpose in
    check | slow) packages+=(iproute2 faketime dbus-daemon gnome-keyring pgbouncer systemd python3-venv) ;;
    bench) packages+=(wrk) ;;
esac
find_pg_config
if [ -z "$PG_CONFIG" ] || [ ! -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ]; then
    [ -z "$PG_CONFIG" ] || [ "$(pg_major)" = "$DEFAULT_PG_MAJOR" ] ||
        die "$PG_CONFIG has no server headers: install postgresql-server-dev-$(pg_major)"
    packages+=("postgresql-$DEFAULT_PG_MAJOR" "postgresql-server-dev-$DEFAULT_PG_MAJOR")
fi
[ -z "$PG_CONFIG" ] || [ -x "$("$PG_CONFIG" --bindir)/initdb" ] || packages+=("postgresql-$(pg_major)")

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep 'ok installed' >/dev/null || missing+=("$package")
    done
else
    for tool in cc clang pkg-config curl jq; do
        command -v "$tool" >/dev/null || die "this is not Debian, so please install by yourself: ${packages[*]} (no \`$tool\` found)"
    done
fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "Installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
    find_pg_config
fi
[ -x "$PG_CONFIG" ] || die "no PostgreSQL: set PG_CONFIG to its pg_config"

# Rust: the toolchain that rust-toolchain.toml names.
command -v cargo >/dev/null || die "no cargo: install Rust with https://rustup.rs"
if command -v rustup >/dev/null; then
    rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install
    for component in rustfmt clippy; do
        # not `grep -q`: it may leave rustup with a broken pipe, which counts as a failure
        rustup component list --installed | grep "^$component" >/dev/null || rustup component add "$component"
    done
fi

# Installs a cargo subcommand, unless it is there in this very version.
cargo_tool() {
    local name=$1 version=$2
    cargo "${name#cargo-}" --version 2>/dev/null | grep -wF "$version" >/dev/null ||
        cargo install "$name" --version "$version" --locked
}

cargo_tool cargo-pgrx "$CARGO_PGRX"
if [ "$purpose" = check ] || [ "$purpose" = slow ]; then
    cargo_tool cargo-deny "$CARGO_DENY"
    cargo_tool cargo-machete "$CARGO_MACHETE"
fi
if [ "$purpose" = slow ]; then
    cargo_tool cargo-mutants "$CARGO_MUTANTS"
    cargo_tool cargo-fuzz "$CARGO_FUZZ"
fi

# pgrx builds against the servers that its own configuration names.
known=$(sed -n "s/^pg$(pg_major) = \"\(.*\)\"/\1/p" "${PGRX_HOME:-$HOME/.pgrx}/config.toml" 2>/dev/null || true)
[ -x "$known" ] && [ "$("$known" --bindir)" = "$("$PG_CONFIG" --bindir)" ] ||
    cargo pgrx init "--pg$(pg_major)=$PG_CONFIG" --no-run
