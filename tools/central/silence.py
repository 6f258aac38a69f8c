"""When silence is an alarm of its own (a dead man's switch).

`judge` is a pure decision: what lasts at this moment, from what is known of each device. The
caller brings the facts and the time, and opens and ends events by the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What lasts."""

    SILENT = "silent"  # a device is offline for too long
    DRILL = "drill missed"
    GAP = "gap"  # alerts are missing between others
    DEAF = "not receiving"  # central itself has no broker or no database


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device; seconds since the epoch.

    Parameters
    ----------
    site, device : str
    online : bool
        As it says, or the broker in its name.
    heard : float or None
        When anything of it last came.
    drill : float or None
        When a drill of it last came.
    gap : float or None
        Since when alerts are missing between others.
    missing : int
        How many.
    """

    site: str
    device: str
    online: bool
    heard: float | None
    drill: float | None
    gap: float | None
    missing: int


@dataclass(frozen=True)
class Limits:
    """How long is too long, in seconds. `drill_s` None: no drills are expected."""

    silent_s: float
    gap_s: float
    drill_s: float | None


@dataclass(frozen=True)
class Condition:
    """Something that lasts; `device` is empty when it is about central itself."""

    kind: Kind
    site: str
    device: str
    said: str


def judge(
    devices: Iterable[DeviceFacts],
    limits: Limits,
    *,
    now: float,
    watching_since: float,
    deaf_since: float | None,
) -> list[Condition]:
    """Return what lasts now.

    Parameters
    ----------
    devices : iterable of DeviceFacts
        Every device that is believed, heard or not.
    limits : Limits
    now, watching_since : float
        A device cannot have been silent before we listened.
    deaf_since : float or None
        Since when we do not receive; then nothing is said of devices, for we would not hear them.
    """
    if deaf_since is not None:
        if now - deaf_since <= limits.silent_s:
            return []
        return [Condition(Kind.DEAF, "", "", f"for {_minutes(now - deaf_since)}")]
    return [one for facts in devices for one in _of_device(facts, limits, now, watching_since)]


def _of_device(
    facts: DeviceFacts, limits: Limits, now: float, watching_since: float
) -> Iterator[Condition]:
    def condition(kind: Kind, said: str) -> Condition:
        return Condition(kind, facts.site, facts.device, said)

    quiet_s = now - max(facts.heard or 0.0, watching_since)
    if not facts.online and quiet_s > limits.silent_s:
        yield condition(Kind.SILENT, f"offline for {_minutes(quiet_s)}")
    if limits.drill_s is not None:
        waited_s = now - max(facts.drill or 0.0, watching_since)
        if waited_s > limits.drill_s:
            yield condition(Kind.DRILL, f"none for {_minutes(waited_s)}")
    if facts.gap is not None and now - facts.gap > limits.gap_s:
        yield condition(Kind.GAP, f"{facts.missing} missing for {_minutes(now - facts.gap)}")


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
