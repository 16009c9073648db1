#!/usr/bin/env bash
# Format, lints, and every test, against a throw-away Postgres that this script starts and removes.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${ORDERLY_PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)}
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)")
# In memory where there is room for it: the tests make hundreds of databases. Those that are about disks make their own.
base=/tmp
room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
[ "${room:-0}" -gt $((8 << 20)) ] && base=/dev/shm
place=$(mktemp -d "$base/orderly-test.XXXXXX")
chmod 755 "$place"
as_postgres=()
if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$place"
    as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
stop() {
    "${as_postgres[@]}" "$bin/pg_ctl" -D "$place/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$place"
}
trap stop EXIT

(
    cd /
    "${as_postgres[@]}" "$bin/initdb" -D "$place/data" -U orderly -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync >/dev/null
    "${as_postgres[@]}" "$bin/pg_ctl" -D "$place/data" -l "$place/log" -w -o "-c listen_addresses='' \
        -c unix_socket_directories='$place' -c max_connections=400 -c shared_buffers=256MB \
        -c max_wal_size=2GB -c autovacuum_naptime=10s" start >/dev/null
)
export ORDERLY_TEST_DATABASE_URL="postgres://orderly@localhost/postgres?host=$place"

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
# The program itself, which the end-to-end and crash tests start.
cargo build --locked --bin orderly
cargo test --locked --workspace
