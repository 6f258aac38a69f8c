"""Logging in and out, the choice of language and of light or dark."""

from __future__ import annotations

import time

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edge.console.accounts import AccountError, Refused, User
from edge.console.language import LANGUAGES
from edge.console.oidc import OidcError
from edge.console.visits import (
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    Visit,
    cookie_name,
    here_or_board,
    open_page,
    page,
)

OIDC_COOKIE = "scanside-oidc"


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [
        open_page("/login", _show),
        open_page("/login", _log_in, methods=["POST"]),
        open_page("/login/oidc", _leave),
        open_page("/login/oidc/back", _come_back),
        page("/session", lambda _: Response(status_code=204)),
        page("/logout", _log_out, methods=["POST"]),
        open_page("/language", _choose_language, methods=["POST"]),
        open_page("/theme", _choose_theme, methods=["POST"]),
    ]


def let_in(visit: Visit, user: User, path: str) -> Response:
    """Begin a session and go to `path` on this console."""
    desk = visit.desk
    cookie = desk.sessions.open(user, now=time.time())
    desk.metrics.logins.labels("let in").inc()
    desk.note(user, "console.login")
    response = visit.go(here_or_board(path))
    response.set_cookie(
        cookie_name(https=desk.https),
        cookie,
        secure=desk.https,
        httponly=True,
        samesite="lax",  # strict would lose the session on the way back from an OIDC log-in
    )
    return response


def _show(visit: Visit) -> Response:
    if visit.session is not None:
        return visit.go("/")
    return _form(visit, "")


def _form(visit: Visit, problem: str, status: int = 200) -> Response:
    return visit.render(
        "login.html",
        status=status,
        problem=problem,
        name=visit.form.get("name", ""),
        next=here_or_board(visit.form.get("next") or visit.request.query_params.get("next", "/")),
        why=visit.request.query_params.get("why", ""),
        nobody=not visit.desk.accounts.any(),
        oidc=visit.desk.oidc is not None,
    )


def _log_in(visit: Visit) -> Response:
    name, password = visit.form.get("name", ""), visit.form.get("password", "")
    answer = visit.desk.accounts.sign_in(name, password, now=time.time())
    if isinstance(answer, Refused):
        visit.desk.metrics.logins.labels("refused").inc()
        # What was typed is in no log: people type a password where the name goes.
        if answer.user is not None:
            visit.desk.note(answer.user, "console.login", outcome="wrong password, or closed")
        return _form(visit, _problem(visit, answer), 401)
    return let_in(visit, answer, visit.form.get("next", "/"))


def _leave(visit: Visit) -> Response:
    """Send the browser to the hospital's own log-in."""
    login = visit.desk.oidc
    if login is None:
        return visit.go("/login")
    path = here_or_board(visit.request.query_params.get("next", "/"))
    try:
        departure = login.leave(_way_back(visit), path, now=time.time())
    except OidcError as error:
        return _form(visit, visit.language.say(str(error)), 502)
    response = RedirectResponse(departure.url, 303)
    response.set_cookie(
        OIDC_COOKIE,
        departure.state,
        max_age=600,
        path="/login",
        secure=visit.desk.https,
        httponly=True,
        samesite="lax",
    )
    return response


def _come_back(visit: Visit) -> Response:
    """Let in whom the hospital's own log-in let in."""
    login = visit.desk.oidc
    if login is None:
        return visit.go("/login")
    cookie = visit.request.cookies.get(OIDC_COOKIE, "")
    try:
        person, path = login.come_back(visit.request.query_params, cookie, now=time.time())
        user = visit.desk.accounts.external(person.subject, person.name, person.role)
    except (AccountError, OidcError) as error:
        visit.desk.metrics.logins.labels("refused").inc()
        return _form(visit, visit.language.say(str(error)), 401)
    response = let_in(visit, user, path)
    response.delete_cookie(OIDC_COOKIE, path="/login", secure=visit.desk.https, httponly=True)
    return response


def _way_back(visit: Visit) -> str:
    """Return where the log-in sends the browser back to; the provider knows it, or refuses."""
    scheme = "https" if visit.desk.https else "http"
    return f"{scheme}://{visit.request.headers.get('host', '')}/login/oidc/back"


def _problem(visit: Visit, refused: Refused) -> str:
    speak = visit.language
    if refused.wait_s > 0:
        return speak.count(
            "Too many wrong passwords. Try again in %(num)s second.",
            "Too many wrong passwords. Try again in %(num)s seconds.",
            max(1, round(refused.wait_s)),
        )
    return speak.say("Name or password is wrong.")


def _log_out(visit: Visit) -> Response:
    if visit.session is not None:
        visit.desk.sessions.end(visit.session)
        visit.desk.note(visit.user, "console.logout")
    response = visit.go("/login")
    response.delete_cookie(
        cookie_name(https=visit.desk.https), secure=visit.desk.https, httponly=True
    )
    # What the page held in memory goes with it.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _choose_language(visit: Visit) -> Response:
    code = visit.form.get("language", "")
    response = visit.go(here_or_board(visit.form.get("next", "/")))
    if code not in LANGUAGES:
        return response
    if visit.session is not None:
        visit.desk.accounts.set_language(visit.user.id, code)
    return visit.keep(response, LANGUAGE_COOKIE, code)


def _choose_theme(visit: Visit) -> Response:
    theme = visit.form.get("theme", "")
    response = visit.go(here_or_board(visit.form.get("next", "/")))
    return visit.keep(response, THEME_COOKIE, theme) if theme in THEMES else response
