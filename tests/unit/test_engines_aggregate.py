"""A study's score never falls while its slices come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import Aggregate, aggregate, calibrate

RULES = [
    Aggregate("max"),
    Aggregate("noisy_or"),
    Aggregate("top_k_mean", 1),
    Aggregate("top_k_mean", 3),
]
probability = st.floats(0, 1)
slices = st.lists(probability, max_size=40)
rules = st.sampled_from(RULES)


@given(rules, slices, probability)
def test_one_more_slice_never_lowers_the_score(
    rule: Aggregate, seen: list[float], new: float
) -> None:
    before = aggregate(rule, np.array(seen))
    assert aggregate(rule, np.array([*seen, new])) >= before - 1e-12


@given(rules, st.lists(probability, min_size=1, max_size=40), st.data())
def test_a_more_suspicious_slice_never_lowers_the_score(
    rule: Aggregate, seen: list[float], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(seen) - 1))
    raised = [*seen]
    raised[which] = data.draw(st.floats(seen[which], 1))
    assert aggregate(rule, np.array(raised)) >= aggregate(rule, np.array(seen)) - 1e-12


@given(rules, slices)
def test_the_order_in_which_slices_arrive_does_not_matter(
    rule: Aggregate, seen: list[float]
) -> None:
    score = aggregate(rule, np.array(seen))
    assert aggregate(rule, np.array(sorted(seen))) == pytest.approx(score)
    assert aggregate(rule, np.array(seen[::-1])) == pytest.approx(score)


@given(rules, slices)
def test_the_score_is_a_probability(rule: Aggregate, seen: list[float]) -> None:
    assert 0.0 <= aggregate(rule, np.array(seen)) <= 1.0


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        (Aggregate("max"), 0.8),
        (Aggregate("noisy_or"), 1 - 0.2 * 0.5 * 0.9),
        (Aggregate("top_k_mean", 2), 0.65),
        (Aggregate("top_k_mean", 5), (0.8 + 0.5 + 0.1) / 5),
    ],
)
def test_each_rule_counts_as_it_says(rule: Aggregate, score: float) -> None:
    assert aggregate(rule, np.array([0.1, 0.8, 0.5])) == pytest.approx(score)


@pytest.mark.parametrize("rule", RULES)
def test_a_study_without_slices_scores_nothing(rule: Aggregate) -> None:
    assert aggregate(rule, np.array([])) == 0.0


@pytest.mark.parametrize("bad", [[np.nan], [1.1], [-0.1], [[0.5]]])
def test_what_is_not_a_list_of_probabilities_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="robabilit"):
        aggregate(Aggregate("max"), np.array(bad))


def test_a_calibrated_logit_is_a_probability_at_any_size() -> None:
    p = calibrate(np.array([-1e9, 0.0, 2.0, 1e9], np.float32), 0.5, 1.0)
    assert p == pytest.approx([0.0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2)), 1.0])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_broken_logit_is_never_read_as_normal(broken: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        calibrate(np.array([0.0, broken]), 1.0, 0.0)
