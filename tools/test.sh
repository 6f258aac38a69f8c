#!/usr/bin/env bash
# Sets up what the tests need, then runs them.
#   ./tools/test.sh                  all tests
#   ./tools/test.sh --setup-only     stop after the set-up
#   ./tools/test.sh ARGUMENTS        go to pytest: ./tools/test.sh tests/unit -k series
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --setup-only ]; then
    exec bash tools/setup.sh dev --again
fi
bash tools/setup.sh dev

# Brokers and PACS stand in sbin, where an ordinary user does not look.
export PATH="$PWD/.venv/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
unset PYTHONPATH PYTHONHOME
exec .venv/bin/python -m pytest "$@"
