"""Which model packages can look, and on which engine each of them runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from edge.analysis.messages import EngineName, Load, Loaded
from edge.analysis.routing import SeriesAbout, choose
from edge.analysis.volume_messages import VolumeLooked
from edge.packages import Shelf
from engines import Activated, ActivationError, ModelPackage, PackageError, PriorSpec

log = logging.getLogger("scanside.analysis")

ENGINE_FAILED = "the model's engine could not be loaded on this device"
_DEATHS_AT_LOADING = 3


class Models:
    """The appliance's packages and the state of their engines. Written by one thread.

    Parameters
    ----------
    packages : sequence of ModelPackage
        In order of preference.
    threads : int
        For each engine.
    shelf : Shelf or None
        Where packages and activated engines are; None: `packages` as they are, FP32 alone.
    note : callable
        Is told which engine began to serve a package, for the audit.
    """

    def __init__(
        self,
        packages: Sequence[ModelPackage],
        threads: int,
        shelf: Shelf | None = None,
        note: Callable[[ModelPackage, EngineName], None] = lambda *_: None,
    ) -> None:
        self._packages = tuple(packages)
        self._threads = threads
        self._shelf = shelf
        self._note = note
        self._seen = () if shelf is None else shelf.store.active.seen()
        self._failures: dict[str, str] = {}
        self._loading_deaths = 0
        self._ready = threading.Event()
        self._loading = False  # a worker has been asked, and has not answered yet
        self._activated: dict[str, Activated | None] = {}
        self.engines: dict[str, EngineName] = {}  # by package

    @property
    def ready(self) -> bool:
        """Whether every engine is loaded or has failed."""
        return self._ready.is_set()

    @property
    def gone(self) -> bool:
        """Whether none can look at slices: then no worker is needed."""
        return self._loading_deaths >= _DEATHS_AT_LOADING

    def choose(
        self, about: SeriesAbout, comparable: Callable[[PriorSpec], bool]
    ) -> tuple[ModelPackage, ...]:
        """Return the packages that should look at a series; see `routing.choose`."""
        return choose(about, self._packages, comparable)

    def failure(self, package: ModelPackage) -> str | None:
        """Return why a package cannot look, or None when it can."""
        return self._failures.get(package.name)

    def first(self) -> Load:
        """Return what a fresh worker is asked first."""
        self._loading = True
        return self.load()

    def load(self) -> Load:
        """Return what loads every package."""
        return self._load(self._packages)

    def changed(self) -> Load | None:
        """Return what a worker is asked after an engine was activated, or None while none was.

        Packages that were activated since the start come into service with it, and those that
        were removed go.
        """
        if self._shelf is None or self.gone or self._loading:
            return None  # a worker that loads also activates; its answer says what
        seen = self._shelf.store.active.seen()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            found = self._shelf.packages()
            current = {one.name: self._shelf.store.active.of(one.name).current for one in found}
        except (ActivationError, PackageError, OSError) as error:
            log.error("The models stay as they are: %s", error)
            return None
        known = {one.name for one in self._packages} | {name for name, *_ in seen}
        self._packages = tuple(one for one in found if one.name in known)
        again = [
            one for one in self._packages if current[one.name] != self._activated.get(one.name)
        ]
        if all(one.volumes for one in again):
            return None
        self._loading = True
        return self._load(again)

    def _load(self, packages: Sequence[ModelPackage]) -> Load:
        # Models of volumes are loaded when there is one, by a process that ends with it.
        folders = tuple((one.name, one.path) for one in packages if not one.volumes)
        # An engine that ends the worker when it is loaded is not tried again: FP32 alone, then.
        trusting = self._shelf is not None and not self._loading_deaths
        return Load(folders, self._threads, self._shelf.store if trusting and self._shelf else None)

    def loaded(self, reply: Loaded) -> None:
        """Note what a worker could load."""
        self._loading = False
        self._loading_deaths = 0
        packages = {one.name: one for one in self._packages}
        for engine in reply.engines:
            for note in engine.notes:
                log.warning("Model %s: %s", engine.package, note)
            if engine.prepared:
                log.info("Model %s: its slices are prepared %s", engine.package, engine.prepared)
            if engine.failure is not None:
                log.error("Model %s cannot serve: %s", engine.package, engine.failure)
            if engine.failure is None:
                self._activated[engine.package] = engine.activated
            if engine.engine:
                self._failures.pop(engine.package, None)
                self._serves(packages.get(engine.package), (engine.engine, engine.precision))
            else:
                self._failures[engine.package] = ENGINE_FAILED
        log.info("The worker is ready")
        self._ready.set()

    def _serves(self, package: ModelPackage | None, name: EngineName) -> None:
        if package is None or self.engines.get(package.name) == name:
            return
        self.engines[package.name] = name
        log.info("Model %s %s is served by %s %s", package.name, package.version, *name)
        self._note(package, name)

    def ran(self, package: ModelPackage, looked: VolumeLooked) -> None:
        """Note what ran a model of volumes."""
        if looked.reason is None:
            self._serves(package, looked.engine)

    def died_loading(self) -> None:
        """Note that a worker died while it loaded; after three times in a row none can look."""
        self._loading_deaths += 1
        log.error("The worker died while loading engines (%d)", self._loading_deaths)
        if self.gone:
            # Models of volumes have processes of their own.
            self._failures = {one.name: ENGINE_FAILED for one in self._packages if not one.volumes}
            self._ready.set()
