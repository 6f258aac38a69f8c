"""Several models at one series: each says its own, and none takes the other's result away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import about
from findings import BLEED, HEAD_CT, package

from edge.alerts.decision import SeriesResult, decide
from edge.alerts.policy import next_alert
from edge.analysis.comparison import COMPARED_ALONE, NO_PRIOR, PriorSeries
from edge.analysis.completeness import Evidence
from edge.analysis.deaths import LEFT_OUT
from edge.analysis.messages import Closed, Looked, SliceScore
from edge.analysis.models import ENGINE_FAILED
from edge.analysis.progress import NO_MODEL, NOTHING_TO_LOOK_AT, SeriesInProgress
from edge.analysis.reading import Reading
from edge.analysis.routing import SeriesAbout, choose
from edge.analysis.volume_messages import VolumeJob, VolumeLooked
from engines import Code, PriorSpec, VolumeSpec

HEAD = SeriesAbout.from_json({**about(), "descriptions": ["FLAIR"]})
BRIGHTER = VolumeSpec(Code("99TEST", "B", "Brighter"), "Brighter", (1,), None, None, "routine")
FLAIR = PriorSpec("flair", least_similarity=0.9, least_days=1.0)
TUMOUR = package("tumour", findings=(BLEED,), path=Path("/tumour"))
SIZES = package("sizes", findings=(), volumes=(BRIGHTER,), path=Path("/sizes"))
CHANGE = replace(SIZES, name="change", prior=FLAIR, path=Path("/change"))
PRIOR = PriorSeries(9, "1.2.9", "2023-05-01", 366.0, (), b"")
APART = "the two studies could not be aligned: they show no common part"


# Which models see a series


def names(*packages: object, prior: bool = True, series: SeriesAbout = HEAD) -> list[str]:
    return [one.name for one in choose(series, packages, lambda _: prior)]  # type: ignore[arg-type]


def test_a_series_that_is_compared_also_goes_to_the_model_of_one_study() -> None:
    assert names(CHANGE, TUMOUR) == names(TUMOUR, CHANGE) == ["tumour", "change"]


def test_without_an_earlier_study_the_model_of_one_study_is_alone() -> None:
    assert names(CHANGE, TUMOUR, prior=False) == ["tumour"]
    assert names(CHANGE, prior=False) == []


def test_every_comparison_looks_whose_earlier_study_is_there() -> None:
    t1 = replace(CHANGE, name="t1-change", prior=replace(FLAIR, description="t1"))
    other = replace(CHANGE, name="other-change", prior=replace(FLAIR, least_days=9.0))
    assert names(CHANGE, other, t1) == ["change", "other-change"], "it is called no T1"


def test_two_models_of_a_kind_do_not_compete() -> None:
    adults, children = package("adults"), package("children")
    assert names(adults, children) == ["adults"]
    assert names(children, adults) == ["children"], "the order of preference decides"
    assert names(SIZES, replace(SIZES, name="more-sizes")) == ["sizes"]


def test_a_model_that_measures_takes_the_series_from_none_that_judges() -> None:
    assert names(SIZES, CHANGE, TUMOUR) == ["tumour", "sizes", "change"]


def test_a_comparison_is_not_asked_about_what_its_route_does_not_take() -> None:
    abdomen = replace(CHANGE, routes=(replace(HEAD_CT, body_parts=("ABDOMEN",)),))
    assert names(abdomen, TUMOUR) == ["tumour"]


# What is said


def both(**changes: object) -> SeriesInProgress:
    """A complete series of two images at which two models look."""
    readings = (Reading(TUMOUR), Reading(CHANGE, PRIOR))
    made = SeriesInProgress(1, "1.2.3", HEAD, readings, evidence=Evidence.COUNT_REACHED, images=2)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def judged(series: SeriesInProgress, probability: float, *, familiar: bool = True) -> None:
    scores = tuple(SliceScore(number, 0, (probability,), familiar) for number in (1, 2))
    series.heard(Looked(1, 1, scores, None, 1.0, engine=("onnxruntime", "int8")))
    series.heard(Closed(1, series.reopened, (), 0.0))


def compared(series: SeriesInProgress, reason: str | None = None, revision: int = 0) -> bool:
    job = VolumeJob(1, 1, revision, CHANGE.path, "MR", (), b"", 1, None, PRIOR)
    measured = ((2.9,), ((2.0, 5.0),)) if reason is None else ((), ())
    looked = VolumeLooked(job, measured[0], reason, ("onnxruntime", "fp32"), 5.0)
    return series.heard_volume(replace(looked, bounds_ml=measured[1])) is not None


def said(result: SeriesResult) -> dict[str, list[str]]:
    return {one.package.name: [each.spec.label for each in one.stated] for one in result.models}


def test_what_both_say_is_told_each_by_its_model() -> None:
    series = both()
    judged(series, 0.1)
    assert not series.finished, "the comparison is still awaited"
    assert compared(series)
    assert series.finished
    result = series.result()
    assert said(result) == {"tumour": ["Hemorrhage"], "change": ["Brighter"]}
    assert (result.reasons, result.reason, result.doubts) == ((), None, ())
    assert [one.engine[1] for one in series.readings] == ["int8", "fp32"]
    assert series.inference_ms == 6.0


def test_a_comparison_that_fails_leaves_the_other_result_and_is_named() -> None:
    series = both()
    judged(series, 0.9)
    assert compared(series, APART)
    result = series.result()
    assert said(result) == {"tumour": ["Hemorrhage"], "change": []}
    assert result.reason is None
    decision = decide([result], complete=True)
    assert (decision.outcome, decision.urgency) == ("flagged", "critical")
    assert decision.reasons == (f"Not analysed by change: {APART}",)


def test_a_model_that_fails_leaves_the_comparison_and_is_named() -> None:
    series = both()
    series.readings[0].failure = ENGINE_FAILED
    series.readings[0].finished = True
    assert compared(series)
    result = series.result()
    assert said(result) == {"tumour": [], "change": ["Brighter"]}
    assert result.reasons == (f"Not analysed by tumour: {ENGINE_FAILED}",)
    assert result.doubts == (COMPARED_ALONE,), "nothing else was looked for, and that is said"


def test_where_both_fail_alike_it_is_said_once_and_otherwise_of_each() -> None:
    series = both()
    series.give_up("quarantined")
    assert series.result().reasons == ("quarantined",)
    series = both()
    series.heard(Closed(1, 0, (), 0.0))
    compared(series, APART)
    result = series.result()
    assert result.reasons == (
        "Not analysed by tumour: too few images",
        f"Not analysed by change: {APART}",
    )
    assert result.reason == "; ".join(result.reasons)
    assert decide([result], complete=True).outcome == "not_analysed"


def test_a_model_that_abstains_makes_the_study_uncertain_and_the_comparison_stands() -> None:
    series = both()
    judged(series, 0.9, familiar=False)
    compared(series)
    result = series.result()
    (doubt,) = result.doubts
    assert doubt.startswith("For tumour: The image does not look like what the model knows")
    assert decide([result], complete=True).outcome == "uncertain"
    assert said(result)["change"] == ["Brighter"]


def test_a_critical_flag_does_not_wait_for_the_comparison() -> None:
    series = both()
    judged(series, 0.9)
    decision = decide([series.result()], complete=False)
    step = next_alert(decision, None)
    assert step is not None
    assert (step.status, step.urgency) == ("provisional", "critical")
    assert decision.reasons == (), "nothing is said of a comparison that is not done"


def test_a_comparison_of_images_that_were_not_all_does_not_count() -> None:
    series = both(reopened=1)
    assert not compared(series, revision=0)
    assert not series.finished
    judged(series, 0.1)
    assert compared(series, revision=1)
    assert series.finished


def test_without_an_earlier_study_it_is_said_as_before() -> None:
    series = both(readings=(Reading(TUMOUR),), without_prior=True)
    judged(series, 0.1)
    assert series.result().doubts == (NO_PRIOR,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"readings": ()}, NO_MODEL), ({"images": 0}, NOTHING_TO_LOOK_AT)],
)
def test_a_series_that_nobody_looks_at_says_why(changes: dict[str, object], reason: str) -> None:
    series = both(**changes)
    for reading in series.readings:
        reading.finished = True
    result = series.result()
    assert (result.reasons, result.reason) == ((reason,), reason)


def test_an_image_that_ended_the_worker_is_named_by_its_place_in_the_patient() -> None:
    series = both()
    series.places = {4: 10.0, 5: 5.0}  # the first to come lies above the second
    series.left_out = {4}
    series.readings[0].unreadable[4] = LEFT_OUT
    judged(series, 0.1)
    assert compared(series)
    assert series.result().doubts == (
        "For tumour: 1 of 2 images could not be read.",
        "Image 2 of 2 was left out: analysis failed twice on it.",
    )
