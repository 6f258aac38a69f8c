"""The course: complete in every language, a test that leaks nothing, marks that are right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edge.training.content import ROLES, SHIPPED, Course
from edge.training.paper import NotATest, draw, mark, show
from edge.training.texts import CourseError

SEED = bytes(range(16))


@pytest.fixture(scope="module")
def course() -> Course:
    return Course.read(SHIPPED)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A hospital's own copy of the course."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "own"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_steps_and_more_questions_than_a_test_draws(
    course: Course, role: str
) -> None:
    bank = [question for question in course.questions if role in question.roles]
    assert len(course.steps_of(role)) >= 4
    assert len(bank) > course.rules[role].questions
    assert course.rules[role].needed >= 0.8 * course.rules[role].questions


def test_every_step_of_a_role_is_asked_about(course: Course) -> None:
    for role in ROLES:
        asked = {question.step for question in course.questions if role in question.roles}
        assert asked == {step.id for step in course.steps_of(role)}


def test_arabic_says_everything_in_arabic(course: Course) -> None:
    arabic = course.wordings["ar"]
    texts = [page.title + page.body for page in arabic.steps.values()]
    for question in arabic.questions.values():
        texts += [question.text, question.right, *question.wrong, question.why]
    for whole in texts:
        text = re.sub(r"`[^`]*`|Scanside|PACS", "", whole)
        letters = re.findall(r"[^\W\d_]", text)
        arabic_letters = [letter for letter in letters if "\u0600" <= letter <= "\u06ff"]
        assert len(arabic_letters) > 0.8 * len(letters), whole
        assert not re.search(r"[0-9]", re.sub(r"^\d+\.", "", text, flags=re.MULTILINE)), whole


def test_the_longest_answer_is_not_a_sign_of_the_right_one(course: Course) -> None:
    for wording in course.wordings.values():
        longest = [
            question
            for question in wording.questions.values()
            if len(question.right) > max(map(len, question.wrong))
        ]
        assert len(longest) < 0.5 * len(wording.questions)


def test_the_same_seed_is_the_same_test_in_every_language(course: Course) -> None:
    paper = draw(course, "technician", SEED)
    assert paper == draw(course, "technician", SEED)
    assert paper != draw(course, "technician", SEED[::-1])
    english, arabic = (show(paper, course.wording(language)) for language in ("en", "ar"))
    for id_, places, one, other in zip(paper.questions, paper.places, english, arabic, strict=True):
        at = places.index(0)
        assert one.answers[at] == course.wording("en").questions[id_].right
        assert other.answers[at] == course.wording("ar").questions[id_].right


def test_the_right_answer_stands_in_every_place_about_as_often(course: Course) -> None:
    counts = [0, 0, 0, 0]
    for number in range(200):
        for places in draw(course, "physician", number.to_bytes(16, "big")).places:
            counts[places.index(0)] += 1
    assert min(counts) > 0.2 * sum(counts)


def test_all_right_passes_and_a_wrong_answer_is_explained(course: Course) -> None:
    paper = draw(course, "technician", SEED)
    right = [places.index(0) for places in paper.places]
    assert mark(paper, right, course, "en").passed
    wrong = [places.index(1) for places in paper.places[:3]] + right[3:]
    marks = mark(paper, wrong, course, "ar")
    assert (marks.score, marks.of, marks.passed) == (7, 10, False)
    first = marks.details[0]
    assert not first.correct
    assert first.chosen != first.right
    assert first.why == course.wording("ar").questions[paper.questions[0]].why


def test_no_answer_counts_as_wrong(course: Course) -> None:
    paper = draw(course, "admin", SEED)
    marks = mark(paper, [None] * 10, course, "en")
    assert (marks.score, marks.passed) == (0, False)


@pytest.mark.parametrize("answers", [[0] * 9, [0] * 11, [4] + [0] * 9, [-1] + [0] * 9])
def test_answers_that_do_not_belong_to_the_test_are_refused(
    course: Course, answers: list[int | None]
) -> None:
    with pytest.raises(NotATest):
        mark(draw(course, "admin", SEED), answers, course, "en")


def test_a_role_without_a_test_cannot_be_examined(course: Course) -> None:
    with pytest.raises(NotATest, match="service"):
        draw(course, "service", SEED)


def test_a_language_without_a_step_is_refused(own: Path) -> None:
    (own / "ar" / "privacy.md").unlink()
    with pytest.raises(CourseError, match=r"ar/privacy\.md"):
        Course.read(own)


def test_a_language_without_a_question_is_refused(own: Path) -> None:
    replace(own / "ar" / "questions.toml", "[silence]", "[silent]")
    with pytest.raises(CourseError, match="silence is missing"):
        Course.read(own)


def test_a_translation_with_fewer_answers_is_refused(own: Path) -> None:
    text = '"لدى المريض نزف، ويجب استدعاء جرّاح الأعصاب الخفر فوراً.", '
    replace(own / "ar" / "questions.toml", text, "")
    with pytest.raises(CourseError, match=r"\[flag-meaning\] has 2 wrong answers, en has 3"):
        Course.read(own)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("valid_months = 12", "valid_months = 0", "valid_months is not a whole number from 1"),
        ('version = "1"', 'versoin = "1"', "version is missing"),
        ('"technician", "physician", "admin"', '"nurse"', "something else than technician"),
        ("needed = 8", "needed = 11", "needed is above questions"),
        ("needed = 8", "needed = 80", "needed is not a whole number from 1 to"),
        ('id = "silence"', 'id = "flag-meaning"', "questions.toml.*silence is not known here"),
        (
            'step = "keep"\nroles = ["admin"]',
            'step = "keep"\nroles = ["technician"]',
            "take the step",
        ),
    ],
)
def test_a_mistake_in_the_course_is_named(own: Path, old: str, new: str, said: str) -> None:
    replace(own / "course.toml", old, new)
    with pytest.raises(CourseError, match=f"(?s){said}"):
        Course.read(own)


def test_a_hospital_may_take_a_language_away(own: Path) -> None:
    replace(own / "course.toml", 'languages = ["en", "ar"]', 'languages = ["ar"]')
    assert Course.read(own).wording("en").language == "ar"


def test_a_file_that_is_not_text_is_refused(own: Path) -> None:
    (own / "en" / "about.toml").write_bytes(b"title = \xff")
    with pytest.raises(CourseError, match="not UTF-8"):
        Course.read(own)
