"""A package and its card are written from the same figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines import load_package
from engines.package import digest_of
from tools.train import card
from tools.train.assess import Figure, Settled
from tools.train.measure import Interval


def test_the_description_of_a_package_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    np.savez(tmp_path / "check.npz", slices=np.zeros(1))
    facts = card.Facts(
        version="1.2.3",
        digest=digest_of(tmp_path / "model.onnx"),
        size=160,
        parameters=5,
        train=(3, 1, 9, 2),
        calibration=(2, 1, 6, 1),
        test=(1, 1, 3, 1),
        seed=4,
        settled=Settled(1.5, -0.5, 0.3, (0.2, 0.4)),
        figures=(
            Figure("study AUC", Interval(0.9, 0.7, 1.0, 5), "studies"),
            Figure("study sensitivity", Interval(0.75, 0.3, 0.9, 4), "bleeding studies"),
            Figure("study specificity", Interval(0.9, 0.6, 1.0, 10), "healthy studies"),
        ),
    )
    card.write(facts, tmp_path)
    package = load_package(tmp_path)
    assert package.version == "1.2.3"
    assert package.findings[0].calibration == (1.5, -0.5)
    assert package.findings[0].abstain == (0.2, 0.4)
    assert (package.measured[0].low, package.measured[0].n) == (0.7, 5)
    assert package.limits.startswith("At the threshold it missed 1 of 4 bleeding test studies")
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert "| study AUC | 0.900 | 0.700 to 1.000 | 5 | studies |" in text
