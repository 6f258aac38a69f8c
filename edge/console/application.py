"""The console as an ASGI application: every room's routes, behind the guard."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.console import course, erase, examination, live, login, statistics, study, word
from edge.console.desk import Desk
from edge.console.pages import FOLDER
from edge.console.security import Guard
from edge.console.visits import open_visit


def application(desk: Desk) -> Starlette:
    """Return the console. A new room adds its `routes()` here."""
    rooms: list[list[Route]] = [
        login.routes(),
        live.routes(),
        study.routes(),
        word.routes(),
        statistics.routes(),
        course.routes(),
        examination.routes(),
        erase.routes(),
    ]
    app = Starlette(
        routes=[
            *(route for room in rooms for route in room),
            Mount("/static", _Static(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(Guard, https=desk.https)],
        exception_handlers={HTTPException: _on_refusal, Exception: _on_fault},
    )
    app.state.desk = desk
    return app


class _Static(StaticFiles):
    """The console's own files: kept by the browser, asked for anew when they change."""

    def file_response(self, *args: object, **named: object) -> Response:
        response: Response = super().file_response(*args, **named)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"  # kept, and checked with its ETag
        return response


async def _on_refusal(request: Request, error: Exception) -> Response:
    visit = await open_visit(request)
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return visit.refuse(404, "There is no such page", "The address may be mistyped.")
    return visit.refuse(status, "This cannot be done", "The page was asked for something else.")


async def _on_fault(request: Request, _error: Exception) -> Response:
    """Answer when a page failed; the log says why, the visitor what to do."""
    visit = await open_visit(request)
    return visit.refuse(
        500, "This page failed", "The appliance's log says why. The rest goes on working."
    )
