"""Sessions: kept by the server, named by a cookie, ended by time, by leaving, by the account.

The cookie is 256 random bits; the database holds its SHA-256. A session ends when it is old,
when nothing was asked with it for a while, and when its account changes.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from edge.console.accounts import User, user_of
from edge.console.database import ConsoleDatabase

# `seen` is written once in so long: a page with many images is not as many transactions.
_SEEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody, logged in. `csrf` stands in every form and comes back with it."""

    user: User
    csrf: str
    digest: bytes


class Sessions:
    """The open sessions; threads may share it.

    Parameters
    ----------
    database : ConsoleDatabase
    longest_s : float
        After so long one logs in again, whatever one does.
    idle_s : float
        After so long without a request, too.
    """

    def __init__(self, database: ConsoleDatabase, *, longest_s: float, idle_s: float) -> None:
        self._database = database
        self._longest_s = longest_s
        self._idle_s = idle_s

    def open(self, user: User, *, now: float) -> str:
        """Begin a session; return what the cookie holds. Sessions that are over are removed."""
        cookie = secrets.token_urlsafe(32)
        with self._database.transaction() as write:
            write.execute(
                "DELETE FROM sessions WHERE created < ? OR seen < ?",
                (now - self._longest_s, now - self._idle_s),
            )
            write.execute(
                "INSERT INTO sessions (digest, user_id, csrf, created, seen) VALUES (?,?,?,?,?)",
                (_digest(cookie), user.id, secrets.token_urlsafe(24), now, now),
            )
        return cookie

    def find(self, cookie: str, *, now: float, touch: bool = True) -> Session | None:
        """Return the session of a cookie, or None when there is none or it is over.

        `touch` says that somebody asked for something, so that it is not idle.
        """
        digest = _digest(cookie)
        with self._database.reading() as read:
            row = read.execute(
                "SELECT users.*, csrf, seen FROM sessions JOIN users ON users.id = user_id"
                " WHERE digest = ? AND sessions.created >= ? AND seen >= ?",
                (digest, now - self._longest_s, now - self._idle_s),
            ).fetchone()
        if row is None:
            return None
        if touch and now - row["seen"] > _SEEN_S:
            with self._database.transaction() as write:
                write.execute("UPDATE sessions SET seen = ? WHERE digest = ?", (now, digest))
        return Session(user_of(row), row["csrf"], digest)

    def end(self, session: Session) -> None:
        """End a session."""
        with self._database.transaction() as write:
            write.execute("DELETE FROM sessions WHERE digest = ?", (session.digest,))


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
