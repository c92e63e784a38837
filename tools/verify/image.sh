#!/usr/bin/env bash
# Build the container image and see that it starts as an ordinary user.
#
# With a Docker engine this is `docker build`. Without one it takes root and the Debian packages buildah and
# debootstrap: a Debian with the Python of the base image stands in for that image under its name, so that the
# Dockerfile is built as it is. The host's certificates and pip settings are mounted for the build alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=qa-service:verify
base=docker.io/library/python:3.13-slim
suite=trixie # the Debian release of the base image; its Python is 3.13
cache=${QA_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/qa-service}/image

fail() { echo "image: $*" >&2; exit 1; }

with_docker() {
    docker build --tag "$image" .
    docker run --rm --read-only --tmpfs /tmp --entrypoint /bin/sh "$image" -c "$inspect"
}

stand_in() {
    buildah "${store[@]}" inspect --type image "$base" >/dev/null 2>&1 && return
    local root=$cache/rootfs
    if [ ! -e "$root/complete" ]; then
        rm -rf "$root"
        debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root" ${QA_DEBIAN_MIRROR:+"$QA_DEBIAN_MIRROR"}
        ln -s /usr/bin/python3 "$root/usr/local/bin/python"
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        touch "$root/complete"
    fi
    local container
    container=$(buildah "${store[@]}" from scratch)
    buildah "${store[@]}" add --quiet "$container" "$root" /
    buildah "${store[@]}" commit --quiet "$container" "$base"
    buildah "${store[@]}" rm "$container" >/dev/null
}

with_buildah() {
    [ "$(id -u)" = 0 ] || fail "without a Docker engine this needs root, for buildah"
    local program
    for program in buildah debootstrap; do
        command -v "$program" >/dev/null || fail "$program is missing: start Docker, or apt-get install buildah debootstrap"
    done
    store=(--root "$cache/storage" --runroot "$cache/run" --storage-driver vfs)
    mkdir -p "$cache"
    stand_in

    local mounts=() file
    for file in /etc/ssl/certs /etc/pip.conf; do
        [ -e "$file" ] && mounts+=(--volume "$file:$file:ro")
    done
    buildah "${store[@]}" bud --isolation chroot --pull=never --format docker "${mounts[@]}" --tag "$image" .

    container=$(buildah "${store[@]}" from --pull=never "$image")
    trap clean_up EXIT
    buildah "${store[@]}" run --isolation chroot "$container" -- /bin/sh -c "$inspect"
}

# The stand-in stays for the next time; what was built on it takes much room.
clean_up() {
    buildah "${store[@]}" rm "$container" >/dev/null
    buildah "${store[@]}" rmi "$image" >/dev/null
    buildah "${store[@]}" rmi --prune >/dev/null
}

# shellcheck disable=SC2016 # expanded in the container
inspect='set -e
[ "$(id -u)" = 10001 ] || { echo "runs as uid $(id -u)"; exit 1; }
qa-service --help >/dev/null
python -c "import ctranslate2, onnxruntime, soundfile, asyncpg, aiokafka"
test -d "$(python -c "import qa_service; print(qa_service.__path__[0])")/storage/_migrations"
touch "$QA_CACHE_DIR/writable"
! touch /opt/qa-service/writable 2>/dev/null || { echo "/opt/qa-service can be written"; exit 1; }
echo "image: built; starts as uid 10001 with Python $(python -c "import platform; print(platform.python_version())")"'

if command -v docker >/dev/null && docker info >/dev/null 2>&1; then with_docker; else with_buildah; fi
