"""The public file that one hands to the other side: two JWKs and a name, no secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from edge.key_files import KeyFileError, read_json
from edge.keys.identity import PublicKey
from edge.names import InvalidNameError, check_name
from edge.timestamps import parse_rfc3339

VERSION = 1
CURVES: dict[str, Literal["Ed25519", "X25519"]] = {"signing": "Ed25519", "sealing": "X25519"}


@dataclass(frozen=True)
class PublicFile:
    """A public file, read and checked."""

    name: str
    site: str
    signing: PublicKey
    sealing: PublicKey
    until: datetime | None = None


def to_jwk(key: OKPKey, name: str, *, private: bool) -> dict[str, Any]:
    use = {"signing": "sig", "sealing": "enc"}[name]
    return {**key.as_dict(private=private), "use": use, "kid": key.thumbprint()}


def public_half(key: OKPKey) -> OKPKey:
    return OKPKey(key.public_key, key.public_key)


def import_okp(document: Any, file: Path | str, curve: str) -> OKPKey:
    try:
        key: OKPKey = OKPKey.import_key(document)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{file}: not a JWK of kty OKP (RFC 8037)"
        raise KeyFileError(msg) from error
    if key.curve_name != curve:
        msg = f"{file}: a key on {key.curve_name}; {curve} is needed"
        raise KeyFileError(msg)
    return key


def read_public(file: Path, kind: str) -> PublicFile:
    """Read a public file of a ``device`` or a ``central``; raises `KeyFileError`."""
    return parse_public(read_json(file), file, kind)


def parse_public(document: Any, file: Path | str, kind: str) -> PublicFile:
    """Check the content of a public file; `file` is what errors name.

    `until` is there when its owner has new keys; these are believed until then (RFC 3339).
    """
    if not isinstance(document, dict):
        msg = f"{file} is not a JSON object"
        raise KeyFileError(msg)
    if document.get("scanside") != VERSION or document.get("kind") != kind:
        msg = f"{file} is not the public file of a {kind}: it should be {kind}.public.json"
        raise KeyFileError(msg)
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) != len(CURVES):
        msg = f"{file}: keys = should be a list of two JWKs, for signing and for sealing"
        raise KeyFileError(msg)
    name = document.get("device" if kind == "device" else "name")
    site = document.get("site", "")
    try:
        check_name(str(name), "device" if kind == "device" else "name")
        if kind == "device":
            check_name(str(site), "site")
    except InvalidNameError as error:
        msg = f"{file}: {error}"
        raise KeyFileError(msg) from error
    pair = [import_okp(jwk, file, curve) for jwk, curve in zip(keys, CURVES.values(), strict=True)]
    if any(key.is_private for key in pair):
        msg = f"{file} holds a private key: it must not be handed around. Make new keys."
        raise KeyFileError(msg)
    signing, sealing = (PublicKey(key.thumbprint(), str(name), key) for key in pair)
    return PublicFile(str(name), str(site), signing, sealing, _until(document, file))


def _until(document: dict[str, Any], file: Path | str) -> datetime | None:
    until = document.get("until")
    if until is None:
        return None
    try:
        return parse_rfc3339(until)
    except (ValueError, TypeError) as error:
        msg = f"{file}: until = is not a moment such as 2026-03-01T09:30:00.250Z"
        raise KeyFileError(msg) from error
