"""The worker: a process of its own that owns the pixel decoders and the engines.

It reads instances from the spool with the key it is handed, prepares them, and asks the model.
Whatever a hostile file does to a decoder happens here, and the daemon goes on. It keeps
nothing: after a death, a new worker is told the same again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.analysis.messages import (
    Close,
    Closed,
    Load,
    Loaded,
    LoadedEngine,
    Look,
    Looked,
    Measured,
    Reply,
    Request,
    SliceScore,
)
from edge.analysis.stack import SliceStack, Window
from edge.imaging.header import Limits, UnreadableInstance
from edge.imaging.pixels import Slice, decode, voi
from edge.imaging.prepare import prepare_for
from edge.imaging.quality import expected_anatomy, measure
from edge.store.spool import read_record
from edge.store.study_key import SealBroken, StudyKey
from engines import (
    Engine,
    EngineError,
    ModelPackage,
    PackageError,
    calibrate,
    compare,
    load_engine,
    load_package,
)

# Prepared slices kept for their neighbours; others are prepared again when they are needed.
_PREPARED = 48
_BATCH = 8
_FRAMES = 1 << 16  # a slice's id is its instance's, times this, plus its frame

Prepared = NDArray[np.float32]


class _Model:
    """A package and its engine, ready to be asked."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.package: ModelPackage = load_package(folder)
        self.engine: Engine = load_engine(self.package, threads=threads)
        self.engine.warm_up()
        parity = compare(self.engine, self.package)
        if not parity.agrees:
            raise EngineError(
                f"On this machine the engine is off by {parity.worst:.4f} in probability from the "
                f"reference; the package allows {parity.tolerance:.4f}."
            )

    def ask(self, stacks: Iterable[Prepared]) -> tuple[NDArray[np.float64], list[bool]]:
        """Return what the model says of (channels, h, w) inputs.

        Calibrated probabilities (slices, findings), and for each slice whether it looks like what
        the model knows.
        """
        name = self.package.input.tensor
        outputs = self.engine.infer({name: np.stack(list(stacks))})
        logits = outputs[self.package.output.tensor]
        columns = [
            calibrate(logits[:, finding.output], *finding.calibration)
            for finding in self.package.findings
        ]
        known = self.package.familiar
        near = (
            [True] * len(logits)
            if known is None
            else [float(far) <= known.limit for far in outputs[known.output][:, 0]]
        )
        return np.stack(columns, axis=1), near


class _Series:
    """The slices of one series that the worker is at."""

    def __init__(self, model: _Model) -> None:
        self.model = model
        self.looks: dict[int, Look] = {}
        parts = (part for route in model.package.routes for part in route.body_parts)
        self._anatomy = expected_anatomy(parts)
        self._stack = SliceStack(model.package.input.neighbours)
        self._prepared: OrderedDict[int, Prepared] = OrderedDict()

    def look(self, look: Look) -> tuple[Measured, ...]:
        """Decode and prepare an instance, put its frames in their places, and measure them.

        Raises
        ------
        UnreadableInstance
            If its pixels cannot be read.
        """
        self.looks[look.instance] = look
        images = _read(look)
        for image in images:
            place = look.order + image.frame if image.position_mm is None else image.position_mm
            slice_id = look.instance * _FRAMES + image.frame
            if self._stack.add(slice_id, round(place, 3)):
                self._keep(slice_id, self._prepare(image))
        return tuple(
            Measured(look.instance, image.frame, measure(image, look.modality, self._anatomy))
            for image in images
        )

    def _prepare(self, image: Slice) -> Prepared:
        spec = self.model.package.input
        pixels = image.pixels if spec.windows else voi(image)
        return prepare_for(spec, pixels, spacing=image.spacing)

    def _keep(self, slice_id: int, prepared: Prepared) -> None:
        self._prepared[slice_id] = prepared
        if len(self._prepared) > _PREPARED:
            self._prepared.popitem(last=False)

    def _slice(self, slice_id: int) -> Prepared:
        if slice_id not in self._prepared:
            instance = slice_id // _FRAMES
            for image in _read(self.looks[instance]):
                self._keep(instance * _FRAMES + image.frame, self._prepare(image))
        return self._prepared[slice_id]

    def score(self, *, last: bool) -> tuple[tuple[SliceScore, ...], float]:
        """Ask the model about every window that is ready, or at the end about all that is left."""
        windows = self._stack.remaining() if last else self._stack.ready()
        scores: list[SliceScore] = []
        spent = 0.0
        for start in range(0, len(windows), _BATCH):
            batch = windows[start : start + _BATCH]
            stacks = [self._input(window) for window in batch]
            began = time.perf_counter()
            answers, near = self.model.ask(stacks)
            spent += time.perf_counter() - began
            for window, answer, familiar in zip(batch, answers, near, strict=True):
                self._stack.looked_at(window)
                probabilities = tuple(float(value) for value in answer)
                scores.append(SliceScore(*divmod(window.centre, _FRAMES), probabilities, familiar))
        return tuple(scores), spent * 1000

    def _input(self, window: Window) -> Prepared:
        # Channels: window by window, and within a window every slice from low to high.
        planes = [self._slice(slice_id) for slice_id in window.slices]
        return np.stack(planes, axis=1).reshape(-1, *planes[0].shape[1:])


def _read(look: Look) -> tuple[Slice, ...]:
    return decode(read_record(look.record, StudyKey(look.key)), limits=Limits())


class Worker:
    """Answers requests; see `messages`."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._series: dict[int, _Series] = {}

    def answer(self, request: Request) -> Reply:
        """Do what is asked and say what came of it."""
        if isinstance(request, Load):
            return Loaded(tuple(self._load(*item, request.threads) for item in request.packages))
        if isinstance(request, Look):
            return self._look(request)
        return self._close(request)

    def _load(self, name: str, folder: Path, threads: int) -> LoadedEngine:
        try:
            model = _Model(folder, threads)
        except (EngineError, PackageError) as error:
            return LoadedEngine(name, "", "", str(error))
        self._models[name] = model
        return LoadedEngine(name, model.engine.name, model.engine.precision, None)

    def _look(self, look: Look) -> Looked:
        model = self._models.get(look.package)
        if model is None:  # asked before the daemon knew that it cannot be loaded
            return Looked(look.series, look.instance, (), "no engine", 0.0)
        series = self._series.setdefault(look.series, _Series(model))
        try:
            measured = series.look(look)
        except UnreadableInstance as error:
            return Looked(look.series, look.instance, (), error.reason.value, 0.0)
        except (SealBroken, OSError):
            return Looked(look.series, look.instance, (), "damaged on the disk", 0.0)
        scores, spent = series.score(last=False)
        return Looked(look.series, look.instance, scores, None, spent, measured)

    def _close(self, close: Close) -> Closed:
        series = self._series.pop(close.series, None)
        if series is None:
            return Closed(close.series, close.revision, (), 0.0)
        scores, spent = series.score(last=True)
        return Closed(close.series, close.revision, scores, spent)


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
