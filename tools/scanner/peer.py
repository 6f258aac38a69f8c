"""Whom we send to: an application entity somewhere on the network.

Sources: DICOM PS3.5 6.2 (AE titles), PS3.8 9.3.4 (why an association is rejected).
"""

from __future__ import annotations

from edge.config.peers import Address

AE_TITLE_LENGTH = 16
EXAMPLE = "SCANSIDE@127.0.0.1:11112"


class PeerError(ValueError):
    """The text does not name an application entity; the message says why."""


class SendError(Exception):
    """Nothing can be sent to this peer; the message says why and what to do."""


class UnreachableError(SendError):
    """No TCP connection to the peer could be made."""


class RefusedError(SendError):
    """The peer was reached and did not accept the association."""


class Peer(Address):
    """A DICOM application entity.

    Parameters
    ----------
    ae_title : str
        The called AE title, 1 to 16 characters.
    host : str
        A name or an address; an IPv6 address without its brackets.
    port : int
        The TCP port, 1 to 65535.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Read ``AE@host:port``.

        Raises
        ------
        PeerError
            If a part is missing or not allowed; the message names the part.
        """
        title, at, address = text.rpartition("@")
        if not at:
            raise PeerError(f"{text!r} has no '@': write AE@host:port, for example {EXAMPLE}.")
        host, colon, port_text = address.rpartition(":")
        if not colon or not host:
            raise PeerError(
                f"{text!r} has no host and port after '@': write AE@host:port,"
                f" for example {EXAMPLE}."
            )
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise PeerError(f"{text!r}: put an IPv6 address in brackets, as in AE@[::1]:11112.")
        if not port_text.isascii() or not port_text.isdigit() or not 1 <= int(port_text) <= 65535:
            raise PeerError(
                f"{text!r}: the port {port_text!r} is not a number from 1 to 65535."
                "  DICOM peers usually listen on 104 or 11112."
            )
        return cls(check_ae_title(title), host, int(port_text))


def check_ae_title(title: str) -> str:
    """Return the AE title without outer spaces, or say what is wrong with it.

    Raises
    ------
    PeerError
        If it is empty, longer than 16 characters, or holds a backslash, a control
        character or anything outside ASCII (PS3.5 table 6.2-1, AE).
    """
    stripped = title.strip(" ")
    if not stripped:
        raise PeerError(f"the AE title is empty: write AE@host:port, for example {EXAMPLE}.")
    if len(stripped) > AE_TITLE_LENGTH:
        raise PeerError(
            f"the AE title {stripped!r} has {len(stripped)} characters;"
            f" DICOM allows {AE_TITLE_LENGTH}."
        )
    if not stripped.isascii() or not stripped.isprintable() or "\\" in stripped:
        raise PeerError(
            f"the AE title {stripped!r} may hold printable ASCII only, and no backslash."
        )
    return stripped


_STATUS_WORDS = {
    0x0000: "stored",
    0x0105: "no such attribute",
    0x0110: "processing failure",
    0x0111: "refused: duplicate SOP instance",
    0x0117: "refused: invalid SOP instance UID",
    0x0122: "refused: SOP class not supported",
    0x0124: "refused: not authorised",
    0x0210: "refused: duplicate invocation",
    0x0211: "refused: unrecognised operation",
    0x0212: "refused: mistyped argument",
    0xB000: "stored, with some values changed",
    0xB006: "stored, with elements left out",
    0xB007: "stored, though the data set does not match its SOP class",
}


def explain_status(status: int) -> str:
    """Say what a C-STORE status means (DICOM PS3.4 table B.2-1, PS3.7 annex C)."""
    known = _STATUS_WORDS.get(status)
    if known is not None:
        return known
    family = status >> 8
    if family == 0xA7:
        return "refused: out of resources (is the receiver's disk full?)"
    if family == 0xA9:
        return "refused: the data set does not match its SOP class"
    if family >> 4 == 0xC:
        return "refused: the receiver cannot understand the data set"
    if family >> 4 == 0xB:
        return "stored, with a warning"
    return "failed"


def is_stored(status: int) -> bool:
    """Whether the receiver kept the instance: success or a warning (PS3.7 annex C)."""
    return status == 0x0000 or status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


# (source, reason) of an A-ASSOCIATE-RJ, PS3.8 table 9-21.
_REJECTIONS = {
    (1, 2): "it does not speak this DICOM application context",
    (1, 3): "it does not know the calling AE title {caller!r}; add it there, or set --from",
    (1, 7): "it does not answer to the AE title {called!r}; check the part of --to before '@'",
    (2, 2): "it does not support this protocol version",
    (3, 1): "it is congested; try again later",
    (3, 2): "it already has as many associations as it allows; try again later",
}


def explain_rejection(peer: Peer, caller: str, source: int, reason: int) -> str:
    """Say in one sentence why the association was rejected, and what to do."""
    words = _REJECTIONS.get(
        (source, reason), "it gave no reason; check the AE titles and the receiver's log"
    )
    return f"{peer} refused the association: {words.format(caller=caller, called=peer.ae_title)}."
