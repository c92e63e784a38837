#!/usr/bin/env bash
# `make setup` where it is most likely to break: a path with blanks, two runs at once, again, and an ordinary user.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT

copy_to() {
    mkdir -p "$1"
    tar --exclude=./.venv --exclude=./.git --exclude='__pycache__' --exclude='./.*_cache' -cf - . | tar -xf - -C "$1"
}

seconds() {
    local began=$EPOCHREALTIME
    "$@"
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s\n", b - a }'
}

clone="$scratch/a clone with blanks"
copy_to "$clone"

echo "setups: two at once in a path with blanks"
make -C "$clone" --no-print-directory setup &
other=$!
make -C "$clone" --no-print-directory setup
wait "$other"
"$clone/.venv/bin/qa-service" --help >/dev/null

echo "setups: again, with nothing to do"
seconds make -C "$clone" --no-print-directory setup

echo "setups: after the clone has moved"
mv "$clone" "$scratch/moved clone"
make -C "$scratch/moved clone" --no-print-directory setup
"$scratch/moved clone/.venv/bin/qa-service" --help >/dev/null

if [ "$(id -u)" = 0 ]; then
    echo "setups: as an ordinary user"
    copy_to "$scratch/home/clone"
    chown -R 65534:65534 "$scratch/home"
    # Its own Python: root's may lie where others cannot go.
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups -- env HOME="$scratch/home" PATH=/usr/local/bin:/usr/bin:/bin)
    "${as_user[@]}" make -C "$scratch/home/clone" --no-print-directory setup
    "${as_user[@]}" "$scratch/home/clone/.venv/bin/qa-service" --help >/dev/null
    echo "setups: as an ordinary user, the tests that start servers"
    (cd "$scratch/home/clone" && "${as_user[@]}" .venv/bin/python -m pytest -q tests/embedded)
fi
echo "setups: all well"
