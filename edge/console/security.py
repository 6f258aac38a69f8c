"""What holds for every answer of the console: headers, the size of what is asked, whence it comes.

The policy lets a page load from this appliance alone and run no inline script or style (CSP
level 3). Sources: OWASP's HTTP headers cheat sheet; Fetch Metadata (W3C).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "media-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # none at all would make a form's Origin null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_A_YEAR = "max-age=31536000"
MAX_BODY = 256 * 1024  # bytes; a form with a long note has less than 20 kB
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: adds the headers; turns away what is too large or of another site.

    Parameters
    ----------
    app : ASGIApp
    https : bool
        Whether browsers reach the console by TLS, here or at a proxy: then they are told to
        come by nothing else.
    """

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if https:
            self._headers["Strict-Transport-Security"] = _A_YEAR

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # A patient's page is in no cache, on no disk.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if scope["method"] not in _SAFE and not _of_this_site(headers):
            refusal = PlainTextResponse("This form was not sent by Scanside's own page.\n", 403)
            await refusal(scope, receive, guarded)
        elif not _small(headers):
            refusal = PlainTextResponse(f"At most {MAX_BODY} bytes can be sent.\n", 413)
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


def _of_this_site(headers: Headers) -> bool:
    """Return whether a browser says that one of our own pages asks.

    Browsers in use send Sec-Fetch-Site by TLS, and Origin with what is no GET (Fetch standard).
    A program that sends neither has no session's form token either.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _small(headers: Headers) -> bool:
    """Return whether the body says that it is small enough; one of unknown length is not."""
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length[:12]) <= MAX_BODY
