#!/usr/bin/env bash
# Makes .venv from a lock file and installs what the machine lacks.
#   tools/setup.sh run|dev [--again] [--gpu]
# Does nothing when .venv is already what the lock says (no network is then needed);
# --again looks once more for Debian packages that could not be had the last time.
# --gpu lets .venv use an NVIDIA GPU: it sees the system's TensorRT, as JetPack installs it, and
# pycuda is built. Said once, it holds for later set-ups of this .venv too.
# PYTHON names the interpreter to use; otherwise one from 3.10 to 3.13 is looked for.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
profile=${1:-dev}
again=
gpu=
usage() { echo "usage: tools/setup.sh run|dev [--again] [--gpu]" >&2 && exit 2; }
case $profile in
    run | dev) ;;
    *) usage ;;
esac
for option in "${@:2}"; do
    case $option in
        --again | --gpu) declare "${option#--}=$option" ;;
        *) usage ;;
    esac
done

venv=$root/.venv
stamp=$venv/scanside-setup
log=$root/build/setup.log
# Servers such as mosquitto stand where an ordinary user does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Settings for other environments must not lead pip or Python out of this one.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV VIRTUAL_ENV

say() { echo "setup: $*" >&2; }
die() { say "$*" && exit 1; }

# step WHAT COMMAND...: one line while it runs; on failure the end of the log and where it is.
step() {
    local what=$1 began=$SECONDS
    shift
    say "$what ..."
    echo "== $what: $*" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        die "$what failed after $((SECONDS - began)) s. ${hint:+$hint }The whole log: $log"
    fi
    [ $((SECONDS - began)) -lt 2 ] || say "    done in $((SECONDS - began)) s"
}

# --- Debian packages -------------------------------------------------------------------

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE...: one update, no service started or enabled by it.
apt_install() (
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    hook=/usr/sbin/policy-rc.d
    if [ ! -e "$hook" ]; then
        # Debian asks this file whether a package may start its service; 101 means no.
        trap 'rm -f "$hook"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$hook" && chmod 755 "$hook"
    fi
    new=()
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 || new+=("$package")
    done
    "${apt[@]}" update || echo "apt-get update failed; trying with the lists at hand"
    "${apt[@]}" install -y --no-install-recommends "$@" || exit
    [ -d /run/systemd/system ] || exit 0
    # A test starts its own broker and PACS; none of them should be there after a reboot.
    for package in ${new[@]+"${new[@]}"}; do
        case $package in
            mosquitto | orthanc | postgresql) systemctl disable "$package" || true ;;
        esac
    done
)

# What a test needs: the command that shows it is there, and the package that brings it.
tools_for_tests="mosquitto:mosquitto pg_ctlcluster:postgresql dcmsend:dcmtk dciodvfy:dicom3tools Orthanc:orthanc \
systemd-analyze:systemd shellcheck:shellcheck chromium:chromium \
/usr/share/fonts/truetype/noto/NotoSansArabic-Regular.ttf:fonts-noto-core"

missing_tools() {
    local pair
    for pair in $tools_for_tests; do
        [ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
}

install_tools() {
    local missing
    mapfile -t missing < <(missing_tools)
    [ "${#missing[@]}" -gt 0 ] || return 0
    if may_install; then
        say "installing Debian packages: ${missing[*]} ..."
        echo "== apt-get install ${missing[*]}" >>"$log"
        apt_install "${missing[@]}" >>"$log" 2>&1 </dev/null || say "    apt-get failed; see $log"
        mapfile -t missing < <(missing_tools)
        [ "${#missing[@]}" -gt 0 ] || return 0
    fi
    say "tests that need ${missing[*]} will be skipped. To have them, type:"
    say "    sudo apt-get install --no-install-recommends ${missing[*]}"
}

# --- Python ----------------------------------------------------------------------------

# A name on the PATH may be a shim that does not run, so each candidate is run.
fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
version_of() { "$1" -c 'import platform; print(platform.python_version())'; }

find_python() {
    local name candidate fitting=()
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || die "PYTHON=$PYTHON does not run or is not Python 3.10 to 3.13."
        fitting=("$(command -v "$PYTHON")")
    else
        for name in python3.12 python3.11 python3.13 python3.10 python3; do
            while read -r candidate; do
                if fits "$candidate"; then
                    fitting+=("$candidate")
                fi
            done < <(type -aP "$name")
        done
    fi
    [ "${#fitting[@]}" -gt 0 ] || die "no Python 3.10 to 3.13 was found. Install one (Debian and" \
        "Ubuntu: apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python3.12 $0"
    for candidate in "${fitting[@]}"; do
        if has_venv "$candidate"; then
            python=$candidate
            return
        fi
    done
    # Debian splits venv from Python; the package bears the interpreter's version.
    python=${fitting[0]}
    local package
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    may_install || die "$python cannot make a virtual environment. Install what it lacks with:" \
        "sudo apt-get install $package"
    step "installing $package" apt_install "$package"
    has_venv "$python" || die "$python cannot make a virtual environment even with $package."
}

# Whether .venv runs, stands where it was made and is of the Python that was asked for.
venv_fits() {
    local here wanted
    here=$("$venv/bin/python" -c 'import sys; print(sys.prefix, *sys.version_info[:2])' 2>/dev/null) ||
        return 1
    [ "${here% * *}" = "$venv" ] && fits "$venv/bin/python" || return 1
    # A copied .venv runs, but its commands lead back to where it was made.
    [ ! -f "$stamp" ] || [ "$(cut -d' ' -f3- "$stamp")" = "$root" ] || return 1
    [ -n "${PYTHON:-}" ] || return 0
    fits "$PYTHON" || die "PYTHON=$PYTHON does not run or is not Python 3.10 to 3.13."
    wanted=$("$PYTHON" -c 'import sys; print(*sys.version_info[:2])')
    [ "$here" = "$venv $wanted" ]
}

# What .venv must be: the lock, the project's own table, this script and the place, in one line.
wanted_stamp() {
    echo "$1 $(cat "requirements/$1.lock" pyproject.toml tools/setup.sh | sha256sum | cut -c1-64) $root"
}

is_set_up() {
    [ -f "$stamp" ] && venv_fits || return 1
    local made
    made=$(cat "$stamp")
    # dev holds all that run holds, at the same versions.
    [ "$made" = "$(wanted_stamp "$profile")" ] || [ "$made" = "$(wanted_stamp dev)" ]
}

# The compiled wheels bring nearly all they need; what they do not bring is named by ldd.
missing_libraries() {
    command -v ldd >/dev/null || return 0
    find "$venv" -name '*.so' -print0 | xargs -0 ldd 2>/dev/null |
        sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p' | sort -u
}

install_libraries() {
    local library packages=()
    for library in $(missing_libraries); do
        case $library in
            libstdc++.so.6) packages+=(libstdc++6) ;;
            libgcc_s.so.1) packages+=(libgcc-s1) ;;
            libz.so.1) packages+=(zlib1g) ;;
        esac
    done
    [ "${#packages[@]}" -gt 0 ] || return 0
    if may_install; then
        step "installing Debian packages: ${packages[*]}" apt_install "${packages[@]}"
    else
        say "Python wheels lack shared libraries. Install them with:"
        say "    sudo apt-get install --no-install-recommends ${packages[*]}"
    fi
}

# The proof: every compiled dependency loads.
loads() {
    "$venv/bin/python" -c 'import cryptography.fernet, cv2, gdcm, jpeg_ls, numpy, onnx
import onnxruntime, openjpeg, pydantic'
}

# The builder of engines needs no GPU, but its package makes its own wheel, so the lock cannot hold
# it, and it exists for few platforms. Without it the tests that build engines are skipped.
install_engine_builder() {
    if "${pip[@]}" install 'tensorrt-rtx-cu13==1.7.1.116' >>"$log" 2>&1; then
        say "TensorRT for RTX is installed: the tests build real engines"
    else
        say "TensorRT for RTX cannot be had here: the tests that build engines are skipped"
    fi
}

set_up() {
    mkdir -p "${log%/*}"
    : >"$log"
    local pip=("$venv/bin/python" -m pip --no-input --disable-pip-version-check --quiet)
    if ! venv_fits; then
        find_python
        [ ! -e "$venv" ] || say "replacing .venv: it is of another Python or place"
        rm -rf "$venv"
        mkdir "$venv"
        step "making .venv with Python $(version_of "$python") ($python)" "$python" -m venv "$venv"
    fi
    echo "unfinished - $root" >"$stamp"
    "$venv/bin/python" -c 'import pip' 2>/dev/null ||
        step "adding pip" "$venv/bin/python" -m ensurepip
    [ "$profile" != dev ] || install_tools
    # pip finds the files where the site's pip configuration says; the hashes say what they are.
    local hint="pip must reach its usual index, or a mirror: docs/install.md says how."
    step "installing requirements/$profile.lock, up to 180 MB to fetch" \
        "${pip[@]}" install --require-hashes --only-binary :all: -r "requirements/$profile.lock"
    hint=
    step "installing scanside itself" \
        "${pip[@]}" install --no-index --no-deps --no-build-isolation --editable .
    install_libraries
    [ "$profile" != dev ] || install_engine_builder
    step "loading what was installed" loads
    wanted_stamp "$profile" >"$stamp"
    say "ready: .venv, Python $(version_of "$venv/bin/python"), requirements/$profile.lock"
}

# --- A GPU -----------------------------------------------------------------------------

jetson() { [ -e /etc/nv_tegra_release ]; }

use_gpu() {
    PATH=$PATH:/usr/local/cuda/bin "$venv/bin/python" -m tools.jetson ||
        die "the GPU cannot be used yet; all else is set up. Then again: tools/setup.sh $profile --gpu"
}

# --- One at a time ---------------------------------------------------------------------

# The lock is on this script itself, so it leaves no file and ends with the process.
exec 9<tools/setup.sh
if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "waiting for another set-up of this tree"
    flock 9 || true
fi

[ -w "$root" ] || [ -w "$venv" ] || is_set_up || die "$root cannot be written by $(id -un)."
# Once asked for, it goes on.
[ ! -e "$venv/scanside-gpu" ] || gpu=--gpu
# TensorRT comes for the system's Python alone.
if [ -n "$gpu" ] && [ -z "${PYTHON:-}" ] && jetson && fits /usr/bin/python3; then
    PYTHON=/usr/bin/python3
fi
if ! is_set_up; then
    set_up
    if jetson && [ -z "$gpu" ]; then
        say "this is a Jetson; models run on its processor. To use its GPU: tools/setup.sh $profile --gpu"
    fi
elif [ "$again" = --again ]; then
    mkdir -p "${log%/*}"
    [ "$profile" != dev ] || install_tools
    say "ready: .venv, Python $(version_of "$venv/bin/python"), as the lock says"
fi
[ -z "$gpu" ] || use_gpu
