#!/usr/bin/env bash
# Installs what a target needs and this machine lacks: `install.sh run` or `install.sh test`.
set -euo pipefail

missing=()
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null 2>&1; then
    missing+=(postgresql)
fi
command -v cc >/dev/null 2>&1 || missing+=(gcc libc6-dev)
if [ "${1:-run}" = test ]; then
    command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing+=(chromium)
    # The failure tests turn the clock of a node.
    ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing+=(libfaketime)
    command -v chromedriver >/dev/null 2>&1 || missing+=(chromium-driver)
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "Orderly needs a Rust toolchain (1.95 or later): see https://rustup.rs" >&2
    exit 1
fi
[ ${#missing[@]} -eq 0 ] && exit 0

become=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then
        become=(sudo)
    else
        echo "Please install these packages and try again: ${missing[*]}" >&2
        exit 1
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Please install the equivalents of these Debian packages and try again: ${missing[*]}" >&2
    exit 1
fi
echo "Installing ${missing[*]} ..."
# Orderly runs a private server of its own: the package need not start one.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${become[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${become[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    -o Dpkg::Options::=--force-confold --no-install-recommends "${missing[@]}" >/dev/null
