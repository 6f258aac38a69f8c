#!/usr/bin/env bash
# Makes requirements/*.lock from pyproject.toml. Arguments go to uv: --upgrade takes the
# newest versions, --upgrade-package NAME one of them; without, present pins are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v uv >/dev/null; then
    echo "lock: uv is not installed. Install it with: pip install uv" >&2
    exit 1
fi
python=.venv/bin/python
if [ ! -x "$python" ]; then
    python=python3
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" tools/locks.py build-requirements >"$work/build.in"
"$python" tools/locks.py jetson-requirements >"$work/jetson.in"

# make LOCK INPUT [uv's arguments]: INPUT is a list that goes to uv's standard input.
make() {
    local lock=$1 input=$2 sum
    shift 2
    sum=$("$python" tools/locks.py digest "$lock")
    [ ! -f "requirements/$lock.lock" ] || cp "requirements/$lock.lock" "$work/$lock.lock"
    # --universal: one file for Python 3.10 to 3.13 on x86-64 and aarch64, told apart by markers.
    # fewest: every Python runs the same versions, and what is measured on one holds for all.
    uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes \
        --python-version 3.10 --no-header --constraint requirements/limits.in \
        --output-file "$work/$lock.lock" "$@" - <"$work/$input" >/dev/null
    {
        echo "# Exact versions and hashes, made by ./tools/lock.sh; do not edit."
        echo "# made from: sha256:$sum"
        grep -v '^# ' "$work/$lock.lock"
    } >"requirements/$lock.lock"
    echo "lock: requirements/$lock.lock, $(grep -c '^[a-z]' "requirements/$lock.lock") entries" >&2
}

make run build.in --extra demo --extra central "$@" pyproject.toml
# The others stand beside run, at the same versions.
make dev build.in --extra demo --extra central --extra dev --constraint requirements/run.lock \
    "$@" pyproject.toml
make jetson jetson.in --constraint requirements/run.lock "$@"
