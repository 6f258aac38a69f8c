"""An HTTP server in a thread of the daemon, which stops without leaving a client hanging."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

_BACKLOG = 128
_FAREWELL_S = 2
_GOODBYE_S = 0.1


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
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,  # a line would hold which study it was about; the audit does
                server_header=False,
                proxy_headers=False,
                limit_concurrency=requests,
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
        await self._server.serve(sockets=[listening])
        # Lines that were just closed take a few turns more, over TLS, until they are.
        await asyncio.sleep(_GOODBYE_S)
