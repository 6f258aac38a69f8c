"""A report says what was decided of a study, and leaves out nothing that was not analysed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from findings import BLEED, FRACTURE, finding, package, series
from reporting import GROWN, LOOK, report

from edge.alerts.decision import DISCONTINUED, QUIET, ModelResult, SeriesVolume
from edge.imaging.quality.flags import Flag
from edge.imaging.spot import Spot
from edge.results.report import ImagePlace, Report, Verdict
from engines import Code, VolumeSpec

LESION = VolumeSpec(Code("SCT", "52988006", "Lesion"), "Lesions", (1,), None, 20.0, "urgent")


def test_each_finding_has_its_verdict_and_what_is_flagged_comes_first() -> None:
    doubtful = replace(FRACTURE, reliable=False)
    made = report(
        series(finding(0.1), finding(0.5, FRACTURE), finding(0.9), finding(0.9, doubtful))
    )
    assert [one.verdict for one in made.findings] == [
        Verdict.FLAGGED,
        Verdict.UNCERTAIN,
        Verdict.NOT_FLAGGED,
        Verdict.NOT_RELIABLE,
    ]
    assert made.outcome == "flagged"


def test_an_image_is_shown_for_what_is_flagged_or_uncertain_alone() -> None:
    unlikely = replace(finding(0.1), key_instance=2)
    flagged = replace(finding(0.9, FRACTURE), key_instance=3, key_frame=4)
    made = report(series(unlikely, flagged))
    assert [one.image for one in made.findings] == [ImagePlace(3, 4), None]
    assert made.key_images == (ImagePlace(3, 4),)
    assert made.instances == (3, 1)


def test_the_likeliest_key_image_comes_first_and_one_of_two_findings_once() -> None:
    low, high = finding(0.7, key_instance=5), finding(0.9, FRACTURE, key_instance=6)
    other = replace(series(finding(0.8, key_instance=6)), series_uid="1.2.3.5")
    made = report(series(low, high), other)
    assert [one.instance for one in made.key_images] == [6, 5]


def test_a_volume_comes_with_its_bounds_and_limits() -> None:
    model = package(findings=(), volumes=(LESION,))
    made = report(series(volumes=(SeriesVolume(LESION, 25.12345, (21.0, 30.0)),), model=model))
    (volume,) = made.volumes
    assert (volume.ml, volume.bounds_ml, volume.verdict) == (25.123, (21.0, 30.0), Verdict.FLAGGED)
    assert (volume.flag_below_ml, volume.flag_above_ml) == (None, 20.0)
    assert made.key_images == ()


def test_a_report_is_the_same_when_it_was_kept_as_json() -> None:
    blur = Flag("blur", 3.4, "mm", 2.6, "Edges are 3.4 mm wide.")
    model = package(findings=(), volumes=(LESION,))
    made = report(
        series(replace(finding(0.9), spot=Spot("patient's left", None))),
        replace(
            series(volumes=(SeriesVolume(LESION, 1.0, (0.5, 2.0)),), model=model, quality=(blur,)),
            series_uid="1.2.3.5",
        ),
        replace(series(reason="no model"), series_uid="1.2.3.6"),
        change=GROWN,
        look=LOOK,
    )
    assert Report.from_json(json.loads(json.dumps(made.as_json()))) == made
    assert (made.change, made.quality) == (GROWN.text, (blur.text,))
    assert made.findings[0].place == "patient's left"
    assert made.follow_up == LOOK


def test_a_report_that_was_kept_before_there_was_a_next_look_has_none() -> None:
    kept = report(look=LOOK).as_json()
    del kept["follow_up"]
    assert Report.from_json(kept) == report()


def test_another_next_look_is_something_new_to_say() -> None:
    assert report(look=LOOK).says_the_same(report(look=LOOK))
    assert not report(look=LOOK).says_the_same(report(look=replace(LOOK, within_days=2)))


def test_what_has_no_images_to_look_at_is_left_out_of_a_report_that_has_others() -> None:
    doses = replace(series(reason="no images"), is_image=False, modality="SR", series_uid="1.3")
    assert [one.modality for one in report(series(finding(0.1)), doses).series] == ["CT"]
    assert [one.modality for one in report(doses).series] == ["SR"]


def test_a_report_is_complete_when_every_model_looked_at_every_image() -> None:
    looked = series(finding(0.1))
    reports_of_doses = replace(
        series(reason="nothing to look at"), is_image=False, series_uid="1.3"
    )
    assert report(looked).complete
    assert report(looked, reports_of_doses).complete


@pytest.mark.parametrize(
    "part",
    [
        series(reason="no model for this kind of study"),
        replace(series(finding(0.1)), doubts=(QUIET,)),
        replace(series(finding(0.1)), doubts=(DISCONTINUED,)),
        replace(series(finding(0.1)), doubts=("For a: 3 of 40 images could not be read.",)),
        replace(
            series(finding(0.1)),
            models=(ModelResult(package(), (finding(0.1),)), ModelResult(package("b"), reason="x")),
            reasons=("Not analysed by b: x",),
        ),
    ],
    ids=["no model", "closed by silence", "discontinued", "unreadable", "a model did not look"],
)
def test_a_report_is_partial_when_something_was_not_looked_at_or_may_be_missing(
    part: object,
) -> None:
    second = replace(part, series_uid="1.2.3.5")  # type: ignore[type-var]
    assert not report(series(finding(0.1)), second).complete  # type: ignore[arg-type]


def test_nothing_that_names_a_model_is_left_out(tmp_path: Path) -> None:
    (model,) = report(series(finding(0.9, BLEED))).models
    assert (model.name, model.version, model.digest) == ("head-ct", "1.0.0", "ab" * 32)
    assert (model.engine, model.precision) == ("onnxruntime", "fp32")


def test_what_is_too_much_for_one_report_is_counted() -> None:
    made = report(
        series(finding(0.9)),
        *(series(finding(0.1), series_uid=f"1.2.4.{n}") for n in range(60)),
        *(series(reason="no model", series_uid=f"1.2.5.{n}") for n in range(10)),
    )
    assert len(made.series) == 64
    assert "7 more series are not listed, 7 of them NOT ANALYSED." in made.reasons
    assert "13 more statements of the models are not listed." in made.reasons


def test_reasons_and_doubts_that_are_too_many_are_counted() -> None:
    blurs = tuple(Flag("blur", n, "mm", 2.6, f"Edges are {n} mm wide.") for n in range(3, 53))
    parts = [
        series(reason=f"no model for kind {n}", series_uid=f"1.2.4.{n}", quality=blurs)
        for n in range(50)
    ]
    made = report(*parts)
    assert made.reasons[-2:] == ("no model for kind 47", "2 more reasons are not listed.")
    assert made.quality[-1] == "2 more doubts about the images are not listed."
    exact = report(*(series(reason=f"kind {n}", series_uid=f"1.2.4.{n}") for n in range(48)))
    assert exact.reasons[-1] == "kind 47"
