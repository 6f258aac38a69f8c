"""Builds pycuda from the source that `requirements/jetson.lock` names by hash.

It comes as source alone, since it must fit the machine's own CUDA. What we do not use of it
(cuRAND) is left out, so that JetPack's smaller sets of packages do; and its files are compiled side
by side, which setuptools does not do by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.jetson.toolkit import Missing, Toolkit
from tools.locks import ROOT

LOCK = ROOT / "requirements" / "jetson.lock"
_MOST_AT_ONCE = 4
_FOR_EACH = 2 << 30  # a compiler takes up to 1 GB for one of its files, and others want memory too
# What pip finds in a user's home; pycuda's own configuration stands beside it.
_OF_PIP = (".config", ".pip", ".netrc")

# Read by pycuda's setup.py. The second half is what distutils' `compile` does, file by file.
_CONFIGURATION = """\
CUDA_ROOT = {root!r}
CUDADRV_LIB_DIR = [{driver!r}]
CUDA_ENABLE_CURAND = False

from multiprocessing.pool import ThreadPool
from setuptools import _distutils as _
from distutils.ccompiler import CCompiler


def _side_by_side(self, sources, output_dir=None, macros=None, include_dirs=None, debug=0,
                  extra_preargs=None, extra_postargs=None, depends=None):
    macros, objects, extra_postargs, pp_opts, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs)
    cc_args = self._get_cc_args(pp_opts, debug, extra_preargs)
    ThreadPool({at_once}).map(lambda made: self._compile(
        made, *build[made], cc_args, extra_postargs, pp_opts), [o for o in objects if o in build],
        chunksize=1)
    return objects


CCompiler.compile = _side_by_side
"""


def locked() -> tuple[str, str]:
    """Return pycuda's entry of the lock, and the others."""
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    own = [line for line in lines if line.startswith("pycuda==")]
    return "\n".join(own) + "\n", "\n".join(line for line in lines if line not in own) + "\n"


def version() -> str:
    """Return which pycuda the lock names."""
    return locked()[0].split()[0].removeprefix("pycuda==")


def at_once(processors: int, memory: int) -> int:
    """Return how many files to compile side by side; a small Jetson has 4 GB for six processors."""
    return max(1, min(processors, memory // _FOR_EACH, _MOST_AT_ONCE))


def build(toolkit: Toolkit, *, target: Path | None = None, flags: str = "") -> None:
    """Build it and install it, with what it needs.

    Parameters
    ----------
    toolkit : Toolkit
        CUDA to build for.
    target : pathlib.Path, optional
        A folder to install into, for the path of this Python; without, its own environment.
    flags : str
        For the compiler, after pycuda's own.

    Raises
    ------
    Missing
        If pip cannot have a file, or the compiler refuses the source.
    """
    into = [] if target is None else ["--target", str(target)]
    own, others = locked()
    with tempfile.TemporaryDirectory(prefix="scanside-pycuda-") as folder:
        home = Path(folder)
        environment = {**os.environ, "HOME": folder, "TMPDIR": folder}
        if flags:
            environment["CFLAGS"] = flags
        if target is not None:
            environment["PYTHONPATH"] = str(target)  # where setuptools is then
        for name in _OF_PIP:
            theirs = Path.home() / name
            if theirs.exists():
                (home / name).symlink_to(theirs)
        (home / ".aksetup-defaults.py").write_text(
            _CONFIGURATION.format(
                root=str(toolkit.root),
                driver=str(toolkit.driver),
                at_once=at_once(
                    os.cpu_count() or 1,
                    os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                ),
            ),
            encoding="utf-8",
        )
        for name, wanted, options in (
            ("others.txt", others, ["--only-binary", ":all:"]),
            # Never from pip's cache: that may have been built for another CUDA.
            ("own.txt", own, ["--no-build-isolation", "--no-deps", "--no-cache-dir"]),
        ):
            (home / name).write_text(wanted, encoding="utf-8")
            _pip(
                ["install", "--require-hashes", *options, *into, "-r", str(home / name)],
                environment,
            )


def _pip(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise Missing(
            f"pycuda cannot be built here. pip says:\n{(done.stdout + done.stderr)[-3000:]}"
        )
