#!/usr/bin/env bash
# The leak search again, on PostgreSQL 17 in a Debian 13 of its own: from 16 on, auto_explain logs the parameters of
# nested statements too. What is built in there stays in there, and the sources cannot be changed from in there.
#
#   LPM_TRIXIE=DIRECTORY scripts/slow/leaks-17.sh     where that Debian lies (5 GB); made when it is not there
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

root=${LPM_TRIXIE:-${XDG_CACHE_HOME:-/var/cache}/lpm/trixie}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=(build-essential ca-certificates libclang-dev libssl-dev pkg-config postgresql-17 postgresql-server-dev-17)

# Makes the system, from the beginning where it is not complete.
make_root() {
    command -v debootstrap >/dev/null ||
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap
    as_root rm -rf "$root"
    as_root mkdir -p "$root"
    as_root debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" trixie "$root" "$mirror"
    as_root touch "$root/.complete"
}

# Mounts what the system needs of this one, in namespaces of its own: mounts and processes end with them.
enter() {
    set -euo pipefail
    mkdir -p "$root/src" "$root/cargo" "$root/rust"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$cargo" "$root/cargo"
    mount --bind "$rust" "$root/rust"
    mount --bind . "$root/src"
    mount -o remount,bind,ro "$root/src"
    exec chroot "$root" env -i HOME=/root PATH=/rust/bin:/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        CARGO_HOME=/cargo CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/var/cache/target LPM_BIN_DIR=/var/cache/target/debug \
        PGRX_HOME=/var/cache/pgrx PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config \
        bash -c "$(declare -f search); search"
}

# Builds everything and runs the test, inside.
search() {
    set -euo pipefail
    cd /src
    mkdir -p "$PGRX_HOME"
    grep -q '^pg17 = ' "$PGRX_HOME/config.toml" 2>/dev/null || cargo pgrx init --pg17="$PG_CONFIG" --no-run
    scripts/build.sh
    "$("$PG_CONFIG" --bindir)/postgres" --version
    cargo test --locked --package lpm-tests --test leak_search -- --nocapture
}

[ -e "$root/.complete" ] || make_root
# The compiler of this repository and the sources of every crate are there already: nothing is fetched inside.
cargo fetch --locked
as_root env root="$root" cargo="${CARGO_HOME:-$HOME/.cargo}" rust="$(rustc --print sysroot)" \
    unshare --mount --pid --fork --kill-child bash -c "$(declare -f enter search); enter"
