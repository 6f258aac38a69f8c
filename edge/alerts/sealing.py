"""Sealing: an alert that only its recipients can read and only its device could have written.

Signed, then encrypted. The signature is a JWS (RFC 7515) with Ed25519 (RFC 8037, named
"Ed25519" by RFC 9864); the envelope is a JWE (RFC 7516) in general JSON form, one content
key (A256GCM) wrapped for each recipient by ECDH-ES+A256KW on X25519 (RFC 7518 section 4.6).

What the signature says besides the body, in its protected header, all of it critical:

======= ========================================================================
dev     the device; it must be the one whose key signed
seq     its sequence number
created when, RFC 3339
aud     the kids of every recipient, in the order of the envelope
======= ========================================================================

Without `aud` a recipient could open an alert and seal the signed part again for somebody
else, who would believe that the device had written to him (surreptitious forwarding).
With it, a signed alert is believed only inside an envelope for exactly those it was
signed for. `typ` keeps the signature of an alert from passing for that of a receipt.

There is nothing to negotiate: one set of algorithms, one protected header, compared byte
for byte. The envelope shows thumbprints of keys, and nothing of patient or study.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, cast

from joserfc import jwe, jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.registry import HeaderParameter
from joserfc.util import json_b64encode

from edge.alerts.timestamps import parse_rfc3339
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedDevice, TrustedDevices

MAX_MESSAGE = 128 * 1024  # bytes; 64 KiB of body in base64 twice, and its recipients
MAX_RECIPIENTS = 16
CLOCK_SKEW = timedelta(minutes=10)
CONTENT_TYPE = "application/jose+json"  # RFC 7515 section 9.2.1

_ALGORITHMS = ("ECDH-ES+A256KW", "A256GCM")
_SIGNATURE = "Ed25519"
_TYP = "scanside-alert+jws"
_JWE_HEADER = {"alg": _ALGORITHMS[0], "enc": _ALGORITHMS[1], "typ": "JOSE+JSON", "cty": "JOSE"}
_JWE_PROTECTED = json_b64encode(_JWE_HEADER).decode()
_CRITICAL = ["aud", "created", "dev", "seq"]
_JWS_MEMBERS = {"alg", "kid", "typ", "cty", "crit", *_CRITICAL}


class Refusal(Enum):
    """Why a sealed message is refused."""

    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    NOT_FOR_ME = "not for me"
    UNKNOWN_DEVICE = "unknown device"
    BAD_SIGNATURE = "bad signature"
    MISMATCH = "mismatch"
    STALE = "stale"


class SealError(ValueError):
    """A message is refused. `reason` is for counting; the text repeats nothing of the message.

    Parameters
    ----------
    reason : Refusal
    detail : str
        What was wrong, for a person.
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason


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
    kids = [recipient.kid for recipient in recipients]
    if not 0 < len(kids) <= MAX_RECIPIENTS or len(set(kids)) != len(kids):
        msg = f"an alert is sealed for 1 to {MAX_RECIPIENTS} different recipients, not {len(kids)}"
        raise ValueError(msg)
    said = _claims(json.loads(body))
    if said[:3] != (device, sequence, created):
        msg = "the body names another device, sequence or created than the signature would"
        raise ValueError(msg)
    parse_rfc3339(created)
    header = {
        "alg": _SIGNATURE,
        "kid": signer.kid,
        "typ": _TYP,
        "cty": "json",
        "crit": _CRITICAL,
        "aud": kids,
        "created": created,
        "dev": device,
        "seq": sequence,
    }
    signed = jws.serialize_compact(header, body, signer.jwk, registry=_jws_registry())
    envelope = jwe.GeneralJSONEncryption(dict(_JWE_HEADER), signed.encode())
    for recipient in recipients:
        envelope.add_recipient({"kid": recipient.kid}, recipient.jwk)
    message = _dump(jwe.encrypt_json(envelope, None, registry=_jwe_registry()))
    if len(message) > MAX_MESSAGE:
        msg = f"the sealed alert has {len(message)} bytes; receivers take {MAX_MESSAGE}"
        raise ValueError(msg)
    return message


def open_sealed(
    message: bytes,
    *,
    me: PrivateKey,
    trusted: TrustedDevices,
    now: datetime,
    max_age: timedelta | None,
) -> Opened:
    """Decrypt and verify a message. Repeats are the receiver's store's to drop.

    Parameters
    ----------
    message : bytes
        As it came; nothing about it is believed.
    me : PrivateKey
        The receiver's X25519 key.
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
    if len(message) > MAX_MESSAGE:
        raise SealError(Refusal.TOO_LARGE, f"{len(message)} bytes; {MAX_MESSAGE} are taken")
    envelope = _read_envelope(message)
    signed = _decrypt(envelope, me)
    header, body, sender = _verify(signed, trusted)
    audience = [recipient["header"]["kid"] for recipient in envelope["recipients"]]
    if header["aud"] != audience:
        raise SealError(Refusal.MISMATCH, "it was signed for other recipients")
    device, sequence, created = header["dev"], header["seq"], header["created"]
    if device != sender.device:
        raise SealError(Refusal.MISMATCH, "the signature names another device than its key")
    if _claims(_parse(body)) != (device, sequence, created, sender.site):
        raise SealError(Refusal.MISMATCH, "the body names another origin than the signature")
    _check_age(created, now, max_age)
    return Opened(body, device, sender.site, sequence, created, sender.key.kid)


def _read_envelope(message: bytes) -> dict[str, Any]:
    """Parse the outer JSON: exactly the members that `seal` writes, as it writes them."""
    envelope = _parse(message)
    if not (
        isinstance(envelope, dict)
        and envelope.keys() == {"protected", "iv", "ciphertext", "tag", "recipients"}
        and all(isinstance(envelope[name], str) for name in ("iv", "ciphertext", "tag"))
        and isinstance(envelope["recipients"], list)
        and all(map(_is_recipient, envelope["recipients"]))
    ):
        raise SealError(Refusal.MALFORMED, "not a JWE in general JSON form as Scanside writes it")
    if envelope["protected"] != _JWE_PROTECTED:
        raise SealError(Refusal.MALFORMED, "other algorithms than Scanside's, or another type")
    if not 0 < len(envelope["recipients"]) <= MAX_RECIPIENTS:
        raise SealError(Refusal.MALFORMED, "no recipient, or too many")
    # One alert has one form. Repeated members and stray spaces end here.
    if _dump(envelope) != message:
        raise SealError(Refusal.MALFORMED, "not in the form that Scanside writes")
    return envelope


def _is_recipient(entry: object) -> bool:
    if not (isinstance(entry, dict) and entry.keys() == {"header", "encrypted_key"}):
        return False
    header, wrapped = entry["header"], entry["encrypted_key"]
    return (
        isinstance(wrapped, str)
        and isinstance(header, dict)
        and header.keys() == {"kid", "epk"}
        and isinstance(header["kid"], str)
        and isinstance(header["epk"], dict)
        and header["epk"].keys() == {"crv", "x", "kty"}
        and (header["epk"]["kty"], header["epk"]["crv"]) == ("OKP", "X25519")
    )


def _decrypt(envelope: dict[str, Any], me: PrivateKey) -> bytes:
    mine = [entry for entry in envelope["recipients"] if entry["header"]["kid"] == me.kid]
    if len(mine) != 1:
        raise SealError(Refusal.NOT_FOR_ME, "no recipient entry has the thumbprint of this key")
    # With the other entries left out, one key is unwrapped, and theirs cannot disturb it.
    data = cast("jwe.GeneralJSONSerialization", {**envelope, "recipients": mine})
    try:
        opened = jwe.decrypt_json(data, me.jwk, registry=_jwe_registry())
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        # joserfc lets through what base64, json and X25519 raise on bytes that are not theirs.
        raise SealError(Refusal.MALFORMED, "it does not decrypt: altered or damaged") from error
    return opened.plaintext or b""


def _verify(signed: bytes, trusted: TrustedDevices) -> tuple[dict[str, Any], bytes, TrustedDevice]:
    try:
        header = jws.extract_compact(signed, None, _jws_registry()).headers()
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise SealError(Refusal.MALFORMED, "what was encrypted is not a compact JWS") from error
    _check_jws_header(header)
    sender = trusted.find(header["kid"])
    if sender is None:
        raise SealError(Refusal.UNKNOWN_DEVICE, "signed with a key that is not trusted here")
    try:
        verified = jws.deserialize_compact(signed, sender.key.jwk, registry=_jws_registry())
    except BadSignatureError as error:
        raise SealError(Refusal.BAD_SIGNATURE, "the signature does not fit") from error
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise SealError(Refusal.MALFORMED, "what was encrypted is not a compact JWS") from error
    return header, verified.payload, sender


def _check_jws_header(header: object) -> None:
    if not (
        isinstance(header, dict)
        and header.keys() == _JWS_MEMBERS
        and (header["alg"], header["typ"], header["cty"]) == (_SIGNATURE, _TYP, "json")
        and header["crit"] == _CRITICAL
        and isinstance(header["kid"], str)
        and isinstance(header["dev"], str)
        and type(header["seq"]) is int  # a bool is an int, too
        and header["seq"] > 0
        and isinstance(header["created"], str)
        and isinstance(header["aud"], list)
    ):
        raise SealError(Refusal.MALFORMED, "the signature's header is not Scanside's")


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


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SealError(Refusal.MALFORMED, "not JSON") from error


def _dump(envelope: object) -> bytes:
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


@cache
def _jws_registry() -> jws.JWSRegistry:
    known = {
        "aud": HeaderParameter("Audience", "list[str]", required=True),
        "created": HeaderParameter("Created", "str", required=True),
        "dev": HeaderParameter("Device", "str", required=True),
        "seq": HeaderParameter("Sequence", "int", required=True),
    }
    registry = jws.JWSRegistry(header_registry=known, algorithms=[_SIGNATURE])
    registry.max_header_length = 4096  # 16 thumbprints
    registry.max_payload_length = MAX_MESSAGE
    return registry


@cache
def _jwe_registry() -> jwe.JWERegistry:
    registry = jwe.JWERegistry(algorithms=_ALGORITHMS)
    registry.max_ciphertext_length = MAX_MESSAGE
    return registry
