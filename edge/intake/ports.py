"""The ports that senders come to: without TLS, with it, or both, for one application entity."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import RequestHandler

from edge.config import Dicom
from edge.intake.handshakes import HANDSHAKE_S, TlsServer
from edge.intake.revoked import RevocationState
from edge.intake.tls import Credentials, TurnedAway
from edge.keys.tls import TlsCertificate

_FAREWELL_S = 1.0


class PortTaken(OSError):
    """An address cannot be listened on; `filename` is the address."""


class Ports:
    """Where senders come in.

    Parameters
    ----------
    ae : AE
        Ours.
    settings : Dicom
        ``[dicom]`` of the configuration.
    on_refused : callable
        Is told whose handshake failed, and why.

    Raises
    ------
    DicomTlsError
        If certificate, key or authority cannot be used.
    """

    def __init__(self, ae: AE, settings: Dicom, on_refused: Callable[[TurnedAway], None]) -> None:
        self._ae = ae
        self._settings = settings
        self._on_refused = on_refused
        self._credentials = None if settings.tls_port is None else Credentials(settings)
        self._servers: list[Any] = []
        self._threads: list[threading.Thread] = []

    @property
    def certificate(self) -> TlsCertificate | None:
        """What senders over TLS are shown; None without TLS."""
        return None if self._credentials is None else self._credentials.certificate

    @property
    def revocation(self) -> RevocationState | None:
        """How the lists of what was taken back stand; None where there are none."""
        revoked = None if self._credentials is None else self._credentials.revoked
        return None if revoked is None else revoked.look()

    @property
    def plain(self) -> int:
        """The open port without TLS; 0 where there is none."""
        return next((_port(one) for one in self._servers if not isinstance(one, TlsServer)), 0)

    @property
    def tls(self) -> int:
        """The open port with TLS; 0 where there is none."""
        return next((_port(one) for one in self._servers if isinstance(one, TlsServer)), 0)

    @property
    def greeted(self) -> int:
        """How many senders are shaking hands."""
        return sum(one.greeted for one in self._servers if isinstance(one, TlsServer))

    def open(self, handlers: list[Any], request_handler: type[RequestHandler]) -> None:
        """Listen on every port, or on none.

        Raises
        ------
        PortTaken
            If an address is taken or not ours.
        """
        try:
            if self._settings.plain:
                self._listen(self._settings.port, None, handlers, request_handler)
            if self._settings.tls_port is not None and self._credentials is not None:
                kind = partial(
                    TlsServer,
                    credentials=self._credentials,
                    most=self._settings.max_associations,
                    timeout_s=min(HANDSHAKE_S, self._settings.network_timeout_s),
                    on_refused=self._on_refused,
                )
                self._listen(self._settings.tls_port, kind, handlers, request_handler)
        except PortTaken:
            self._close_servers()
            raise
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, args=[0.1], name="dicom-door")
            thread.start()
            self._threads.append(thread)

    def _listen(
        self, port: int, kind: Any, handlers: list[Any], request_handler: type[RequestHandler]
    ) -> None:
        where = (self._settings.host, port)
        try:
            server = self._ae.make_server(
                where, evt_handlers=handlers, server_class=kind, request_handler=request_handler
            )
        except OSError as error:
            raise PortTaken(error.errno, error.strerror, "{}:{}".format(*where)) from error
        self._servers.append(server)

    def close(self) -> None:
        """Stop listening, let go of who shakes hands, and abort every association."""
        for server in self._servers:
            # pynetdicom's own shutdown wants a server that its AE started.
            BaseServer.shutdown(server)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for server in self._servers:
            if isinstance(server, TlsServer):
                server.let_go()
        associations = [one for server in self._servers for one in server.active_associations]
        for association in associations:
            association.dul.socket.abort()
        _join(associations)
        for association in associations:
            association.dul.socket.cut()  # those whose sender hangs
        _join(associations)
        self._close_servers()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.server_close()
        self._servers.clear()


def _port(server: Any) -> int:
    return int(server.server_address[1])


def _join(associations: Iterable[threading.Thread]) -> None:
    until = time.monotonic() + _FAREWELL_S
    for association in associations:
        association.join(max(0.0, until - time.monotonic()))
