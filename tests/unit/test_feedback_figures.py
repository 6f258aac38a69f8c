"""Figures from few cases say how few they are; drift is told from chance."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.feedback.drift import BINS, CHANGE, Standing, bin_of, chi2_999, compare
from edge.feedback.figures import by_month, figures, subjects
from edge.feedback.inputs import inputs_of, label_of
from edge.feedback.intervals import wilson
from edge.feedback.split import RECENT, REFERENCE, reference_and_recent
from edge.imaging.quality.slice_measures import SliceMeasures
from edge.store.feedback import Subject, Verdict, VerdictCount

BLEED = Subject("head-ct-hemorrhage", "0.1.0", "SCT:1386000", "Intracranial hemorrhage")
TODAY = date(2026, 11, 25)
AGREE, DISAGREE, UNSURE = Verdict


def count(
    verdict: Verdict, number: int, *, flagged: bool = True, day: date = TODAY
) -> VerdictCount:
    return VerdictCount(day, BLEED, flagged, verdict, number)


# Newcombe, Stat. Med. 17 (1998) 857, table I, method 3.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(hits: int, n: int, low: float, high: float) -> None:
    share = wilson(hits, n)
    assert share is not None
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert share.value == hits / n


def test_nothing_counted_is_no_share_and_more_hits_than_cases_are_refused() -> None:
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="3 of 2 is no share"):
        wilson(3, 2)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share(hits: int, more: int) -> None:
    share = wilson(hits, hits + more)
    assert share is not None
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value - 1e-12 <= share.high <= 1


def test_unsure_bends_no_figure() -> None:
    judged = [count(AGREE, 6), count(DISAGREE, 2), count(AGREE, 10, flagged=False)]
    plain, with_unsure = figures(judged), figures([*judged, count(UNSURE, 50)])
    assert plain.ppv is not None
    assert (plain.ppv.value, plain.ppv.n) == (0.75, 8)
    assert plain.agreement is not None
    assert (plain.agreement.value, plain.agreement.n) == (16 / 18, 18)
    assert (with_unsure.ppv, with_unsure.agreement) == (plain.ppv, plain.agreement)
    assert with_unsure.unsure == 50


def test_what_was_missed_lowers_agreement_and_not_the_predictive_value() -> None:
    told = figures([count(AGREE, 3), count(DISAGREE, 1, flagged=False)])
    assert told.ppv is not None
    assert told.agreement is not None
    assert (told.ppv.value, told.agreement.value, told.missed) == (1.0, 0.75, 1)


def test_months_without_a_word_are_shown_as_empty() -> None:
    spans = by_month(
        [count(AGREE, 2), count(DISAGREE, 1, day=date(2026, 9, 30))], today=TODAY, months=4
    )
    assert [span.first for span in spans] == [date(2026, month, 1) for month in (8, 9, 10, 11)]
    assert [span.figures.ppv and span.figures.ppv.value for span in spans] == [None, 0.0, None, 1.0]


def test_the_latest_version_of_a_model_comes_first() -> None:
    versions = ["0.9.0", "0.10.0", "0.2.0"]
    counts = [
        VerdictCount(TODAY, Subject("m", version, "c", "l"), True, AGREE, 1) for version in versions
    ]
    assert [one.version for one in subjects(counts)] == ["0.10.0", "0.9.0", "0.2.0"]


def test_a_series_is_counted_by_its_median_image() -> None:
    images = [
        SliceMeasures(fingerprint=number, body_mm=150.0 + number, blur=None) for number in range(5)
    ]
    found = dict(inputs_of(images))
    assert found == {"images": 5 / 400, "body_mm": 152 / 500}
    assert label_of("body_mm") == "Size of the body in the image"


def test_what_is_outside_the_range_counts_at_its_end_and_no_image_is_nothing() -> None:
    assert dict(inputs_of([SliceMeasures(fingerprint=1, edge_mm=99.0)]))["edge_mm"] == 1.0
    assert inputs_of([]) == ()


# --- Drift -----------------------------------------------------------------------------


def histogram(values: list[float]) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[bin_of(value)] += 1
    return counts


def test_equal_histograms_are_steady_and_a_moved_one_drifts() -> None:
    rng = np.random.default_rng(1)
    before = histogram([rng.beta(1, 6) for _ in range(400)])
    after = histogram([rng.beta(2, 3) for _ in range(200)])
    assert compare(before, before).standing is Standing.STEADY
    moved = compare(before, after)
    assert moved.standing is Standing.DRIFT
    assert moved.psi > 0.25 > moved.by_chance


def test_too_few_cases_are_unknown_and_not_steady() -> None:
    assert compare([99] + [0] * 9, [0] * 9 + [80]).standing is Standing.UNKNOWN
    assert compare([100] + [0] * 9, [0] * 9 + [49]).standing is Standing.UNKNOWN
    assert compare([100] + [0] * 9, [0] * 9 + [50]).standing is Standing.DRIFT


def test_chance_alone_warns_less_than_once_in_a_hundred_times() -> None:
    rng = np.random.default_rng(7)

    def sample(n: int) -> list[int]:
        return histogram([rng.beta(1, 2) for _ in range(n)])

    warned = sum(
        compare(sample(200), sample(100)).standing is not Standing.STEADY for _ in range(1000)
    )
    assert warned <= 10


def test_a_shift_of_a_tenth_is_found_with_enough_cases() -> None:
    rng = np.random.default_rng(3)
    before = histogram([rng.normal(0.4, 0.1) for _ in range(200)])
    found = sum(
        compare(before, histogram([rng.normal(0.5, 0.1) for _ in range(100)])).standing
        in {Standing.DRIFT, Standing.WATCH}
        for _ in range(100)
    )
    assert found >= 99


def test_histograms_of_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="10 and 9 bins"):
        compare([1] * 10, [1] * 9)


# Tables of the chi-squared distribution: 27.877 for 9 degrees, 43.820 for 19, 16.266 for 3.
@pytest.mark.parametrize(("freedom", "value"), [(3, 16.266), (9, 27.877), (19, 43.820)])
def test_the_quantile_of_chance_is_right_within_two_percent(freedom: int, value: float) -> None:
    assert math.isclose(chi2_999(freedom), value, rel_tol=0.02)


def test_the_first_days_are_the_reference_and_no_day_counts_twice() -> None:
    one_day = (4, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    days = {TODAY - timedelta(days=n): one_day for n in range(120)}
    first, last = reference_and_recent(days)
    assert (sum(first), sum(last)) == (REFERENCE, RECENT)
    few = dict(list(days.items())[:65])
    first, last = reference_and_recent(few)
    assert (sum(first), sum(last)) == (300, 25)


def test_with_all_studies_at_hand_chance_stays_below_the_limit_of_a_drift() -> None:
    even = (REFERENCE // BINS,) * BINS, (RECENT // BINS,) * BINS
    assert compare(*even).by_chance < CHANGE


@pytest.mark.parametrize(("value", "place"), [(-1.0, 0), (0.0, 0), (0.0999, 0), (0.5, 5), (1.0, 9)])
def test_every_value_has_a_bin(value: float, place: int) -> None:
    assert bin_of(value) == place
