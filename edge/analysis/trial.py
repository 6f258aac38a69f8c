"""One input through one engine, at once and without a daemon: what does the model say of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.alerts.decision import SeriesFinding, SeriesVolume, SliceId, find
from edge.analysis.coverage import NONE_JUDGED, outside
from edge.analysis.stack import SliceStack
from edge.imaging.pixels import Slice, voi
from edge.imaging.prepare import prepare_for
from edge.imaging.quality.measures import expected_anatomy, measure
from engines import Engine, ModelPackage, amount, calibrate, segment, volume_ml

_AT_ONCE = 8


class NothingJudged(ValueError):
    """A series has no slice that the model judges."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one thing.

    Parameters
    ----------
    label : str
        Of the finding.
    value : float
        A probability, or a volume in ml.
    unit : str
        Empty for a probability.
    verdict : str
        ``flagged``, ``uncertain``, ``not flagged``, or ``measured``.
    bounds : tuple of float, or None
        Of a volume that changed between two studies: (low, high), ml.
    """

    label: str
    value: float
    unit: str
    verdict: str
    bounds: tuple[float, float] | None = None


def input_of(package: ModelPackage, slices: Sequence[Slice]) -> NDArray[np.float32]:
    """Return a series as a model of slices eats it.

    Parameters
    ----------
    package : ModelPackage
        Of layout ``NCHW``.
    slices : sequence of Slice
        In any order; where one says no position, in the order given.

    Returns
    -------
    ndarray of float32, shape (n, channels, height, width)
        Of the slices that the model judges, from the lowest to the highest; of two at one place
        the first.

    Raises
    ------
    NothingJudged
        If the model judges none of them.
    """
    spec = package.input
    planes, stack = [], SliceStack(spec.neighbours)
    left_out = _left_out(package, slices)
    for number, image in enumerate(slices):
        place = float(number) if image.position_mm is None else image.position_mm
        stack.add(number, round(place, 3))
        pixels = image.pixels if spec.windows else voi(image)
        planes.append(prepare_for(spec, pixels, spacing=image.spacing))
    windows = [one for one in stack.remaining() if one.centre not in left_out]
    if not windows:
        raise NothingJudged(NONE_JUDGED)
    # Channels: window by window, and within a window every slice from low to high.
    return np.stack(
        [
            np.stack([planes[one] for one in window.slices], axis=1).reshape(-1, *spec.sizes)
            for window in windows
        ]
    )


def _left_out(package: ModelPackage, slices: Sequence[Slice]) -> frozenset[int]:
    if package.coverage is None:
        return frozenset()
    anatomy = expected_anatomy(part for route in package.routes for part in route.body_parts)
    modality = package.routes[0].modality
    measures = {place: measure(one, modality, anatomy) for place, one in enumerate(slices)}
    return outside(package.coverage, measures)


def answers(
    engine: Engine, package: ModelPackage, inputs: NDArray[np.float32]
) -> tuple[Answer, ...]:
    """Return what an engine says of one series or volume.

    Parameters
    ----------
    engine : Engine
    package : ModelPackage
    inputs : ndarray of float32
        (n, channels, height, width), the slices of one series; or (1, channels, depth, height,
        width).
    """
    if package.volumes:
        return _measured(engine, package, inputs)
    scores: dict[SliceId, tuple[float, ...]] = {}
    strange: set[SliceId] = set()
    for start in range(0, len(inputs), _AT_ONCE):
        outputs = engine.infer({package.input.tensor: inputs[start : start + _AT_ONCE]})
        logits = outputs[package.output.tensor]
        for row in range(len(logits)):
            one = (start + row, 0)
            scores[one] = tuple(
                float(calibrate(logits[row, spec.output], *spec.calibration))
                for spec in package.findings
            )
            known = package.familiar
            if known is not None and float(outputs[known.output][row, 0]) > known.limit:
                strange.add(one)
    return tuple(
        Answer(one.spec.label, one.probability, "", _verdict(one))
        for one in find(package, scores, strange)
    )


def _verdict(found: SeriesFinding) -> str:
    if found.abstained:
        return "uncertain"
    return "flagged" if found.flagged else "not flagged"


def _measured(
    engine: Engine, package: ModelPackage, inputs: NDArray[np.float32]
) -> tuple[Answer, ...]:
    scores = engine.infer({package.input.tensor: inputs})[package.output.tensor][0]
    spacing = package.input.spacing_mm
    assert spacing is not None  # noqa: S101  # a volume's package has one
    if package.prior is None:
        classes = segment(scores)
        found = [SeriesVolume(one, volume_ml(one, classes, spacing)) for one in package.volumes]
    else:
        amounts = [(one, amount(one, scores, spacing)) for one in package.volumes]
        found = [SeriesVolume(spec, one.ml, (one.low, one.high)) for spec, one in amounts]
    return tuple(
        Answer(one.spec.label, one.ml, "ml", _size_verdict(one), one.bounds_ml) for one in found
    )


def _size_verdict(found: SeriesVolume) -> str:
    if found.flagged:
        return "flagged"
    bounded = found.spec.flag_below_ml is not None or found.spec.flag_above_ml is not None
    return "not flagged" if bounded else "measured"
