"""Who said that they saw which alert: kept for good, by name."""

from __future__ import annotations

from edge.console.accounts import User
from edge.console.cards import Acknowledged
from edge.console.database import ConsoleDatabase


class Acknowledgements:
    """The acknowledgements; threads may share it."""

    def __init__(self, database: ConsoleDatabase) -> None:
        self._database = database

    def keep(self, sequence: int, study: int, user: User, at: float) -> Acknowledged:
        """Keep that somebody saw an alert; the first who did counts.

        Parameters
        ----------
        sequence, study : int
            The alert's and the study's numbers.
        user : User
        at : float
            Seconds since the epoch.
        """
        with self._database.transaction() as write:
            row = write.execute(
                "INSERT INTO acknowledgements (sequence, study_id, name, role, at)"
                " VALUES (?,?,?,?,?) ON CONFLICT (sequence) DO UPDATE SET sequence = sequence"
                " RETURNING *",
                (sequence, study, user.name, user.role.value, at),
            ).fetchone()
        return Acknowledged(row["name"], row["role"], row["at"])

    def of_study(self, study: int) -> dict[int, Acknowledged]:
        """Return who saw which of a study's alerts, by the alert's sequence."""
        with self._database.reading() as read:
            rows = read.execute(
                "SELECT * FROM acknowledgements WHERE study_id = ?", (study,)
            ).fetchall()
        return {row["sequence"]: Acknowledged(row["name"], row["role"], row["at"]) for row in rows}
