"""Which model packages this appliance has."""

from __future__ import annotations

from pathlib import Path

from engines import ModelPackage, load_package, shipped_packages


def find_packages(folder: Path | None) -> tuple[ModelPackage, ...]:
    """Read every model package of a folder, by name.

    Parameters
    ----------
    folder : Path or None
        None: the packages that ship with Scanside.

    Raises
    ------
    PackageError
        If one of them is damaged or incomplete: the appliance does not start with fewer models
        than its owner believes it has.
    NotADirectoryError
        If there is no such folder.
    """
    place = shipped_packages() if folder is None else folder
    if not place.is_dir():
        raise NotADirectoryError(
            f"{place}: no such folder. Make it, or leave [analysis] packages unset."
        )
    return tuple(load_package(one.parent) for one in sorted(place.glob("*/model.toml")))
