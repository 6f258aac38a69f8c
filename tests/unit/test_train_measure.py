"""What a score is worth is counted right, without torch, scipy or scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.train.measure import (
    auc,
    bootstrap,
    log_loss,
    platt,
    sigmoid,
    study_threshold,
    wilson,
)


def drawn(n: int, a: float, b: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits and truths whose real calibration is (a, b)."""
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 2, n)
    return logit, rng.random(n) < sigmoid(a * logit + b)


def test_platt_finds_the_calibration_that_made_the_data() -> None:
    logit, truth = drawn(20_000, 0.7, -1.2)
    assert platt(logit, truth) == pytest.approx((0.7, -1.2), abs=0.06)


def test_platt_stays_finite_where_the_classes_part_perfectly() -> None:
    logit = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    a, b = platt(logit, logit > 0)
    assert 0 < a < 100
    assert abs(b) < 1


def test_platt_never_reorders_even_a_score_that_points_the_wrong_way() -> None:
    logit, truth = drawn(500, -2.0, 0.0)
    assert platt(logit, truth)[0] > 0


def test_platt_lowers_the_loss_of_an_overconfident_model() -> None:
    logit, truth = drawn(5_000, 0.3, 0.5)
    a, b = platt(logit, truth)
    assert log_loss(sigmoid(a * logit + b), truth) < log_loss(sigmoid(logit), truth)


def test_platt_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="with and without"):
        platt(np.zeros(3), np.zeros(3, np.bool_))


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30).filter(
        lambda rows: len({truth for _, truth in rows}) == 2
    )
)
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    ill = [score for score, truth in rows if truth]
    well = [score for score, truth in rows if not truth]
    pairs = [(i > w) + 0.5 * (i == w) for i in ill for w in well]
    score = np.array([score for score, _ in rows], np.float64)
    truth = np.array([truth for _, truth in rows])
    assert auc(score, truth) == pytest.approx(sum(pairs) / len(pairs))


def test_an_area_without_one_of_the_classes_is_not_a_number() -> None:
    assert np.isnan(auc(np.arange(3, dtype=np.float64), np.ones(3, np.bool_)))


def test_the_interval_by_patient_is_wider_than_by_slice() -> None:
    rng = np.random.default_rng(2)
    # Twenty patients of thirty slices; the slices of one patient are nearly alike.
    score = np.repeat(rng.normal(0, 1, 20), 30) + rng.normal(0, 0.1, 600)
    rows = np.arange(600)

    def mean(chosen: NDArray[Any]) -> float:
        return float(score[chosen].mean())

    by_patient = bootstrap(list(rows.reshape(20, 30)), mean, n=20, seed=3, rounds=300)
    by_slice = bootstrap(list(rows.reshape(600, 1)), mean, n=600, seed=3, rounds=300)
    assert by_patient.value == by_slice.value == pytest.approx(score.mean())
    assert by_patient.low < by_patient.value < by_patient.high
    width = by_patient.high - by_patient.low
    assert width > 3 * (by_slice.high - by_slice.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = list(np.arange(10).reshape(10, 1))
    first, second = (
        bootstrap(rows, lambda r: float(r.mean()), n=10, seed=5, rounds=50) for _ in range(2)
    )
    assert first == second


def test_eight_right_out_of_eight_is_not_certainty() -> None:
    interval = wilson(8, 8)
    assert interval.value == interval.high == 1
    assert interval.low == pytest.approx(0.6756, abs=1e-3)


@given(st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_proportion_lies_in_its_interval(counts: tuple[int, int]) -> None:
    interval = wilson(*counts)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_the_study_threshold_lies_between_classes_that_part() -> None:
    score = np.array([0.02, 0.05, 0.04, 0.1, 0.7, 0.9, 0.8])
    threshold = study_threshold(score, score > 0.5)
    assert 0.1 < threshold < 0.7


def test_a_dearer_miss_lowers_the_threshold() -> None:
    rng = np.random.default_rng(4)
    truth = np.arange(200) < 100
    score = sigmoid(rng.normal(0, 1, 200) + np.where(truth, 1.0, -1.0))
    careful = study_threshold(score, truth, missed_costs=5)
    even = study_threshold(score, truth, missed_costs=1)
    assert careful < even
    assert even == pytest.approx(0.5, abs=0.1)
