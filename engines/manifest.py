"""What `model.toml` says, as values: the model, its input, its routes, its findings.

Only data and their meaning are here; `engines.package` reads and checks them, and `docs/models.md`
explains the file key by key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.input_spec import InputSpec

Urgency = Literal["critical", "urgent", "routine"]
AggregateKind = Literal["noisy_or", "top_k_mean", "max", "class_volume"]
OutputKind = Literal["logits", "segmentation"]

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

    @property
    def key(self) -> str:
        """Scheme and value in one, as in ``SCT:1386000``: what tells one concept from another."""
        return f"{self.scheme}:{self.value}"


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
    reliable : bool
        False: told of with its figures, but never a reason to flag a study.
    """

    code: Code
    label: str
    output: int
    calibration: tuple[float, float]
    threshold: float
    abstain: tuple[float, float]
    urgency: Urgency
    reliable: bool = True


@dataclass(frozen=True, slots=True)
class FamiliarSpec:
    """How the model tells a picture that is not of the kind it was trained on.

    Parameters
    ----------
    output : str
        Name of a float32 output (n, 1): how far a picture is from the training pictures.
    limit : float
        A distance above it is not familiar, and the model abstains.
    """

    output: str
    limit: float


@dataclass(frozen=True, slots=True)
class CoverageSpec:
    """Which slices of a series the model judges; the others are told of as not judged.

    Parameters
    ----------
    least_section : float
        Smallest area of the body on a slice, as a share of the largest in the series, 0 to 1.
    axial : bool
        Whether only axial slices are judged (Image Orientation Patient (0020,0037) within 45
        degrees of axial).
    """

    least_section: float
    axial: bool


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """One measurement that a segmentation makes: how large something is, in millilitres.

    Parameters
    ----------
    code : Code
        What is measured.
    label : str
        Short name for the screen.
    classes : tuple of int
        Classes of the segmentation that together are it.
    flag_below_ml, flag_above_ml : float or None
        A volume outside is flagged; where both are None it is told of and never flagged.
    urgency : str
        ``critical``, ``urgent`` or ``routine``.
    least_mm3 : float
        Of a two-study model: a connected part smaller than this does not count.
    sweep : tuple of float
        Of a two-study model: (strict, lax), by how much its score must lead over the others' for
        the lower and for the upper bound of the volume; strict is 0 or above, lax 0 or below.
    """

    code: Code
    label: str
    classes: tuple[int, ...]
    flag_below_ml: float | None
    flag_above_ml: float | None
    urgency: Urgency
    least_mm3: float = 0.0
    sweep: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PriorSpec:
    """Which earlier series of the patient a two-study model compares with, and how well it fits.

    Parameters
    ----------
    description : str
        Regular expression, upper and lower case alike, for the free-text descriptions of both
        series; of the patient's earlier series that match, the newest is taken.
    least_similarity : float
        Correlation of the two aligned images within the head below which they are not compared.
    least_days : float
        Between the two studies.
    """

    description: str
    least_similarity: float
    least_days: float


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the model answers, in float32.

    Parameters
    ----------
    kind : str
        ``logits``: (n, outputs), one column for each finding. ``segmentation``: a score for each
        class of each voxel, (n, classes, depth, height, width); the highest is the class.
    tensor : str
        Name of the model's output.
    """

    kind: OutputKind = "logits"
    tensor: str = "logits"


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
    views : tuple of str
        View Position (0018,5101), upper case, such as ``PA``; empty where any will do.
    """

    modality: str
    body_parts: tuple[str, ...]
    description: str | None
    min_age: float | None
    max_age: float | None
    min_slice_thickness_mm: float | None
    max_slice_thickness_mm: float | None
    views: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How the slices' probabilities become one score for the study.

    Parameters
    ----------
    kind : str
        ``noisy_or``, ``top_k_mean`` or ``max``; ``class_volume`` for a segmentation.
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
        What it can state; empty for a segmentation.
    aggregate : Aggregate
        From slices to the study.
    parity_tolerance : float
        Largest difference in probability from FP32 on the check set; for a segmentation the
        largest share of a finding's voxels that differ, 1 minus the Dice coefficient.
    check_set : pathlib.Path or None
        An npz with the input tensor and the output that FP32 gave.
    output : OutputSpec
        What the model answers.
    volumes : tuple of VolumeSpec
        What a segmentation measures; empty for logits.
    familiar : FamiliarSpec or None
        How it knows that it does not know; None for a model that cannot tell.
    prior : PriorSpec or None
        Of a two-study model: what it compares with.
    coverage : CoverageSpec or None
        Which slices it judges; None for all.
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
    output: OutputSpec = OutputSpec()
    volumes: tuple[VolumeSpec, ...] = ()
    familiar: FamiliarSpec | None = None
    prior: PriorSpec | None = None
    coverage: CoverageSpec | None = None

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL_FILE
