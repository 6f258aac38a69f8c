"""Does this engine agree with the FP32 reference closely enough to serve?

The package's check set holds inputs and what the FP32 model gave for them. Classifiers are compared
by calibrated probabilities, because those are what thresholds see; segmentations by the voxels of
each finding, because those are what volumes are made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np

from engines.aggregate import calibrate, segment
from engines.package import ModelPackage, PackageError
from engines.runtime.protocol import Array, Engine


@dataclass(frozen=True, slots=True)
class Parity:
    """How an engine compared.

    Parameters
    ----------
    samples : int
        Samples compared.
    worst : float
        Largest difference in probability over samples and findings; for a segmentation the
        largest 1 minus Dice, the share of a finding's voxels on which they do not agree.
    tolerance : float
        Largest difference that the package allows.
    """

    samples: int
    worst: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the engine may serve."""
        return self.worst <= self.tolerance


def compare(engine: Engine, package: ModelPackage) -> Parity:
    """Run the package's check set through an engine.

    Raises
    ------
    PackageError
        If the package has no check set, or it lacks the input tensor or the logits.
    EngineError
        If the engine cannot run it.
    """
    if package.check_set is None:
        raise PackageError(f"{package.path}: [checks] check_set is missing; parity needs it.")
    try:
        with np.load(package.check_set, allow_pickle=False) as held:
            inputs, expected = held[package.input.tensor], held[package.output.tensor]
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
    if package.volumes:
        # One at a time: a volume's scores are large.
        worst = max(
            _voxels_apart(
                _run(engine, package, inputs[index : index + 1]), expected[index], package
            )
            for index in range(len(inputs))
        )
    else:
        worst = _probabilities_apart(_run(engine, package, inputs), expected, package)
    return Parity(len(inputs), worst, package.parity_tolerance)


def _run(engine: Engine, package: ModelPackage, inputs: Array) -> Array:
    return engine.infer({package.input.tensor: inputs})[package.output.tensor]


def _probabilities_apart(found: Array, expected: Array, package: ModelPackage) -> float:
    worst = 0.0
    for finding in package.findings:
        a, b = finding.calibration
        ours = calibrate(found[:, finding.output], a, b)
        theirs = calibrate(expected[:, finding.output], a, b)
        worst = max(worst, float(np.abs(ours - theirs).max()))
    return worst


def _voxels_apart(found: Array, expected: Array, package: ModelPackage) -> float:
    ours, theirs = segment(found[0]), segment(expected)
    return max(
        1.0 - dice(np.isin(ours, one.classes), np.isin(theirs, one.classes))
        for one in package.volumes
    )


def dice(ours: Array, theirs: Array) -> float:
    """Return the Dice coefficient of two masks of one shape, 0 to 1; two empty ones are alike."""
    both = np.count_nonzero(ours & theirs)
    either = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2.0 * both / either if either else 1.0
