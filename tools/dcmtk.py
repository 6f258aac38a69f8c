"""DCMTK's programs. pynetdicom puts others of the same names beside its interpreter."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def find_dcmtk(name: str) -> str | None:
    """Return the path of a program of DCMTK, or None where it is not installed.

    Parameters
    ----------
    name : str
        Such as ``storescu``. What this interpreter's own folder has of that name is not looked at.
    """
    own = Path(sys.executable).parent
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    elsewhere = os.pathsep.join(one for one in path if one and Path(one) != own)
    return shutil.which(name, path=elsewhere)


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
