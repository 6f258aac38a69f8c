"""For administrators: what is kept and until when, and erasing a study, or all of a patient's.

The daemon's own thread erases (`edge.retention`); a page leaves the order and says what came of it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import Route

from edge.console import words
from edge.console.accounts import Role
from edge.console.keeping import Doomed
from edge.console.visits import Visit, page
from edge.retention.eraser import ERASED
from edge.retention.reason import LONGEST, reason_of
from edge.store.erasure import OWN, Hindrance

ADMINS = frozenset({Role.ADMIN})
_NEXT = 10
_LATEST = 20
_TOGETHER = 1000  # orders on one page
_SIGNS = 6  # of a pseudonym, as pages show it


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        page("/keeping", _keeping, roles=ADMINS),
        page("/keeping", _seek, roles=ADMINS, methods=["POST"]),
        page("/keeping/orders/{first:int}-{last:int}", _told, roles=ADMINS),
        page("/study/{study:int}/erase", _ask, roles=ADMINS),
        page("/study/{study:int}/erase", _order, roles=ADMINS, methods=["POST"]),
        page("/study/{study:int}/erase/patient", _ask_all, roles=ADMINS),
        page("/study/{study:int}/erase/patient", _order_all, roles=ADMINS, methods=["POST"]),
    ]


def _keeping(visit: Visit) -> Response:
    return _kept(visit, "")


def _kept(visit: Visit, problem: str) -> Response:
    keeping = visit.desk.keeping
    return visit.render(
        "keeping.html",
        status=404 if problem else 200,
        problem=problem,
        words=words,
        rule=keeping.rule,
        room=keeping.room(time.time()),
        until=keeping.until(time.time()),
        oldest=keeping.oldest(_NEXT),
        orders=keeping.latest_orders(_LATEST),
        own=OWN,
    )


def _seek(visit: Visit) -> Response:
    """Find a patient's studies by ID, which is in no address and in no log."""
    form = visit.form
    studies = visit.desk.keeping.of_patient(form.get("patient", ""), form.get("issuer", ""))
    outcome = "done" if studies else "nothing found"
    visit.desk.note(
        visit.user, "patient.sought", f"study:{studies[-1]}" if studies else "", outcome
    )
    if not studies:
        return _kept(
            visit,
            visit.language.say(
                "There is no study of a patient with this ID. Scanners may state who issued the "
                "ID: give that, too."
            ),
        )
    return visit.go(f"/study/{studies[-1]}/erase/patient")


def _ask(visit: Visit) -> Response:
    return _form(visit, [visit.number("study")], everything=False)


def _ask_all(visit: Visit) -> Response:
    return _form(visit, visit.desk.keeping.same_patient(visit.number("study")), everything=True)


def _form(visit: Visit, studies: Sequence[int], *, everything: bool, problem: str = "") -> Response:
    study = visit.number("study")
    doomed = visit.desk.keeping.doomed(studies)
    if not doomed:
        return visit.refuse(
            404, "There is no such study", "It was erased already, or its number is mistyped."
        )
    for one in doomed:
        visit.desk.note(visit.user, "study.viewed", f"study:{one.held.study_id}", "to be erased")
    return visit.render(
        "erase.html",
        status=422 if problem else 200,
        problem=problem,
        words=words,
        study=study,
        doomed=doomed,
        everything=everything,
        more=len(visit.desk.keeping.same_patient(study)) - 1,
        confirm=_wanted(doomed, everything=everything),
        busy=all(one.hindrance is Hindrance.BUSY for one in doomed),
        longest=LONGEST,
        form=visit.form,
    )


def _wanted(doomed: Sequence[Doomed], *, everything: bool) -> str:
    """Return what is typed to confirm: the study's number, or the patient's pseudonym."""
    return doomed[0].held.pseudonym[:_SIGNS] if everything else str(doomed[0].held.study_id)


def _order(visit: Visit) -> Response:
    return _place(visit, [visit.number("study")], everything=False)


def _order_all(visit: Visit) -> Response:
    # What came since the page was made was not on it.
    shown = set(visit.form.get("studies", "").split())
    studies = visit.desk.keeping.same_patient(visit.number("study"))
    return _place(visit, [one for one in studies if str(one) in shown], everything=True)


def _place(visit: Visit, studies: Sequence[int], *, everything: bool) -> Response:
    keeping, form, say = visit.desk.keeping, visit.form, visit.language.say
    problem = _problem(visit, studies, everything=everything)
    if problem:
        return _form(visit, studies, everything=everything, problem=problem)
    try:
        numbers = keeping.order(
            visit.user,
            studies,
            form["reason"].strip(),
            undelivered="undelivered" in form,
            unacknowledged="unacknowledged" in form,
        )
    except sqlite3.OperationalError:
        problem = say("The journal takes no order now: the disk may be full. Nothing was erased.")
        return _form(visit, studies, everything=everything, problem=problem)
    keeping.wait(numbers)
    return visit.go(f"/keeping/orders/{numbers[0]}-{numbers[-1]}")


def _problem(visit: Visit, studies: Sequence[int], *, everything: bool) -> str:
    """Return why what was filled in is no order; empty when it is one."""
    keeping, form, say = visit.desk.keeping, visit.form, visit.language.say
    doomed = keeping.doomed(studies)
    if not doomed:
        return say("There is no such study")
    reason = reason_of(form.get("reason", ""))
    if reason is None:
        return say("Say why: a file number, for instance. Nothing was erased.")
    if not _same(form.get("confirm", ""), _wanted(doomed, everything=everything)):
        return say("What you typed to confirm is something else. Nothing was erased.")
    if not keeping.names_patient(reason, studies):
        return ""
    for study in studies:
        visit.desk.note(visit.user, ERASED, f"study:{study}", "refused: the reason names somebody")
    return say(
        "The reason names the patient, and it is kept for good. Say it without name, ID, "
        "accession number or date of birth. Nothing was erased."
    )


def _same(typed: str, wanted: str) -> bool:
    typed = typed.strip()
    if wanted.isdecimal():  # in whichever digits the keyboard has
        return typed.isdecimal() and int(typed) == int(wanted)
    return typed.casefold() == wanted.casefold()


def _told(visit: Visit) -> Response:
    first, last = visit.number("first"), visit.number("last")
    orders = visit.desk.keeping.orders(range(first, min(last, first + _TOGETHER - 1) + 1))
    if not orders:
        return visit.refuse(404, "There is no such order", "Go back and ask again.")
    return visit.render("erased.html", orders=orders, words=words)
