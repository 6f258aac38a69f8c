#!/usr/bin/env bash
# Runs everything that is not a test, one line each; the output of a check shows when it fails.
# shellcheck disable=SC2317  # the checks are called by name, through `check`
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
bash tools/setup.sh dev || exit
export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONPATH PYTHONHOME

failed=0

# check NAME COMMAND...
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$output"
        failed=1
    fi
}

# The files of the tree, whether or not it is a git checkout.
files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files --cached --others --exclude-standard -- "$@" |
            while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
    else
        local file pattern=${1:-*}
        find . -type f -name "$pattern" -not -path './.*/*' -not -path './build/*' \
            -not -path './dist/*' -printf '%P\n'
    fi
}

shell_scripts() { shellcheck tools/*.sh .ci/run; }

short_modules() {
    local file lines bad=0
    while IFS= read -r file; do
        lines=$(wc -l <"$file")
        if [ "$lines" -gt 400 ]; then
            echo "$file has $lines lines. A module above 400 lines is two rooms."
            bad=1
        fi
    done < <(files '*.py')
    return "$bad"
}

# Where packages come from is each site's own choice, so no file names a registry.
no_registry() {
    local dot='\.' hosts
    hosts="pypi${dot}org|pythonhosted${dot}org|npmjs${dot}(org|com)|crates${dot}io"
    hosts+="|anaconda${dot}(org|com)|pypi${dot}nvidia|download${dot}pytorch|rubygems${dot}org"
    hosts+="|proxy${dot}golang|maven${dot}org|nvcr${dot}io|ghcr${dot}io|docker${dot}io"
    ! files | tr '\n' '\0' | xargs -0 grep -InE "$hosts" --
}

# A test waits for an event, with a limit; a pause is either too short or too long.
no_sleep_in_tests() { ! grep -rnE --include='*.py' 'time[.]sleep|time import .*sleep' tests; }

check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy edge engines tools tests
check "import contracts" lint-imports
if command -v shellcheck >/dev/null; then
    check "shellcheck" shell_scripts
else
    echo "skipped shellcheck: not installed (apt-get install shellcheck)"
fi
check "locks in step with pyproject.toml" python tools/locks.py check
check "docs/configure.md in step with the configuration" python -m tools.config_page --check
check "no module above 400 lines" short_modules
check "no package registry named" no_registry
check "no sleeping in tests" no_sleep_in_tests
exit "$failed"
