"""The real pycuda, built once, and a driver for it whose device is this machine's memory."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.cuda.fused import SOURCE
from tools.jetson import pycuda
from tools.jetson.toolkit import Missing, Toolkit, find_toolkit

_ROOT = Path(__file__).parents[2]
_BUILD = _ROOT / "build"
_SOURCES = _ROOT / "tests" / "cuda_on_cpu"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a process has the real pycuda, over a driver of ours.

    Parameters
    ----------
    path : pathlib.Path
        The folder with pycuda.
    driver : pathlib.Path
        The folder with ``libcuda.so.1``.
    folder : pathlib.Path
        For what a run leaves.
    """

    path: Path
    driver: Path
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return what such a process is started with."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.driver),
            "PYTHONPATH": os.pathsep.join(
                map(str, (_ROOT, _ROOT / "tests", Path(__file__).parent))
            ),
            "SCANSIDE_PYCUDA": str(self.path),
            "STAND_IN_REPORT": str(report),
        }

    def run(self, code: str, *, limit_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import pycuda_scene\n{code}"],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )

    def left(self) -> Mapping[str, int] | None:
        """Return what lived when the last program had ended, or None if it ended without a word."""
        report = self.folder / "report.json"
        if not report.is_file():
            return None
        found: dict[str, int] = json.loads(report.read_text(encoding="utf-8"))
        return found


def stage(folder: Path) -> Stage:
    """Build what is not built yet; skips where CUDA's headers, nvcc or a compiler are missing."""
    driver = folder / "driver"
    driver.mkdir()
    headers = _toolkit_headers()
    objects = _compiled(folder, headers)
    _link(objects, driver)
    path = _pycuda(driver)
    _link([*objects, _absent(folder, path, objects)], driver)
    return Stage(path, driver, folder)


def _toolkit_headers() -> Path:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed: the kernel cannot be compiled for pycuda to load")
    try:
        # What it is linked with is ours, and not there yet.
        return find_toolkit(driver=Path(sys.prefix)).root / "include"
    except Missing as missing:
        pytest.skip(f"pycuda cannot be built: {missing}")


def _run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _compiled(folder: Path, headers: Path) -> list[Path]:
    found = []
    for name, options in (
        ("libcuda", ["-std=c++17", "-O1", f"-I{headers}"]),
        ("libcuda_work", ["-std=c++17", "-O1", f"-I{headers}"]),
        ("run", ["-O2", "-ffp-contract=off", f"-I{SOURCE.parent}"]),
    ):
        target = folder / f"{name}.o"
        source = _SOURCES / f"{name}.cpp"
        _run("g++", "-Wall", "-Werror", "-fPIC", *options, "-c", source, "-o", target)
        found.append(target)
    return found


def _link(objects: list[Path], driver: Path) -> None:
    library = driver / "libcuda.so.1"
    _run("g++", "-shared", "-Wl,-soname,libcuda.so.1", "-o", library, *objects)
    if not (driver / "libcuda.so").is_symlink():
        (driver / "libcuda.so").symlink_to(library.name)


def _absent(folder: Path, path: Path, objects: list[Path]) -> Path:
    """Compile what pycuda names of the driver and ours lacks: each says it is not supported."""
    (module,) = (path / "pycuda").glob("_driver.*.so")
    wanted = {line.split()[-1] for line in _run("nm", "-D", "-u", module).splitlines()}
    ours = {line.split()[-1] for line in _run("nm", *objects).splitlines() if line}
    names = sorted(name for name in wanted - ours if name.startswith("cu"))
    source = folder / "absent.c"
    source.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in names))
    _run("gcc", "-fPIC", "-c", source, "-o", source.with_suffix(".o"))
    return source.with_suffix(".o")


def _pycuda(driver: Path) -> Path:
    """Return the folder with pycuda, built at the first call for this Python and CUDA."""
    toolkit: Toolkit = find_toolkit(driver=driver)
    name = f"pycuda-{pycuda.version()}-{sys.implementation.cache_tag}-cuda{toolkit.version}"
    path, stamp = _BUILD / name, _BUILD / name / "complete"
    _BUILD.mkdir(exist_ok=True)
    with (_BUILD / "pycuda.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file():
            shutil.rmtree(path, ignore_errors=True)
            try:
                # How it is made faster says nothing about what is tested.
                pycuda.build(toolkit, target=path, flags="-O0 -g0")
            except Missing as missing:
                pytest.skip(str(missing))
            stamp.touch()
    return path


def nothing_left(stage: Stage) -> dict[str, Any]:
    """Assert that everything was given back in order; return what was done."""
    left = stage.left()
    assert left is not None, "the process ended before its libraries could"
    held = {"device", "pinned", "streams", "events", "modules", "graphs", "retained", "contexts"}
    held |= {"depth", "outlived", "pageable"}
    assert {name: left[name] for name in held if left[name]} == {}
    return dict(left)
