"""The physician's word: agree, disagree or unsure, finding by finding, with a note."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from edge.alerts.message import Alert
from edge.console import words
from edge.console.accounts import Role
from edge.console.visits import Visit, page
from edge.feedback.message import MAX_NOTE
from edge.store.feedback import Verdict
from edge.store.study_key import SealBroken

PHYSICIANS = frozenset({Role.PHYSICIAN})


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        page("/study/{study:int}/word", _show, roles=PHYSICIANS),
        page("/study/{study:int}/word", _say, roles=PHYSICIANS, methods=["POST"]),
    ]


def _show(visit: Visit) -> Response:
    study = visit.number("study")
    alert = _last_with_findings(visit, study)
    if alert is None:
        return _nothing(visit)
    visit.desk.note(visit.user, "study.viewed", f"study:{study}")
    return _page(visit, study, alert)


def _page(visit: Visit, study: int, alert: Alert, problem: str = "") -> Response:
    try:
        judged = visit.desk.verdicts.of_study(study, alert, visit.user)
    except (LookupError, SealBroken):
        return _nothing(visit)
    return visit.render(
        "word.html",
        status=422 if problem else 200,
        study=study,
        alert=alert,
        judged=judged,
        words=words,
        weak=visit.desk.weak,
        longest=MAX_NOTE,
        problem=problem,
    )


def _say(visit: Visit) -> Response:
    study = visit.number("study")
    alert = _last_with_findings(visit, study)
    if alert is None:
        return _nothing(visit)
    speak = visit.language.say
    if visit.form.get("alert") != alert.id:
        # What is judged must be what was read.
        return _page(
            visit, study, alert, speak("A newer result came meanwhile. Look at it, then say it.")
        )
    place, said = visit.form.get("place", ""), visit.form.get("verdict", "")
    if said not in set(Verdict) or not place.isdecimal() or int(place) >= len(alert.findings):
        return _page(visit, study, alert, speak("Choose agree, disagree or unsure."))
    note = " ".join(visit.form.get("note", "").split())
    if len(note) > MAX_NOTE:
        return _page(visit, study, alert, speak("The note is too long."))
    try:
        visit.desk.verdicts.say(visit.user, study, alert, int(place), Verdict(said), note)
    except (LookupError, SealBroken):
        return _nothing(visit)
    return visit.go(f"/study/{study}/word")


def _last_with_findings(visit: Visit, study: int) -> Alert | None:
    """Return the latest alert that says something of a finding; a flag stands until replaced."""
    alerts = [alert for _, alert in visit.desk.history.alerts(study) if alert.findings]
    return alerts[-1] if alerts else None


def _nothing(visit: Visit) -> Response:
    return visit.refuse(
        404, "Nothing to judge here", "No model has said anything of this study, or it was erased."
    )
