"""A study as the board shows it. Pure: facts in, a card out.

A card is a value. It is replaced, never changed, so that threads may hand it around.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from edge.alerts.message import Alert, FindingResult, Measurement
from edge.analysis.news import Arrived

# What somebody must say that they saw.
PRESSING = frozenset({"critical", "urgent"})
_RANKS = {"critical": 0, "urgent": 1}


class Delivery(str, Enum):
    """How far an alert has come."""

    QUEUED = "queued"
    SENT = "sent"
    RECEIVED = "received"
    ESCALATED = "escalated"


class Tone(str, Enum):
    """How a card looks, the most pressing first. Each has a colour, a shape and a word."""

    CRITICAL = "critical"
    URGENT = "urgent"
    DRILL = "drill"
    RETRACTED = "retracted"
    NOT_ANALYSED = "not-analysed"
    UNCERTAIN = "uncertain"
    FLAGGED = "flagged"
    CLEAR = "clear"
    ERASED = "erased"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Who said that they saw a flag, and when (seconds since the epoch)."""

    name: str
    role: str
    at: float


@dataclass(frozen=True, slots=True)
class Card:
    """One study on the board.

    Parameters
    ----------
    arrived : Arrived
    alert : Alert or None
        What was last said of it.
    made : float
        When that was, seconds since the epoch.
    delivery : Delivery or None
        Of that alert.
    standing : Alert or None
        The flag that stands although the study could not be analysed to its end.
    seen : frozenset of str
        The codes of the flags that somebody acknowledged.
    acknowledged : Acknowledged or None
        The latest of them.
    escalated : bool
        Nobody did in time.
    erased : bool
        Nothing of it is left but that it came.
    """

    arrived: Arrived
    alert: Alert | None = None
    made: float = 0.0
    delivery: Delivery | None = None
    standing: Alert | None = None
    seen: frozenset[str] = frozenset()
    acknowledged: Acknowledged | None = None
    escalated: bool = False
    erased: bool = False

    @property
    def study(self) -> int:
        """The study's number."""
        return self.arrived.study

    @property
    def name(self) -> str:
        """The patient's name as people write it; empty where unknown."""
        return person_name(self.arrived.name)

    @property
    def flags(self) -> tuple[FindingResult | Measurement, ...]:
        """What is flagged: findings, the most probable first, then what was measured."""
        alert = self.standing or self.alert
        if alert is None or alert.status == "retracted":
            return ()
        flagged = [one for one in alert.findings if one.flagged]
        measured = [one for one in alert.measurements if one.flagged]
        return (*sorted(flagged, key=lambda one: -one.probability), *measured)

    @property
    def codes(self) -> frozenset[str]:
        """The codes of what is flagged."""
        return frozenset(one.code.key for one in self.flags)

    @property
    def pressing(self) -> bool:
        """Whether somebody must say that they saw it, and nobody has."""
        if self.alert is None or self.alert.urgency not in PRESSING:
            return False
        return bool(self.codes - self.seen)

    @property
    def tone(self) -> Tone:
        """How it looks."""
        alert = self.alert
        if self.erased:
            return Tone.ERASED
        if alert is None:
            return Tone.NOT_ANALYSED if self.arrived.quarantined else Tone.WAITING
        if alert.status == "retracted":
            return Tone.RETRACTED
        if alert.urgency == "drill":
            return Tone.DRILL
        if self.flags:
            return Tone(alert.urgency) if alert.urgency in PRESSING else Tone.FLAGGED
        if alert.outcome == "not_analysed":
            return Tone.NOT_ANALYSED
        return Tone.UNCERTAIN if alert.outcome == "uncertain" else Tone.CLEAR

    @property
    def place(self) -> tuple[int, float]:
        """Where it stands: what presses first, then the latest first. Sorts ascending."""
        rank = _RANKS[self.alert.urgency] if self.pressing and self.alert is not None else 2
        return rank, -self.arrived.first_byte

    def told(self, alert: Alert, made: float) -> Card:
        """Return the card after another alert.

        A flag that was acknowledged needs no second time when a later alert repeats it.
        """
        if self.erased or (self.alert is not None and self.alert.sequence > alert.sequence):
            return self
        stands = alert.outcome == "not_analysed" and alert.status != "retracted" and self.flags
        card = replace(
            self,
            alert=alert,
            made=made,
            delivery=Delivery.QUEUED,
            standing=(self.standing or self.alert) if stands else None,
        )
        return card if card.pressing else replace(card, escalated=False)

    def erase(self) -> Card:
        """Return the card after its study was erased."""
        return Card(
            Arrived.nothing(self.study, self.arrived.first_byte, self.arrived.last_byte),
            erased=True,
        )

    def acknowledge(self, by: Acknowledged) -> Card:
        """Return the card after somebody said that they saw its flags."""
        return replace(self, seen=self.seen | self.codes, acknowledged=by, escalated=False)


def person_name(dicom: str) -> str:
    """Return a DICOM person name as people write it.

    Source: PS3.5 section 6.2.1: family, given, middle, prefix, suffix, parted by ``^``; groups
    for other scripts, parted by ``=``.
    """
    family, given, middle, prefix, suffix = (
        part.strip() for part in (dicom.split("=", maxsplit=1)[0].split("^") + [""] * 5)[:5]
    )
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)
