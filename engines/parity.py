"""Does this engine agree with the FP32 reference closely enough to serve?

The package's check set holds inputs and what the FP32 model gave for them. Classifiers are compared
by calibrated probabilities, because those are what thresholds see; segmentations by the voxels of
each finding, because those are what volumes are made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np

from engines.aggregate import calibrate, segment
from engines.agreement import auc, dice, spearman
from engines.manifest import FindingSpec, VolumeSpec
from engines.package import ModelPackage, PackageError
from engines.runtime.protocol import Array, Engine

LABELS = "labels"
"""Of the check set, int (n, findings): 1 present, 0 absent, anything else unknown."""

_AT_ONCE = 4  # an engine keeps the memory that its largest run took


@dataclass(frozen=True, slots=True)
class FindingParity:
    """How an engine compared on one finding.

    Parameters
    ----------
    label : str
        The finding's name.
    worst, mean : float
        Largest and mean difference over the samples: of probability, or for a segmentation 1 minus
        Dice, the share of the finding's voxels on which they do not agree.
    rank : float or None
        Spearman's correlation of the probabilities, or for a segmentation of the volumes; None
        where there is no order.
    auc, reference_auc : float or None
        On the check set's labels, of the engine and of the reference; None without labels.
    """

    label: str
    worst: float
    mean: float
    rank: float | None
    auc: float | None
    reference_auc: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """How an engine compared.

    Parameters
    ----------
    samples : int
        Samples compared.
    tolerance : float
        Largest difference that the package allows.
    findings : tuple of FindingParity
        One for each of the package's, in its order.
    """

    samples: int
    tolerance: float
    findings: tuple[FindingParity, ...]

    @property
    def worst(self) -> float:
        """Largest difference over samples and findings."""
        return max(one.worst for one in self.findings)

    @property
    def mean(self) -> float:
        """Mean difference over samples and findings."""
        return float(np.mean([one.mean for one in self.findings]))

    @property
    def rank(self) -> float | None:
        """The lowest rank agreement of a finding, or None where none has an order."""
        return _least(one.rank for one in self.findings)

    @property
    def auc_loss(self) -> float | None:
        """Most that a finding's AUC fell, or None without labels; negative where all rose."""
        fallen = _least(
            one.auc - one.reference_auc
            for one in self.findings
            if one.auc is not None and one.reference_auc is not None
        )
        return None if fallen is None else -fallen

    @property
    def agrees(self) -> bool:
        """Whether the engine may serve."""
        return self.worst <= self.tolerance


@dataclass(frozen=True, slots=True)
class CheckSet:
    """What a package is checked on.

    Parameters
    ----------
    inputs : ndarray of float32, shape (n, channels, ...)
    expected : ndarray, shape (n, ...)
        What the FP32 model gave, in float32; of a segmentation the classes will do, as whole
        numbers (n, depth, height, width).
    labels : ndarray of int, shape (n, findings), or None
        What is known to be there.
    """

    inputs: Array
    expected: Array
    labels: Array | None


def compare(engine: Engine, package: ModelPackage) -> Parity:
    """Run the package's check set through an engine.

    Raises
    ------
    PackageError
        If the package has no check set, or it lacks the input tensor or the output.
    EngineError
        If the engine cannot run it.
    """
    checks = read_checks(package)
    if package.volumes:
        found = _volumes(engine, package, checks)
    else:
        found = _probabilities(engine, package, checks)
    return Parity(len(checks.inputs), package.parity_tolerance, found)


def read_checks(package: ModelPackage) -> CheckSet:
    """Read the package's check set.

    Raises
    ------
    PackageError
        If there is none, or it lacks the input tensor or the output.
    """
    if package.check_set is None:
        raise PackageError(f"{package.path}: [checks] check_set is missing; parity needs it.")
    try:
        with (
            package.check_set.open("rb") as stream,
            np.load(stream, allow_pickle=False) as held,
        ):
            inputs, expected = held[package.input.tensor], held[package.output.tensor]
            labels = held.get(LABELS)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise PackageError(
            f"{package.check_set}: not an npz with {package.input.tensor!r} and "
            f"{package.output.tensor!r}: {error}"
        ) from error
    if inputs.dtype == np.uint8:
        inputs = inputs.astype(np.float32) / np.float32(255)
    if inputs.ndim == 0 or len(inputs) == 0 or len(inputs) != len(expected):
        raise PackageError(
            f"{package.check_set}: inputs of shape {inputs.shape} and {package.output.tensor} of "
            f"shape {expected.shape}; expected as many of each, and at least one."
        )
    asked = len(package.findings) or len(package.volumes)
    if labels is not None and labels.shape != (len(inputs), asked):
        raise PackageError(
            f"{package.check_set}: labels of shape {labels.shape}; expected "
            f"({len(inputs)}, {asked}), a column for each finding."
        )
    return CheckSet(inputs, expected, labels)


def _run(engine: Engine, package: ModelPackage, inputs: Array) -> Array:
    return engine.infer({package.input.tensor: inputs})[package.output.tensor]


def _probabilities(
    engine: Engine, package: ModelPackage, checks: CheckSet
) -> tuple[FindingParity, ...]:
    starts = range(0, len(checks.inputs), _AT_ONCE)
    found = np.concatenate(
        [_run(engine, package, checks.inputs[start : start + _AT_ONCE]) for start in starts]
    )
    return tuple(
        _finding(one, found, checks.expected, _column(checks.labels, number))
        for number, one in enumerate(package.findings)
    )


def _finding(
    one: FindingSpec, found: Array, expected: Array, labels: Array | None
) -> FindingParity:
    ours = calibrate(found[:, one.output], *one.calibration)
    theirs = calibrate(expected[:, one.output], *one.calibration)
    apart = np.abs(ours - theirs)
    return FindingParity(
        one.label,
        float(apart.max()),
        float(apart.mean()),
        # By logits: two probabilities that round to 1 still have an order.
        spearman(found[:, one.output], expected[:, one.output]),
        None if labels is None else auc(found[:, one.output], labels),
        None if labels is None else auc(expected[:, one.output], labels),
    )


def _volumes(engine: Engine, package: ModelPackage, checks: CheckSet) -> tuple[FindingParity, ...]:
    pairs: list[list[tuple[Array, Array]]] = [[] for _ in package.volumes]
    for number, expected in enumerate(checks.expected):
        # One at a time: a volume's scores are large, its masks are not.
        ours = segment(_run(engine, package, checks.inputs[number : number + 1])[0])
        theirs = expected if _are_classes(checks.expected) else segment(expected)
        for held, one in zip(pairs, package.volumes, strict=True):
            held.append((np.isin(ours, one.classes), np.isin(theirs, one.classes)))
    return tuple(_volume(one, held) for one, held in zip(package.volumes, pairs, strict=True))


def _volume(one: VolumeSpec, pairs: list[tuple[Array, Array]]) -> FindingParity:
    apart = [1.0 - dice(ours, theirs) for ours, theirs in pairs]
    sizes = np.array([[ours.sum(), theirs.sum()] for ours, theirs in pairs], np.float64)
    return FindingParity(
        one.label,
        max(apart),
        float(np.mean(apart)),
        spearman(sizes[:, 0], sizes[:, 1]),
        None,
        None,
    )


def _are_classes(expected: Array) -> bool:
    return bool(expected.ndim == 4 and expected.dtype.kind in "iu")


def _column(labels: Array | None, number: int) -> Array | None:
    return None if labels is None else labels[:, number]


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
