"""The fused kernel: bit for bit against its specification, and timed beside OpenCV."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.analysis.preparing import OnGpu, Trial, attempted, choose
from edge.imaging.prepare import fit, prepare
from engines import EngineError, ModelPackage, load_package, shipped_packages
from engines.cuda.context import open_context
from engines.cuda.fused import PIXELS, SOURCE, FusedPreparation
from engines.cuda.recipe import TOLERANCE, Recipe, reference
from tools.bench.report import Row, percentile
from tools.gpu_check.machine import Machine, lacks_gpu
from tools.gpu_check.part import Part, failed, not_run, passed

_NAME = "fused kernel"
_WINDOWS = ((40.0, 120.0), (700.0, 3200.0))
_SLICE = (512, 512)
# Stored slice and frame: averaged by a ratio that is no whole number, by a whole one, grown.
_SHAPES = (((512, 512), (160, 160)), ((512, 512), (256, 256)), ((61, 47), (160, 160)))


def compiles() -> Part:
    """Compile the kernel for a Jetson Orin; needs nvcc and no GPU."""
    name = f"{_NAME}, compiled for SM 87"
    if shutil.which("nvcc") is None:
        return not_run(name, "nvcc is not on the PATH; it comes with CUDA and with JetPack.")
    with TemporaryDirectory() as folder:
        target = Path(folder) / "prepare.ptx"
        command = ["nvcc", "-ptx", "-arch=sm_87", "-o", str(target), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return failed(name, done.stderr[-300:])
        return passed(name, f"{target.stat().st_size} bytes of PTX")


def on_gpu(machine: Machine, *, quick: bool) -> Part:
    """Compare every pixel type and shape bit for bit, then time a series."""
    name = f"{_NAME}, on the GPU"
    lacks = lacks_gpu(machine)
    if lacks is not None:
        return not_run(name, lacks)
    gpu = open_context()
    try:
        kernel = FusedPreparation(gpu)
        for (shape, frame), pixel in product(_SHAPES, PIXELS):
            stack, lines = _series(4, shape, pixel)
            recipe = _recipe(shape, frame)
            ours = kernel.prepare(stack, lines, recipe)
            expected = reference(stack, lines, recipe)
            if not np.array_equal(ours, expected):
                off = float(np.abs(ours - expected).max())
                return failed(name, f"{pixel} {shape} to {frame}: off by {off:.3g}, not equal")
        return passed(name, "equal to its specification, bit for bit", *_timed(kernel, quick))
    except EngineError as error:
        return failed(name, str(error))
    finally:
        gpu.close()


def as_the_worker(machine: Machine) -> Part:
    """Prepare a slice for each shipped model as the worker does, beside OpenCV."""
    name = "the worker's slices, prepared on the GPU"
    lacks = lacks_gpu(machine)
    if lacks is not None:
        return not_run(name, lacks)
    gpu = open_context()
    try:
        draw = OnGpu(FusedPreparation(gpu))
        trials = {one.name: attempted(one.input, draw) for one in _of_slices()}
        if draw.failure:
            return failed(name, draw.failure)
    except EngineError as error:
        return failed(name, str(error))
    finally:
        gpu.close()
    return judged(name, trials)


def judged(name: str, trials: Mapping[str, Trial]) -> Part:
    """Return the part: failed where a slice was off, whoever was quicker."""
    rows = [
        Row(
            f"prepare_slice_ms.{package}",
            trial.gpu_ms,
            "ms",
            "OpenCV, one thread",
            trial.cpu_ms,
            note=f"prepared {choose(trial).reason}",
        )
        for package, trial in trials.items()
    ]
    package, worst = max(trials.items(), key=lambda one: _size(one[1].off))
    said = f"off from OpenCV by {worst.off:.1e} at most ({package}); {TOLERANCE:.0e} is allowed"
    if not worst.off <= TOLERANCE:
        return failed(name, said, *rows)
    quicker = sum(choose(trial).on_gpu for trial in trials.values())
    return passed(name, f"{said}; the GPU is quicker for {quicker} of {len(trials)}", *rows)


def _size(off: float) -> float:
    return math.inf if math.isnan(off) else off


def _of_slices() -> Iterator[ModelPackage]:
    for file in sorted(shipped_packages().glob("*/model.toml")):
        package = load_package(file.parent)
        if not package.volumes:
            yield package


def _timed(kernel: FusedPreparation, quick: bool) -> list[Row]:
    slices, times = (20, 5) if quick else (200, 30)
    stack, lines = _series(slices, _SLICE, "int16")
    recipe = _recipe(_SLICE, (160, 160))
    whole, inside = [], []
    for _ in range(times):
        began = time.perf_counter()
        kernel.prepare(stack, lines, recipe)
        whole.append((time.perf_counter() - began) * 1000)
        inside.append(kernel.milliseconds)
    peer = _opencv_ms(stack, lines)
    what = f"{slices} slices of 512 x 512, 2 windows, to 160 x 160"
    return [
        Row(
            "prepare_kernel_ms",
            percentile(inside, 0.5),
            "ms",
            "OpenCV, one thread",
            peer,
            note=f"the kernel alone, median of {times}: {what}",
        ),
        Row(
            "prepare_whole_ms",
            percentile(whole, 0.5),
            "ms",
            "OpenCV, one thread",
            peer,
            note="with copies to and from the device",
        ),
    ]


def _opencv_ms(stack: NDArray[np.int16], lines: NDArray[np.float32]) -> float:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    began = time.perf_counter()
    for stored, (slope, intercept) in zip(stack, lines, strict=True):
        pixels = stored.astype(np.float32) * slope + intercept
        prepare(pixels, windows=_WINDOWS, height=160, width=160)
    spent = (time.perf_counter() - began) * 1000
    cv2.setNumThreads(threads)
    return spent


def _recipe(shape: tuple[int, int], frame: tuple[int, int]) -> Recipe:
    fitted = fit(shape, height=frame[0], width=frame[1])
    return Recipe(*shape, fitted, *frame, _WINDOWS)


def _series(
    slices: int, shape: tuple[int, int], pixel: str
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Noise on a slope, as stored by a scanner with an intercept of -1024."""
    rng = np.random.default_rng(5)
    slope = np.add.outer(np.linspace(0, 2000, shape[0]), np.linspace(0, 400, shape[1]))
    stored = np.clip(slope + rng.normal(0, 200, (slices, *shape)), 0, 4095).astype(pixel)
    lines: NDArray[np.float32] = np.tile(np.array([1.0, -1024.0], np.float32), (slices, 1))
    return stored, lines
