"""The process that looks at one volume and ends: what it took of the memory goes back at once.

A volume of 256 x 256 x 256 takes minutes on two cores and gigabytes while it lasts. So it is
looked at beside the worker of slices, which goes on, at a lower priority, and in a process that a
crash may end without anyone else noticing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import cv2
import numpy as np

from edge.analysis.compared import ComparedStudies, compare_studies
from edge.analysis.comparison import PriorSeries
from edge.analysis.messages import Measured
from edge.analysis.models import ENGINE_FAILED
from edge.analysis.volume_messages import VolumeJob, VolumeLooked
from edge.imaging.conform import CannotConform, conform
from edge.imaging.header import Limits, UnreadableInstance
from edge.imaging.pixels import Slice, decode
from edge.imaging.quality.measures import expected_anatomy, measure
from edge.imaging.registration import CannotAlign
from edge.imaging.volume import NoVolume, assemble
from edge.store.heatmaps import KeptHeatmap
from edge.store.spool import read_record
from edge.store.study_key import SealBroken, StudyKey
from engines import (
    EngineError,
    ModelPackage,
    PackageError,
    Serving,
    segment,
    serve,
    volume_ml,
)

_NICE = 5


def look(job: VolumeJob) -> VolumeLooked:
    """Read a series, make the volume, ask the model, and measure what it found."""
    try:
        serving = serve(job.package, job.engines, threads=job.threads)
    except (EngineError, PackageError) as error:
        return VolumeLooked(job, (), ENGINE_FAILED, note=str(error))
    slices, measured, unreadable = _read(job, serving.package)
    if unreadable:
        # A hole in a volume is not a smaller volume.
        why = ", ".join(sorted({reason for _, reason in unreadable}))
        reason = f"{len(unreadable)} of {len(job.images)} images could not be read: {why}"
        return VolumeLooked(job, (), reason, measured=measured, unreadable=unreadable)
    name = (serving.engine.name, serving.engine.precision)
    try:
        if serving.package.prior is not None:
            return _compare(job, serving, slices, measured)
        volumes, spent = _ask(serving, slices)
    except (NoVolume, CannotConform, CannotAlign, EngineError) as error:
        return VolumeLooked(job, (), str(error), measured=measured)
    return VolumeLooked(job, volumes, None, name, spent, measured)


def _read(
    job: VolumeJob, package: ModelPackage
) -> tuple[list[Slice], tuple[Measured, ...], tuple[tuple[int, str], ...]]:
    key = StudyKey(job.key)
    anatomy = expected_anatomy(part for route in package.routes for part in route.body_parts)
    slices: list[Slice] = []
    measured: list[Measured] = []
    unreadable: list[tuple[int, str]] = []
    for instance, record in job.images:
        try:
            frames = decode(read_record(record, key), limits=Limits())
        except UnreadableInstance as error:
            unreadable.append((instance, error.reason.value))
            continue
        except (SealBroken, OSError):
            unreadable.append((instance, "damaged on the disk"))
            continue
        measured.extend(
            Measured(instance, one.frame, measure(one, job.modality, anatomy)) for one in frames
        )
        slices.extend(frames)
    return slices, tuple(measured), tuple(unreadable)


def _ask(serving: Serving, slices: list[Slice]) -> tuple[tuple[float, ...], float]:
    volume = assemble(slices)
    slices.clear()  # the volume holds them
    package, spec = serving.package, serving.package.input
    assert spec.spacing_mm is not None  # noqa: S101  # a package of volumes has one
    eaten = conform(volume.voxels, volume.affine, spec)[np.newaxis]
    del volume
    began = time.perf_counter()
    scores = serving.engine.infer({spec.tensor: eaten})[package.output.tensor][0]
    spent = (time.perf_counter() - began) * 1000
    classes = segment(scores)
    found = tuple(volume_ml(one, classes, spec.spacing_mm) for one in package.volumes)
    return found, spent


def _compare(
    job: VolumeJob, serving: Serving, slices: list[Slice], measured: tuple[Measured, ...]
) -> VolumeLooked:
    if job.prior is None:
        return VolumeLooked(job, (), "no earlier study to compare with", measured=measured)
    current = assemble(slices)
    try:
        prior = assemble(_prior_slices(job.prior))
    except (NoVolume, UnreadableInstance, SealBroken, OSError) as error:
        reason = f"the earlier study cannot be compared with: {error}"
        return VolumeLooked(job, (), reason, measured=measured)
    found = compare_studies(serving, current, prior, threads=job.threads)
    return VolumeLooked(
        job,
        tuple(one.ml for one in found.amounts),
        None,
        (serving.engine.name, serving.engine.precision),
        found.inference_ms,
        measured,
        bounds_ml=tuple((one.low, one.high) for one in found.amounts),
        maps=_maps(found, _in_order(slices, measured), current.voxels.shape[2]),
    )


def _prior_slices(prior: PriorSeries) -> list[Slice]:
    key = StudyKey(prior.key)
    return [
        one for record in prior.images for one in decode(read_record(record, key), limits=Limits())
    ]


def _in_order(slices: Sequence[Slice], measured: Sequence[Measured]) -> list[tuple[int, int]]:
    """Return which image each slice of the volume is, from low to high."""
    pairs = zip(slices, measured, strict=True)  # one of each for every image, as they were read
    placed = sorted(pairs, key=lambda pair: pair[0].position_mm or 0.0)
    return [(one.instance, one.frame) for _, one in placed]


def _maps(
    found: ComparedStudies, images: list[tuple[int, int]], slices: int
) -> tuple[KeptHeatmap, ...]:
    if len(images) != slices:
        return ()  # two images lie at one place: which of them the volume holds is not told
    return tuple(KeptHeatmap(*images[one.place], one.code, one.values) for one in found.shown)


def main() -> None:
    """Answer the one job that the daemon sends over the socket whose number is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when this ends
    os.nice(_NICE)
    cv2.setNumThreads(1)
    # Either error says that the daemon is gone.
    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        daemon.send(look(daemon.recv()))
    # The engine's own threads need no farewell, and some would delay it.
    os._exit(0)


if __name__ == "__main__":
    main()
