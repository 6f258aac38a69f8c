"""Are the lock files in step with `pyproject.toml`?

A lock file in `requirements/` holds exact versions and hashes and no address, so that pip
takes the files from wherever the site's own configuration points. What it was made from is
written in it as a digest; comparing digests needs no network and no resolver.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"run": ("demo", "central"), "dev": ("demo", "central", "dev")}
"""The extras in each lock; `dev` holds all that `run` holds."""
LOCKS = (*EXTRAS, "jetson")
"""`jetson` holds what comes beside `run` where a GPU is: pycuda, and what builds it."""

# What pip needs to build the project itself in place, without fetching anything.
_EDITABLE = "editables>=0.5"
# What pycuda's own build asks for, less numpy, which `run` has.
_PYCUDA_BUILD = ("setuptools>=77", "wheel")
_DIGEST = re.compile(r"^# made from: sha256:([0-9a-f]{64})$", re.MULTILINE)


def build_requirements(project: dict[str, Any]) -> list[str]:
    """Return what must be installed to build the project without build isolation (PEP 517)."""
    return [*project["build-system"]["requires"], _EDITABLE]


def jetson_requirements(project: dict[str, Any]) -> list[str]:
    """Return what `jetson` is made from."""
    return [*project["project"]["optional-dependencies"]["jetson"], *_PYCUDA_BUILD]


def digest(root: Path, lock: str) -> str:
    """Return the SHA-256, in hex, of everything that a lock is made from.

    Parameters
    ----------
    root : Path
        Where `pyproject.toml` and `requirements/limits.in` are.
    lock : str
        One of `LOCKS`.
    """
    project = read_project(root)
    table = project["project"]
    limits = (root / "requirements" / "limits.in").read_text().splitlines()
    parts: dict[str, object] = {
        "python": table["requires-python"],
        "limits": [line for line in limits if line and not line.startswith("#")],
    }
    if lock == "jetson":
        parts["dependencies"] = jetson_requirements(project)
    else:
        parts["build"] = build_requirements(project)
        parts["dependencies"] = table["dependencies"]
        parts["extras"] = {name: table["optional-dependencies"][name] for name in EXTRAS[lock]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def out_of_step(root: Path) -> list[str]:
    """Return one sentence for each lock that is missing or not made from what is there now."""
    complaints = []
    for lock in LOCKS:
        path = root / "requirements" / f"{lock}.lock"
        if not path.is_file():
            complaints.append(f"requirements/{lock}.lock is missing. Run ./tools/lock.sh.")
            continue
        made_from = _DIGEST.search(path.read_text())
        if made_from is None or made_from.group(1) != digest(root, lock):
            complaints.append(
                f"requirements/{lock}.lock was not made from the present pyproject.toml and"
                " requirements/limits.in. Run ./tools/lock.sh."
            )
    return complaints


def read_project(root: Path) -> dict[str, Any]:
    """Return the parsed `pyproject.toml` in `root`."""
    return tomllib.loads((root / "pyproject.toml").read_text())


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the scripts: `check`, `build-requirements`, `jetson-requirements` or `digest LOCK`."""
    match sys.argv[1:] if arguments is None else list(arguments):
        case ["check"]:
            complaints = out_of_step(ROOT)
            print("\n".join(complaints), end="\n" if complaints else "", file=sys.stderr)
            return 1 if complaints else 0
        case ["build-requirements"]:
            print("\n".join(build_requirements(read_project(ROOT))))
            return 0
        case ["jetson-requirements"]:
            print("\n".join(jetson_requirements(read_project(ROOT))))
            return 0
        case ["digest", lock] if lock in LOCKS:
            print(digest(ROOT, lock))
            return 0
        case _:
            print(
                "usage: locks.py check | build-requirements | jetson-requirements | "
                f"digest {'|'.join(LOCKS)}"
            )
            return 2


if __name__ == "__main__":
    sys.exit(main())
