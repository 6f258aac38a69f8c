"""Which series were erased, known again when somebody names one.

A scanner may report a procedure step long after its images; what it names then must not come back.
Of a UID there is a keyed digest, useless without the device's key, and for as long as a step that
began before the erasure is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Callable, Iterable

# Of a Series Instance UID.
Fingerprint = Callable[[str], bytes]

_DOMAIN = b"scanside erased series"


def fingerprint(device_key: bytes, series_uid: str) -> bytes:
    """Return what stands for the UID of an erased series: HMAC-SHA256 (RFC 2104)."""
    return hmac.new(device_key, b"%s\0%s" % (_DOMAIN, series_uid.encode()), hashlib.sha256).digest()


def remember(write: sqlite3.Connection, study_id: int, of: Fingerprint, now: float) -> None:
    """Note the series of a study that is about to be erased, within the transaction."""
    rows = write.execute("SELECT series_uid FROM series WHERE study_id = ?", (study_id,)).fetchall()
    write.executemany(
        "INSERT OR REPLACE INTO erased_series (digest, erased) VALUES (?,?)",
        [(of(row["series_uid"]), now) for row in rows],
    )


def forget(write: sqlite3.Connection, before: float) -> None:
    """Let go of those that were erased before a moment."""
    write.execute("DELETE FROM erased_series WHERE erased < ?", (before,))


def names_one(write: sqlite3.Connection, series: Iterable[str], of: Fingerprint) -> bool:
    """Whether one of some series was erased and has not come again."""
    return any(
        write.execute(
            "SELECT 1 FROM erased_series WHERE digest = ?"
            " AND NOT EXISTS (SELECT 1 FROM series WHERE series_uid = ?)",
            (of(uid), uid),
        ).fetchone()
        for uid in series
    )
