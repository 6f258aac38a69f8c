"""What the daemon and its worker say to each other, over a private socket pair.

Every message to the worker gets exactly one answer, in order: the oldest message without an
answer is the one the worker is at, or died of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.imaging.quality.slice_measures import SliceMeasures
from edge.imaging.spot import Spot
from edge.store.spool import Record
from engines import Activated, EngineStore

EngineName = tuple[str, str]
"""An engine, such as ``onnxruntime``, and its precision."""

NO_ENGINE: EngineName = ("", "")


@dataclass(frozen=True, slots=True)
class Load:
    """Load the engine of a package.

    A package that was loaded before gets its new engine with the next series; a series that was
    begun stays with the engine it began with.

    Parameters
    ----------
    package : str
    folder : Path
    threads : int
        For ONNX Runtime.
    store : EngineStore or None
        Where activated engines are; None: FP32 in ONNX Runtime alone.
    """

    package: str
    folder: Path
    threads: int
    store: EngineStore | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The answer to `Load`: an engine that is ready, or why it is not.

    Parameters
    ----------
    package : str
    engine, precision : str
        What serves now; both empty where nothing does.
    failure : str or None
        Why nothing serves.
    notes : tuple of str
        Why something else serves than what was activated.
    activated : Activated or None
        What serves, where it was activated.
    prepared : str
        Who prepares its slices, and why.
    """

    package: str
    engine: str
    precision: str
    failure: str | None
    notes: tuple[str, ...] = ()
    activated: Activated | None = None
    prepared: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Look at one instance of a series.

    Parameters
    ----------
    study, series, instance : int
        Ids in the journal.
    package : str
        The model that looks.
    modality : str
        DICOM (0008,0060).
    record : Record
        Where the bytes are.
    key : bytes
        The study's key.
    order : float
        Where the image stands in the series when its pixels do not say: an instance number.
    """

    study: int
    series: int
    instance: int
    package: str
    modality: str
    record: Record
    key: bytes = field(repr=False)
    order: float


@dataclass(frozen=True, slots=True)
class SliceScore:
    """What a model says of one slice: a probability for each of its findings.

    `frame` is 0 but in a multi-frame instance. `familiar` is whether the slice looks like what the
    model knows.
    """

    instance: int
    frame: int
    probabilities: tuple[float, ...]
    familiar: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one image's quality. `frame` is 0 but in a multi-frame instance."""

    instance: int
    frame: int
    measures: SliceMeasures


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Where a flagged finding is seen.

    Parameters
    ----------
    instance, frame : int
        The image.
    finding : int
        Its place in the package's findings.
    spot : Spot
        In words and in the patient.
    values : uint8 (height, width)
        A map over the whole image, from `edge.imaging.heatmap`.
    """

    instance: int
    frame: int
    finding: int
    spot: Spot
    values: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to `Look`: the slices that could be looked at because of it.

    Parameters
    ----------
    scores : tuple of SliceScore
        Often of a neighbour: a slice waits for the one after it.
    unreadable : str or None
        Why the instance's pixels could not be read; None when they could.
    inference_ms : float
        Time in the engine.
    measured : tuple of Measured
        The quality of each of the instance's frames.
    seen : tuple of Seen
        Where flagged findings are seen, as far as it was not told before.
    engine : tuple of str
        The engine that looked, and its precision; both empty where none did.
    """

    series: int
    instance: int
    scores: tuple[SliceScore, ...]
    unreadable: str | None
    inference_ms: float
    measured: tuple[Measured, ...] = ()
    seen: tuple[Seen, ...] = ()
    engine: EngineName = NO_ENGINE


@dataclass(frozen=True, slots=True)
class Close:
    """No more images will come: look at what is left of a series, and forget it.

    `revision` counts how often the series was taken for complete and was not.
    """

    study: int
    series: int
    revision: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The answer to `Close`; `engine` is as in `Looked`."""

    series: int
    revision: int
    scores: tuple[SliceScore, ...]
    inference_ms: float
    seen: tuple[Seen, ...] = ()
    engine: EngineName = NO_ENGINE


Request = Load | Look | Close
Reply = Loaded | Looked | Closed
