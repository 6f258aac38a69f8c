"""A course as a hospital writes it: plain files, read and checked.

    course.toml             roles, steps and rules, the same in every language
    en/about.toml           the course's title and introduction
    en/STEP.md              one step: a heading, then Markdown
    en/questions.toml       the question bank's words
    ar/ ...                 the same files in another language

Which answer is right stands in each language's own words (`right`), never as a number that a
translator could let slip. A language is either complete or an error: nobody is half examined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.training.texts import CourseError, Table, read_table, read_text

SHIPPED = Path(__file__).parent / "courses" / "staff"
ROLES = ("technician", "physician", "admin")
MAX_STEPS, MAX_QUESTIONS = 50, 500


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a course: who takes it. Its words are in `Wording.steps`."""

    id: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the bank: who may be asked it, and which step answers it."""

    id: str
    step: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A role's test: how many questions are drawn, and how many must be right."""

    questions: int
    needed: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A question in words. `wrong` is in the order of the file; the test shuffles."""

    text: str
    right: str
    wrong: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Page:
    """A step in words; `body` is Markdown."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Wording:
    """A course in one language: everything by the same ids as in `Course`."""

    language: str
    title: str
    introduction: str
    steps: Mapping[str, Page]
    questions: Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Course:
    """A course, checked: every language says all of it.

    Parameters
    ----------
    id, version : str
        The version is in each certificate; a site that edits the course raises it.
    valid_months : int
        How long a certificate holds.
    steps, questions : tuple
        In the order of course.toml.
    rules : mapping of str to Rule
        By role.
    wordings : mapping of str to Wording
        By language; the first is what others fall back to.
    """

    id: str
    version: str
    valid_months: int
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]
    rules: Mapping[str, Rule]
    wordings: Mapping[str, Wording]

    @classmethod
    def read(cls, folder: Path) -> Course:
        """Read and check a course.

        Raises
        ------
        CourseError
            At the first thing that is wrong: the text names file and key.
        """
        table = read_table(folder / "course.toml")
        steps = tuple(_step(one) for one in table.tables("step", MAX_STEPS))
        known = {step.id: step for step in steps}
        questions = tuple(_question(one, known) for one in table.tables("question", MAX_QUESTIONS))
        rules = {
            one.choice("role", ROLES): _rule(one, questions) for one in table.tables("test", 3)
        }
        languages = table.texts("languages")
        course = cls(
            id=table.name("id"),
            version=table.text("version"),
            valid_months=table.number("valid_months", 1, 120),
            steps=steps,
            questions=questions,
            rules=rules,
            wordings={
                language: _wording(folder / language, language, steps, questions)
                for language in languages
            },
        )
        _check_same_shape(folder, course)
        table.nothing_else()
        return course

    def wording(self, language: str) -> Wording:
        """Return the course in a language, or in its first one where it does not have it."""
        return self.wordings.get(language) or next(iter(self.wordings.values()))

    def steps_of(self, role: str) -> tuple[Step, ...]:
        """Return the steps that a role takes, in order."""
        return tuple(step for step in self.steps if role in step.roles)


def _roles(table: Table) -> frozenset[str]:
    return frozenset(table.choices("roles", ROLES))


def _step(table: Table) -> Step:
    step = Step(table.name("id"), _roles(table))
    table.nothing_else()
    return step


def _question(table: Table, steps: Mapping[str, Step]) -> Question:
    question = Question(table.name("id"), table.choice("step", tuple(steps)), _roles(table))
    strangers = question.roles - steps[question.step].roles
    if strangers:
        raise table.wrong("roles", f"{min(strangers)} does not take the step {question.step}")
    table.nothing_else()
    return question


def _rule(table: Table, questions: tuple[Question, ...]) -> Rule:
    role = table.choice("role", ROLES)
    bank = sum(role in question.roles for question in questions)
    rule = Rule(table.number("questions", 1, bank), table.number("needed", 1, bank))
    if rule.needed > rule.questions:
        raise table.wrong("needed", f"is above questions = {rule.questions}: nobody could pass")
    table.nothing_else()
    return rule


def _wording(
    folder: Path, language: str, steps: tuple[Step, ...], questions: tuple[Question, ...]
) -> Wording:
    about = read_table(folder / "about.toml")
    bank = read_table(folder / "questions.toml")
    wording = Wording(
        language=language,
        title=about.text("title"),
        introduction=about.text("introduction"),
        steps={step.id: _page(folder / f"{step.id}.md") for step in steps},
        questions={one.id: choice_of(bank.table(one.id)) for one in questions},
    )
    about.nothing_else()
    bank.nothing_else()
    return wording


def _page(file: Path) -> Page:
    first, _, body = read_text(file).partition("\n")
    if not first.startswith("# ") or not body.strip():
        raise CourseError(f"{file}: begin with a line `# Title`, then the text of the step.")
    return Page(first[2:].strip(), body.strip())


def choice_of(table: Table) -> Choice:
    """Read a question with its right and wrong answers; raises `CourseError`."""
    choice = Choice(
        table.text("text"), table.text("right"), table.texts("wrong"), table.text("why")
    )
    if len({choice.right, *choice.wrong}) != 1 + len(choice.wrong):
        raise table.wrong("wrong", "two answers are the same")
    table.nothing_else()
    return choice


def _check_same_shape(folder: Path, course: Course) -> None:
    """Refuse a translation with more or fewer answers: a test may change language midway."""
    first = next(iter(course.wordings.values()))
    for language, wording in course.wordings.items():
        for id_, choice in wording.questions.items():
            expected = len(first.questions[id_].wrong)
            if len(choice.wrong) != expected:
                raise CourseError(
                    f"{folder / language / 'questions.toml'}: [{id_}] has {len(choice.wrong)} "
                    f"wrong answers, {first.language} has {expected}. Every language has the same."
                )
    _unique(folder, "step", [step.id for step in course.steps])
    _unique(folder, "question", [question.id for question in course.questions])


def _unique(folder: Path, what: str, ids: list[str]) -> None:
    for id_ in ids:
        if ids.count(id_) > 1:
            raise CourseError(f"{folder / 'course.toml'}: the {what} {id_} is there twice.")
