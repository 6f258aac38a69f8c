"""Training: the course's steps and the practice cases."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from edge.console.language import language
from edge.console.training import TRAINED, places_of
from edge.console.visits import Visit, page
from edge.training.cases import Case, picture

_KEPT_IMAGES = 128  # of about 60 kB


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        page("/training", _overview, roles=TRAINED),
        page("/training/step/{step}", _step, roles=TRAINED),
        page("/training/step/{step}", _step_read, roles=TRAINED, methods=["POST"]),
        page("/training/case/{case}", _case, roles=TRAINED),
        page("/training/case/{case}", _case_answered, roles=TRAINED, methods=["POST"]),
        page("/training/case/{case}/{number:int}.png", _image, roles=TRAINED),
    ]


def _overview(visit: Visit) -> Response:
    training, user = visit.desk.training, visit.user
    course = training.course
    wording = course.wording(visit.language.code)
    read = training.progress.steps_read(user, course)
    steps = [
        (step.id, wording.steps[step.id].title, step.id in read)
        for step in course.steps_of(user.role.value)
    ]
    tried = training.progress.cases_tried(user)
    cases = [
        (case.id, case.wording(visit.language.code)[1].title, tried.get(case.id))
        for case in training.cases(user)
    ]
    return visit.render(
        "training.html",
        wording=wording,
        spoken=language(wording.language),
        steps=steps,
        cases=cases,
        rule=course.rules[user.role.value],
        standing=training.standing(user),
        required=training.required,
        open_test=training.progress.open_attempt(user),
        next_step=next((id_ for id_, _, done in steps if not done), None),
    )


def _step(visit: Visit) -> Response:
    course = visit.desk.training.course
    steps = course.steps_of(visit.user.role.value)
    ids = [step.id for step in steps]
    name = visit.request.path_params["step"]
    if name not in ids:
        return _missing(visit)
    wording = course.wording(visit.language.code)
    at = ids.index(name)
    return visit.render(
        "step.html",
        title=wording.steps[name].title,
        body=Markup(_rendered(wording.steps[name].body)),  # noqa: S704 - made without raw HTML
        spoken=language(wording.language),
        number=at + 1,
        of=len(ids),
        before=ids[at - 1] if at else None,
        last=at + 1 == len(ids),
    )


def _step_read(visit: Visit) -> Response:
    training = visit.desk.training
    ids = [step.id for step in training.course.steps_of(visit.user.role.value)]
    name = visit.request.path_params["step"]
    if name not in ids:
        return _missing(visit)
    training.progress.read_step(visit.user, training.course, name)
    after = ids[ids.index(name) + 1 :]
    return visit.go(f"/training/step/{after[0]}" if after else "/training#cases")


def _case(visit: Visit) -> Response:
    case = visit.desk.training.case(visit.user, visit.request.path_params["case"])
    return _missing(visit) if case is None else _show_case(visit, case, None)


def _case_answered(visit: Visit) -> Response:
    training = visit.desk.training
    case = training.case(visit.user, visit.request.path_params["case"])
    if case is None:
        return _missing(visit)
    places = places_of(case, visit.user, visit.language.code)
    chosen = visit.form.get("answer", "")
    if not chosen.isdecimal() or int(chosen[:3]) >= len(places):
        return _show_case(visit, case, None, nothing_chosen=True)
    answer = places[int(chosen)]
    training.progress.try_case(visit.user, case.id, answer)
    return _show_case(visit, case, answer)


def _show_case(
    visit: Visit, case: Case, answer: int | None, *, nothing_chosen: bool = False
) -> Response:
    code, words = case.wording(visit.language.code)
    said = (words.question.right, *words.question.wrong)
    ids = [one.id for one in visit.desk.training.cases(visit.user)]
    after = ids[ids.index(case.id) + 1 :]
    return visit.render(
        "case.html",
        case=case,
        words=words,
        spoken=language(code),
        answers=[said[place] for place in places_of(case, visit.user, visit.language.code)],
        answered=None if answer is None else said[answer],
        right=answer == 0,
        nothing_chosen=nothing_chosen,
        after=after[0] if after else None,
    )


def _image(visit: Visit) -> Response:
    case = visit.desk.training.case(visit.user, visit.request.path_params["case"])
    number = visit.number("number")
    if case is None or not 1 <= number <= len(case.images):
        return _missing(visit)
    # No patient's image: the browser may keep it for the session.
    return Response(
        _picture(case.images[number - 1]),
        media_type="image/png",
        headers={"Cache-Control": "private, max-age=3600"},
    )


def _missing(visit: Visit) -> Response:
    return visit.refuse(404, "There is no such page", "The address may be mistyped.")


@lru_cache(maxsize=_KEPT_IMAGES)
def _picture(file: Path) -> bytes:
    return picture(file)


@lru_cache(maxsize=64)
def _rendered(body: str) -> str:
    # A course is a file that people edit: what looks like HTML in it is shown as text.
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return html
