"""DICOM application entities as the configuration names them: who may call, and whom to call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

# Printable ASCII without backslash, and not of spaces alone (PS3.5 table 6.2-1).
_LIKE_AN_ADDRESS = re.compile(r"(?=.*[.:])[0-9A-Fa-f:.]+(/[0-9]+)?")
_TITLE = re.compile(r" *[!-\[\]-~][ -\[\]-~]*")
_ADDRESS = re.compile(
    r"(?P<title> *[!-\[\]-~][ -\[\]-~]{0,15})@"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\[\]\s]+):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application entity is reached."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def address_of(text: str) -> Address:
    """Read ``AE@host:port``; an IPv6 address stands in brackets.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535 or len(found["title"].strip()) > 16:
        raise ValueError(f"{text!r} is not AE@host:port, such as CT1@10.0.0.5:104")
    return Address(found["title"].strip(), found["host"].strip("[]"), int(found["port"]))


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may call. `network`: from where; None: from anywhere."""

    ae_title: str
    network: IPv4Network | IPv6Network | None = None

    def is_at(self, address: str) -> bool:
        """Return whether it may call from `address`."""
        if self.network is None:
            return True
        here = ip_address(address)
        # What comes in by IPv4 at an IPv6 address that is listened on (RFC 4291 section 2.5.5.2).
        return (getattr(here, "ipv4_mapped", None) or here) in self.network


def peer_of(text: str) -> Peer:
    """Read ``AE``, ``AE@address`` or ``AE@network``.

    An AE title may itself hold an ``@``; it is one where no address follows.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    title, at, address = text.rpartition("@")
    if not at or _LIKE_AN_ADDRESS.fullmatch(address) is None:
        return Peer(_title(text, text))
    try:
        network = ip_network(address, strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r}: {address} is no address or network") from error
    return Peer(_title(title, text), network)


def _title(title: str, text: str) -> str:
    if len(title) > 16 or _TITLE.fullmatch(title) is None:
        raise ValueError(
            f"{text!r} is neither an AE title of 1 to 16 characters nor AE@address, such as "
            "CT1@10.0.0.5"
        )
    return title
