"""An alert fits its schema whatever a scanner wrote into its headers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from findings import BLEED, FRACTURE, finding, package, series
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.alerts.compose import Names, StudyFacts, compose, identity_of
from edge.alerts.decision import SeriesResult, StudyDecision, decide
from edge.alerts.message import MAX_BODY, Alert, Identity, Location, QualityFlag, new_id
from edge.alerts.policy import Step
from edge.imaging.quality.flags import Flag
from edge.imaging.spot import Spot

NAMES = Names(new_id(), 7, "scanside-1", "hospital")
DECIDED = datetime(2024, 5, 1, 10, 16, tzinfo=timezone.utc)
LONGEST_UID = "1." + "9" * 62
FACTS = StudyFacts(
    study_uid="1.2.3",
    pseudonym="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    identity=None,
    images={1: "1.2.3.4.1", 2: "1.2.3.4.2"},
    engines={"head-ct": ("onnxruntime", "fp32")},
    first_byte=1714558500.25,
    last_byte=1714558530.5,
    inference_ms=123.45678,
    tail_inference_ms=6.5,
)


def told(
    parts: Sequence[SeriesResult],
    *,
    complete: bool = True,
    step: Step | None = None,
    facts: StudyFacts = FACTS,
) -> Alert:
    """Compose an alert, and read it back as a receiver does."""
    decision = decide(parts, complete=complete)
    step = step or Step("final", decision.urgency, None)
    return Alert.from_json(compose(NAMES, step, decision, facts, DECIDED).to_json())


def test_an_alert_says_what_was_found_where_by_what() -> None:
    alert = told([series(finding(0.91234567, key_instance=2), finding(0.1, FRACTURE))])
    assert (alert.status, alert.urgency, alert.outcome) == ("final", "critical", "flagged")
    bleed, fracture = alert.findings
    assert (bleed.label, bleed.probability, bleed.flagged) == ("Hemorrhage", 0.912346, True)
    assert (bleed.series_uid, bleed.key_image_uid) == ("1.2.3.4", "1.2.3.4.2")
    assert (bleed.code.value, bleed.threshold, bleed.model) == ("1386000", 0.5, "head-ct")
    assert not fracture.flagged
    (model,) = alert.model
    assert (model.name, model.version, model.digest) == ("head-ct", "1.0.0", "ab" * 32)
    assert (model.engine, model.precision) == ("onnxruntime", "fp32")


def test_an_alert_says_where_a_finding_is_seen() -> None:
    spot = Spot("patient's left, front", (31.5, -12.0, 84.0))
    (found,) = told([series(replace(finding(0.9), spot=spot))]).findings
    assert found.location == Location("patient's left, front", (31.5, -12.0, 84.0))


def test_a_place_that_no_scanner_reaches_is_told_in_words_alone() -> None:
    spot = Spot("patient's left", (31.5, -12.0, 84_000.0))
    (found,) = told([series(replace(finding(0.9), spot=spot))]).findings
    assert found.location == Location("patient's left", None)


def test_an_alert_says_what_is_doubtful_about_the_images_and_flags_all_the_same() -> None:
    blur = Flag("blur", 3.4, "mm", 2.6, "Edges are 3.4 mm wide.")
    alert = told([replace(series(finding(0.9)), quality=(blur,))])
    assert alert.outcome == "flagged"
    assert alert.quality == (QualityFlag("blur", 3.4, "mm", "Edges are 3.4 mm wide."),)


def test_more_doubts_than_an_alert_carries_are_left_out() -> None:
    blur = Flag("blur", 3.4, "mm", 2.6, "Edges are 3.4 mm wide.")
    assert len(told([replace(series(finding(0.1)), quality=(blur,) * 200)]).quality) == 24


def test_an_alert_says_how_the_images_came_and_when() -> None:
    alert = told([series(finding(0.1))])
    (one,) = alert.study.series
    assert (one.instances, one.analysed, one.completed_by) == (40, True, "geometry")
    assert alert.study.acquired == "2024-05-01T10:15:30"
    timing = alert.timing
    assert (timing.first_byte, timing.last_byte) == (
        "2024-05-01T10:15:00.250Z",
        "2024-05-01T10:15:30.500Z",
    )
    assert timing.decided == "2024-05-01T10:16:00.000Z"
    assert (timing.inference_ms, timing.tail_inference_ms) == (123.457, 6.5)


def test_a_provisional_alert_knows_no_last_byte() -> None:
    alert = told(
        [replace(series(finding(0.9)), evidence=None)],
        complete=False,
        step=Step("provisional", "critical", None),
    )
    assert alert.timing.last_byte is None
    assert alert.study.series[0].completed_by is None


def test_a_retraction_names_what_it_takes_back() -> None:
    before = new_id()
    alert = told([series(finding(0.1))], step=Step("retracted", "critical", before))
    assert (alert.status, alert.supersedes, alert.urgency) == ("retracted", before, "critical")


def test_what_was_not_analysed_says_why() -> None:
    alert = told([series(reason="no model for this kind of study")])
    assert alert.outcome == "not_analysed"
    assert alert.reasons == ("no model for this kind of study",)
    assert alert.model == ()
    assert not alert.study.series[0].analysed


def test_the_patient_is_a_pseudonym_unless_the_site_wants_more() -> None:
    assert told([series(finding(0.1))]).patient.identity is None
    identity = identity_of({"patient_id": "P1", "name": "Nobody^Test", "issuer": "X"})
    alert = told([series(finding(0.1))], facts=replace(FACTS, identity=identity))
    assert alert.patient.identity == Identity("P1", issuer="X", name="Nobody^Test")


def test_a_flag_is_told_of_however_many_series_there_are() -> None:
    parts = [series(finding(0.1, FRACTURE)) for _ in range(200)]
    alert = told([*parts, replace(series(finding(0.9)), series_uid="9.9")])
    assert alert.findings[0].flagged
    assert alert.study.series[0].series_uid == "9.9"
    assert alert.outcome == "flagged"


def test_a_code_string_that_breaks_the_standard_is_made_readable() -> None:
    odd = replace(series(finding(0.1)), modality="C\x00T", body_part="köpf\n" + "x" * 100)
    (one,) = told([odd]).study.series
    assert (one.modality, one.body_part) == ("C?T", "k?pf?" + "x" * 27)


def test_the_longest_alert_there_can_be_is_short_enough_to_send() -> None:
    longest = replace(
        series(finding(0.9), finding(0.9, FRACTURE)),
        series_uid=LONGEST_UID,
        modality='"' * 100,
        body_part='"' * 100,
        evidence="association",
        doubts=tuple(f"{number} of 99999 images could not be read." for number in range(40)),
    )
    unread = replace(longest, models=(), reasons=("because of this " * 50,))
    facts = replace(
        FACTS,
        study_uid=LONGEST_UID,
        images={1: LONGEST_UID},
        identity=identity_of(
            dict.fromkeys(
                ("patient_id", "issuer", "name", "birth_date", "sex", "accession"), "\x00" * 9999
            )
        ),
    )
    for parts in ([longest] * 100, [longest, *[unread] * 100]):
        alert = compose(
            NAMES, Step("final", "critical", new_id()), decide(parts, complete=True), facts, DECIDED
        )
        assert len(alert.to_json()) < MAX_BODY


anything = st.text(max_size=700)
one_series = st.builds(
    lambda found, reason, is_image, modality, body_part, instances, acquired, doubts: replace(
        series(*found, reason=None if found else reason, is_image=is_image),
        modality=modality,
        body_part=body_part,
        instances=instances,
        acquired=acquired,
        doubts=tuple(doubts),
    ),
    found=st.lists(
        st.builds(
            finding,
            st.floats(0, 1),
            st.sampled_from([BLEED, FRACTURE]),
            key_instance=st.sampled_from([1, 2, None]),
        ),
        max_size=3,
    ),
    reason=st.text(min_size=1, max_size=700),
    is_image=st.booleans(),
    modality=anything,
    body_part=anything,
    instances=st.integers(0, 100_000),
    acquired=st.sampled_from([None, "2024-05-01", "2024-05-01T10:15:30+01:00"]),
    doubts=st.lists(st.text(min_size=1, max_size=100), max_size=3),
)


@settings(max_examples=60)
@given(
    parts=st.lists(one_series, min_size=1, max_size=6),
    times=st.integers(1, 40),
    identity=st.dictionaries(
        st.sampled_from(["patient_id", "issuer", "name", "birth_date", "sex", "accession"]),
        anything,
    ),
    seconds=st.floats(0, 4e9),
)
def test_an_alert_fits_whatever_the_headers_say(
    parts: list[SeriesResult], times: int, identity: dict[str, str], seconds: float
) -> None:
    facts = replace(
        FACTS,
        identity=identity_of({"patient_id": "", **identity}),
        first_byte=seconds,
        last_byte=seconds,
    )
    decision: StudyDecision = decide(parts * times, complete=True)
    alert = compose(NAMES, Step("final", decision.urgency, None), decision, facts, DECIDED)
    body = alert.to_json()
    assert len(body) <= MAX_BODY
    assert Alert.from_json(body).outcome == json.loads(body)["outcome"] == decision.outcome


def test_more_models_than_an_alert_names_do_not_stop_it() -> None:
    names = [f"model-{number}" for number in range(30)]
    parts = [series(finding(0.9), model=package(name)) for name in names]
    engines = dict.fromkeys(names, ("onnxruntime", "fp32"))
    assert len(told(parts, facts=replace(FACTS, engines=engines)).model) == 16
