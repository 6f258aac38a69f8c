"""Which model packages this appliance has, and where its engines are.

Those that ship are read-only. The site's own lie in a folder of their own; one that bears the name
of a shipped package takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edge.config import Config
from engines import (
    Activated,
    ActivationError,
    EngineStore,
    ModelDamaged,
    ModelPackage,
    PackageDraft,
    PackageError,
    load_package,
    read_package,
    shipped_packages,
)


class State(Enum):
    """How a package stands."""

    READY = "ready"
    DRAFT = "draft"
    DAMAGED = (
        "damaged"  # the model is not the right file; an engine built from the right one serves
    )
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that holds a model package, or should.

    Parameters
    ----------
    folder : pathlib.Path
        Its name is the package's, or close to it.
    shipped : bool
        Whether it came with Scanside.
    state : State
    package : ModelPackage or None
        None for a draft and for what cannot be read.
    problem : str
        What is wrong; empty where nothing is.
    """

    folder: Path
    shipped: bool
    state: State
    package: ModelPackage | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The package's name, or the folder's where the package cannot be read."""
        return self.folder.name if self.package is None else self.package.name


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where an appliance's packages and engines are.

    Parameters
    ----------
    own : pathlib.Path
        The site's packages.
    store : EngineStore
        What was built, and what of it serves.
    required : bool
        Whether `own` must be there, because the configuration names it.
    """

    own: Path
    store: EngineStore
    required: bool = False

    @classmethod
    def of(cls, config: Config) -> Shelf:
        """Return the shelf that a configuration describes."""
        analysis, storage = config.analysis, config.storage.folder
        limit = analysis.engines_mb * 1_000_000
        return cls(
            own=analysis.packages or storage / "models",
            store=EngineStore(storage / "engines", limit=limit, remote=analysis.remote),
            required=analysis.packages is not None,
        )

    def look(self) -> tuple[Found, ...]:
        """Return every package, the site's own first, each in order of name.

        Raises
        ------
        NotADirectoryError
            If the configuration names a folder that is not there.
        """
        if self.required and not self.own.is_dir():
            raise NotADirectoryError(
                f"{self.own}: no such folder. Make it, or leave [analysis] packages unset"
            )
        own = [self._found(one, shipped=False) for one in _folders(self.own)]
        taken = {one.name for one in own}
        shipped = [self._found(one, shipped=True) for one in _folders(shipped_packages())]
        return (*own, *(one for one in shipped if one.name not in taken))

    def find(self, name: str) -> Found:
        """Return one package by its name or its folder's.

        Raises
        ------
        PackageError
            If there is none.
        """
        for one in self.look():
            if name in (one.name, one.folder.name):
                return one
        raise PackageError(f"There is no package {name!r}. See: scanside models list")

    def packages(self) -> tuple[ModelPackage, ...]:
        """Return the packages that can serve, in order of preference. Drafts are left out.

        Raises
        ------
        PackageError
            If one is damaged or incomplete and nothing is left that can serve for it: the
            appliance does not start with fewer models than its owner believes it has.
        NotADirectoryError
            As `look`.
        """
        found = self.look()
        for one in found:
            if one.state is State.BROKEN:
                raise PackageError(one.problem)
        return tuple(one.package for one in found if one.package is not None)

    def _found(self, folder: Path, *, shipped: bool) -> Found:
        try:
            return Found(folder, shipped, State.READY, load_package(folder))
        except PackageDraft as error:
            return Found(folder, shipped, State.DRAFT, None, str(error))
        except ModelDamaged as error:
            package = read_package(folder)
            good = any(one.key.model == package.digest for one in self._standing(package.name))
            state = State.DAMAGED if good else State.BROKEN
            return Found(folder, shipped, state, package, str(error))
        except PackageError as error:
            return Found(folder, shipped, State.BROKEN, None, str(error))

    def _standing(self, name: str) -> tuple[Activated, ...]:
        try:
            return self.store.active.of(name).both
        except ActivationError:
            return ()


def _folders(folder: Path) -> list[Path]:
    return [file.parent for file in sorted(folder.glob("*/model.toml"))]
