"""An HTTP server in a thread of the daemon, which stops without leaving a client hanging."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import h11
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_BACKLOG = 128
_FAREWELL_S = 2
_GOODBYE_S = 0.1
_CONNECTIONS = 320  # at the same time; two servers leave a thousand descriptors some for the rest
_PATIENCE_S = 10.0  # with a line that greets, and with one that asks
_LINGER_S = 2.0
_AGAIN_S = 60


class TlsFiles(Protocol):
    """A certificate and its key, as files in PEM."""

    @property
    def cert(self) -> Path:
        """The certificate, with what leads to its authority."""

    @property
    def key(self) -> Path:
        """Its key."""


class HttpServer:
    """A web server in a thread of its own.

    Parameters
    ----------
    app : ASGIApp
    name : str
        Of the thread.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    tls : TlsFiles or None
        None serves without TLS.
    requests : int
        At the same time; more are told to come again.
    on_start, on_stop : callable
        Called in the server's thread with its event loop: before the first request, and when
        the server is to end, so that streams that never end by themselves do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        host: str,
        port: int,
        tls: TlsFiles | None,
        requests: int,
        on_start: Callable[[asyncio.AbstractEventLoop], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._name = name
        self._where = (host, port)
        self._on_start = on_start
        self._on_stop = on_stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                _Counted(app, requests),
                loop="asyncio",
                http=_Line,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,  # a line would hold which study it was about; the audit does
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_FAREWELL_S,
                ssl_certfile=None if tls is None else tls.cert,
                ssl_keyfile=None if tls is None else tls.key,
            )
        )
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once opened."""
        if self._socket is None:
            return self._where[1]
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen and serve.

        Raises
        ------
        OSError
            If the port is taken or the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET
        self._socket = socket.create_server(self._where, family=family, backlog=_BACKLOG)
        # Accepted sockets inherit it: a small answer does not wait 40 ms for an acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._run, args=(self._socket,), name=self._name)
        self._thread.start()

    def stop(self) -> None:
        """End the streams, let open requests finish, and join the thread."""
        loop = self._loop
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(self._on_stop)
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _run(self, listening: socket.socket) -> None:
        asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_start(self._loop)
        if self._server.config.is_ssl:
            # asyncio's own patience with a line that does not greet is a minute.
            self._loop.create_server = partial(  # type: ignore[method-assign]
                self._loop.create_server, ssl_handshake_timeout=_PATIENCE_S
            )
        await self._server.serve(sockets=[listening])
        # Lines that were just closed take a few turns more, over TLS, until they are.
        await asyncio.sleep(_GOODBYE_S)


class _Counted:
    """An application that serves so many requests at the same time; more come again."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._served = 0  # written by the server's thread alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._served >= self._most:
            await _come_again()(scope, receive, send)
            return
        self._served += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._served -= 1


def _come_again() -> PlainTextResponse:
    return PlainTextResponse(
        "Too many requests at once.\n",
        503,
        headers={"Retry-After": str(_AGAIN_S), "Connection": "close"},
    )


class _Line(H11Protocol):
    """A client's connection, which is closed if it does not ask for anything.

    uvicorn waits for ever for a request's headers, and for the rest of a body that was answered.
    """

    _deadline: asyncio.TimerHandle | None = None  # while headers are waited for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; where there are too many lines, whoever waits longest goes."""
        super().connection_made(transport)
        self._expect_headers()
        if len(self.connections) > _CONNECTIONS:
            silent = [(one.due, one) for one in self.connections if isinstance(one, _Line)]
            min(silent, key=lambda each: each[0])[1].cut()

    @property
    def due(self) -> float:
        """When its patience ends, by the loop's clock; infinite while it is being served."""
        return float("inf") if self._deadline is None else self._deadline.when()

    def cut(self) -> None:
        """Close it at once."""
        self._expect_nothing()
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read; headers may take no longer than a silent line may last."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._expect_nothing()
        elif self._deadline is None and not self.transport.is_closing():
            self._expect_headers()

    def on_response_complete(self) -> None:
        """Go on to the next request; a body that was answered early is not awaited."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.loop.call_later(_LINGER_S, self._leave_unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the line."""
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(_PATIENCE_S, self.cut)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _leave_unread(self) -> None:
        if self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
