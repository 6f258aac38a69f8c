"""The envelope: bytes that only the named recipients can read, and how it is refused.

A JWE (RFC 7516) in general JSON form: one content key (A256GCM), wrapped for each recipient
by ECDH-ES+A256KW on X25519 (RFC 7518 section 4.6). Inside is a compact JWS, see
`edge.jose.signature`. There is nothing to negotiate: one set of algorithms, one protected
header, compared byte for byte. The envelope shows thumbprints of keys and nothing else.

What is inside is filled up with spaces to one of few lengths, so that who watches the wire
learns from a size neither how many findings there are nor how long a name is. A compact JWS
has no space in it: a reader cuts them off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, cast

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.util import json_b64encode

from edge.jose.read_json import read_json
from edge.keys.identity import MAX_RECIPIENTS, PrivateKey, PublicKey

__all__ = [
    "BUCKETS",
    "CONTENT_TYPE",
    "MAX_MESSAGE",
    "MAX_RECIPIENTS",
    "Refusal",
    "SealError",
    "Unwrapped",
    "audience_of",
    "dump",
    "parse",
    "unwrap",
    "wrap",
]

MAX_MESSAGE = 128 * 1024  # bytes; 64 KiB of body in base64 twice, and its recipients
CONTENT_TYPE = "application/jose+json"  # RFC 7515 section 9.2.1

BUCKETS = tuple(kib * 1024 for kib in (1, 2, 4, 8, 16, 32, 64, 90))
"""The lengths of what is inside, in bytes. The last holds the largest alert, and the
envelope around it stays below `MAX_MESSAGE` with the most recipients."""

_ALGORITHMS = ("ECDH-ES+A256KW", "A256GCM")
_HEADER = {"alg": _ALGORITHMS[0], "enc": _ALGORITHMS[1], "typ": "JOSE+JSON", "cty": "JOSE"}
_PROTECTED = json_b64encode(_HEADER).decode()


class Refusal(Enum):
    """Why a sealed message is refused."""

    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    NOT_FOR_ME = "not for me"
    UNKNOWN_DEVICE = "unknown device"
    UNKNOWN_SERVER = "unknown server"
    REVOKED = "revoked"
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
class Unwrapped:
    """What was inside, and the kids that the envelope names, in its order."""

    signed: bytes
    audience: list[str]


def audience_of(recipients: Sequence[PublicKey]) -> list[str]:
    """Return the kids of the recipients, as the signature names them.

    Raises
    ------
    ValueError
        When there are none, too many, or one stands twice.
    """
    kids = [recipient.kid for recipient in recipients]
    if not 0 < len(kids) <= MAX_RECIPIENTS or len(set(kids)) != len(kids):
        msg = f"a message is sealed for 1 to {MAX_RECIPIENTS} different recipients, not {len(kids)}"
        raise ValueError(msg)
    return kids


def wrap(signed: bytes, recipients: Sequence[PublicKey]) -> bytes:
    """Encrypt a compact JWS for its recipients.

    Parameters
    ----------
    signed : bytes
        At most as long as the last of `BUCKETS`.
    recipients : sequence of PublicKey
        X25519; as checked by `audience_of`.

    Returns
    -------
    bytes
        The JWE in general JSON form, UTF-8.

    Raises
    ------
    ValueError
        When it is too large: every receiver would refuse it.
    """
    envelope = jwe.GeneralJSONEncryption(dict(_HEADER), _padded(signed))
    for recipient in recipients:
        envelope.add_recipient({"kid": recipient.kid}, recipient.jwk)
    message = dump(jwe.encrypt_json(envelope, None, registry=_registry()))
    if len(message) > MAX_MESSAGE:
        msg = f"the sealed message has {len(message)} bytes; receivers take {MAX_MESSAGE}"
        raise ValueError(msg)
    return message


def unwrap(message: bytes, me: PrivateKey | Sequence[PrivateKey]) -> Unwrapped:
    """Decrypt an envelope. Whether what is inside was signed by anybody is not known yet.

    `me` is our key; several while keys rotate, of which the message names one.

    Raises
    ------
    SealError
        And nothing else, whatever the bytes.
    """
    if len(message) > MAX_MESSAGE:
        raise SealError(Refusal.TOO_LARGE, f"{len(message)} bytes; {MAX_MESSAGE} are taken")
    envelope = _read(message)
    audience = [recipient["header"]["kid"] for recipient in envelope["recipients"]]
    mine = [me] if isinstance(me, PrivateKey) else me
    return Unwrapped(_decrypt(envelope, mine).rstrip(b" "), audience)


def parse(text: bytes) -> Any:
    """Read JSON from outside; raises `SealError`."""
    try:
        return read_json(text)
    except (ValueError, RecursionError) as error:
        raise SealError(Refusal.MALFORMED, "not JSON") from error


def dump(value: object) -> bytes:
    """Write JSON in the one form that is taken: sorted, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _padded(signed: bytes) -> bytes:
    fitting = (size for size in BUCKETS if size >= len(signed))
    length = next(fitting, None)
    if length is None:
        msg = f"what is to be sealed has {len(signed)} bytes; at most {BUCKETS[-1]} are"
        raise ValueError(msg)
    return signed.ljust(length)


def _read(message: bytes) -> dict[str, Any]:
    """Parse the outer JSON: exactly the members that `wrap` writes, as it writes them."""
    envelope = parse(message)
    if not (
        isinstance(envelope, dict)
        and envelope.keys() == {"protected", "iv", "ciphertext", "tag", "recipients"}
        and all(isinstance(envelope[name], str) for name in ("iv", "ciphertext", "tag"))
        and isinstance(envelope["recipients"], list)
        and all(map(_is_recipient, envelope["recipients"]))
    ):
        raise SealError(Refusal.MALFORMED, "not a JWE in general JSON form as Scanside writes it")
    if envelope["protected"] != _PROTECTED:
        raise SealError(Refusal.MALFORMED, "other algorithms than Scanside's, or another type")
    if not 0 < len(envelope["recipients"]) <= MAX_RECIPIENTS:
        raise SealError(Refusal.MALFORMED, "no recipient, or too many")
    # One message has one form. Repeated members and stray spaces end here.
    if dump(envelope) != message:
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


def _decrypt(envelope: dict[str, Any], keys: Sequence[PrivateKey]) -> bytes:
    by_kid = {key.kid: key for key in keys}
    mine = [entry for entry in envelope["recipients"] if entry["header"]["kid"] in by_kid]
    if len(mine) != 1:
        raise SealError(Refusal.NOT_FOR_ME, "no recipient entry has the thumbprint of our key")
    me = by_kid[mine[0]["header"]["kid"]]
    # With the other entries left out, one key is unwrapped, and theirs cannot disturb it.
    data = cast("jwe.GeneralJSONSerialization", {**envelope, "recipients": mine})
    try:
        opened = jwe.decrypt_json(data, me.jwk, registry=_registry())
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        # joserfc lets through what base64, json and X25519 raise on bytes that are not theirs.
        raise SealError(Refusal.MALFORMED, "it does not decrypt: altered or damaged") from error
    return opened.plaintext or b""


@cache
def _registry() -> jwe.JWERegistry:
    registry = jwe.JWERegistry(algorithms=_ALGORITHMS)
    registry.max_ciphertext_length = MAX_MESSAGE
    return registry
