"""DCMTK's programs. pynetdicom puts others of the same names into an environment of Python."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def find_dcmtk(name: str) -> str | None:
    """Return the path of a program of DCMTK, or None where it is not installed.

    Parameters
    ----------
    name : str
        Such as ``storescu``. Scripts of Python are not DCMTK's, wherever on the path they are.
    """
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(name, path=folder) if folder else None
        if found is not None and not _is_of_python(Path(found)):
            return found
    return None


def _is_of_python(program: Path) -> bool:
    with program.open("rb") as file:
        # Of a long path pip writes the interpreter into the second line.
        head = [file.readline(512), file.readline(512)]
    return head[0].startswith(b"#!") and any(b"python" in line for line in head)


def needed(name: str) -> str:
    """Return the path of a program of DCMTK.

    Raises
    ------
    FileNotFoundError
        If it is not installed.
    """
    found = find_dcmtk(name)
    if found is None:
        raise FileNotFoundError(f"DCMTK's {name} is not installed (Debian: apt install dcmtk).")
    return found
