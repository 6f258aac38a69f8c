"""Moments as the alert writes them: RFC 3339, UTC, milliseconds, always 24 characters.

One fixed form sorts as text, compares as bytes and reads the same in every language.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FORM = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)


def rfc3339(moment: datetime) -> str:
    """Write a moment as ``2026-03-01T09:30:00.250Z``.

    Parameters
    ----------
    moment : datetime
        Aware; any time zone. Microseconds are cut to milliseconds.

    Raises
    ------
    ValueError
        When `moment` has no time zone: local time would be a guess.
    """
    if moment.tzinfo is None:
        msg = "a moment without a time zone cannot be written as RFC 3339"
        raise ValueError(msg)
    utc = moment.astimezone(timezone.utc)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def parse_rfc3339(text: str) -> datetime:
    """Read what `rfc3339` writes, and nothing else.

    Raises
    ------
    ValueError
        When the text has another form or names no real moment.
    """
    if not _FORM.fullmatch(text):
        msg = "not an RFC 3339 moment in UTC with milliseconds, such as 2026-03-01T09:30:00.250Z"
        raise ValueError(msg)
    # Python 3.10's fromisoformat knows no "Z".
    return datetime.fromisoformat(text[:-1] + "+00:00")


def scanner_moment(text: str) -> datetime | None:
    """Read when a scanner says that it made something, ISO 8601; None where it says nothing.

    A time without a zone is taken for UTC: two studies of one hospital lack it alike, and the days
    between them do not depend on it.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
