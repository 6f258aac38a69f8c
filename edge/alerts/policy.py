"""What deserves an alert, and of which kind. Pure: it decides, the caller acts.

Every study is told of at least once, also when nothing was found or nothing could be looked
at: silence is never an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from edge.alerts.decision import StudyDecision, Value, values_of


@dataclass(frozen=True, slots=True)
class Told:
    """What was last said of a study; `images` and `series` are how many it spoke of.

    `values` are the figures, for studies to come; `places` the Series Instance UID and the code of
    each flag.
    """

    alert_id: str
    status: str
    outcome: str
    urgency: str
    flagged: tuple[str, ...]
    reasons: tuple[str, ...]
    series: int
    images: int
    values: dict[str, Value] = field(default_factory=dict)
    places: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, decision: StudyDecision, step: Step, alert_id: str, before: Told | None = None
    ) -> Told:
        """Return what is told by an alert, and by the one `before` it where its flag stands."""
        told = cls(
            alert_id=alert_id,
            status=step.status,
            outcome=decision.outcome,
            urgency=step.urgency,
            flagged=decision.flagged,
            reasons=decision.reasons,
            series=len(decision.series),
            images=_images(decision),
            values=values_of(decision),
            places=_places(decision, flagged=True),
        )
        if before is None or not before.flagged or step.supersedes is not None:
            return told
        # So that it is this flag's own alert that is taken back, once it is.
        return replace(
            told,
            alert_id=before.alert_id,
            flagged=before.flagged,
            places=before.places,
            urgency=before.urgency,
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Told:
        """Read what the journal kept."""
        lists = {name: tuple(value[name]) for name in ("flagged", "reasons")}
        values = {key: Value(**one) for key, one in value.get("values", {}).items()}
        places = tuple((series, code) for series, code in value.get("places", ()))
        return cls(**{**value, **lists, "values": values, "places": places})


@dataclass(frozen=True, slots=True)
class Step:
    """An alert to send: its status, its urgency, and the alert it replaces."""

    status: str
    urgency: str
    supersedes: str | None


def next_alert(decision: StudyDecision, told: Told | None) -> Step | None:
    """Return the alert that a decision calls for, or None when nothing new is to be said.

    Parameters
    ----------
    decision : StudyDecision
        What is known now.
    told : Told or None
        What was last said of this study.
    """
    supersedes = told.alert_id if told is not None else None
    known = set(told.flagged) if told is not None else set()
    if not decision.complete:
        if set(decision.flagged) - known:
            return Step("provisional", decision.urgency, supersedes)
        return None
    if told is None:
        return Step("final", decision.urgency, None)
    if told.flagged and not decision.flagged and _unjudged(decision, told):
        # No evidence against the flag: the earlier alert stands, and this one says what is missing.
        said = (told.outcome, told.reasons) == (decision.outcome, decision.reasons)
        return None if said else Step("final", told.urgency, None)
    if told.flagged and not decision.flagged:
        # It goes where the flag went, so that whoever saw the flag sees it taken back.
        return Step("retracted", told.urgency, supersedes)
    if told.status == "provisional" or _differs(decision, told):
        return Step("final", decision.urgency, supersedes)
    return None


def _unjudged(decision: StudyDecision, told: Told) -> bool:
    """Return whether something that was flagged was not looked for again where it was flagged."""
    stated = set(_places(decision, flagged=False))
    codes = {code for _, code in stated}
    return not (set(told.places) <= stated and set(told.flagged) <= codes)


def _places(decision: StudyDecision, *, flagged: bool) -> tuple[tuple[str, str], ...]:
    """Return (Series Instance UID, code) of what is flagged, or of all that was looked for."""
    return tuple(
        (series.series_uid, said.spec.code.key)
        for series in decision.series
        for said in series.stated
        if said.flagged or not flagged
    )


def _differs(decision: StudyDecision, told: Told) -> bool:
    said = (told.outcome, told.flagged, told.reasons, told.series, told.images)
    return said != (
        decision.outcome,
        decision.flagged,
        decision.reasons,
        len(decision.series),
        _images(decision),
    )


def _images(decision: StudyDecision) -> int:
    return sum(one.instances for one in decision.series)
