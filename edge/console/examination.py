"""Training: the scored test and the certificate."""

from __future__ import annotations

from datetime import datetime, time

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edge.console.accounts import Role
from edge.console.language import language
from edge.console.progress import Attempt
from edge.console.training import TRAINED
from edge.console.visits import Visit, page
from edge.console.words import ROLES
from edge.store.certificates import CertificateRow
from edge.training.paper import NotATest, Paper, mark, show

_ADMIN = frozenset({Role.ADMIN})


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        page("/training/test", _begin, roles=TRAINED, methods=["POST"]),
        page("/training/test/{number:int}", _test, roles=TRAINED),
        page("/training/test/{number:int}", _hand_in, roles=TRAINED, methods=["POST"]),
        page("/training/certificate/{id}", _certificate, roles=TRAINED),
        page("/training/certificate/{id}/signed", _signed, roles=TRAINED),
        page("/training/people", _people, roles=_ADMIN),
    ]


def _begin(visit: Visit) -> Response:
    return visit.go(f"/training/test/{visit.desk.training.begin(visit.user)}")


def _test(visit: Visit) -> Response:
    found = _find(visit)
    if isinstance(found, Response):
        return found
    attempt, paper = found
    if attempt.finished is not None:
        return _result(visit, attempt, paper)
    return _questions(visit, attempt, paper, (None,) * len(paper.questions))


def _questions(
    visit: Visit, attempt: Attempt, paper: Paper, chosen: tuple[int | None, ...], status: int = 200
) -> Response:
    wording = visit.desk.training.course.wording(visit.language.code)
    return visit.render(
        "test.html",
        status=status,
        number=attempt.id,
        asked=show(paper, wording),
        chosen=chosen,
        missing=[n for n, one in enumerate(chosen, start=1) if one is None and status != 200],
        needed=paper.needed,
        spoken=language(wording.language),
    )


def _hand_in(visit: Visit) -> Response:
    found = _find(visit)
    if isinstance(found, Response):
        return found
    attempt, paper = found
    chosen = tuple(_chosen(visit, number) for number in range(len(paper.questions)))
    if attempt.finished is None and None in chosen:
        return _questions(visit, attempt, paper, chosen, status=422)
    try:
        visit.desk.training.hand_in(visit.user, attempt, paper, chosen)
    except NotATest:
        return _questions(visit, attempt, paper, (None,) * len(chosen), status=422)
    return visit.go(f"/training/test/{attempt.id}")


def _result(visit: Visit, attempt: Attempt, paper: Paper) -> Response:
    training = visit.desk.training
    marks = mark(paper, attempt.answers, training.course, visit.language.code)
    wording = training.course.wording(visit.language.code)
    return visit.render(
        "result.html",
        marks=marks,
        titles={id_: step.title for id_, step in wording.steps.items()},
        spoken=language(wording.language),
        standing=training.standing(visit.user),
    )


def _certificate(visit: Visit) -> Response:
    row = _own_certificate(visit)
    if row is None:
        return _missing(visit)
    return visit.render(
        "certificate.html",
        row=row,
        course=visit.desk.training.course.wording(visit.language.code),
        role=visit.language.say(ROLES[row.role]),
        site=visit.desk.site,
        issued=_noon(row.issued),
        expires=_noon(row.expires),
        mark=row.signed.rsplit(".", 1)[-1][:24],
    )


def _signed(visit: Visit) -> Response:
    row = _own_certificate(visit)
    if row is None:
        return _missing(visit)
    name = f"scanside-certificate-{row.id}.jws"
    return PlainTextResponse(
        row.signed + "\n", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _people(visit: Visit) -> Response:
    training = visit.desk.training
    people = [
        (user, visit.language.say(ROLES[user.role.value]), training.standing(user))
        for user in visit.desk.accounts.all()
        if user.role in TRAINED
    ]
    return visit.render(
        "people.html",
        people=[
            (user, role, one, one.row and _noon(one.row.expires)) for user, role, one in people
        ],
        required=training.required,
    )


def _find(visit: Visit) -> tuple[Attempt, Paper] | Response:
    training = visit.desk.training
    attempt = training.progress.attempt(visit.user, visit.number("number"))
    if attempt is None or attempt.role != visit.user.role.value:
        return _missing(visit)
    paper = training.paper(attempt)
    if paper is None:
        return visit.refuse(
            410, "This test is closed", "The course was changed since. Begin a new test."
        )
    return attempt, paper


def _own_certificate(visit: Visit) -> CertificateRow | None:
    """Return the certificate that was asked for: one's own, or anybody's for an admin."""
    row = visit.desk.training.certificate(visit.request.path_params["id"])
    if row is None:
        return None
    return row if visit.user.role is Role.ADMIN or row.who == visit.user.name else None


def _chosen(visit: Visit, number: int) -> int | None:
    text = visit.form.get(f"q{number}", "")
    return int(text) if text.isdecimal() and len(text) < 3 else None


def _noon(day: str) -> float:
    """Return the middle of a local day, seconds since the epoch: for writing its date."""
    return datetime.combine(datetime.fromisoformat(day), time(12)).astimezone().timestamp()


def _missing(visit: Visit) -> Response:
    return visit.refuse(404, "There is no such page", "The address may be mistyped.")
