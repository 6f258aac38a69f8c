"""Does this engine agree with the FP32 reference closely enough to serve?

The package's check set holds inputs and the logits that the FP32 model gave. The comparison is of
calibrated probabilities, because those are what thresholds see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.aggregate import calibrate
from engines.package import ModelPackage, PackageError
from engines.runtime.protocol import LOGITS, Engine


@dataclass(frozen=True, slots=True)
class Parity:
    """How an engine compared.

    Parameters
    ----------
    samples : int
        Samples compared.
    worst : float
        Largest difference in probability over samples and findings.
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
            inputs, expected = held[package.input.tensor], held[LOGITS]
    except (OSError, ValueError, KeyError) as error:
        raise PackageError(
            f"{package.check_set}: not an npz with {package.input.tensor!r} and {LOGITS!r}: {error}"
        ) from error
    if inputs.dtype == np.uint8:
        inputs = inputs.astype(np.float32) / np.float32(255)
    if len(inputs) == 0 or len(inputs) != len(expected):
        raise PackageError(
            f"{package.check_set}: {len(inputs)} inputs and {len(expected)} logits; expected as "
            "many of each, and at least one."
        )
    found = engine.infer({package.input.tensor: inputs})[LOGITS]
    worst = 0.0
    for finding in package.findings:
        a, b = finding.calibration
        ours = calibrate(found[:, finding.output], a, b)
        theirs = calibrate(expected[:, finding.output], a, b)
        worst = max(worst, float(np.abs(ours - theirs).max()))
    return Parity(len(inputs), worst, package.parity_tolerance)
