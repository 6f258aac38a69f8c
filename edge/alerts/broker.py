"""Which broker, and how to reach it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from edge.config import Broker
from edge.keys.tls import AUTHORITY, CERTIFICATE
from edge.trust import trusting


class BrokerError(Exception):
    """The broker cannot be reached, refused us, or went away. The text says which."""


@dataclass(frozen=True)
class TlsSettings:
    """TLS to the broker, 1.2 or newer.

    Parameters
    ----------
    ca : Path or None
        The CA file that the broker's certificate must come from; None: the system's.
    cert, key : Path or None
        Our own certificate and its key, when the broker asks for one. Without `key`, both are
        in the file `cert`.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class BrokerSettings:
    """Where the broker is and how to reach it.

    Parameters
    ----------
    host, port : str, int
    client_id : str
        Ours alone on this broker.
    tls : TlsSettings or None
        None: in clear, for a broker on this machine.
    username : str or None
    password_file : Path or None
        Its first line is the password.
    keepalive_s : int
        Seconds; a broker that is silent for twice as long is gone. Short, for an alert may
        be waiting behind a cable that somebody pulled.
    connect_timeout_s : float
        Seconds for each of TCP, TLS and the broker's answer.
    """

    host: str
    port: int
    client_id: str
    tls: TlsSettings | None = None
    username: str | None = None
    password_file: Path | None = None
    keepalive_s: int = 15
    connect_timeout_s: float = 10.0


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and its name.

    Raises
    ------
    BrokerError
        When a file is missing or is not what it should be.
    """
    try:
        context = trusting(settings.ca)
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key)
    except OSError as error:  # an ssl.SSLError is one, too
        msg = f"TLS: cannot use ca, cert or key: {error.strerror or error}"
        raise BrokerError(msg) from error
    return context


def read_password(file: Path | None) -> str | None:
    """Return the first line of a password file; raises `BrokerError` when it cannot."""
    if file is None:
        return None
    try:
        return file.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"password_file {file} cannot be read"
        raise BrokerError(msg) from error


def broker_settings(broker: Broker, client_id: str, keys: Path) -> BrokerSettings:
    """Return the settings that ``[broker]`` of the configuration describes.

    Parameters
    ----------
    broker : Broker
    client_id : str
    keys : Path
        The key folder. What `scanside keys install-cert` put there is used where the
        configuration names no other file.
    """
    own, authority = keys / CERTIFICATE, keys / AUTHORITY
    tls = TlsSettings(
        broker.ca or (authority if authority.exists() else None),
        broker.cert or (own if own.exists() else None),
        broker.key,
    )
    return BrokerSettings(
        host=broker.host,
        port=broker.port,
        client_id=client_id,
        tls=tls if broker.tls else None,
        username=broker.username,
        password_file=broker.password_file,
        keepalive_s=broker.keepalive_s,
    )
