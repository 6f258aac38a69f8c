"""Who prepares the slices of a model: OpenCV on the CPU, or the GPU that its engine runs on.

The GPU does where it was seen, when the engine was loaded, to give what OpenCV gives and to be
quicker about it. What decodes, crops and finds percentiles stays on the CPU; the GPU takes pixels
in modality units and windows, resizes and fits them.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.imaging.prepare import Draw, Plane, prepare_for, with_opencv
from engines import Engine, EngineError, InputSpec
from engines.build.plan import MODULES
from engines.cuda.context import CudaContext
from engines.cuda.fused import FusedPreparation
from engines.cuda.recipe import TOLERANCE, Recipe
from engines.runtime.tensorrt import TensorRtEngine

log = logging.getLogger(__name__)

_AS_IT_IS = np.array([[1.0, 0.0]], np.float32)  # slope and intercept of what is in units already
_TIMES = 5
_SIDE = 512
_SEED = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """How the GPU prepared a slice.

    Parameters
    ----------
    off : float
        Its largest difference from OpenCV, of a brightness between 0 and 1.
    gpu_ms, cpu_ms : float
        What a slice took there and with OpenCV, copies included.
    """

    off: float
    gpu_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Who prepares, and why, for people: it follows "its slices are prepared"."""

    on_gpu: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Preparation:
    """What prepares a model's slices, and why it does."""

    draw: Draw
    reason: str


def choose(trial: Trial) -> Choice:
    """Return who prepares, from how a trial went."""
    if not trial.off <= TOLERANCE:
        said = f"the GPU is off by {trial.off:.1e}, {TOLERANCE:.0e} is allowed"
        return Choice(False, f"by OpenCV: {said}")
    if trial.gpu_ms >= trial.cpu_ms:
        said = f"it takes {trial.cpu_ms:.2f} ms a slice, the GPU {trial.gpu_ms:.2f}"
        return Choice(False, f"by OpenCV: {said}")
    said = f"{trial.gpu_ms:.2f} ms a slice, OpenCV takes {trial.cpu_ms:.2f}"
    return Choice(True, f"on the GPU: {said}; off by {trial.off:.1e}")


def foretold(runtime: str) -> str:
    """Return what is known of the choice where no engine is loaded, as `Choice.reason` says it."""
    if runtime in MODULES:
        return "on the GPU if it agrees with OpenCV and is quicker: the daemon's log says"
    return f"by OpenCV: {runtime} runs on the CPU"


def preparation_for(
    engine: Engine,
    spec: InputSpec,
    *,
    load: Callable[[CudaContext], FusedPreparation] = FusedPreparation,
    attempt: Callable[[InputSpec, Draw], Trial] | None = None,
) -> Preparation:
    """Return what prepares the slices that an engine is asked about.

    Parameters
    ----------
    engine : Engine
        Loaded. The kernel is loaded in its context, and goes with it.
    spec : InputSpec
        Of a model of slices.
    load : callable
        Loads the kernel.
    attempt : callable
        Has it prepare a slice; `attempted` where it is left out.
    """
    if not isinstance(engine, TensorRtEngine):
        return Preparation(with_opencv, foretold(engine.name))
    try:
        kernel = load(engine.gpu)
    except EngineError as error:
        return Preparation(with_opencv, f"by OpenCV: {error}")
    draw = OnGpu(kernel)
    choice = choose((attempt or attempted)(spec, draw))
    if draw.failure:
        choice = Choice(False, f"by OpenCV: {draw.failure}")
    if not choice.on_gpu:
        kernel.close()
    return Preparation(draw if choice.on_gpu else with_opencv, choice.reason)


class OnGpu:
    """Draws with the kernel, and with OpenCV from the first slice on that the GPU fails at.

    Parameters
    ----------
    kernel : FusedPreparation
        It is its context's to close.
    """

    def __init__(self, kernel: FusedPreparation) -> None:
        self._kernel = kernel
        self.failure = ""

    def __call__(self, pixels: Plane, recipe: Recipe) -> Plane:
        """Return float32 (windows, height, width)."""
        if not self.failure:
            try:
                planes: Plane = self._kernel.prepare(pixels[np.newaxis], _AS_IT_IS, recipe)[0]
                return planes
            except EngineError as error:
                self.failure = str(error)
                log.warning("OpenCV prepares from here on: %s", error)
        return with_opencv(pixels, recipe)


def attempted(spec: InputSpec, draw: Draw) -> Trial:
    """Prepare a drawn slice both ways, each a few times, and hold the results side by side."""
    pixels = _drawn(spec)
    results, spent = [], []
    for way in (draw, with_opencv):
        results.append(prepare_for(spec, pixels, draw=way))  # the first run is nobody's measure
        times = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            prepare_for(spec, pixels, draw=way)
            times.append((time.perf_counter() - began) * 1000)
        spent.append(statistics.median(times))
    return Trial(float(np.abs(results[0] - results[1]).max()), *spent)


def _drawn(spec: InputSpec) -> Plane:
    """A bright disc on a slope with noise, over all that the model's windows show and beyond."""
    ends = [level + half * width for level, width in spec.windows for half in (-0.6, 0.6)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    across = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    disc = np.hypot(across[:, np.newaxis], across) < 0.8
    noise = np.random.default_rng(_SEED).normal(0, 0.05, (_SIDE, _SIDE))
    share = np.where(disc, 0.6 + 0.35 * across, 0.02) + noise
    pixels: Plane = (low + (high - low) * share).astype(np.float32)
    return pixels
