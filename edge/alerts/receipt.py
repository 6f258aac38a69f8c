"""The receipt: a central server says, signed, which alerts it has stored.

A PUBACK says that a broker has an alert; a receipt says that the hospital has it. The server
makes it in the transaction that stores the alert, signs it (JWS) with its own signing key,
and seals it (JWE) to the device that wrote the alert, on the topic of `receipt_topic`. One
receipt may speak of several alerts of one device, so that a backlog is settled as fast as it
is stored.

A receipt names an alert by sequence, id and the digest of its body. One that is replayed can
therefore settle nothing but the alert it was written for, also after a device was set up
anew and counts from 1 again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from edge.jose.envelope import Refusal, SealError, audience_of, dump, parse, unwrap, wrap
from edge.jose.signature import Statement
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedCentrals
from edge.names import InvalidNameError, check_name
from edge.timestamps import parse_rfc3339

VERSION = 1
MAX_ALERTS = 64

RECEIPT = Statement("scanside-receipt+jws", {"aud": list})

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Standing(str, Enum):
    """Whether the alert was new to the server. Either way it has it."""

    STORED = "stored"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """One alert that the server has.

    Parameters
    ----------
    sequence, alert_id : int, str
        As in the alert.
    digest : str
        `edge.alerts.sealing.body_digest` of its body.
    stored : str
        When it was first stored, RFC 3339.
    status : Standing
    """

    sequence: int
    alert_id: str
    digest: str
    stored: str
    status: Standing


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a server says to one device.

    Parameters
    ----------
    central : str
        The server's name.
    site, device : str
        Whose alerts they are.
    alerts : tuple of StoredAlert
        1 to 64.
    """

    central: str
    site: str
    device: str
    alerts: tuple[StoredAlert, ...]


@dataclass(frozen=True, slots=True)
class OpenedReceipt:
    """A receipt that was for us, from a server we trust, and whole; `kid` signed it."""

    receipt: Receipt
    kid: str


def make_receipt(receipt: Receipt, *, signer: SigningKey, device_key: PublicKey) -> bytes:
    """Sign a receipt and seal it to its device.

    Parameters
    ----------
    receipt : Receipt
    signer : SigningKey
        The server's.
    device_key : PublicKey
        The device's X25519 key: `edge.keys.TrustedDevice.sealing`.

    Returns
    -------
    bytes
        The payload to publish on `edge.alerts.topics.receipt_topic`, QoS 1, not retained.

    Raises
    ------
    ValueError
        When the receipt says what no device would take.
    """
    body = dump({"receipt": VERSION, **asdict(receipt)})
    if _read(parse(body)) != receipt:
        msg = "the receipt has a value of another type than it should"
        raise ValueError(msg)
    signed = RECEIPT.sign(body, {"aud": audience_of([device_key])}, signer)
    return wrap(signed, [device_key])


def open_receipt(
    message: bytes,
    *,
    me: PrivateKey | Sequence[PrivateKey],
    site: str,
    device: str,
    trusted: TrustedCentrals,
) -> OpenedReceipt:
    """Decrypt and verify a receipt.

    Parameters
    ----------
    message : bytes
        As it came; nothing about it is believed.
    me : PrivateKey or sequence of PrivateKey
        The device's X25519 key, and its former ones.
    site, device : str
        Who we are.
    trusted : TrustedCentrals
        Whose receipts count.

    Raises
    ------
    SealError
        And nothing else, whatever the bytes.
    """
    inside = unwrap(message, me)
    header = RECEIPT.read_header(inside.signed)
    sender = trusted.find(header["kid"])
    if sender is None:
        raise SealError(Refusal.UNKNOWN_SERVER, "signed with a key that is not trusted here")
    receipt = _read(parse(RECEIPT.verify(inside.signed, sender.signing)))
    if header["aud"] != inside.audience:
        raise SealError(Refusal.MISMATCH, "it was signed for another recipient")
    if receipt.central != sender.name:
        raise SealError(Refusal.MISMATCH, "it names another server than its key")
    if (receipt.site, receipt.device) != (site, device):
        raise SealError(Refusal.MISMATCH, "it is about another device's alerts")
    return OpenedReceipt(receipt, sender.signing.kid)


def _read(document: Any) -> Receipt:
    """Read a body; exactly the members that `make_receipt` writes."""
    if not (
        isinstance(document, dict)
        and document.keys() == {"receipt", "central", "site", "device", "alerts"}
        and document["receipt"] == VERSION
        and isinstance(document["alerts"], list)
        and 0 < len(document["alerts"]) <= MAX_ALERTS
    ):
        raise SealError(Refusal.MALFORMED, f"not a receipt of version {VERSION}")
    try:
        central, site, device = (
            check_name(document[name], name) for name in ("central", "site", "device")
        )
    except (InvalidNameError, TypeError, AttributeError) as error:
        raise SealError(Refusal.MALFORMED, "the receipt has a name that is not allowed") from error
    return Receipt(central, site, device, tuple(map(_alert, document["alerts"])))


def _alert(entry: object) -> StoredAlert:
    if not isinstance(entry, Mapping) or entry.keys() != set(StoredAlert.__slots__):
        raise SealError(Refusal.MALFORMED, "the receipt's alert has other members")
    texts = [entry[name] for name in ("alert_id", "digest", "stored", "status")]
    sequence = entry["sequence"]
    if not all(isinstance(text, str) for text in texts) or type(sequence) is not int:
        raise SealError(Refusal.MALFORMED, "the receipt's alert has a value of another type")
    alert_id, digest, stored, status = texts
    try:
        parse_rfc3339(stored)
        standing = Standing(status)
    except ValueError as error:
        raise SealError(Refusal.MALFORMED, "the receipt's alert has no such value") from error
    # SQLite counts to 2^63 - 1.
    if not (0 < sequence < 1 << 63 and _ID.fullmatch(alert_id) and _DIGEST.fullmatch(digest)):
        raise SealError(Refusal.MALFORMED, "the receipt's alert has no such value")
    return StoredAlert(sequence, alert_id, digest, stored, standing)
