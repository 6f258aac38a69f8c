"""Which model looks at a series: a wrong one is worse than none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from arrivals import about
from findings import BLEED, FRACTURE, HEAD_CT, package

from edge.analysis.routing import SeriesAbout, choose, fits, most_urgent

HEAD = SeriesAbout.from_json(about())


@pytest.mark.parametrize(
    ("name", "change", "fit"),
    [
        ("a head CT", {}, True),
        ("another body part", {"body_part": "CHEST"}, False),
        ("another name of the body part", {"body_part": "BRAIN"}, True),
        ("a body part that only begins alike", {"body_part": "HEADNECK"}, False),
        ("another modality", {"modality": "MR"}, False),
        ("no modality", {"modality": ""}, False),
        ("no body part, described", {"body_part": "", "descriptions": ("CT HEAD",)}, True),
        ("no body part, protocol", {"body_part": "", "descriptions": ("x", "brain 5mm")}, True),
        ("no body part, other words", {"body_part": "", "descriptions": ("thorax",)}, False),
        ("no body part, no words", {"body_part": "", "descriptions": ()}, False),
        ("a body part against words", {"body_part": "CHEST", "descriptions": ("head",)}, False),
        ("a child", {"age_years": 17.9}, False),
        ("just grown up", {"age_years": 18.0}, True),
        ("of unknown age", {"age_years": None}, True),
        ("thick slices", {"slice_thickness_mm": 10.1}, False),
        ("the thickest slices allowed", {"slice_thickness_mm": 10.0}, True),
        ("of unknown thickness", {"slice_thickness_mm": None}, True),
    ],
)
def test_what_fits_a_route(name: str, change: dict[str, object], fit: bool) -> None:
    series = replace(HEAD, **change)  # type: ignore[arg-type]
    assert fits(series, HEAD_CT) is fit, name


def test_a_route_without_body_parts_takes_the_modality_as_it_comes() -> None:
    open_route = replace(HEAD_CT, body_parts=(), description=None)
    assert fits(HEAD, open_route)
    assert fits(replace(HEAD, body_part="", descriptions=()), open_route)


def test_a_route_by_words_alone_is_not_held_against_a_body_part() -> None:
    by_words = replace(HEAD_CT, body_parts=())
    assert fits(HEAD, by_words)
    assert not fits(replace(HEAD, body_part="", descriptions=("thorax",)), by_words)


def test_the_thinnest_slices_have_a_limit_too() -> None:
    route = replace(HEAD_CT, min_slice_thickness_mm=2.0, max_slice_thickness_mm=None)
    assert not fits(replace(HEAD, slice_thickness_mm=1.9), route)
    assert fits(replace(HEAD, slice_thickness_mm=2.0), route)


@pytest.mark.parametrize(
    ("view", "fit"), [("PA", True), ("AP", True), ("LATERAL", False), ("", False)]
)
def test_a_model_of_one_view_is_not_asked_about_another(view: str, fit: bool) -> None:
    assert fits(replace(HEAD, view=view), replace(HEAD_CT, views=("PA", "AP"))) is fit


def test_the_first_package_that_fits_looks() -> None:
    chest = package("chest", routes=(replace(HEAD_CT, body_parts=("CHEST",)),))
    first, second = package("first"), package("second")
    assert choose(HEAD, [chest, first, second]) == (first,)


def test_any_route_of_a_package_is_enough() -> None:
    two = package(routes=(replace(HEAD_CT, modality="MR"), HEAD_CT))
    assert choose(HEAD, [two]) == (two,)


def test_without_a_model_there_is_none() -> None:
    assert choose(HEAD, []) == ()
    assert choose(replace(HEAD, modality="US"), [package()]) == ()


def test_what_the_store_kept_of_a_series_is_enough_to_route_it() -> None:
    assert HEAD.descriptions == ("Confidential words",)
    assert HEAD.acquired == "2024-05-01T10:15:30"
    assert SeriesAbout.from_json({**about(), "acquired": ""}).acquired is None


def test_a_model_is_as_urgent_as_the_gravest_that_it_can_flag() -> None:
    told_of = replace(BLEED, reliable=False)
    assert most_urgent(package(findings=(FRACTURE, BLEED))) == "critical"
    assert most_urgent(package(findings=(FRACTURE, told_of))) == "urgent"
    assert most_urgent(package(findings=(told_of,))) == "routine"
    assert most_urgent(package(findings=())) == "routine"
