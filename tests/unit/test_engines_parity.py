"""What a comparison with FP32 tells: how far apart, in which order, and what is still found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from findings import BLEED, FRACTURE, package
from numpy.typing import NDArray

from engines import ModelPackage, PackageError, Precision, TensorSpec, compare
from engines.agreement import auc, ranks, spearman
from engines.runtime.protocol import Array


class Answers:
    """An engine that gives known logits."""

    name = "known"
    precision: Precision = "fp32"
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, logits: Array) -> None:
        self._logits = logits

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert len(feeds["slices"]) == len(self._logits)
        return {"logits": self._logits}

    def warm_up(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to free."""


EXPECTED = np.array([[-2, 1], [-1, 1], [1, 1], [2, 1]], np.float32)


def checked(folder: Path, **arrays: NDArray[np.generic]) -> ModelPackage:
    """Return a package of a bleed and a fracture with a check set of four."""
    file = folder / "check.npz"
    held = {"slices": np.zeros((4, 3, 64, 64), np.float32), "logits": EXPECTED}
    np.savez(file, **{**held, **arrays})  # type: ignore[arg-type]
    return package(check_set=file, findings=(BLEED, FRACTURE), parity_tolerance=0.02)


def test_an_engine_that_gives_the_same_agrees_in_every_figure(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [0, 1], [1, 1], [1, -1]])
    parity = compare(Answers(EXPECTED), checked(tmp_path, labels=labels))
    assert parity.agrees
    assert (parity.worst, parity.mean, parity.auc_loss) == (0.0, 0.0, 0.0)
    bleed, fracture = parity.findings
    assert (bleed.label, bleed.auc) == ("Hemorrhage", 1.0)
    assert bleed.rank == pytest.approx(1.0)
    # No order where all are equal, no AUC where nobody is without a fracture.
    assert (fracture.rank, fracture.auc, fracture.reference_auc) == (None, None, None)


def test_what_turned_round_is_seen_in_rank_and_auc(tmp_path: Path) -> None:
    turned = EXPECTED.copy()
    turned[:, 0] = [-2, 1, -1, 2]
    parity = compare(
        Answers(turned), checked(tmp_path, labels=np.array([[0, 0], [0, 0], [1, 0], [1, 0]]))
    )
    assert not parity.agrees
    assert parity.worst == pytest.approx(np.tanh(0.5), abs=1e-6)  # sigmoid(1) - sigmoid(-1)
    assert parity.findings[1].worst == 0.0
    assert parity.rank == pytest.approx(0.8)
    assert parity.auc_loss == pytest.approx(0.25)


def test_without_labels_there_is_no_auc(tmp_path: Path) -> None:
    parity = compare(Answers(EXPECTED + np.float32(0.01)), checked(tmp_path))
    assert parity.auc_loss is None
    assert 0 < parity.mean < parity.worst < 0.02
    assert parity.agrees


def test_labels_that_do_not_fit_the_findings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"labels of shape \(4,\); expected \(4, 2\)"):
        compare(Answers(EXPECTED), checked(tmp_path, labels=np.zeros(4, np.int8)))


def test_a_check_set_without_the_output_is_named(tmp_path: Path) -> None:
    file = tmp_path / "check.npz"
    np.savez(file, slices=np.zeros((1, 3, 64, 64), np.float32))
    with pytest.raises(PackageError, match="not an npz with 'slices' and 'logits'"):
        compare(Answers(EXPECTED), package(check_set=file))
    file.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(PackageError, match="not an npz"):
        compare(Answers(EXPECTED), package(check_set=file))


def test_equal_values_share_their_rank() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert ranks(np.array([])).tolist() == []


def test_spearman_knows_order_and_not_size() -> None:
    values = np.array([1.0, 2.0, 3.0, 100.0])
    assert spearman(values, values**3) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    assert spearman(values, np.ones(4)) is None
    assert spearman(np.array([]), np.array([])) is None


def test_auc_counts_ties_as_half_and_leaves_the_unknown_out() -> None:
    assert auc(np.array([0.1, 0.9]), np.array([0, 1])) == 1.0
    assert auc(np.array([0.5, 0.5, 7.0]), np.array([0, 1, -1])) == 0.5
    assert auc(np.array([0.5, 0.6]), np.array([1, 1])) is None
