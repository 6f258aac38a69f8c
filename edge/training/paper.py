"""A test: drawn from the bank, shown without its answers, marked. Pure.

A paper is its seed. The same seed draws the same questions in the same order with the same
places for the answers, so a journal row of a few bytes holds an open test over a restart, and
what a page shows (`Sheet`) has no place that could say which answer is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edge.training.content import Course, Wording

T = TypeVar("T")


class NotATest(ValueError):
    """Answers that do not belong to the test; the text says which."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A test that was drawn.

    Parameters
    ----------
    questions : tuple of str
        Ids, in the order asked.
    places : tuple of tuple of int
        For each question the answers as they stand on the page: 0 is the right one, from 1 on
        the wrong ones in the order of the file.
    needed : int
        Right answers to pass.
    """

    questions: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    needed: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the page shows it."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A question after the test: what was chosen, what was right, and why."""

    text: str
    chosen: str | None
    right: str
    why: str
    step: str
    correct: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """The outcome of a test."""

    score: int
    of: int
    needed: int
    details: tuple[Marked, ...]

    @property
    def passed(self) -> bool:
        """Whether enough was right."""
        return self.score >= self.needed


def draw(course: Course, role: str, seed: bytes) -> Paper:
    """Draw a test for a role.

    Parameters
    ----------
    course : Course
    role : str
        One that the course has a test for.
    seed : bytes
        From a secret random source; whoever knows it knows the answers' places.

    Raises
    ------
    NotATest
        When the course has no test for the role.
    """
    rule = course.rules.get(role)
    if rule is None:
        raise NotATest(f"The course {course.id} has no test for the role {role}.")
    bank = sorted(question.id for question in course.questions if role in question.roles)
    questions = shuffled(bank, seed, "questions")[: rule.questions]
    first = course.wording("")
    places = tuple(
        tuple(shuffled(range(1 + len(first.questions[id_].wrong)), seed, id_)) for id_ in questions
    )
    return Paper(tuple(questions), places, rule.needed)


def show(paper: Paper, wording: Wording) -> tuple[Asked, ...]:
    """Return the test in a language, without a sign of which answer is right."""
    return tuple(
        Asked(wording.questions[id_].text, tuple(_answers(wording, id_)[n] for n in places))
        for id_, places in zip(paper.questions, paper.places, strict=True)
    )


def mark(paper: Paper, answers: Sequence[int | None], course: Course, language: str) -> Marks:
    """Mark a test.

    Parameters
    ----------
    paper : Paper
    answers : sequence of int or None
        For each question the place that was chosen, from 0; None where nothing was.
    course : Course
    language : str
        Of the explanations.

    Raises
    ------
    NotATest
        When there are more or fewer answers than questions, or a place does not exist.
    """
    if len(answers) != len(paper.questions):
        raise NotATest(f"{len(answers)} answers to {len(paper.questions)} questions.")
    wording = course.wording(language)
    steps = {question.id: question.step for question in course.questions}
    details = []
    for number, (id_, places, answer) in enumerate(
        zip(paper.questions, paper.places, answers, strict=True), start=1
    ):
        if answer is not None and not 0 <= answer < len(places):
            raise NotATest(f"Question {number} has no answer {answer}.")
        words = wording.questions[id_]
        chosen = None if answer is None else places[answer]
        details.append(
            Marked(
                text=words.text,
                chosen=None if chosen is None else _answers(wording, id_)[chosen],
                right=words.right,
                why=words.why,
                step=steps[id_],
                correct=chosen == 0,
            )
        )
    score = sum(one.correct for one in details)
    return Marks(score, len(details), paper.needed, tuple(details))


def _answers(wording: Wording, id_: str) -> Mapping[int, str]:
    words = wording.questions[id_]
    return dict(enumerate((words.right, *words.wrong)))


def shuffled(items: Sequence[T], seed: bytes, purpose: str) -> list[T]:
    """Return the items in an order that seed and purpose fix, on every version of Python."""

    def weight(index: int) -> bytes:
        return hashlib.sha256(seed + purpose.encode() + b"\0" + str(index).encode()).digest()

    return [items[index] for index in sorted(range(len(items)), key=weight)]
