#!/usr/bin/env bash
# Carries out docs/install.md on fresh Debian systems in virtual machines, asks what a hospital's IT
# would ask, cuts the power, and says what could not run and why. Needs root; without KVM two hours.
#   tools/install_check.sh [--arch x86_64|aarch64] [--cuts N] [--again] [--kept [--only holds|cuts]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh dev
unset PYTHONPATH PYTHONHOME
exec .venv/bin/python -m tools.install_check "$@"
