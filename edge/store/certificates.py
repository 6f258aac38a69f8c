"""Certificates of training, as they were signed. They name staff, never a patient."""

from __future__ import annotations

from dataclasses import dataclass

from edge.store.journal import Journal


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate on record. `expires`: the last day on which it holds, ISO 8601."""

    id: str
    who: str
    role: str
    issued: str
    expires: str
    signed: str


class CertificateStore:
    """The certificates' side of the journal; threads may share it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def keep(self, row: CertificateRow) -> None:
        """Keep a certificate for good."""
        with self._journal.transaction() as write:
            write.execute(
                "INSERT INTO certificates (id, who, role, issued, expires, signed)"
                " VALUES (?,?,?,?,?,?)",
                (row.id, row.who, row.role, row.issued, row.expires, row.signed),
            )

    def find(self, id_: str) -> CertificateRow | None:
        """Return a certificate by its id."""
        with self._journal.reading() as read:
            row = read.execute("SELECT * FROM certificates WHERE id = ?", (id_,)).fetchone()
        return None if row is None else CertificateRow(*row)

    def latest(self, who: str, role: str, since: str) -> CertificateRow | None:
        """Return somebody's latest certificate in a role, issued on the day `since` or later."""
        with self._journal.reading() as read:
            row = read.execute(
                "SELECT * FROM certificates WHERE who = ? COLLATE NOCASE AND role = ?"
                " AND issued >= ? ORDER BY expires DESC, id DESC LIMIT 1",
                (who, role, since),
            ).fetchone()
        return None if row is None else CertificateRow(*row)

    def all(self, limit: int) -> list[CertificateRow]:
        """Return the latest certificates, newest first."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT * FROM certificates ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [CertificateRow(*row) for row in rows]
