"""What is said of change since an earlier study, and when nothing is said."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from arrivals import arrival, open_store
from findings import BLEED, FRACTURE, finding, package, series

from edge.alerts.chance import chance
from edge.alerts.decision import (
    Compared,
    ModelResult,
    SeriesVolume,
    StudyDecision,
    Value,
    decide,
    values_of,
)
from edge.alerts.policy import Step, Told
from edge.history.progression import Prior, progression
from edge.history.since import since
from edge.store.journal import StudyState
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.priors import KeptPrior
from engines import Code, VolumeSpec

NOW = datetime(2024, 5, 31, 10, 15, 30, tzinfo=timezone.utc)
LESIONS = VolumeSpec(Code("SCT", "1", "Lesion"), "Lesions", (1,), None, 5.0, "urgent")
COMPARED = Compared("1.2.9", 60.0)


def of(*findings_: object, **changes: object) -> StudyDecision:
    return decide([series(*findings_, **changes)], complete=True)  # type: ignore[arg-type]


def volume(ml: float) -> StudyDecision:
    return decide([series(volumes=(SeriesVolume(LESIONS, ml),))], complete=True)


def prior(decision: StudyDecision, days: float = 30) -> Prior:
    return Prior("1.2.9", NOW - timedelta(days=days), values_of(decision))


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (0.1, 0.9, "new"),
        (0.9, 0.1, "resolved"),
        (0.9, 0.999, "unchanged"),
        (0.001, 0.2, "unchanged"),
    ],
)
def test_a_finding_is_new_or_gone_or_still_there(before: float, now: float, change: str) -> None:
    found = progression(of(finding(now)), NOW, prior(of(finding(before))))
    assert found is not None
    assert (found.change, found.unit, found.interval_days) == (change, "1", 30.0)
    assert found.value == pytest.approx(now - before)
    assert f"probability {chance(before)} then, {chance(now)} now" in found.text


def test_two_flags_in_a_row_are_not_called_larger() -> None:
    found = progression(of(finding(0.99)), NOW, prior(of(finding(0.7))))
    assert found is not None
    assert "no measure of size" in found.text


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (10.0, 12.0, "larger"),
        (10.0, 8.0, "smaller"),
        (10.0, 10.9, "unchanged"),
        (1.0, 1.4, "unchanged"),
    ],
)
def test_a_volume_has_changed_by_more_than_two_scans_differ(
    before: float, now: float, change: str
) -> None:
    found = progression(volume(now), NOW, prior(volume(before)))
    assert found is not None
    assert (found.change, found.unit) == (change, "ml")


def test_the_gravest_change_is_told() -> None:
    now = of(finding(0.9), finding(0.9, FRACTURE))
    before = of(finding(0.8), finding(0.1, FRACTURE))
    found = progression(now, NOW, prior(before))
    assert found is not None
    assert BLEED.label in found.text, "critical comes before urgent"


def test_another_version_of_the_model_is_not_compared() -> None:
    before = of(finding(0.1), model=package(version="0.9.0"))
    assert progression(of(finding(0.9)), NOW, prior(before)) is None


def test_nothing_is_compared_without_a_prior_or_with_a_later_one() -> None:
    assert progression(of(finding(0.9)), NOW, None) is None
    assert progression(of(finding(0.9)), NOW, prior(of(finding(0.1)), days=-1)) is None
    not_analysed = decide([series(reason="no model")], complete=True)
    assert progression(not_analysed, NOW, prior(of(finding(0.9)))) is None


def kept(decision: StudyDecision, acquired: str, uid: str = "1.2.9") -> KeptPrior:
    told = Told.of(decision, Step("final", "routine", None), "id")
    return KeptPrior(uid, acquired, 0.0, asdict(told))


def test_the_last_study_before_this_one_that_says_the_same_is_compared() -> None:
    now = of(finding(0.9), acquired="2024-05-31T10:15:30")
    priors = [
        kept(of(finding(0.1)), "2024-01-01T08:00:00", "1.2.1"),
        kept(of(finding(0.2)), "2024-04-01T10:15:30", "1.2.2"),
        kept(decide([series(reason="no model")], complete=True), "2024-05-01", "1.2.3"),
        kept(of(finding(0.9)), "2024-06-30T08:00:00", "1.2.4"),
    ]
    found = since(now, 0.0, priors)
    assert found is not None
    assert (found.prior_study_uid, found.interval_days) == ("1.2.2", 60.0)


@pytest.mark.parametrize(
    ("then", "now", "change"), [(0.1, 0.9, "new"), (0.1, 0.2, "larger"), (0.9, 0.1, "larger")]
)
def test_what_is_flagged_anew_comes_before_what_was_measured(
    then: float, now: float, change: str
) -> None:
    pair = replace(LESIONS, urgency="routine", flag_above_ml=None)
    measured = ModelResult(
        package("change"), volumes=(SeriesVolume(pair, 3.0, (2.0, 5.0)),), compared=COMPARED
    )
    one = series(finding(now), acquired="2024-05-31T10:15:30")
    both = decide([replace(one, models=(*one.models, measured))], complete=True)
    found = since(both, 0.0, [kept(of(finding(then)), "2024-04-01T10:15:30")])
    assert found is not None
    assert found.change == change


def test_what_was_told_before_there_were_figures_is_read_and_not_compared() -> None:
    old = kept(of(finding(0.1)), "2024-04-01T10:15:30")
    told = {key: value for key, value in old.told.items() if key != "values"}
    assert Told.from_json(told).values == {}
    assert since(of(finding(0.9)), 0.0, [replace(old, told=told)]) is None


def test_figures_come_back_from_the_journal_as_they_went_in() -> None:
    told = Told.of(of(finding(0.9)), Step("final", "critical", None), "id")
    assert Told.from_json(asdict(told)) == told
    assert list(told.values.values()) == [Value(0.9, True)]


def test_the_store_finds_the_patients_other_studies_and_nobody_elses(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        outbox = Outbox(store.journal)
        ids = []
        for number, pseudonym in enumerate(["A" * 26, "A" * 26, "B" * 26], start=1):
            receipt = store.keep(
                arrival(number, study=f"1.2.{number}", pseudonym=pseudonym), bytes([number])
            )
            ids.append(receipt.study_id)
            told = Told.of(of(finding(0.9)), Step("final", "critical", None), f"id-{number}")
            outcome = Outcome(
                receipt.study_id, receipt.key, StudyState.DECIDED, 1, "final", asdict(told)
            )
            alert = NewAlert(f"id-{number}", "critical", b"x")
            outbox.record(outcome, lambda _sequence, alert=alert: alert)  # type: ignore[misc]
        (other,) = store.priors(ids[1])
        assert other.study_uid == "1.2.1"
        assert other.acquired == "2024-05-01T10:15:30"
        assert store.priors(ids[2]) == ()
