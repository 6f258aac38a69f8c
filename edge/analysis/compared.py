"""What a two-study model says of a pair: how much changed, between which bounds, and where."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import resampled
from edge.imaging.pair import grid_between, halfway, pair
from edge.imaging.registration import align
from edge.imaging.volume import Volume
from engines import Amount, Serving, VolumeSpec, amount, changed

_MOST_SLICES = 6  # on which one finding is shown: those with most of it


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Where a finding is on one slice of the current study.

    Parameters
    ----------
    place : int
        Of the slice in the volume, from 0.
    code : str
        Of the finding, as in ``99SCANSIDE:FLAIR-BRIGHTER``.
    values : uint8 (rows, columns)
        255 where it is.
    """

    place: int
    code: str
    values: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ComparedStudies:
    """What came of comparing two studies: an amount for each finding, and where it is."""

    amounts: tuple[Amount, ...]
    shown: tuple[Shown, ...]
    inference_ms: float


def compare_studies(
    serving: Serving, current: Volume, prior: Volume, *, threads: int = 1
) -> ComparedStudies:
    """Align two studies, ask the model, and measure what it found.

    Raises
    ------
    CannotAlign
        If the two do not fit.
    CannotConform
        If no brain is found in them.
    EngineError
        If the model cannot run.
    """
    package, spec = serving.package, serving.package.input
    assert package.prior is not None  # noqa: S101  # it is a two-study package
    assert spec.spacing_mm is not None  # noqa: S101  # a volume's input has one
    alignment = align(current, prior, least=package.prior.least_similarity, threads=threads)
    eaten = pair(current, prior, alignment, spec)[np.newaxis]
    began = time.perf_counter()
    scores = serving.engine.infer({spec.tensor: eaten})[package.output.tensor][0]
    spent = (time.perf_counter() - began) * 1000
    amounts = tuple(amount(one, scores, spec.spacing_mm) for one in package.volumes)
    grid = np.linalg.inv(grid_between(current, alignment, spec))
    way = grid @ halfway(alignment) @ current.affine
    shown = [
        one
        for volume in package.volumes
        for one in _shown(volume, changed(volume, scores, spec.spacing_mm), way, current)
    ]
    return ComparedStudies(amounts, tuple(shown), spent)


def _shown(
    spec: VolumeSpec, mask: NDArray[np.bool_], way: NDArray[np.float64], current: Volume
) -> Sequence[Shown]:
    if not mask.any():
        return ()
    i, j, k = current.voxels.shape
    there = resampled(mask.astype(np.float32), way, (i, j, k)) > 0.5
    sizes = there.sum(axis=(0, 1))
    most = [int(place) for place in np.argsort(-sizes, kind="stable")[:_MOST_SLICES]]
    code = spec.code.key
    return [
        Shown(place, code, np.where(there[:, :, place].T, 255, 0).astype(np.uint8))
        for place in sorted(most)
        if sizes[place]
    ]
