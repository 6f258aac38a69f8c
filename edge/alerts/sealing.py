"""Sealing: an alert that only its recipients can read and only its device could have written.

Signed (`edge.jose.signature`), then encrypted (`edge.jose.envelope`). What the signature
says besides the body:

======= ========================================================================
dev     the device; it must be the one whose key signed
seq     its sequence number
created when, RFC 3339
aud     the kids of every recipient, in the order of the envelope
======= ========================================================================

Without `aud` a recipient could open an alert and seal the signed part again for somebody
else, who would believe that the device had written to him (surreptitious forwarding).
With it, a signed alert is believed only inside an envelope for exactly those it was
signed for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge.jose.envelope import (
    BUCKETS,
    CONTENT_TYPE,
    MAX_MESSAGE,
    MAX_RECIPIENTS,
    Refusal,
    SealError,
    audience_of,
    parse,
    unwrap,
    wrap,
)
from edge.jose.signature import Statement
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedDevice, TrustedDevices
from edge.timestamps import parse_rfc3339

__all__ = [
    "ALERT",
    "BUCKETS",
    "CLOCK_SKEW",
    "CONTENT_TYPE",
    "MAX_MESSAGE",
    "MAX_RECIPIENTS",
    "Opened",
    "Refusal",
    "SealError",
    "body_digest",
    "open_sealed",
    "seal",
]

CLOCK_SKEW = timedelta(minutes=10)

ALERT = Statement("scanside-alert+jws", {"aud": list, "created": str, "dev": str, "seq": int})


@dataclass(frozen=True)
class Opened:
    """A message that was for us, from a device we trust, and whole.

    Parameters
    ----------
    body : bytes
        The alert's JSON; `edge.alerts.message.Alert.from_json` reads it.
    device, site : str
        As trusted, equal to the body's.
    sequence, created : int, str
        As signed, equal to the body's.
    kid : str
        The thumbprint of the key that signed.
    """

    body: bytes
    device: str
    site: str
    sequence: int
    created: str
    kid: str


def body_digest(body: bytes) -> str:
    """Return what a receipt calls an alert by: SHA-256 of its body, in base64url, 43 characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def seal(
    body: bytes,
    *,
    signer: SigningKey,
    device: str,
    sequence: int,
    created: str,
    recipients: Sequence[PublicKey],
) -> bytes:
    """Sign a body and encrypt it for its recipients.

    Parameters
    ----------
    body : bytes
        The alert's JSON, with the same device, sequence and created.
    signer : SigningKey
        The device's.
    device, sequence, created
        What the signature says; RFC 3339 for created.
    recipients : sequence of PublicKey
        X25519; 1 to 16, none twice.

    Returns
    -------
    bytes
        The JWE in general JSON form, UTF-8.

    Raises
    ------
    ValueError
        When the body says something else than the arguments, the recipients are none,
        too many or repeated, or the message is too large: every receiver would refuse it.
    """
    audience = audience_of(recipients)
    said = _claims(json.loads(body))
    if said[:3] != (device, sequence, created):
        msg = "the body names another device, sequence or created than the signature would"
        raise ValueError(msg)
    parse_rfc3339(created)
    claims = {"aud": audience, "created": created, "dev": device, "seq": sequence}
    return wrap(ALERT.sign(body, claims, signer), recipients)


def open_sealed(
    message: bytes,
    *,
    me: PrivateKey | Sequence[PrivateKey],
    trusted: TrustedDevices,
    now: datetime,
    max_age: timedelta | None,
) -> Opened:
    """Decrypt and verify a message. Repeats are the receiver's store's to drop.

    Parameters
    ----------
    message : bytes
        As it came; nothing about it is believed.
    me : PrivateKey or sequence of PrivateKey
        The receiver's X25519 key, and its former ones.
    trusted : TrustedDevices
        Whose signatures count.
    now : datetime
        Aware.
    max_age : timedelta or None
        Refuse what is older, or from the future by more than 10 minutes. None: a device
        with a wrong clock is still heard, and repeats are known by their sequence.

    Raises
    ------
    SealError
        And nothing else, whatever the bytes.
    """
    inside = unwrap(message, me)
    header, body, sender = _verify(inside.signed, trusted)
    if header["aud"] != inside.audience:
        raise SealError(Refusal.MISMATCH, "it was signed for other recipients")
    device, sequence, created = header["dev"], header["seq"], header["created"]
    if device != sender.device:
        raise SealError(Refusal.MISMATCH, "the signature names another device than its key")
    if _claims(parse(body)) != (device, sequence, created, sender.site):
        raise SealError(Refusal.MISMATCH, "the body names another origin than the signature")
    _check_age(created, now, max_age)
    return Opened(body, device, sender.site, sequence, created, sender.key.kid)


def _verify(signed: bytes, trusted: TrustedDevices) -> tuple[dict[str, Any], bytes, TrustedDevice]:
    header = ALERT.read_header(signed)
    sender = trusted.find(header["kid"])
    if sender is None:
        raise SealError(Refusal.UNKNOWN_DEVICE, "signed with a key that is not trusted here")
    return header, ALERT.verify(signed, sender.key), sender


def _check_age(created: str, now: datetime, max_age: timedelta | None) -> None:
    try:
        age = now - parse_rfc3339(created)
    except ValueError as error:
        raise SealError(Refusal.MALFORMED, "created is no RFC 3339 moment") from error
    if max_age is not None and not -CLOCK_SKEW <= age <= max_age:
        raise SealError(Refusal.STALE, "created too long ago, or in the future")


def _claims(document: object) -> tuple[object, object, object, object]:
    """Return what a body says of its origin: device, sequence, created, site."""
    if not isinstance(document, dict):
        return (None, None, None, None)
    names = ("device", "sequence", "created", "site")
    device, sequence, created, site = (document.get(name) for name in names)
    return (device, sequence, created, site)
