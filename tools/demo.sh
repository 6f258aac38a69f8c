#!/usr/bin/env bash
# Sets up what the demo needs, then shows the whole chain at work; see --help.
set -euo pipefail
came_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh run

# A report lands where the caller stands, not where this script does.
arguments=()
previous=
for argument; do
    case $previous:$argument in
        --report:[!/]*) argument=$came_from/$argument ;;
        *:--report=[!/]*) argument=--report=$came_from/${argument#--report=} ;;
    esac
    arguments+=("$argument")
    previous=$argument
done

# mosquitto stands in sbin, where an ordinary user does not look.
export PATH="$PWD/.venv/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
unset PYTHONPATH PYTHONHOME
exec .venv/bin/python -m tools.demo ${arguments[@]+"${arguments[@]}"}
