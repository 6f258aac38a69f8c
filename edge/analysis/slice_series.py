"""The slices of one series that the worker is at: prepared, put in order, and asked about."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.alerts.decision import SliceId, find
from edge.analysis.coverage import outside
from edge.analysis.messages import EngineName, Look, Measured, Seen, SliceScore
from edge.analysis.preparing import Preparation
from edge.analysis.stack import SliceStack, Window
from edge.imaging.header import Limits
from edge.imaging.heatmap import heatmap, spot
from edge.imaging.pixels import Slice, decode, voi
from edge.imaging.prepare import prepare_for
from edge.imaging.quality.measures import expected_anatomy, measure
from edge.imaging.quality.slice_measures import SliceMeasures
from edge.store.spool import read_record
from edge.store.study_key import StudyKey
from engines import ModelPackage

# Prepared slices kept for their neighbours; others are prepared again when they are needed.
_PREPARED = 48
_BATCH = 8
_FRAMES = 1 << 16  # a slice's id is its instance's, times this, plus its frame

Prepared = NDArray[np.float32]


class Asked(Protocol):
    """A model that can be asked about slices."""

    @property
    def package(self) -> ModelPackage:
        """What it is."""

    @property
    def name(self) -> EngineName:
        """The engine that answers, and its precision."""

    @property
    def preparation(self) -> Preparation:
        """What prepares its slices."""

    def ask(self, stacks: Sequence[Prepared]) -> tuple[NDArray[np.float64], list[bool]]:
        """Return calibrated probabilities (slices, findings), and which slices look familiar."""

    def where(self, stack: Prepared) -> NDArray[np.float32] | None:
        """Return where one input shows what, (outputs, h, w), or None if it cannot tell."""

    def close(self) -> None:
        """Free what it runs on."""


class SliceSeries:
    """One series that a model of slices looks at.

    Parameters
    ----------
    model : Asked
        The model.
    """

    def __init__(self, model: Asked) -> None:
        self.model = model
        self.looks: dict[int, Look] = {}
        parts = (part for route in model.package.routes for part in route.body_parts)
        self._anatomy = expected_anatomy(parts)
        self._stack = SliceStack(model.package.input.neighbours)
        self._prepared: OrderedDict[int, Prepared] = OrderedDict()
        self._scores: dict[SliceId, tuple[float, ...]] = {}
        self._unfamiliar: set[SliceId] = set()
        self._measures: dict[SliceId, SliceMeasures] = {}
        self._seen: set[tuple[SliceId, int]] = set()

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
        measured = tuple(
            Measured(look.instance, image.frame, measure(image, look.modality, self._anatomy))
            for image in images
        )
        for one in measured:
            self._measures[one.instance, one.frame] = one.measures
        return measured

    def _prepare(self, image: Slice) -> Prepared:
        spec = self.model.package.input
        pixels = image.pixels if spec.windows else voi(image)
        draw = self.model.preparation.draw
        return prepare_for(spec, pixels, spacing=image.spacing, draw=draw)

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
        for one in scores:
            self._scores[one.instance, one.frame] = one.probabilities
            (self._unfamiliar.discard if one.familiar else self._unfamiliar.add)(
                (one.instance, one.frame)
            )
        return tuple(scores), spent * 1000

    def see(self, *, last: bool) -> tuple[tuple[Seen, ...], float]:
        """Return where the flagged findings are seen that were not told of before.

        Each is looked for in its key slice; the time in the engine comes with it, in ms.
        """
        seen: list[Seen] = []
        spent = 0.0
        coverage = self.model.package.coverage
        if coverage is not None and not last:
            return (), 0.0  # nothing is flagged before all slices are there
        left_out = outside(coverage, self._measures)
        judged = {place: one for place, one in self._scores.items() if place not in left_out}
        found = find(self.model.package, judged, self._unfamiliar)
        for number, finding in enumerate(found):
            place = finding.key_slice
            if place is None or not finding.flagged or (place, number) in self._seen:
                continue
            self._seen.add((place, number))
            window = self._stack.window_of(place[0] * _FRAMES + place[1])
            stack = self._input(window)
            began = time.perf_counter()
            activation = self.model.where(stack)
            spent += time.perf_counter() - began
            if activation is None:
                break
            image = _read(self.looks[place[0]])[place[1]]
            found_map = heatmap(activation[finding.spec.output], self.model.package.input, image)
            at = spot(found_map.row, found_map.column, image)
            seen.append(Seen(*place, number, at, found_map.values))
        return tuple(seen), spent * 1000

    def _input(self, window: Window) -> Prepared:
        # Channels: window by window, and within a window every slice from low to high.
        planes = [self._slice(slice_id) for slice_id in window.slices]
        return np.stack(planes, axis=1).reshape(-1, *planes[0].shape[1:])


def _read(look: Look) -> tuple[Slice, ...]:
    return decode(read_record(look.record, StudyKey(look.key)), limits=Limits())
