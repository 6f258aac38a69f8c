"""Why there is no association, in words: the network library only says that there is none."""

from __future__ import annotations

import socket

from pynetdicom import Association

from tools.scanner.peer import Peer, RefusedError, UnreachableError, explain_rejection
from tools.scanner.tls import Tls, tls_error

CONNECT_TIMEOUT_S = 5.0
UNKNOWN_HOST = "the host name is not known; check its spelling, or give an address."


def why_not(
    to: Peer, calling: str, tls: Tls | None, association: Association, *, connected: bool
) -> UnreachableError | RefusedError:
    """Return the error that says why an association is not established.

    Parameters
    ----------
    to : Peer
    calling : str
        Our AE title.
    tls : Tls or None
    association : pynetdicom.Association
        As it came out.
    connected : bool
        Whether there was a connection.
    """
    if association.is_rejected:
        answer = association.acceptor.primitive
        return RefusedError(explain_rejection(to, calling, answer.result_source, answer.diagnostic))
    if not connected:
        return UnreachableError(f"{to} cannot be reached: {_connect_error(to, tls)}")
    if association.rejected_contexts:
        return RefusedError(
            f"{to} accepted none of the image types to be sent; it may not be an image receiver."
        )
    if tls is not None:
        why = tls_error(to, tls, CONNECT_TIMEOUT_S)
        return RefusedError(f"{to} closed the connection: {why}")
    return RefusedError(
        f"{to} closed the connection or did not answer as DICOM; check that the port is a DICOM"
        " port, and whether it wants TLS."
    )


def _connect_error(to: Peer, tls: Tls | None) -> str:
    """Find out why there was no connection, by trying once more."""
    try:
        socket.create_connection((to.host, to.port), timeout=CONNECT_TIMEOUT_S).close()
    except socket.gaierror:
        return UNKNOWN_HOST
    except ConnectionRefusedError:
        return "nothing listens on that port; start the receiver, or check the port."
    except TimeoutError:
        return "no answer; check the address, the network and the firewall."
    except OSError as error:
        return f"{error.strerror or error}; check the address and the network."
    if tls is not None:
        return tls_error(to, tls, CONNECT_TIMEOUT_S)
    return "it answered only at the second try; try again."
