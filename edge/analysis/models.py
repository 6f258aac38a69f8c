"""Which model packages can look, and on which engine each of them runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge.analysis.messages import EngineName, Load, Loaded
from edge.analysis.routing import SeriesAbout, choose
from edge.analysis.volume_messages import VolumeLooked
from edge.packages import Shelf
from engines import Activated, ActivationError, EngineStore, ModelPackage, PackageError, PriorSpec

log = logging.getLogger("scanside.analysis")

ENGINE_FAILED = "the model's engine could not be loaded on this device"
READY = "The worker is ready"
_DEATHS_AT_LOADING = 3


@dataclass(frozen=True, slots=True)
class EnginesState:
    """How far the engines of the models of slices are; those of volumes come with a volume.

    Parameters
    ----------
    ready : bool
        Whether each is loaded or has failed, for the first time since the start.
    loaded, count : int
        How many serve, and how many there are.
    failed : tuple of str
        The packages of those that cannot.
    """

    ready: bool
    loaded: int
    count: int
    failed: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many are loaded, loading and failed."""
        failed = len(self.failed)
        loading = self.count - self.loaded - failed
        return {"loaded": self.loaded, "loading": loading, "failed": failed}

    def __str__(self) -> str:
        if not self.ready:
            return f"Engines loading ({self.loaded} of {self.count})"
        if not self.failed:
            return "Engines ready"
        lost = f"could not be loaded: {', '.join(self.failed)}"
        return f"Engines ready, but {lost}" if self.loaded else f"Engines {lost}"


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
        self.threads = threads
        self._shelf = shelf
        self._note = note
        self._seen = () if shelf is None else shelf.store.active.seen()
        self._failures: dict[str, str] = {}
        self._asked: set[str] = set()  # packages whose engines a worker is asked to load
        self._deaths: Counter[str] = Counter()  # of workers that loaded a package, in a row
        self._idle_deaths = 0  # of workers that loaded nothing and looked at nothing, in a row
        self._ready = False
        self._activated: dict[str, Activated | None] = {}
        self.engines: dict[str, EngineName] = {}  # by package
        self.state = self._standing()  # may be read by any thread

    @property
    def store(self) -> EngineStore | None:
        """Where activated engines are; None: FP32 in ONNX Runtime alone."""
        return None if self._shelf is None else self._shelf.store

    @property
    def gone(self) -> bool:
        """Whether none can look at slices: then no worker is needed."""
        slices = [one.name for one in self._of_slices()]
        lost = bool(slices) and all(self._given_up(name) for name in slices)
        return lost or self._idle_deaths >= _DEATHS_AT_LOADING

    def choose(
        self, about: SeriesAbout, comparable: Callable[[PriorSpec], bool]
    ) -> tuple[ModelPackage, ...]:
        """Return the packages that should look at a series; see `routing.choose`."""
        return choose(about, self._packages, comparable)

    def failure(self, package: ModelPackage) -> str | None:
        """Return why a package cannot look, or None when it can."""
        return self._failures.get(package.name)

    def first(self) -> tuple[Load, ...]:
        """Return what a fresh worker is asked first, an engine at a time."""
        # Those that ended a worker come last: the others shall not be loaded in vain once more.
        names = [one for one in self._of_slices() if not self._given_up(one.name)]
        self._asked.clear()
        loads = self._load(sorted(names, key=lambda one: self._deaths[one.name]))
        if not loads:
            log.info(READY)
        return loads

    def changed(self) -> tuple[Load, ...]:
        """Return what a worker is asked after an engine was activated; empty while none was.

        Packages that were activated since the start come into service with it, and those that
        were removed go.
        """
        if self._shelf is None or self._asked:
            return ()  # a worker that loads also activates; its answer says what
        seen = self._shelf.store.active.seen()
        if seen == self._seen:
            return ()
        self._seen = seen
        try:
            found = self._shelf.packages()
            current = {one.name: self._shelf.store.active.of(one.name).current for one in found}
        except (ActivationError, PackageError, OSError) as error:
            log.error("The models stay as they are: %s", error)
            return ()
        known = {one.name for one in self._packages} | {name for name, *_ in seen}
        self._packages = tuple(one for one in found if one.name in known)
        again = [
            one for one in self._of_slices() if current[one.name] != self._activated.get(one.name)
        ]
        for one in again:
            del self._deaths[one.name]  # it is another engine
        self._idle_deaths = 0
        return self._load(again)

    def _of_slices(self) -> list[ModelPackage]:
        # Models of volumes are loaded when there is one, by a process that ends with it.
        return [one for one in self._packages if not one.volumes]

    def _given_up(self, name: str) -> bool:
        return self._deaths[name] >= _DEATHS_AT_LOADING

    def _load(self, packages: Iterable[ModelPackage]) -> tuple[Load, ...]:
        # An engine that ends the worker when it is loaded is not tried again: FP32 alone, then.
        loads = tuple(
            Load(one.name, one.path, self.threads, None if self._deaths[one.name] else self.store)
            for one in packages
        )
        self._asked.update(one.package for one in loads)
        self._stand()
        return loads

    def loaded(self, engine: Loaded) -> None:
        """Note what a worker could load."""
        self._asked.discard(engine.package)
        self._idle_deaths = 0
        del self._deaths[engine.package]
        for note in engine.notes:
            log.warning("Model %s: %s", engine.package, note)
        if engine.prepared:
            log.info("Model %s: its slices are prepared %s", engine.package, engine.prepared)
        if engine.failure is not None:
            log.error("Model %s cannot serve: %s", engine.package, engine.failure)
        else:
            self._activated[engine.package] = engine.activated
        if engine.engine:
            self._failures.pop(engine.package, None)
            packages = {one.name: one for one in self._packages}
            self._serves(packages.get(engine.package), (engine.engine, engine.precision))
        else:
            self._failures[engine.package] = ENGINE_FAILED
        self._stand()
        if not self._asked:
            log.info(READY)

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

    def died(self, load: Load | None) -> None:
        """Note that a worker died while it loaded a package, or with nothing to do.

        After three times in a row the package cannot look, and the others can.
        """
        if load is None:
            self._idle_deaths += 1
            log.error("The worker died with nothing to do (%d)", self._idle_deaths)
        else:
            self._deaths[load.package] += 1
            log.error(
                "The worker died while it loaded the model %s (%d of %d)",
                load.package,
                self._deaths[load.package],
                _DEATHS_AT_LOADING,
            )
        for one in self._of_slices():
            if self.gone or self._given_up(one.name):
                self._failures[one.name] = ENGINE_FAILED
        if self.gone:
            self._asked.clear()
            log.error("No engine could be loaded: studies are told of as not analysed")
        self._stand()

    def _stand(self) -> None:
        self._ready = self._ready or not self._asked
        self.state = self._standing()

    def _standing(self) -> EnginesState:
        names = [one.name for one in self._of_slices()]
        failed = tuple(name for name in names if name in self._failures)
        loaded = sum(name in self.engines and name not in failed for name in names)
        return EnginesState(self._ready, loaded, len(names), failed)
