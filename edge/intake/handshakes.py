"""Senders over TLS shake hands side by side before they are served.

pynetdicom would shake hands in the thread that accepts, where one silent sender keeps all others
waiting. Here each handshake has a thread of its own and a time limit, and the oldest makes way
when there are too many: an honest one takes milliseconds.

Who was let in is remembered by its certificate: when a list that names it comes later, its
association is aborted.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from pynetdicom.transport import AssociationServer

from edge.intake.revoked import Revoked
from edge.intake.tls import TLS_RECORD, Credentials, Refusal, TurnedAway, refusal_of
from edge.keys.revocation import RevocationLists

HANDSHAKE_S = 10.0
_LOOK_S = 1.0


class TlsServer(AssociationServer):  # type: ignore[misc]
    """An association server whose senders shake hands first, each in a thread of its own.

    Parameters
    ----------
    arguments, options
        Of pynetdicom's server.
    credentials : Credentials
    most : int
        Handshakes at the same time; the oldest makes way for the one above.
    timeout_s : float
        For the handshake.
    on_refused : callable
        Is told who, and why; called from the handshakes' threads.
    """

    def __init__(
        self,
        *arguments: Any,
        credentials: Credentials,
        most: int,
        timeout_s: float,
        on_refused: Callable[[TurnedAway], None],
        **options: Any,
    ) -> None:
        self._credentials = credentials
        self._most = most
        self._timeout_s = timeout_s
        self._on_refused = on_refused
        self._lock = threading.Lock()  # guards _shaking and _shown
        self._shaking: list[_Handshake] = []
        # The certificates of who was let in, in DER, by the connection.
        self._shown: WeakKeyDictionary[ssl.SSLSocket, bytes] = WeakKeyDictionary()
        # Of the thread that accepts alone: which lists were last held against those who are in,
        # how often they still are, whom we aborted because of them, and when to look again.
        self._held: RevocationLists | None = None
        self._rounds = 0
        self._aborted: WeakSet[ssl.SSLSocket] = WeakSet()
        self._look_at = 0.0
        super().__init__(*arguments, **options)

    @property
    def greeted(self) -> int:
        """How many senders are shaking hands."""
        with self._lock:
            return len(self._shaking)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin the handshake; called in the thread that accepts, so nothing here may wait."""
        request.settimeout(self._timeout_s)
        try:
            line = self._credentials.context().wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
        except OSError:  # it is gone already
            request.close()
            return
        handshake = _Handshake(self, line, client_address)
        with self._lock:
            self._shaking.append(handshake)
            too_many = self._shaking[: -self._most]
        for one in too_many:
            one.cut()
        handshake.start()

    def greet(self, handshake: _Handshake) -> None:
        """Shake hands with a sender; then it is served, or turned away and told of."""
        address = str(handshake.address[0])
        try:
            _shake(handshake.line)
            self._look_up(handshake.line)
        except _TakenBack as error:
            handshake.line.close()
            self._on_refused(TurnedAway(Refusal.REVOKED, address, str(error)))
        except OSError as error:
            refusal = error.refusal if isinstance(error, _NoTls) else refusal_of(error)
            self._on_refused(TurnedAway(refusal, address))
            handshake.line.close()
        else:
            self.finish_request(handshake.line, handshake.address)
        finally:
            with self._lock:
                self._shaking.remove(handshake)

    def _look_up(self, line: ssl.SSLSocket) -> None:
        revoked, certificate = self._credentials.revoked, line.getpeercert(binary_form=True) or b""
        if revoked is None:
            return
        with self._lock:  # before it is looked up: a list that comes meanwhile finds it here
            self._shown[line] = certificate
        subject = revoked.subject_of(certificate)
        if subject is not None:
            raise _TakenBack(subject)

    def service_actions(self) -> None:
        """See whether somebody who is in was taken back; called by the thread that accepts."""
        super().service_actions()
        revoked, now = self._credentials.revoked, time.monotonic()
        if revoked is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        lists = revoked.look().lists
        if lists is not self._held:
            # Twice: who shook hands when the list came is served by the second round, and who was
            # aborted in the first and hangs is cut off.
            self._held, self._rounds = lists, 2
        if self._rounds:
            self._rounds -= 1
            self._turn_out(revoked)

    def _turn_out(self, revoked: Revoked) -> None:
        """Abort the associations of those who were taken back."""
        for association in self.active_associations:
            line = association.dul.socket.socket
            with self._lock:
                certificate = self._shown.get(line) if isinstance(line, ssl.SSLSocket) else None
            subject = None if certificate is None else revoked.subject_of(certificate)
            if subject is None:
                continue
            if line in self._aborted:
                association.dul.socket.cut()
                continue
            self._aborted.add(line)
            association.dul.socket.abort()
            address = str(association.requestor.address)
            self._on_refused(TurnedAway(Refusal.REVOKED, address, subject))

    def let_go(self) -> None:
        """Cut every handshake off and wait until none is left; nobody is accepted any more."""
        with self._lock:
            shaking = list(self._shaking)
        for handshake in shaking:
            handshake.cut()
        for handshake in shaking:
            handshake.join()


class _NoTls(OSError):
    """The sender does not begin as TLS does."""

    refusal = Refusal.NO_TLS


class _TakenBack(Exception):
    """The sender's certificate was; the text says whose it is."""


class _Handshake(threading.Thread):
    """One sender between accept and association."""

    def __init__(self, server: TlsServer, line: ssl.SSLSocket, address: Any) -> None:
        super().__init__(name="dicom-tls", daemon=True)
        self._server = server
        self.line = line
        self.address = address

    def run(self) -> None:
        self._server.greet(self)

    def cut(self) -> None:
        """End the connection, whatever the sender does; its thread tells of it."""
        try:
            # Not the TLS socket's own: that would take the session from under the handshake.
            socket.socket.shutdown(self.line, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


def _shake(line: ssl.SSLSocket) -> None:
    """Shake hands; raises `OSError`."""
    # Before OpenSSL reads: its words for what is not TLS differ between versions.
    head = socket.socket.recv(line, len(TLS_RECORD), socket.MSG_PEEK)
    if head and not TLS_RECORD.startswith(head):
        raise _NoTls
    line.do_handshake()
