"""The worker: a process of its own that owns the pixel decoders and the engines.

It reads instances from the spool with the key it is handed, prepares them, and asks the model.
Whatever a hostile file does to a decoder happens here, and the daemon goes on. It keeps
nothing but the last good engine: after a death, a new worker is told the same again.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

import cv2

from edge.analysis.messages import (
    NO_ENGINE,
    Close,
    Closed,
    EngineName,
    Load,
    Loaded,
    Look,
    Looked,
    Reply,
    Request,
)
from edge.analysis.model import Model
from edge.analysis.slice_series import Asked, SliceSeries
from edge.imaging.header import UnreadableInstance
from edge.store.study_key import SealBroken
from engines import (
    ActivationError,
    CacheError,
    EngineError,
    PackageError,
    keep_as_good,
    serve,
)


class Worker:
    """Answers requests; see `messages`."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._series: dict[int, SliceSeries] = {}

    def answer(self, request: Request) -> Reply:
        """Do what is asked and say what came of it."""
        if isinstance(request, Load):
            return self._load(request)
        if isinstance(request, Look):
            return self._look(request)
        return self._close(request)

    def _load(self, request: Load) -> Loaded:
        name = request.package
        try:
            serving = serve(request.folder, request.store, threads=request.threads)
        except (EngineError, PackageError) as error:
            return Loaded(name, *self._serves(name), str(error))
        notes = serving.notes
        if request.store is not None:
            try:
                serving = keep_as_good(serving, request.store)
            except (ActivationError, CacheError, EngineError, OSError) as error:
                notes = (*notes, f"It serves, but could not be kept for later: {error}")
        before = self._models.get(name)
        model = self._models[name] = Model(serving, request.store, request.threads)
        if before is not None:
            self._retire(before)
        prepared = model.preparation.reason
        return Loaded(name, *self._serves(name), None, notes, serving.activated, prepared)

    def _serves(self, name: str) -> EngineName:
        model = self._models.get(name)
        return NO_ENGINE if model is None else model.name

    def _retire(self, model: Asked) -> None:
        """Free an engine that was replaced, once the last series that it began is done."""
        still = (*self._models.values(), *(series.model for series in self._series.values()))
        if all(one is not model for one in still):
            model.close()

    def _look(self, look: Look) -> Looked:
        model = self._models.get(look.package)
        if model is None:  # asked before the daemon knew that it cannot be loaded
            return Looked(look.series, look.instance, (), "no engine", 0.0)
        series = self._series.setdefault(look.series, SliceSeries(model))
        try:
            measured = series.look(look)
        except UnreadableInstance as error:
            return Looked(look.series, look.instance, (), error.reason.value, 0.0)
        except (SealBroken, OSError):
            return Looked(look.series, look.instance, (), "damaged on the disk", 0.0)
        scores, spent = series.score(last=False)
        seen, more = series.see(last=False) if scores else ((), 0.0)
        spent += more
        name = series.model.name
        return Looked(look.series, look.instance, scores, None, spent, measured, seen, name)

    def _close(self, close: Close) -> Closed:
        series = self._series.pop(close.series, None)
        if series is None:
            return Closed(close.series, close.revision, (), 0.0)
        scores, spent = series.score(last=True)
        seen, more = series.see(last=True)
        self._retire(series.model)
        name = series.model.name
        return Closed(close.series, close.revision, scores, spent + more, seen, name)


def main() -> None:
    """Serve the daemon at the other end of the socket whose number is the one argument."""
    # Ctrl-C reaches the whole terminal group: the daemon decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    worker = Worker()
    # Either error says that the daemon is gone.
    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        while True:
            request: Request = daemon.recv()
            daemon.send(worker.answer(request))
    # The engines' own threads need no farewell, and some would delay it.
    os._exit(0)


if __name__ == "__main__":
    main()
