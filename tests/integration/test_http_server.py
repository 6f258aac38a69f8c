"""What a client that says nothing, or never ends, may take from the others: a line for a while."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from certificates import Authority
from intake_parts import HOST, PATIENCE_S
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from edge import http_server
from edge.http_server import HttpServer


@dataclass(frozen=True)
class _Files:
    cert: Path
    key: Path


class Site:
    """A server with a page that answers at once, and one that is held until it is let go."""

    def __init__(self, *, requests: int = 3, tls: _Files | None = None) -> None:
        self.held = threading.Event()
        self.let_go = threading.Event()
        routes = [
            Route("/", lambda _: PlainTextResponse("here"), methods=["GET", "POST"]),
            Route("/held", self._hold),
        ]
        self.server = HttpServer(
            Starlette(routes=routes),
            name="site",
            host=HOST,
            port=0,
            tls=tls,
            requests=requests,
            on_start=lambda _: None,
            on_stop=lambda: None,
        )

    async def _hold(self, _: Request) -> PlainTextResponse:
        self.held.set()
        await asyncio.to_thread(self.let_go.wait, PATIENCE_S)
        return PlainTextResponse("held")

    def get(self, path: str = "/") -> httpx.Response:
        url = f"http://{HOST}:{self.server.port}{path}"
        return httpx.get(url, timeout=PATIENCE_S, trust_env=False)

    @contextmanager
    def lines(self, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
        """Connect so often, say the same on each line, and no more."""
        with ExitStack() as cleanup:
            lines = []
            for _ in range(number):
                line = socket.create_connection((HOST, self.server.port), PATIENCE_S)
                lines.append(cleanup.enter_context(line))
                line.sendall(said)
            yield lines


@contextmanager
def opened(site: Site) -> Iterator[Site]:
    site.server.start()
    try:
        yield site
    finally:
        site.let_go.set()
        site.server.stop()


def closed(line: socket.socket) -> bool:
    """Read a line to its end; return whether it has one within patience."""
    try:
        while line.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_silent_lines_keep_no_request_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_CONNECTIONS", 4, raising=False)
    with opened(Site()) as site, site.lines(12) as silent:
        assert site.get().status_code == 200
        assert all(closed(line) for line in silent[:8])  # for the newer ones


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo"],
)
def test_a_line_on_which_no_request_comes_is_closed(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http_server, "_PATIENCE_S", 0.2, raising=False)
    with opened(Site()) as site, site.lines(1, said) as (line,):
        assert closed(line)


def test_a_line_that_does_not_greet_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(http_server, "_PATIENCE_S", 0.2, raising=False)
    tls = _Files(*Authority(tmp_path, "hospital").issue("scanside"))
    with opened(Site(tls=tls)) as site, site.lines(1) as (line,):
        assert closed(line)


def test_as_many_requests_are_served_as_may_be_and_the_next_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "_PATIENCE_S", 0.2, raising=False)
    with opened(Site(requests=1)) as site:
        first: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: first.append(site.get("/held")))
        asking.start()
        assert site.held.wait(PATIENCE_S)
        second = site.get()
        assert (second.status_code, second.headers["retry-after"]) == (503, "60")
        with site.lines(1) as (silent,):
            assert closed(silent)  # and the held request, although as old, is not cut
        site.let_go.set()
        asking.join()
        assert first[0].text == "held"
        assert site.get().status_code == 200


def test_a_body_that_was_answered_before_its_end_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "_LINGER_S", 0.2, raising=False)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    with opened(Site()) as site, site.lines(1, head) as (line,):
        assert b"here" in line.recv(4096) + line.recv(4096)
        assert drips_until_closed(line)


def drips_until_closed(line: socket.socket) -> bool:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        try:
            line.sendall(b"y")
        except ConnectionError:
            return True
        pause.wait(0.05)
    return False
