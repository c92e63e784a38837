#!/usr/bin/env bash
# The suite without servers and models on each supported Python that this machine has, in a throw-away environment.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# A version manager may have versions that are not on PATH.
find_python() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if [ -x "$candidate" ] && "$candidate" -c '' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

tested=0
for version in 3.11 3.12 3.13; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "pythons: no Python $version here"
        continue
    fi
    echo "pythons: $($python --version) …"
    "$python" -m venv "$scratch/$version"
    bin=$scratch/$version/bin
    "$bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements/dev.txt
    "$bin/python" -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable .
    "$bin/python" -m pytest -q -m "not models and not shared_data" -p no:cacheprovider --ignore=tests/deploy "$@"
    rm -rf "${scratch:?}/$version"
    tested=$((tested + 1))
done
[ "$tested" -gt 0 ] || { echo "pythons: none of 3.11, 3.12, 3.13 found" >&2; exit 1; }
echo "pythons: the suite passes on $tested versions"
