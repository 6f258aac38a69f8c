"""How old studies are, where the clock may have been wrong when they came. Reads only.

A stamp is believed if it is not before `FLOOR`, not in the future, and not before that of a study
that came earlier; studies are numbered as they come. Where it is not, a study counts as if it had
come with the next one whose stamp is believed, and as if just now where there is none: nothing goes
early, and nothing stays for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.store.journal import Journal

FLOOR = 1577836800.0
"""2020-01-01: before there was a Scanside, so a clock that says less was never set."""

# A slow sender's study gets its number after one that began later, and clocks are set by seconds.
_SLACK_S = 3600.0


@dataclass(frozen=True, slots=True)
class Age:
    """When a study counts as come, in seconds since the epoch.

    Parameters
    ----------
    came : float
        Never less than of a study with a lower number.
    latest : float
        Its last image.
    doubted : bool
        Whether its own stamps are not believed.
    """

    came: float
    latest: float
    doubted: bool


def ages(journal: Journal, now: float) -> Mapping[int, Age]:
    """Return the age of each study that is here, by number, in the order they came.

    Parameters
    ----------
    journal : Journal
    now : float
        Seconds since the epoch.
    """
    with journal.reading() as read:
        rows = read.execute(
            "SELECT id, first_byte, last_byte FROM studies WHERE state != 'erased' ORDER BY id"
        ).fetchall()
        (erased,) = read.execute(
            "SELECT MAX(first_byte) FROM studies WHERE state = 'erased' AND first_byte <= ?"
            " AND id < ?",
            (now, rows[0]["id"] if rows else 0),
        ).fetchone()
    latest = max(FLOOR, erased or FLOOR)
    believed = {}
    for row in rows:
        if latest - _SLACK_S <= row["first_byte"] <= now + _SLACK_S:
            believed[row["id"]] = latest = max(latest, row["first_byte"])
    found, following = {}, now
    for row in reversed(rows):
        came = believed.get(row["id"], following)
        last = row["last_byte"]
        sound = row["id"] in believed and came - _SLACK_S <= last <= now + _SLACK_S
        found[row["id"]] = Age(came, max(came, last) if sound else following, not sound)
        following = came
    return dict(reversed(found.items()))
