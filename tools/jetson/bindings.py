"""The system's TensorRT, made visible to an environment that sees nothing else of the system.

JetPack installs TensorRT for Python as a package of Debian's (python3-libnvinfer), for the system's
interpreter alone. A path to its folder would bring every other package there with it, such as an
older numpy; so one link to the one package is made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.jetson.toolkit import Missing

SYSTEM = Path("/usr/bin/python3")
NAME = "tensorrt"
_INSTALL = (
    "On a Jetson: sudo apt-get install nvidia-jetpack (or python3-libnvinfer alone). On a PC with "
    f"an NVIDIA GPU: {sys.prefix}/bin/pip install tensorrt-rtx-cu13"
)
_ASK = (
    "import importlib.util, json, sys; found = importlib.util.find_spec('tensorrt'); "
    "print(json.dumps([sys.version_info[:2], found and found.origin]))"
)


def see(site: Path, system: Path = SYSTEM) -> Path:
    """Make TensorRT visible; harmless twice.

    Parameters
    ----------
    site : pathlib.Path
        The environment's ``site-packages``.
    system : pathlib.Path
        The interpreter that TensorRT was installed for.

    Returns
    -------
    pathlib.Path
        The package that the environment sees. What pip installed in it comes first.

    Raises
    ------
    Missing
        If there is none, or it is of another Python.
    """
    link = site / NAME
    if link.is_dir() and not link.is_symlink():
        return link
    rtx = site / "tensorrt_rtx"
    theirs, package = _asked(system)
    if package is None:
        link.unlink(missing_ok=True)  # of a TensorRT that is gone
        if rtx.is_dir():
            return rtx
        raise Missing(f"TensorRT is not installed for {system}. {_INSTALL}")
    if theirs != sys.version_info[:2]:
        raise Missing(
            f"TensorRT is here for Python {theirs[0]}.{theirs[1]}, and {sys.prefix} is of Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Make it anew: "
            f"PYTHON={system} tools/setup.sh run --gpu"
        )
    if not (link.is_symlink() and link.readlink() == package):
        link.unlink(missing_ok=True)
        link.symlink_to(package)
    return package


def _asked(system: Path) -> tuple[tuple[int, int], Path | None]:
    """Ask an interpreter for its version, and for where its TensorRT is."""
    try:
        answer = subprocess.run(
            [str(system), "-I", "-c", _ASK], capture_output=True, text=True, check=True, cwd="/"
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{system} cannot be asked for TensorRT ({error}). {_INSTALL}") from error
    (major, minor), origin = json.loads(answer.stdout)
    return (major, minor), None if origin is None else Path(origin).parent
