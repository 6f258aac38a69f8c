"""Every study is told of, nothing is told twice, and a flag is taken back where it went."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from findings import FRACTURE, finding, series

from edge.alerts.decision import StudyDecision, decide
from edge.alerts.policy import Step, Told, next_alert

CLEAR = series(finding(0.1))
UNSURE = series(finding(0.5))
BLEED = series(finding(0.9))
BROKEN = series(finding(0.1), finding(0.9, FRACTURE))
BOTH = series(finding(0.9), finding(0.9, FRACTURE))
NOT_ANALYSED = series(reason="no model for this kind of study")
FAILED = series(reason="the model failed")
OTHER_CLEAR = series(finding(0.1), series_uid="1.2.3.5")
BROKEN_ALONE = series(finding(0.1, FRACTURE))
OPEN, COMPLETE = False, True

Said = tuple[bool, object]


def tell(*said: Said) -> list[Step | None]:
    """Say one thing after the other of a study; return the alerts that were sent for them."""
    told: Told | None = None
    steps = []
    for number, (complete, parts) in enumerate(said, start=1):
        decision = decision_of(complete, parts)
        step = next_alert(decision, told)
        steps.append(step)
        if step is not None:
            told = Told.of(decision, step, f"alert-{number}", told)
    return steps


def decision_of(complete: bool, parts: object) -> StudyDecision:
    return decide(parts if isinstance(parts, list) else [parts], complete=complete)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("name", "said", "steps"),
    [
        ("nothing yet", [(OPEN, CLEAR)], [None]),
        ("uncertain so far", [(OPEN, UNSURE)], [None]),
        ("clear", [(COMPLETE, CLEAR)], [Step("final", "routine", None)]),
        ("uncertain", [(COMPLETE, UNSURE)], [Step("final", "routine", None)]),
        ("not analysed", [(COMPLETE, NOT_ANALYSED)], [Step("final", "routine", None)]),
        ("flagged at the end", [(COMPLETE, BLEED)], [Step("final", "critical", None)]),
        (
            "flagged on the way, and at the end",
            [(OPEN, BLEED), (COMPLETE, BLEED)],
            [Step("provisional", "critical", None), Step("final", "critical", "alert-1")],
        ),
        (
            "flagged on the way once",
            [(OPEN, BLEED), (OPEN, BLEED), (OPEN, BLEED)],
            [Step("provisional", "critical", None), None, None],
        ),
        (
            "a second finding on the way",
            [(OPEN, BROKEN), (OPEN, BOTH), (COMPLETE, BOTH)],
            [
                Step("provisional", "urgent", None),
                Step("provisional", "critical", "alert-1"),
                Step("final", "critical", "alert-2"),
            ],
        ),
        (
            "a flag that does not hold goes back where it went",
            [(OPEN, BLEED), (COMPLETE, CLEAR)],
            [Step("provisional", "critical", None), Step("retracted", "critical", "alert-1")],
        ),
        (
            "a flag stands when the analysis fails afterwards",
            [(OPEN, BLEED), (COMPLETE, NOT_ANALYSED), (COMPLETE, NOT_ANALYSED)],
            [Step("provisional", "critical", None), Step("final", "critical", None), None],
        ),
        (
            "a flag stands when its series cannot be looked at again and another is clear",
            [(COMPLETE, BLEED), (COMPLETE, [FAILED, OTHER_CLEAR])],
            [Step("final", "critical", None), Step("final", "critical", None)],
        ),
        (
            "a flag that stood is taken back when its series is clear at last",
            [(COMPLETE, BLEED), (COMPLETE, [FAILED, OTHER_CLEAR]), (COMPLETE, CLEAR)],
            [
                Step("final", "critical", None),
                Step("final", "critical", None),
                Step("retracted", "critical", "alert-1"),
            ],
        ),
        (
            "a flag stands when nothing looked for it again",
            [(COMPLETE, BLEED), (COMPLETE, BROKEN_ALONE)],
            [Step("final", "critical", None), Step("final", "critical", None)],
        ),
        (
            "a flag is taken back where its series is clear and another cannot be looked at",
            [(COMPLETE, BLEED), (COMPLETE, [CLEAR, series(reason="no", series_uid="1.2.3.5")])],
            [Step("final", "critical", None), Step("retracted", "critical", "alert-1")],
        ),
        (
            "a flag that becomes uncertain is taken back",
            [(OPEN, BLEED), (COMPLETE, UNSURE)],
            [Step("provisional", "critical", None), Step("retracted", "critical", "alert-1")],
        ),
        (
            "one of two flags holds",
            [(OPEN, BOTH), (COMPLETE, BROKEN)],
            [Step("provisional", "critical", None), Step("final", "urgent", "alert-1")],
        ),
        (
            "complete twice with the same result",
            [(COMPLETE, CLEAR), (COMPLETE, CLEAR)],
            [Step("final", "routine", None), None],
        ),
        (
            "reopened, and now there is a bleed",
            [(COMPLETE, CLEAR), (OPEN, BLEED), (COMPLETE, BLEED)],
            [
                Step("final", "routine", None),
                Step("provisional", "critical", "alert-1"),
                Step("final", "critical", "alert-2"),
            ],
        ),
        (
            "reopened, and the bleed is what it was",
            [(COMPLETE, BLEED), (OPEN, BLEED), (COMPLETE, BLEED)],
            [Step("final", "critical", None), None, None],
        ),
        (
            "reopened, and the bleed is gone",
            [(COMPLETE, BLEED), (COMPLETE, CLEAR)],
            [Step("final", "critical", None), Step("retracted", "critical", "alert-1")],
        ),
        (
            "taken back once",
            [(OPEN, BLEED), (COMPLETE, CLEAR), (COMPLETE, CLEAR)],
            [Step("provisional", "critical", None), Step("retracted", "critical", "alert-1"), None],
        ),
        (
            "flagged again after it was taken back",
            [(OPEN, BLEED), (COMPLETE, CLEAR), (OPEN, BLEED)],
            [
                Step("provisional", "critical", None),
                Step("retracted", "critical", "alert-1"),
                Step("provisional", "critical", "alert-2"),
            ],
        ),
        (
            "a series that could not be analysed came after",
            [(COMPLETE, CLEAR), (COMPLETE, [CLEAR, NOT_ANALYSED])],
            [Step("final", "routine", None), Step("final", "routine", "alert-1")],
        ),
        (
            "another clear series came after",
            [(COMPLETE, CLEAR), (COMPLETE, [CLEAR, CLEAR])],
            [Step("final", "routine", None), Step("final", "routine", "alert-1")],
        ),
    ],
)
def test_what_is_sent(name: str, said: list[Said], steps: list[Step | None]) -> None:
    assert tell(*said) == steps, name


def test_what_was_told_is_the_same_after_a_restart() -> None:
    decision = decision_of(COMPLETE, [BOTH, NOT_ANALYSED])
    told = Told.of(decision, Step("final", "critical", None), "alert-1")
    kept = json.loads(json.dumps(asdict(told)))
    assert Told.from_json(kept) == told
    assert next_alert(decision, Told.from_json(kept)) is None
