"""Is this machine's clock right, as far as the journal can tell?

What came before bears an earlier stamp. An alert is made (our clock), then stored by a server (its
clock), then its receipt is in (our clock): where the server's moment lies outside the two, the
clocks differ by at least so much. A network's delay looks like no difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.grades import CheckResult, Grade
from edge.store.ages import FLOOR
from edge.store.journal import Journal
from edge.timestamps import parse_rfc3339

_SLACK_S = 60.0
_ADVICE = (
    "Set it, and have it kept right (chrony or systemd-timesyncd): servers refuse alerts that are "
    "more than 10 minutes ahead."
)


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """What the journal knows of the time. Seconds since the epoch; None where it knows nothing.

    Parameters
    ----------
    latest : float or None
        When the last entry of the audit was written.
    made, received : float or None
        Of the latest alert with a receipt: when it was made, and when the receipt was in, by our
        clock.
    stored : float or None
        When the server had stored that alert, by the server's clock.
    """

    latest: float | None = None
    made: float | None = None
    stored: float | None = None
    received: float | None = None


def clock_facts(journal: Journal) -> ClockFacts:
    """Return what the journal knows of the time."""
    with journal.reading() as read:
        last = read.execute("SELECT moment FROM audit ORDER BY number DESC LIMIT 1").fetchone()
        pair = read.execute(
            "SELECT outbox.created, receipts.stored, receipts.received FROM receipts"
            " JOIN outbox USING (sequence) WHERE receipts.status = 'stored'"
            " AND receipts.received IS NOT NULL ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
    latest = None if last is None else parse_rfc3339(last["moment"]).timestamp()
    if pair is None:
        return ClockFacts(latest)
    stored = parse_rfc3339(pair["stored"]).timestamp()
    return ClockFacts(latest, pair["created"], stored, pair["received"])


def judge_clock(facts: ClockFacts, now: float) -> CheckResult:
    """Return how the clock, which says `now`, stands to what is known."""
    if now < FLOOR:
        return CheckResult("clock", Grade.WARNING, "it was never set", _ADVICE)
    if facts.latest is not None and now < facts.latest - _SLACK_S:
        text = f"{_span(facts.latest - now)} behind what was noted here before"
        return CheckResult("clock", Grade.WARNING, text, _ADVICE)
    if facts.made is not None and facts.stored is not None and facts.received is not None:
        for apart, word in (
            (facts.made - facts.stored, "ahead of"),
            (facts.stored - facts.received, "behind"),
        ):
            if apart > _SLACK_S:
                text = f"{_span(apart)} or more {word} the central server's, by its last receipt"
                return CheckResult("clock", Grade.WARNING, text, _ADVICE)
        return CheckResult("clock", Grade.GOOD, "agrees with the central server's")
    return CheckResult("clock", Grade.GOOD, "nothing here speaks against it")


def _span(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days"
