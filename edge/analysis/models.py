"""Which model packages can look, and on which engine each of them runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from edge.analysis.messages import Load, Loaded
from edge.analysis.routing import SeriesAbout, choose
from engines import ModelPackage

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
    """

    def __init__(self, packages: Sequence[ModelPackage], threads: int) -> None:
        self._packages = tuple(packages)
        self._threads = threads
        self._failures: dict[str, str] = {}
        self._loading_deaths = 0
        self._ready = threading.Event()
        self.engines: dict[str, tuple[str, str]] = {}  # engine and precision, by package

    @property
    def ready(self) -> bool:
        """Whether every engine is loaded or has failed."""
        return self._ready.is_set()

    @property
    def gone(self) -> bool:
        """Whether none can look: then no worker is needed."""
        return self._loading_deaths >= _DEATHS_AT_LOADING

    def choose(self, about: SeriesAbout) -> ModelPackage | None:
        """Return the package that should look at a series, or None."""
        return choose(about, self._packages)

    def failure(self, package: ModelPackage | None) -> str | None:
        """Return why a package cannot look, or None when it can."""
        return None if package is None else self._failures.get(package.name)

    def load(self) -> Load:
        """Return what a fresh worker is asked first."""
        folders = tuple((one.name, one.path) for one in self._packages)
        return Load(folders, self._threads)

    def loaded(self, reply: Loaded) -> None:
        """Note what a worker could load."""
        self._loading_deaths = 0
        for engine in reply.engines:
            if engine.failure is None:
                self.engines[engine.package] = (engine.engine, engine.precision)
            else:
                log.error("Model %s cannot serve: %s", engine.package, engine.failure)
                self._failures[engine.package] = ENGINE_FAILED
        log.info("The worker is ready")
        self._ready.set()

    def died_loading(self) -> None:
        """Note that a worker died while it loaded; after three times in a row none can look."""
        self._loading_deaths += 1
        log.error("The worker died while loading engines (%d)", self._loading_deaths)
        if self.gone:
            self._failures = {one.name: ENGINE_FAILED for one in self._packages}
            self._ready.set()
