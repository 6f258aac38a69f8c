"""The board: what presses, what was seen, what is told to an open page."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from test_alerts_message import DRILL, FINAL, FINDING, NOT_ANALYSED, PROVISIONAL, RETRACTED

from edge.alerts.message import Alert, Code, Measurement
from edge.analysis.news import Arrived
from edge.console import words
from edge.console.board import MOST, Board, Health
from edge.console.cards import Acknowledged, Card, Delivery, Tone, person_name
from edge.console.gone import Gone
from edge.console.language import language
from edge.console.pages import Pages

ARRIVED = Arrived(
    study=1,
    pseudonym="ABCDEF",
    name="Doe^Jane",
    modality="CT",
    body_part="HEAD",
    first_byte=100.0,
    last_byte=101.0,
    series=1,
    images=3,
    expected=40,
    quarantined=False,
)
AMINA = Acknowledged("Amina", "technician", 200.0)
FLAG = replace(FINDING, flagged=True, abstained=False)
CRITICAL = replace(
    FINAL, sequence=7, urgency="critical", outcome="flagged", status="provisional", findings=(FLAG,)
)
CALM = replace(
    FINAL, sequence=8, urgency="routine", outcome="not_flagged", findings=(), status="final"
)


def after(*alerts: Alert) -> Card:
    card = Card(ARRIVED)
    for alert in alerts:
        card = card.told(alert, 100.0)
    return card


def board(**changes: object) -> Board:
    return Board(**{"escalate_after_s": 60.0, "on_escalated": lambda _: None, **changes})  # type: ignore[arg-type]


def test_a_critical_flag_presses_until_somebody_says_that_they_saw_it() -> None:
    card = after(CRITICAL)
    assert (card.tone, card.pressing) == (Tone.CRITICAL, True)
    seen = card.acknowledge(AMINA)
    assert not seen.pressing
    assert seen.tone is Tone.CRITICAL, "it stays critical to look at"
    final = seen.told(replace(CRITICAL, sequence=8, status="final"), 110.0)
    assert not final.pressing, "the same flag, final, was seen already"


def test_a_measurement_out_of_its_bounds_presses_as_a_finding_does() -> None:
    large = Measurement(FINDING.code, "Seen", 31.5, None, 5.0, True, "1.2.3", "sizes")
    alert = replace(CRITICAL, findings=(), measurements=(large, replace(large, flagged=False)))
    card = after(alert)
    assert (card.tone, card.pressing, card.flags) == (Tone.CRITICAL, True, (large,))
    assert not card.acknowledge(AMINA).pressing
    assert words.extent(large, language("en")) == "31.5 ml"
    both = after(replace(alert, findings=(FLAG,)))
    assert both.flags == (FLAG, large)


def test_a_further_flag_presses_anew() -> None:
    other = replace(FLAG, code=Code("SCT", "71642004", "Fracture of skull"))
    later = replace(CRITICAL, sequence=8, findings=(FLAG, other))
    assert after(CRITICAL).acknowledge(AMINA).told(later, 110.0).pressing


def test_a_flag_stands_when_the_analysis_fails_after_it() -> None:
    failed = replace(NOT_ANALYSED, sequence=9, urgency="critical", status="final")
    card = after(CRITICAL, failed)
    assert card.flags == (FLAG,)
    assert card.pressing
    assert card.tone is Tone.CRITICAL


def test_a_flag_that_is_taken_back_presses_no_more() -> None:
    card = after(CRITICAL, replace(RETRACTED, sequence=9))
    assert (card.tone, card.pressing, card.flags) == (Tone.RETRACTED, False, ())


def test_an_older_alert_does_not_replace_a_newer_one() -> None:
    assert after(replace(CRITICAL, sequence=9), CALM).alert == replace(CRITICAL, sequence=9)


@pytest.mark.parametrize(
    ("alert", "tone"),
    [
        (CALM, Tone.CLEAR),
        (NOT_ANALYSED, Tone.NOT_ANALYSED),
        (DRILL, Tone.DRILL),
        (replace(CALM, outcome="uncertain"), Tone.UNCERTAIN),
        (replace(CRITICAL, urgency="routine"), Tone.FLAGGED),
    ],
)
def test_every_outcome_has_a_look_of_its_own(alert: Alert, tone: Tone) -> None:
    assert after(alert).tone is tone
    assert not after(alert).pressing


def test_what_presses_stands_first_then_the_latest() -> None:
    shown = board()
    for study, alert in (
        (1, CRITICAL),
        (2, CALM),
        (3, None),
        (4, replace(CRITICAL, urgency="urgent")),
    ):
        shown.arrived(replace(ARRIVED, study=study, first_byte=100.0 + study))
        if alert is not None:
            shown.told(study, replace(alert, sequence=study))
    assert [card.study for card in shown.cards()] == [1, 4, 3, 2]


def test_nobody_in_time_is_said_once() -> None:
    late: list[int] = []
    shown = board(escalate_after_s=60.0, on_escalated=lambda card: late.append(card.study))
    shown.fill([after(CRITICAL)])
    assert shown.escalate(130.0) == pytest.approx(30.0)
    assert shown.escalate(161.0) is None
    assert shown.escalate(170.0) is None
    assert late == [1]
    card = shown.card(1)
    assert card is not None
    assert card.escalated


def test_an_acknowledgement_is_of_the_alert_that_was_shown() -> None:
    shown = board()
    shown.fill([after(CRITICAL)])
    assert not shown.acknowledge(1, 6, AMINA)
    assert shown.acknowledge(1, 7, AMINA)
    assert not shown.acknowledge(9, 7, AMINA)


def test_a_slow_page_is_told_the_latest_and_no_more() -> None:
    async def watch() -> None:
        shown = board()
        shown.serve_in(asyncio.get_running_loop())
        shown.arrived(ARRIVED)
        with shown.listening() as listener:
            first = shown.take(listener)
            assert [card.study for card in first.cards] == [1]
            assert first.pressing == ()
            for images in range(4, 200):
                shown.arrived(replace(ARRIVED, images=images))
            await asyncio.wait_for(listener.ready.wait(), 30)
            assert not listener.hurry.is_set()
            changes = shown.take(listener)
            assert [card.arrived.images for card in changes.cards] == [199]
            assert changes.pressing is None
            shown.told(1, CRITICAL)
            await asyncio.wait_for(listener.hurry.wait(), 30)
            told = shown.take(listener)
            assert told.pressing is not None
            assert [card.study for card in told.pressing] == [1]
            shown.close()
            assert shown.take(listener).over

    asyncio.run(watch())


def test_the_board_is_bounded_and_keeps_what_presses() -> None:
    shown = board()
    shown.fill([after(CRITICAL)])
    for study in range(2, MOST + 50):
        shown.arrived(replace(ARRIVED, study=study, first_byte=100.0 + study))
    cards = shown.cards()
    assert len(cards) == MOST
    assert cards[0].study == 1
    assert cards[1].study == MOST + 49


def test_delivery_is_shown_of_the_latest_alert() -> None:
    shown = board()
    shown.fill([after(CRITICAL)])
    shown.delivered({7: Delivery.RECEIVED, 8: Delivery.SENT})
    card = shown.card(1)
    assert card is not None
    assert card.delivery is Delivery.RECEIVED


@pytest.mark.parametrize(
    ("dicom", "said"),
    [
        ("Doe^Jane", "Jane Doe"),
        ("Hassan^Layla^M.^Dr.^", "Dr. Layla M. Hassan"),
        ("Yamada^Tarou=山田^太郎", "Tarou Yamada"),
        ("", ""),
        ("^^^^", ""),
    ],
)
def test_a_name_is_written_as_people_write_it(dicom: str, said: str) -> None:
    assert person_name(dicom) == said


def test_a_provisional_flag_is_shown_as_such() -> None:
    card = after(replace(PROVISIONAL, sequence=7))
    assert card.alert is not None
    assert card.alert.status == "provisional"


def test_an_erased_study_says_nothing_but_that_and_presses_nobody() -> None:
    shown = board()
    shown.fill([after(CRITICAL)])
    shown.erased(1)
    shown.erased(9)
    card = shown.card(1)
    assert card is not None
    assert (card.tone, card.pressing, card.flags, card.alert) == (Tone.ERASED, False, (), None)
    assert (card.name, card.arrived.pseudonym, card.arrived.modality) == ("", "", "")
    assert words.TONES[card.tone] == "Erased"
    shown.told(1, replace(CRITICAL, sequence=8))
    assert shown.card(1) == card, "what was decided in the same moment does not come back"
    assert shown.escalate(1e9) is None


def test_a_card_is_made_once_for_all_boards_and_kept_of_no_study_that_is_gone() -> None:
    gone = Gone()
    pages = Pages(gone)

    def piece() -> str:
        return pages.card(after(CRITICAL), "en", named=True, may_acknowledge=True)

    first = piece()
    assert piece() is first
    gone.add(1)
    pages.forget(1)
    late = piece()
    assert late == first
    assert late is not first
    assert piece() is not late


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({}, "Everything works"),
        ({"engines_failed": "brain-mri, chest"}, "could not be loaded: brain-mri, chest."),
        ({"pacs_away": True}, "reports wait on this appliance"),
        ({"pacs_refused": True}, "The PACS refused reports"),
    ],
)
def test_the_board_says_what_is_not_well(health: dict[str, Any], said: str) -> None:
    values = {"health": Health(broker=True, engines_ready=True, **health), "words": words}
    shown = Pages(Gone()).render("health.html", values, "en")
    assert said in shown
    assert ("Everything works" in shown) == (not health)
