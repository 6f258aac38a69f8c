"""DICOM over TLS as a scanner does it: a certificate of ours, and the receiver's checked.

As DCMTK does, the receiver's certificate is checked against the authority and not against the
receiver's name: DICOM peers are configured by address (PS3.15 B.12 asks for no more).
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from tools.scanner.peer import Peer, PeerError


@dataclass(frozen=True, slots=True)
class Tls:
    """With what to speak TLS.

    Parameters
    ----------
    ca : Path
        The authority of the receiver's certificate, in PEM.
    cert, key : Path or None
        Our own certificate and its key, in PEM; None to show none.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context of TLS 1.2 or later that checks the receiver's certificate.

        Raises
        ------
        PeerError
            If a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        try:
            context.load_verify_locations(self.ca)
        except OSError as error:
            raise PeerError(f"--ca {self.ca}: {_why(error)}.") from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except OSError as error:
                raise PeerError(f"--cert {self.cert}, --key {self.key}: {_why(error)}.") from error
        return context


def tls_error(to: Peer, tls: Tls, timeout_s: float) -> str:
    """Find out why there was no TLS connection, by trying once more.

    A receiver of TLS 1.3 refuses our certificate only after the handshake: one byte more is
    waited for, which it does not send to a sender that it takes.
    """
    try:
        with (
            socket.create_connection((to.host, to.port), timeout=timeout_s) as tcp,
            tls.context().wrap_socket(tcp, server_hostname=to.host) as line,
        ):
            line.settimeout(1.0)
            line.recv(1)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message}. Check --ca."
    except ssl.SSLError as error:
        return f"TLS: {_why(error)}; check --cert and --key, and that the port speaks TLS."
    except TimeoutError:
        return "it answered only at the second try; try again."
    except OSError:
        pass
    return "it ended the TLS handshake; check that the port speaks TLS."


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "cannot be used").replace("_", " ").lower()
    return error.strerror or "cannot be used"
