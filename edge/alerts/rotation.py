"""New keys, told by the old ones: how a peer learns them without a person in between.

Who replaces his keys signs, with the old signing key, a statement (JWS) that names the new
public file and until when the old keys still count. The statements of a device or a server,
oldest first, are one retained message on its own topic (`edge.alerts.topics.keys_topic`), so
that a peer that slept through several rotations follows them one by one from a key it trusts.
Nothing in it is secret. A peer believes a new key only if a key that it believes named it, for
the same device or server; it is never a way to become another.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edge.jose.envelope import Refusal, SealError, dump, parse
from edge.jose.signature import Statement
from edge.key_files import KeyFileError
from edge.keys.former import FormerKeys
from edge.keys.identity import PublicKey, SigningKey
from edge.keys.own import CentralKeys, DeviceKeys, replace_own
from edge.keys.public import parse_public
from edge.timestamps import parse_rfc3339, rfc3339

KEYS = Statement("scanside-keys+jws", {"created": str})
MAX_LINKS = 64
MAX_MESSAGE = 256 * 1024  # bytes; a link has 1.3 kB
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody whose key is believed: ``device`` or ``central``, its name, its site or ``""``."""

    kind: str
    name: str
    site: str
    key: PublicKey


@dataclass(frozen=True)
class Succession:
    """New keys that a believed key has named.

    Parameters
    ----------
    peer : Peer
        Whose key named them.
    document : dict
        The new public file, checked.
    signing : PublicKey
        The new signing key.
    until : str
        How long the old keys count, RFC 3339.
    """

    peer: Peer
    document: dict[str, Any]
    signing: PublicKey
    until: str


def rotate(folder: Path, kind: str, overlap: timedelta) -> None:
    """Replace the signing and sealing keys of a key folder, and keep the statement of it.

    Parameters
    ----------
    folder : Path
    kind : str
        ``device`` or ``central``.
    overlap : timedelta
        How long the old keys count at those who learn the new ones. Longer than an alert may be
        under way: what a stopped broker holds is signed with the old key.

    Raises
    ------
    KeyFileError
        When the folder's keys cannot be used or written.
    """
    keys = DeviceKeys.load(folder) if kind == "device" else CentralKeys.load(folder)
    now = datetime.now(timezone.utc)
    until = rfc3339(now + overlap)

    def name_next(document: dict[str, Any]) -> str:
        return _name_next(document, until, rfc3339(now), keys.signing)

    try:
        replace_own(folder, kind, name_next, rfc3339(now))
    except OSError as error:
        msg = f"{folder}: cannot write the new keys: {error.strerror}. The old ones still count."
        raise KeyFileError(msg) from error


def keys_message(former: Sequence[FormerKeys]) -> bytes | None:
    """Return what to publish, retained, on one's own keys topic; None when no key was replaced."""
    links = [one.statement for one in former][-MAX_LINKS:]
    return dump({"keys": _VERSION, "chain": links}) if links else None


def follow(message: bytes, find: Callable[[str], Peer | None]) -> list[Succession]:
    """Return the new keys that a message leads to, in the order they followed each other.

    Parameters
    ----------
    message : bytes
        As it came; nothing about it is believed.
    find : callable
        Returns whose signing key a kid is, if that is believed.

    Raises
    ------
    SealError
        When it is no such message, a link is forged, or none of it begins at a believed key.
    """
    links = _links(message)
    successions: list[Succession] = []
    learnt: dict[str, Peer] = {}
    arrived = False
    for link in links:
        kid = KEYS.read_header(link)["kid"]
        peer = learnt.get(kid) or find(kid)
        if peer is None:
            if successions:
                raise SealError(Refusal.MISMATCH, "a link does not follow the one before it")
            # Before our time, or of keys whose time is over: it may lead to what we know already.
            arrived = arrived or find(_named_unverified(link)) is not None
            continue
        new = _read(parse(KEYS.verify(link, peer.key)), peer)
        successions.append(new)
        learnt[new.signing.kid] = Peer(peer.kind, peer.name, peer.site, new.signing)
    if not successions and not arrived:
        raise SealError(Refusal.UNKNOWN_DEVICE, "the chain begins at no key that is trusted here")
    return [one for one in successions if find(one.signing.kid) is None]


def _name_next(document: dict[str, Any], until: str, created: str, signer: SigningKey) -> str:
    body = dump({"keys": _VERSION, "public": document, "until": until})
    return KEYS.sign(body, {"created": created}, signer).decode()


def _named_unverified(link: bytes) -> str:
    """Return the kid that a link names, whoever signed it: for a comparison and nothing else."""
    try:
        payload = link.split(b".")[1]
        body = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        return str(body["public"]["keys"][0]["kid"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""


def _links(message: bytes) -> list[bytes]:
    if len(message) > MAX_MESSAGE:
        raise SealError(Refusal.TOO_LARGE, f"{len(message)} bytes; {MAX_MESSAGE} are taken")
    document = parse(message)
    if not (
        isinstance(document, dict)
        and document.keys() == {"keys", "chain"}
        and document["keys"] == _VERSION
        and isinstance(document["chain"], list)
        and 0 < len(document["chain"]) <= MAX_LINKS
        and all(isinstance(link, str) and link.isascii() for link in document["chain"])
    ):
        raise SealError(Refusal.MALFORMED, f"not a chain of keys of version {_VERSION}")
    return [link.encode() for link in document["chain"]]


def _read(body: Any, peer: Peer) -> Succession:
    if not (isinstance(body, dict) and body.keys() == {"keys", "public", "until"}):
        raise SealError(Refusal.MALFORMED, "not a statement of new keys")
    try:
        parse_rfc3339(body["until"])
        public = parse_public(body["public"], "the new keys", peer.kind)
        # Nothing but what a public file has may come to lie in the key folder.
        allowed = {"scanside", "kind", "name", "device", "site", "keys"}
        plain = json.dumps(body["public"])
    except (KeyFileError, ValueError, TypeError) as error:
        raise SealError(Refusal.MALFORMED, "the new keys are not a public file") from error
    if not body["public"].keys() <= allowed or len(plain) > 4096:
        raise SealError(Refusal.MALFORMED, "the new keys have members that are not known")
    if (public.name, public.site) != (peer.name, peer.site):
        raise SealError(Refusal.MISMATCH, "a key names a successor for somebody else")
    return Succession(peer, body["public"], public.signing, body["until"])
