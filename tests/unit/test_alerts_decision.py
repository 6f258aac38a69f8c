"""What is said of a study: a flag in any series flags it, and silence is never "normal"."""

from __future__ import annotations

from dataclasses import replace

import pytest
from findings import BLEED, FRACTURE, finding, package, series
from hypothesis import given
from hypothesis import strategies as st

from edge.alerts.decision import (
    CONFLICT,
    QUIET,
    UNFAMILIAR,
    SeriesResult,
    decide,
    doubts_of,
    find,
)

NO_MODEL = "no model for this kind of study"


@pytest.mark.parametrize(
    ("probability", "flagged", "abstained"),
    [
        (0.0, False, False),
        (0.39, False, False),
        (0.4, False, True),
        (0.5, False, True),
        (0.59, False, True),
        (0.6, True, False),
        (1.0, True, False),
    ],
)
def test_inside_the_band_the_model_says_nothing_either_way(
    probability: float, flagged: bool, abstained: bool
) -> None:
    one = finding(probability)
    assert (one.flagged, one.abstained) == (flagged, abstained)


def test_without_a_band_the_threshold_decides() -> None:
    plain = replace(BLEED, abstain=(0.5, 0.5))
    assert [finding(p, plain).flagged for p in (0.49, 0.5)] == [False, True]
    assert not finding(0.5, plain).abstained


def test_a_band_up_to_certainty_still_flags_what_is_certain() -> None:
    assert finding(1.0, replace(BLEED, abstain=(0.4, 1.0))).flagged


@pytest.mark.parametrize(
    ("name", "parts", "outcome", "urgency"),
    [
        ("nothing found", [series(finding(0.1), finding(0.1, FRACTURE))], "not_flagged", "routine"),
        ("a bleed", [series(finding(0.9), finding(0.1, FRACTURE))], "flagged", "critical"),
        ("a fracture", [series(finding(0.1), finding(0.9, FRACTURE))], "flagged", "urgent"),
        ("both", [series(finding(0.9, FRACTURE)), series(finding(0.7))], "flagged", "critical"),
        ("one of two series", [series(finding(0.1)), series(finding(0.9))], "flagged", "critical"),
        ("uncertain", [series(finding(0.5))], "uncertain", "routine"),
        (
            "uncertain and clear",
            [series(finding(0.5)), series(finding(0.1))],
            "uncertain",
            "routine",
        ),
        (
            "uncertain and flagged",
            [series(finding(0.5), finding(0.9, FRACTURE))],
            "flagged",
            "urgent",
        ),
        ("no model", [series(reason=NO_MODEL)], "not_analysed", "routine"),
        ("nothing at all", [], "not_analysed", "routine"),
        (
            "a part analysed",
            [series(finding(0.1)), series(reason=NO_MODEL)],
            "not_flagged",
            "routine",
        ),
    ],
)
def test_what_the_series_amount_to(
    name: str, parts: list[SeriesResult], outcome: str, urgency: str
) -> None:
    decision = decide(parts, complete=True)
    assert (decision.outcome, decision.urgency) == (outcome, urgency), name


def test_what_was_not_analysed_is_said_beside_what_was() -> None:
    decision = decide([series(finding(0.1)), series(reason=NO_MODEL)], complete=True)
    assert decision.reasons == (NO_MODEL,)


def test_a_dose_report_is_not_missed_by_anyone_when_the_images_were_analysed() -> None:
    report = series(reason="no images to look at", is_image=False)
    assert decide([series(finding(0.1)), report], complete=True).reasons == ()
    assert decide([report], complete=True).reasons == ("no images to look at",)


def test_doubts_follow_the_reasons_and_each_is_said_once() -> None:
    doubtful = replace(series(finding(0.1)), doubts=(QUIET, CONFLICT))
    decision = decide([doubtful, doubtful, series(reason=NO_MODEL)], complete=True)
    assert decision.reasons == (NO_MODEL, QUIET, CONFLICT)


def test_flagged_codes_are_named_once_and_in_order() -> None:
    decision = decide(
        [series(finding(0.9, FRACTURE), finding(0.9)), series(finding(0.8))], complete=False
    )
    assert decision.flagged == ("SCT:1386000", "SCT:71642004")


# From slices to findings


def test_each_finding_names_the_image_that_carries_most_of_it() -> None:
    bleed, fracture = find(package(), {(11, 0): (0.2, 0.9), (12, 0): (0.7, 0.1), (13, 0): (0.1, 0)})
    assert (bleed.probability, bleed.key_instance) == (0.7, 12)
    assert (fracture.probability, fracture.key_instance) == (0.9, 11)


def test_a_frame_of_a_multi_frame_image_names_its_image() -> None:
    bleed, _ = find(package(), {(11, 0): (0.2, 0.0), (11, 7): (0.8, 0.0)})
    assert (bleed.probability, bleed.key_instance) == (0.8, 11)


def test_without_slices_there_are_no_findings() -> None:
    assert find(package(), {}) == ()


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20).flatmap(
        lambda scores: st.permutations(list(enumerate(scores)))
    )
)
def test_the_order_of_the_slices_does_not_matter(scores: list[tuple[int, float]]) -> None:
    def said(order: list[tuple[int, float]]) -> list[float]:
        return [one.probability for one in find(package(), {(n, 0): (p, p) for n, p in order})]

    assert said(scores) == said(sorted(scores))


def test_an_image_unlike_what_the_model_knows_makes_the_model_abstain() -> None:
    model = package(findings=(BLEED,))
    found = find(model, {(1, 0): (0.99,)}, {(1, 0)})
    assert found[0].abstained
    decision = decide([series(*found, doubts=tuple(doubts_of(model, 1, 1)))], complete=True)
    assert decision.outcome == "uncertain"
    assert decision.reasons == (UNFAMILIAR,)


def test_a_few_unfamiliar_slices_are_left_out_and_told_of() -> None:
    model = package(findings=(BLEED,))
    scores = {(number, 0): (0.1,) for number in range(9)}
    quiet = find(model, {**scores, (9, 0): (0.2,)}, {(9, 0)})
    assert (quiet[0].probability, quiet[0].abstained) == (0.1, False)
    assert quiet[0].key_instance != 9
    assert "1 of 10 images" in doubts_of(model, 10, 1)[0]


def test_a_bleed_seen_only_in_an_unfamiliar_slice_is_neither_flagged_nor_lost() -> None:
    scores = {(number, 0): (0.1,) for number in range(9)}
    (found,) = find(package(findings=(BLEED,)), {**scores, (9, 0): (0.99,)}, {(9, 0)})
    assert (found.flagged, found.abstained) == (False, True)


def test_a_finding_that_is_not_reliable_never_flags_and_never_makes_a_study_uncertain() -> None:
    weak = replace(FRACTURE, reliable=False)
    model = package(findings=(BLEED, weak))
    found = find(model, {(1, 0): (0.1, 0.99)})
    assert (found[1].flagged, found[1].abstained) == (False, True)
    assert decide([series(*found)], complete=True).outcome == "not_flagged"
    assert doubts_of(model, 1, 0) == ["Not reliable enough to flag: Fracture."]
