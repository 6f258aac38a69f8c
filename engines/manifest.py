"""What `model.toml` says, as values: the model, its input, its routes, its findings.

Only data and their meaning are here; `engines.package` reads and checks them, and `docs/models.md`
explains the file key by key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Urgency = Literal["critical", "urgent", "routine"]
AggregateKind = Literal["noisy_or", "top_k_mean", "max"]

MODEL_FILE = "model.onnx"
PACKAGE_FILE = "model.toml"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8).

    Parameters
    ----------
    scheme : str
        Coding scheme designator: ``SCT``, ``RADLEX``, ``DCM`` or a private ``99...``.
    value : str
        Code value.
    meaning : str
        Code meaning, for people.
    """

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class FindingSpec:
    """One statement the model can make about a study.

    Parameters
    ----------
    code : Code
        What is stated.
    label : str
        Short name for the screen.
    output : int
        Column of the logits tensor.
    calibration : tuple of float
        (a, b): a slice's probability is ``sigmoid(a * logit + b)``; a is above 0.
    threshold : float
        Study score from which the finding is stated.
    abstain : tuple of float
        (low, high): a study score inside is called uncertain. It holds the threshold.
    urgency : str
        ``critical``, ``urgent`` or ``routine``.
    """

    code: Code
    label: str
    output: int
    calibration: tuple[float, float]
    threshold: float
    abstain: tuple[float, float]
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the pixels must become: float32 (n, channels, height, width), values 0..1.

    Channels are ordered window by window, and within a window from the lowest (most inferior)
    neighbour to the highest; at an end of the series the last slice repeats itself. Windows are
    linear and exact: ``clip((HU - (level - width / 2)) / width, 0, 1)``, as in DICOM PS3.3
    C.11.2.1.3.2. The full slice is windowed first and resized after, by area averaging (OpenCV's
    INTER_AREA), without a crop.

    Parameters
    ----------
    tensor : str
        Name of the model's input.
    height, width : int
        Pixels.
    windows : tuple of (level, width)
        In HU for CT, in stored units otherwise.
    neighbours : int
        Slices on each side; 1 means three slices.
    """

    tensor: str
    height: int
    width: int
    windows: tuple[tuple[float, float], ...]
    neighbours: int

    @property
    def channels(self) -> int:
        """Windows times slices."""
        return len(self.windows) * (2 * self.neighbours + 1)


@dataclass(frozen=True, slots=True)
class Route:
    """DICOM attributes that select the package; the daemon does the matching.

    Parameters
    ----------
    modality : str
        Modality (0008,0060).
    body_parts : tuple of str
        Body Part Examined (0018,0015), upper case.
    description : str or None
        Regular expression for the free-text descriptions, upper and lower case alike; consulted
        where Body Part Examined is empty.
    min_age, max_age : float or None
        Years, both included.
    min_slice_thickness_mm, max_slice_thickness_mm : float or None
        Slice Thickness (0018,0050), both included.
    """

    modality: str
    body_parts: tuple[str, ...]
    description: str | None
    min_age: float | None
    max_age: float | None
    min_slice_thickness_mm: float | None
    max_slice_thickness_mm: float | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How the slices' probabilities become one score for the study.

    Parameters
    ----------
    kind : str
        ``noisy_or``, ``top_k_mean`` or ``max``.
    k : int
        Slices counted by ``top_k_mean``; 1 otherwise.
    """

    kind: AggregateKind
    k: int = 1


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure measured once, on patients the model had not seen.

    Parameters
    ----------
    figure : str
        What was measured, such as ``study AUC``.
    value, low, high : float
        The figure and its 95 % interval.
    n : int
        On how many.
    on : str
        Of what and of whom.
    """

    figure: str
    value: float
    low: float
    high: float
    n: int
    on: str


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A validated package.

    Parameters
    ----------
    name, version : str
        As in ``head-ct-hemorrhage`` and ``0.1.0``.
    digest : str
        SHA-256 of ``model.onnx``, 64 hexadecimal digits; checked when the package was read.
    path : pathlib.Path
        The folder.
    intended_use, limits, licence, training_data : str
        For people; shown with every result.
    measured : tuple of Measure
        Performance with intervals.
    input : InputSpec
        What the model eats.
    routes : tuple of Route
        Any of them selects the package.
    findings : tuple of FindingSpec
        What it can state.
    aggregate : Aggregate
        From slices to the study.
    parity_tolerance : float
        Largest difference in probability from FP32 on the check set.
    check_set : pathlib.Path or None
        An npz with the input tensor and the expected ``logits``.
    """

    name: str
    version: str
    digest: str
    path: Path
    intended_use: str
    limits: str
    licence: str
    training_data: str
    measured: tuple[Measure, ...]
    input: InputSpec
    routes: tuple[Route, ...]
    findings: tuple[FindingSpec, ...]
    aggregate: Aggregate
    parity_tolerance: float
    check_set: Path | None

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL_FILE
