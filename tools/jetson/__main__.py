"""``tools/setup.sh run --gpu``: this environment can use the machine's GPU, or says what lacks."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.gpu import gpu_here
from tools.jetson import pycuda
from tools.jetson.bindings import SYSTEM, see
from tools.jetson.toolkit import Missing, Toolkit, find_toolkit


def main(arguments: Sequence[str] | None = None) -> int:
    """Set it up; return 1 where something must be installed first."""
    parser = argparse.ArgumentParser(prog="tools/setup.sh run --gpu", description=__doc__)
    parser.add_argument("--of", type=Path, default=SYSTEM, help="the system's Python (%(default)s)")
    options = parser.parse_args(arguments)
    stamp = Path(sys.prefix) / "scanside-gpu"
    stamp.touch()  # a GPU was asked for: later set-ups go on from here
    try:
        package = see(Path(sysconfig.get_path("purelib")), options.of)
        version = imported(package.name)
        toolkit = find_toolkit()
        built(toolkit, stamp)
    except Missing as missing:
        print(f"gpu: {missing}", file=sys.stderr)
        return 1
    gpu = gpu_here()
    print(
        f"gpu: {f'{gpu.name} ({gpu.capability})' if gpu else 'none answers (scanside check)'}; "
        f"{package.name} {version} in {package}; pycuda {pycuda.version()} for {toolkit}",
        file=sys.stderr,
    )
    return 0


def built(
    toolkit: Toolkit, stamp: Path, *, build: Callable[[Toolkit], None] = pycuda.build
) -> None:
    """Build pycuda, unless it was built from the same lock for the same CUDA and Python.

    Raises
    ------
    Missing
        If it cannot be built.
    """
    made_of = f"{pycuda.LOCK.read_text(encoding='utf-8')} {toolkit.version} {sys.version}"
    wanted = hashlib.sha256(made_of.encode()).hexdigest()
    if stamp.read_text(encoding="utf-8") == wanted:
        return
    print("gpu: building pycuda, which takes some minutes ...", file=sys.stderr)
    build(toolkit)
    stamp.write_text(wanted, encoding="utf-8")


def imported(name: str) -> str:
    """Import TensorRT in a process of its own, and return its version.

    Raises
    ------
    Missing
        If it does not import here.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}; print({name}.__version__)"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Missing(
            f"{name} is here and cannot be imported: {said}. Install it again with all that it "
            "depends on; on a Jetson: sudo apt-get install --reinstall python3-libnvinfer"
        )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
