"""The live board: its page, its stream of changes, the word that somebody saw a flag.

The stream is server-sent events (WHATWG HTML section 9.2) of ready-made pieces of the page, so
that the browser keeps no second copy of how a card looks:

====== =============================================================================
event  data
====== =============================================================================
hello  ``{"studies": [...]}``: what the board holds; the page drops other cards
card   ``{"study", "place", "html"}``
gone   ``{"study"}``
alarm  ``{"critical", "urgent", "html"}``: what presses, on every page
health ``{"html"}``
erased ``{"studies": [...]}``: the page of one of them has nothing more to show
beat   ``{}``: the connection lives
over   ``{"why"}``: the session is over (``session``), or the appliance stops (``stop``)
====== =============================================================================
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge.console import words
from edge.console.accounts import CLINICAL, EVERYBODY, MACHINE
from edge.console.board import Changes, Listener
from edge.console.cards import Card
from edge.console.desk import Desk
from edge.console.visits import Visit, cookie_name, open_visit, page
from edge.metrics import CONTENT_TYPE, exposition

_CALM_S = 0.25  # images that count up are shown four times a second
_BEAT_S = 10.0


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        page("/", _board),
        Route("/live", _stream),
        Route("/metrics", _metrics),
        page("/study/{study:int}/acknowledge", _acknowledge, roles=CLINICAL, methods=["POST"]),
    ]


async def _metrics(request: Request) -> Response:
    """Serve the metrics: to this machine, to whoever knows the token, to admin and service."""
    desk: Desk = request.app.state.desk
    if not desk.may_scrape(request.headers.get("authorization", ""), request.client):
        visit = await open_visit(request)
        if visit.session is None or visit.user.role not in MACHINE:
            return Response("Metrics: not from here.\n", 403, media_type="text/plain")
    text = await run_in_threadpool(exposition, desk.metrics)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _board(visit: Visit) -> Response:
    board = visit.desk.board
    visit.desk.note(visit.user, "board.viewed")
    visit.desk.pictures.warm()  # whoever looks at the board may look at a study next
    return visit.render(
        "board.html",
        cards=[_card_html(visit, card) for card in board.cards()],
        untrained=visit.user.clinical and not visit.desk.training.may_acknowledge(visit.user),
        health=board.health,
        words=words,
    )


def _acknowledge(visit: Visit) -> Response:
    study = visit.number("study")
    if not visit.desk.training.may_acknowledge(visit.user):
        visit.desk.note(visit.user, "alert.acknowledged", f"study:{study}", "no certificate")
        return visit.refuse(
            403,
            "Pass the training's test first",
            "At this site only who holds a valid certificate may acknowledge a flag. Call a "
            "colleague who does, and call the physician now. The test is under Training.",
        )
    visit.desk.acknowledge(visit.user, study)
    if visit.request.headers.get("x-scanside") == "live":
        return Response(status_code=204)  # the stream brings the new card
    return visit.go(f"/study/{study}" if visit.form.get("next") == "study" else "/")


async def _stream(request: Request) -> Response:
    visit = await open_visit(request)
    if visit.session is None or visit.user.role not in EVERYBODY:
        return Response("Log in first.\n", 401, media_type="text/plain")
    with_cards = request.query_params.get("of") == "board"
    return StreamingResponse(
        _events(visit, with_cards=with_cards),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(visit: Visit, *, with_cards: bool) -> AsyncIterator[str]:
    board = visit.desk.board
    with board.listening() as listener:
        if with_cards:
            yield _event("hello", {"studies": [card.study for card in board.cards()]})
        while True:
            changes = board.take(listener)
            for event in await run_in_threadpool(_told, visit, changes, with_cards):
                yield event
            if changes.over:
                return
            if not await _something(listener):
                if not await _still_logged_in(visit, touch=with_cards):
                    yield _event("over", {"why": "session"})
                    return
                yield _event("beat", {})


async def _something(listener: Listener) -> bool:
    """Wait for a change; a flag ends the wait at once, other changes are gathered for a moment."""
    try:
        await asyncio.wait_for(listener.ready.wait(), _BEAT_S)
    except asyncio.TimeoutError:
        return False
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(listener.hurry.wait(), _CALM_S)
    return True


async def _still_logged_in(visit: Visit, *, touch: bool) -> bool:
    """Return whether the session is open; an open board keeps it so, another page does not."""
    cookie = visit.request.cookies.get(cookie_name(https=visit.desk.https), "")
    found = await run_in_threadpool(visit.desk.sessions.find, cookie, now=time.time(), touch=touch)
    return found is not None


def _told(visit: Visit, changes: Changes, with_cards: bool) -> list[str]:
    events = []
    if changes.pressing is not None:
        events.append(_event("alarm", _alarm(visit, changes.pressing)))
    if with_cards:
        events += [
            _event("card", {"study": one.study, "place": one.place, "html": _card_html(visit, one)})
            for one in changes.cards
        ]
        events += [_event("gone", {"study": study}) for study in changes.gone]
    erased = [one.study for one in changes.cards if one.erased]
    if erased:
        events.append(_event("erased", {"studies": erased}))
    if changes.health is not None:
        html = visit.fragment("health.html", health=changes.health, words=words)
        events.append(_event("health", {"html": html}))
    if changes.over:
        events.append(_event("over", {"why": "stop"}))
    return events


def _alarm(visit: Visit, pressing: tuple[Card, ...]) -> dict[str, object]:
    urgencies = [card.alert.urgency for card in pressing if card.alert is not None]
    return {
        "critical": urgencies.count("critical"),
        "urgent": urgencies.count("urgent"),
        "html": visit.fragment("alarm.html", pressing=pressing, words=words),
    }


def _card_html(visit: Visit, card: Card) -> str:
    user = visit.user
    named = visit.desk.settings.names_on_board and user.clinical
    may = user.clinical and visit.desk.training.may_acknowledge(user)
    return visit.desk.pages.card(card, visit.language.code, named=named, may_acknowledge=may)


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
