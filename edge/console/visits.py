"""One request by somebody: who, in which language, allowed to what.

A page is a function of a `Visit`. `page` makes a route of it that nobody reaches without the
right role, and no form without its session's token: it cannot be forgotten, because there is no
other way to add a page.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from edge.console.accounts import EVERYBODY, Role, User
from edge.console.desk import Desk
from edge.console.language import LANGUAGES, Language, language, preferred
from edge.console.sessions import Session
from edge.console.words import ROLES, _

SESSION_COOKIE = "scanside"
LANGUAGE_COOKIE = "scanside-language"
THEME_COOKIE = "scanside-theme"
THEMES = ("auto", "dark", "light")
# Path, title and who may; a new room adds its line.
ROOMS: tuple[tuple[str, str, frozenset[Role]], ...] = (
    ("/", _("Board"), EVERYBODY),
    ("/statistics", _("Statistics"), frozenset({Role.PHYSICIAN, Role.ADMIN})),
    ("/keeping", _("Kept studies"), frozenset({Role.ADMIN})),
    ("/training", _("Training"), frozenset(Role) - {Role.SERVICE}),
)
_A_YEAR_S = 365 * 86400


@dataclass(frozen=True)
class Visit:
    """A request, with what is known of who makes it.

    Parameters
    ----------
    request : Request
    desk : Desk
        Everything the pages work with.
    language : Language
    session : Session or None
        None on the pages before the log-in.
    form : mapping of str
        What was sent with a POST; empty otherwise.
    """

    request: Request = field(repr=False)
    desk: Desk = field(repr=False)
    language: Language
    session: Session | None
    form: Mapping[str, str] = field(repr=False)

    @property
    def user(self) -> User:
        """Who it is.

        Raises
        ------
        LookupError
            On a page that needs no log-in.
        """
        if self.session is None:
            raise LookupError("Nobody is logged in on this page.")
        return self.session.user

    @property
    def role(self) -> str:
        """What they are here for, in their language."""
        return self.language.say(ROLES[self.user.role.value])

    @property
    def rooms(self) -> list[tuple[str, str]]:
        """The pages that the head of each page leads to: path and title."""
        return [
            (path, self.language.say(title))
            for path, title, roles in ROOMS
            if self.user.role in roles
        ]

    def number(self, name: str) -> int:
        """Return a number from the path. Routes say ``{study:int}``, so it is one."""
        value: int = self.request.path_params[name]
        return value

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        """Return a page."""
        return HTMLResponse(self.fragment(template, **values), status)

    def fragment(self, template: str, **values: object) -> str:
        """Return a piece of a page."""
        return self.desk.pages.render(template, self._common() | values, self.language.code)

    def refuse(self, status: int, title: str, text: str) -> Response:
        """Return a page that says why there is nothing to see; both texts are English."""
        say = self.language.say
        return self.render("refused.html", status=status, title=say(title), text=say(text))

    def go(self, path: str) -> Response:
        """Send the browser to another page of the console."""
        return RedirectResponse(path, 303)

    def keep(self, response: Response, cookie: str, value: str) -> Response:
        """Have the browser remember a choice; no secret is in it."""
        secure = self.desk.https
        response.set_cookie(cookie, value, _A_YEAR_S, secure=secure, httponly=True, samesite="lax")
        return response

    def _common(self) -> dict[str, object]:
        theme = self.request.cookies.get(THEME_COOKIE, THEMES[0])
        return {
            "visit": self,
            "user": None if self.session is None else self.session.user,
            "csrf": "" if self.session is None else self.session.csrf,
            "language": self.language,
            "languages": [language(code) for code in LANGUAGES],
            "theme": theme if theme in THEMES else THEMES[0],
            "device": self.desk.device,
            "here": self.request.url.path,
        }


Endpoint = Callable[[Visit], Response]


def page(
    path: str,
    endpoint: Endpoint,
    *,
    roles: frozenset[Role] = EVERYBODY,
    methods: Sequence[str] = ("GET",),
) -> Route:
    """Return a route to a page for people who are logged in.

    Parameters
    ----------
    path : str
        Starlette's: ``/study/{study:int}``.
    endpoint : callable
        Makes the page. Runs in a thread, so it may read the disk.
    roles : frozenset of Role
        Who may; others get a page that says so.
    methods : sequence of str
        GET, POST.
    """

    async def serve(request: Request) -> Response:
        visit = await open_visit(request)
        if visit.session is None:
            return _to_login(visit)
        if visit.user.role not in roles:
            return visit.refuse(
                403, "Not for your role", "Your account may not open this page. Ask who may."
            )
        if request.method == "POST" and not _token_fits(visit):
            return visit.refuse(
                403, "Please try again", "The form was too old. Load the page anew and try again."
            )
        return await run_in_threadpool(endpoint, visit)

    return Route(path, serve, methods=list(methods))


def open_page(path: str, endpoint: Endpoint, *, methods: Sequence[str] = ("GET",)) -> Route:
    """Return a route to a page that needs no log-in; otherwise as `page`."""

    async def serve(request: Request) -> Response:
        return await run_in_threadpool(endpoint, await open_visit(request))

    return Route(path, serve, methods=list(methods))


async def open_visit(request: Request) -> Visit:
    """Return the visit that a request is."""
    desk: Desk = request.app.state.desk
    cookie = request.cookies.get(cookie_name(https=desk.https))
    session = None
    if cookie:
        session = await run_in_threadpool(desk.sessions.find, cookie, now=time.time())
    form = _texts(await request.form()) if request.method == "POST" else {}
    return Visit(request, desk, _language_of(request, session), session, form)


def cookie_name(*, https: bool) -> str:
    """Return the session cookie's name: bound to this host and to TLS, where there is TLS.

    Source: RFC 6265bis section 4.1.3.2.
    """
    return f"__Host-{SESSION_COOKIE}" if https else SESSION_COOKIE


def here_or_board(path: str) -> str:
    """Return a path on this console, or the board's when it leads elsewhere."""
    ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if ours else "/"


def _language_of(request: Request, session: Session | None) -> Language:
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if session is not None and session.user.language is not None:
        chosen = session.user.language
    if chosen not in LANGUAGES:
        chosen = preferred(request.headers.get("accept-language", ""))
    return language(chosen)


def _texts(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _token_fits(visit: Visit) -> bool:
    given = visit.form.get("csrf") or visit.request.headers.get("x-csrf-token", "")
    session = visit.session
    return session is not None and hmac.compare_digest(given.encode(), session.csrf.encode())


def _to_login(visit: Visit) -> Response:
    request = visit.request
    if "text/html" not in request.headers.get("accept", ""):
        return Response("Log in first.\n", 401, media_type="text/plain")
    if request.method != "GET":
        return visit.refuse(
            401, "Your session has ended", "What you sent was not kept. Log in, then send it again."
        )
    ended = cookie_name(https=visit.desk.https) in request.cookies
    query = {"next": request.url.path} if request.url.path != "/" else {}
    query |= {"why": "session"} if ended else {}
    return visit.go(f"/login?{urlencode(query)}" if query else "/login")
