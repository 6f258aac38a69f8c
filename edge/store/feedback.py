"""Physicians' words on findings, and counts of words and scores that outlive the studies.

What somebody said of a study is sealed with the study's key and goes when the study is erased.
What is counted belongs to no study: so many equal verdicts, so many scores in one bin, on one
day. A word, its message to central and the change of the counts are one transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

from edge.store.journal import Journal
from edge.store.records import open_json, seal_json
from edge.store.study_key import StudyKey


class Verdict(str, Enum):
    """A physician's word on what Scanside said of a finding."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is counted: a finding of a model. `code` is ``SCHEME:VALUE``."""

    model: str
    version: str
    code: str
    label: str


@dataclass(frozen=True, slots=True)
class Word:
    """What a physician said of one finding.

    Parameters
    ----------
    subject : Subject
    series_uid : str
        The series that the finding is in.
    alert_id : str
        The alert that told of it.
    flagged : bool
        Whether Scanside flagged it then.
    verdict : Verdict
    note : str
        Empty where none was written.
    who, role : str
        By the account's name.
    """

    subject: Subject
    series_uid: str
    alert_id: str
    flagged: bool
    verdict: Verdict
    note: str
    who: str
    role: str

    @property
    def about(self) -> tuple[str, str, str]:
        """What it is about: a later word of the same person on the same takes its place."""
        return self.who, self.series_uid, self.subject.code


@dataclass(frozen=True, slots=True)
class Said:
    """A word as it was kept: its number, from 1, and when (seconds since the epoch)."""

    number: int
    at: float
    word: Word


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """So many equal verdicts on one day."""

    day: date
    subject: Subject
    flagged: bool
    verdict: Verdict
    number: int


@dataclass(frozen=True, slots=True)
class Score:
    """A score to count: of a finding (`subject`), in a bin from 0."""

    subject: Subject
    bin: int


class FeedbackStore:
    """The words' side of the journal; threads may share it.

    Parameters
    ----------
    journal : Journal
    device_key : bytes
        32 bytes; opens the studies' keys.
    """

    def __init__(self, journal: Journal, device_key: bytes) -> None:
        self._journal = journal
        self._device_key = device_key

    def keep(self, study_id: int, word: Word, make_message: Callable[[int], bytes]) -> int:
        """Keep a word, its message and what it changes in the counts, or nothing of it.

        Parameters
        ----------
        study_id : int
            The study's number.
        word : Word
        make_message : callable
            Makes the sealed message for the number it is given; runs inside the transaction.

        Returns
        -------
        int
            The word's number.

        Raises
        ------
        LookupError
            If there is no such study, or it was erased.
        SealBroken
            If the study's key does not open.
        """
        now = time.time()
        with self._journal.transaction() as write:
            key = self._key(write, study_id)
            before = {said.word.about: said for said in self._of_study(write, study_id, key)}
            if earlier := before.get(word.about):
                _count_verdict(write, _day(earlier.at), earlier.word, -1)
            _count_verdict(write, _day(now), word, 1)
            (last,) = write.execute("SELECT COALESCE(MAX(number), 0) FROM feedback").fetchone()
            number = int(last) + 1
            write.execute(
                "INSERT INTO feedback (number, study_id, word, sealed, created) VALUES (?,?,?,?,?)",
                (number, study_id, seal_json(key, asdict(word)), make_message(number), now),
            )
        return number

    def of_study(self, study_id: int) -> list[Said]:
        """Return each person's last word on each finding, in the order they were said.

        Raises
        ------
        LookupError, SealBroken
            As `keep` does.
        """
        with self._journal.reading() as read:
            said = self._of_study(read, study_id, self._key(read, study_id))
        last = {one.word.about: one for one in said}
        return sorted(last.values(), key=lambda one: one.number)

    def verdicts(self) -> list[VerdictCount]:
        """Return every count of verdicts, by day."""
        with self._journal.reading() as read:
            rows = read.execute("SELECT * FROM verdict_counts WHERE number > 0").fetchall()
        return [
            VerdictCount(
                date.fromisoformat(row["day"]),
                _subject(row),
                bool(row["flagged"]),
                Verdict(row["verdict"]),
                row["number"],
            )
            for row in rows
        ]

    def scores(self, bins: int) -> dict[Subject, dict[date, Sequence[int]]]:
        """Return for each subject its scores by day, in `bins` bins."""
        with self._journal.reading() as read:
            rows = read.execute("SELECT * FROM score_counts ORDER BY day").fetchall()
        table: dict[Subject, dict[date, Sequence[int]]] = {}
        for row in rows:
            days = table.setdefault(_subject(row), {})
            counts = list(days.get(date.fromisoformat(row["day"]), [0] * bins))
            counts[min(bins - 1, row["bin"])] += row["number"]
            days[date.fromisoformat(row["day"])] = counts
        return table

    def pending(self, limit: int, exclude: Collection[int]) -> list[tuple[int, bytes]]:
        """Return messages that the broker has not acknowledged, the oldest first."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT number, sealed FROM feedback WHERE published IS NULL AND sealed != x''"
                " ORDER BY number LIMIT ?",  # erased with its study: there is nothing to send
                (limit + len(exclude),),
            ).fetchall()
        waiting = [(row["number"], row["sealed"]) for row in rows if row["number"] not in exclude]
        return waiting[:limit]

    def mark_published(self, number: int) -> None:
        """Record that the broker acknowledged a message."""
        with self._journal.transaction() as write:
            write.execute(
                "UPDATE feedback SET published = ? WHERE number = ?", (time.time(), number)
            )

    def _key(self, read: sqlite3.Connection, study_id: int) -> StudyKey:
        row = read.execute(
            "SELECT wrapped_key FROM studies WHERE id = ? AND state != 'erased'", (study_id,)
        ).fetchone()
        if row is None:
            raise LookupError(f"There is no study {study_id}, or it was erased.")
        return StudyKey.unwrap(row["wrapped_key"], self._device_key)

    def _of_study(self, read: sqlite3.Connection, study_id: int, key: StudyKey) -> list[Said]:
        rows = read.execute(
            "SELECT number, word, created FROM feedback WHERE study_id = ? ORDER BY number",
            (study_id,),
        ).fetchall()
        return [
            Said(row["number"], row["created"], _word(open_json(key, row["word"]))) for row in rows
        ]


def count_scores(write: sqlite3.Connection, scores: Iterable[Score], at: float) -> None:
    """Count scores of one decided study, within the transaction that keeps the decision."""
    for score in scores:
        write.execute(
            "INSERT INTO score_counts (day, model, version, code, label, bin, number)"
            " VALUES (?,?,?,?,?,?,1) ON CONFLICT DO UPDATE SET number = number + 1",
            (_day(at), *_columns(score.subject), score.bin),
        )


def _count_verdict(write: sqlite3.Connection, day: str, word: Word, change: int) -> None:
    write.execute(
        "INSERT INTO verdict_counts (day, model, version, code, label, flagged, verdict, number)"
        " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
        (day, *_columns(word.subject), word.flagged, word.verdict.value, change),
    )


def _columns(subject: Subject) -> tuple[str, str, str, str]:
    return subject.model, subject.version, subject.code, subject.label


def _subject(row: sqlite3.Row) -> Subject:
    return Subject(row["model"], row["version"], row["code"], row["label"])


def _word(value: dict[str, Any]) -> Word:
    return Word(
        **{**value, "subject": Subject(**value["subject"]), "verdict": Verdict(value["verdict"])}
    )


def _day(at: float) -> str:
    """Return the local day: what people at the site call today."""
    return datetime.fromtimestamp(at).astimezone().date().isoformat()
