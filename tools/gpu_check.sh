#!/usr/bin/env bash
# Runs what only a GPU can show, on any NVIDIA machine, and says what could not run and why.
#   tools/gpu_check.sh [--quick] [--json FILE] [--table FILE] [--models FOLDER]
# PYTHON names an interpreter that has the project, pycuda and TensorRT already, as on a Jetson;
# otherwise .venv is set up first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${PYTHON:-}" ]; then
    bash tools/setup.sh dev
    PYTHON=.venv/bin/python
    unset PYTHONPATH PYTHONHOME
fi
# nvcc, which pycuda asks to compile the kernel, is often not on the PATH.
export PATH="$PATH:/usr/local/cuda/bin"
exec "$PYTHON" -m tools.gpu_check "$@"
