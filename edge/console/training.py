"""Training as the pages use it: the course, the cases, a person's progress, the certificates."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from edge.audit import Act, Audit
from edge.console.accounts import Role, User
from edge.console.progress import Attempt, Progress
from edge.keys import DeviceKeys
from edge.store.certificates import CertificateRow, CertificateStore
from edge.training.cases import SHIPPED_CASES, Case, read_cases
from edge.training.certificate import Certificate, certify, sign
from edge.training.content import SHIPPED, Course
from edge.training.paper import Marks, Paper, draw, mark, shuffled

TRAINED = frozenset({Role.TECHNICIAN, Role.PHYSICIAN, Role.ADMIN})
SOON_DAYS = 30  # before it expires, the page says so


@dataclass(frozen=True, slots=True)
class Standing:
    """Somebody's certificate: the latest, and whether it holds or soon will not."""

    row: CertificateRow | None
    holds: bool
    soon_over: bool


class Training:
    """Threads may share it.

    Parameters
    ----------
    course : Course
    cases : sequence of Case
    progress : Progress
    certificates : CertificateStore
    keys : callable
        Returns the device's keys of the moment; they sign.
    audit : Audit
    required : bool
        Whether only who holds a certificate may acknowledge.
    """

    def __init__(
        self,
        course: Course,
        cases: Sequence[Case],
        progress: Progress,
        certificates: CertificateStore,
        *,
        keys: Callable[[], DeviceKeys],
        audit: Audit,
        required: bool,
    ) -> None:
        self.course = course
        self.progress = progress
        self.required = required
        self._cases = {case.id: case for case in cases}
        self._certificates = certificates
        self._keys = keys
        self._audit = audit

    def cases(self, user: User) -> list[Case]:
        """Return the cases for somebody's role."""
        return [case for case in self._cases.values() if user.role.value in case.roles]

    def case(self, user: User, name: str) -> Case | None:
        """Return a case by its name, if it is for somebody's role."""
        case = self._cases.get(name)
        return case if case is not None and user.role.value in case.roles else None

    def may_acknowledge(self, user: User) -> bool:
        """Return whether somebody is trained as far as the site requires."""
        return not self.required or self.standing(user).holds

    def standing(self, user: User) -> Standing:
        """Return somebody's certificate.

        One from before the account was made is another person's who had the same name.
        """
        since = datetime.fromtimestamp(user.created).astimezone().date().isoformat()
        row = self._certificates.latest(user.name, user.role.value, since)
        if row is None:
            return Standing(None, False, False)
        left = (date.fromisoformat(row.expires) - _today()).days
        return Standing(row, left >= 0, 0 <= left <= SOON_DAYS)

    def certificate(self, id_: str) -> CertificateRow | None:
        """Return a certificate by its id."""
        return self._certificates.find(id_)

    def begin(self, user: User) -> int:
        """Draw a test; return its number."""
        number = self.progress.begin(user, self.course, secrets.token_bytes(16))
        self._note(user, "training.begun", f"test:{number}")
        return number

    def paper(self, attempt: Attempt) -> Paper | None:
        """Return a test as it was drawn; None where the course has another version since."""
        if attempt.version != self.course.version:
            return None
        return draw(self.course, attempt.role, attempt.seed)

    def hand_in(
        self, user: User, attempt: Attempt, paper: Paper, answers: Sequence[int | None]
    ) -> Marks:
        """Mark a test, once; who passes gets a certificate.

        Raises
        ------
        NotATest
            If the answers do not belong to the test.
        """
        marks = mark(paper, answers, self.course, "")
        if self.progress.hand_in(attempt, answers, marks.score):
            outcome = f"{'passed' if marks.passed else 'failed'} {marks.score}/{marks.of}"
            self._note(user, "training.test", f"test:{attempt.id}", outcome)
            if marks.passed:
                self._certify(user, marks)
        return marks

    def _certify(self, user: User, marks: Marks) -> None:
        keys = self._keys()
        one: Certificate = certify(
            user.name,
            user.role.value,
            self.course,
            marks,
            device=keys.device,
            site=keys.site,
            today=_today(),
        )
        row = CertificateRow(
            one.id, one.name, one.role, one.issued, one.expires, sign(one, keys.signing)
        )
        self._certificates.keep(row)
        self._note(user, "training.certified", f"certificate:{one.id}", f"until {one.expires}")

    def _note(self, user: User, what: str, on: str, outcome: str = "done") -> None:
        self._audit.note(Act(user.actor, what, on, outcome))


def places_of(case: Case, user: User, language: str) -> tuple[int, ...]:
    """Return where a case's answers stand for somebody: 0 is the right one, as in `Paper`."""
    _, words = case.wording(language)
    count = 1 + len(words.question.wrong)
    return tuple(shuffled(range(count), str(user.id).encode(), case.id))


def read_material(courses: Path | None, cases: Path | None) -> tuple[Course, tuple[Case, ...]]:
    """Read the site's own course, or the one that ships, and all cases.

    Raises
    ------
    CourseError
        Where a file is not as it should be.
    """
    course = Course.read(SHIPPED if courses is None else courses)
    own = () if cases is None else (cases,)
    return course, read_cases(SHIPPED_CASES, *own)


def _today() -> date:
    return datetime.now().astimezone().date()
