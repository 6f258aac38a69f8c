"""How far somebody has come in the training: steps read, cases tried, tests drawn and marked."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge.console.accounts import User
from edge.console.database import ConsoleDatabase
from edge.training.content import Course


@dataclass(frozen=True, slots=True)
class Attempt:
    """A test of somebody.

    Parameters
    ----------
    id : int
    user_id : int
    role : str
        For which it was drawn.
    version : str
        Of the course.
    seed : bytes
        What it was drawn with.
    finished : float or None
        When it was handed in, seconds since the epoch.
    answers : tuple of int or None
        What was handed in; empty before.
    score : int or None
    """

    id: int
    user_id: int
    role: str
    version: str
    seed: bytes
    finished: float | None
    answers: tuple[int | None, ...]
    score: int | None


class Progress:
    """Everybody's progress; threads may share it. It goes when the account goes."""

    def __init__(self, database: ConsoleDatabase) -> None:
        self._database = database

    def read_step(self, user: User, course: Course, step: str) -> None:
        """Remember that somebody has read a step of this version of the course."""
        with self._database.transaction() as write:
            write.execute(
                "INSERT OR IGNORE INTO training_steps (user_id, course, version, step, at)"
                " VALUES (?,?,?,?,?)",
                (user.id, course.id, course.version, step, time.time()),
            )

    def steps_read(self, user: User, course: Course) -> frozenset[str]:
        """Return the steps that somebody has read of this version of the course."""
        with self._database.reading() as read:
            rows = read.execute(
                "SELECT step FROM training_steps WHERE user_id = ? AND course = ? AND version = ?",
                (user.id, course.id, course.version),
            ).fetchall()
        return frozenset(row["step"] for row in rows)

    def try_case(self, user: User, case: str, answer: int) -> None:
        """Remember what somebody last answered to a case: 0 is right."""
        with self._database.transaction() as write:
            write.execute(
                "REPLACE INTO training_cases (user_id, case_id, answer, at) VALUES (?,?,?,?)",
                (user.id, case, answer, time.time()),
            )

    def cases_tried(self, user: User) -> dict[str, int]:
        """Return what somebody last answered, by case."""
        with self._database.reading() as read:
            rows = read.execute(
                "SELECT case_id, answer FROM training_cases WHERE user_id = ?", (user.id,)
            ).fetchall()
        return {row["case_id"]: row["answer"] for row in rows}

    def begin(self, user: User, course: Course, seed: bytes) -> int:
        """Remember a test that was drawn; return its number. One that was open is dropped."""
        with self._database.transaction() as write:
            write.execute(
                "DELETE FROM training_tests WHERE user_id = ? AND finished IS NULL", (user.id,)
            )
            (number,) = write.execute(
                "INSERT INTO training_tests (user_id, role, version, seed, started)"
                " VALUES (?,?,?,?,?) RETURNING id",
                (user.id, user.role.value, course.version, seed, time.time()),
            ).fetchone()
        return int(number)

    def hand_in(self, attempt: Attempt, answers: Sequence[int | None], score: int) -> bool:
        """Remember answers and score; return False when it was handed in before."""
        with self._database.transaction() as write:
            changed = write.execute(
                "UPDATE training_tests SET finished = ?, answers = ?, score = ?"
                " WHERE id = ? AND finished IS NULL",
                (time.time(), json.dumps(list(answers)), score, attempt.id),
            ).rowcount
        return changed == 1

    def attempt(self, user: User, number: int) -> Attempt | None:
        """Return a test of this person, or None when there is none with that number."""
        with self._database.reading() as read:
            row = read.execute(
                "SELECT * FROM training_tests WHERE id = ? AND user_id = ?", (number, user.id)
            ).fetchone()
        if row is None:
            return None
        answers = json.loads(row["answers"]) if row["answers"] else ()
        return Attempt(
            id=row["id"],
            user_id=row["user_id"],
            role=row["role"],
            version=row["version"],
            seed=row["seed"],
            finished=row["finished"],
            answers=tuple(answers),
            score=row["score"],
        )

    def open_attempt(self, user: User) -> int | None:
        """Return the number of the test that somebody has begun and not handed in."""
        with self._database.reading() as read:
            row = read.execute(
                "SELECT id FROM training_tests WHERE user_id = ? AND finished IS NULL"
                " ORDER BY id DESC LIMIT 1",
                (user.id,),
            ).fetchone()
        return None if row is None else int(row["id"])
