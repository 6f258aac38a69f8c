"""The keys of a device and of a central server: files, who may read them, what they are for.

A private folder (0700) holds one JWK a file (RFC 7517, 0600). Its `*.public.json` is what
one hands to the other side: no secret is in it. A key is known by its RFC 7638 thumbprint.

=============== =========== ============================================================
file            kind        for
=============== =========== ============================================================
signing.jwk     Ed25519     signing alerts (device), receipts (central)
sealing.jwk     X25519      opening what is sealed for us; a device can read its own alerts
storage.jwk     32 bytes    wrapping the study keys of the spool (device)
pseudonym.jwk   32 bytes    the patients' pseudonyms (device)
=============== =========== ============================================================
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from edge.alerts.topics import InvalidNameError, check_name
from edge.key_files import (
    KeyFileError,
    check_private_folder,
    copy_public,
    json_files,
    read_json,
    read_private,
    sync_folder,
    write_new,
)

__all__ = [
    "CENTRAL_PUBLIC",
    "DEVICE_PUBLIC",
    "CentralKeys",
    "DeviceKeys",
    "KeyFileError",
    "PrivateKey",
    "PublicKey",
    "SigningKey",
    "TrustedDevice",
    "TrustedDevices",
    "add_recipient",
    "init_central",
    "init_device",
    "load_recipients",
    "load_trusted",
    "pseudonym",
    "trust_device",
]

DEVICE_PUBLIC = "device.public.json"
CENTRAL_PUBLIC = "central.public.json"
RECIPIENTS = "recipients"  # beside a device's keys: the servers that may read its alerts
DEVICES = "devices"  # beside a server's keys: the devices it believes

_VERSION = 1
_PSEUDONYM_DOMAIN = b"scanside/pseudonym/v1"
_CURVES: dict[str, Literal["Ed25519", "X25519"]] = {"signing": "Ed25519", "sealing": "X25519"}


@dataclass(frozen=True)
class SigningKey:
    """A private Ed25519 key."""

    kid: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class PrivateKey:
    """A private X25519 key: opens what was sealed for it."""

    kid: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class PublicKey:
    """A public key of somebody, Ed25519 or X25519; `owner` is a name for people."""

    kid: str
    owner: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class TrustedDevice:
    """A device that a receiver believes, by its signing key."""

    device: str
    site: str
    key: PublicKey


@dataclass(frozen=True)
class TrustedDevices:
    """The devices a receiver believes, by the kid of their signing key.

    A device may have several: while keys rotate, both are believed.
    """

    by_kid: Mapping[str, TrustedDevice]

    def find(self, kid: str) -> TrustedDevice | None:
        """Return the device that signs with `kid`, or None."""
        return self.by_kid.get(kid)


@dataclass(frozen=True)
class DeviceKeys:
    """Everything secret a device holds. Its repr shows names and thumbprints alone."""

    device: str
    site: str
    signing: SigningKey
    sealing: PrivateKey
    storage: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> DeviceKeys:
        """Read a device's keys.

        Raises
        ------
        KeyFileError
            When a file is missing, damaged, or may be read by others; the text has the
            chmod command.
        """
        check_private_folder(folder)
        public = _read_public(folder / DEVICE_PUBLIC, "device")
        return cls(
            device=public.name,
            site=public.site,
            signing=SigningKey(*_load_okp(folder, "signing", public)),
            sealing=PrivateKey(*_load_okp(folder, "sealing", public)),
            storage=_load_secret(folder, "storage"),
            pseudonym=_load_secret(folder, "pseudonym"),
        )

    @property
    def console(self) -> PublicKey:
        """The device itself as a recipient, so that its own console can read its alerts."""
        return PublicKey(self.sealing.kid, self.device, _public_half(self.sealing.jwk))

    @property
    def trust_in_itself(self) -> TrustedDevices:
        """What the device's own console believes: this device and no other."""
        key = PublicKey(self.signing.kid, self.device, _public_half(self.signing.jwk))
        return TrustedDevices({key.kid: TrustedDevice(self.device, self.site, key)})


@dataclass(frozen=True)
class CentralKeys:
    """Everything secret a central server holds."""

    name: str
    signing: SigningKey
    sealing: PrivateKey

    @classmethod
    def load(cls, folder: Path) -> CentralKeys:
        """Read a central server's keys; raises `KeyFileError` as `DeviceKeys.load` does."""
        check_private_folder(folder)
        public = _read_public(folder / CENTRAL_PUBLIC, "central")
        return cls(
            name=public.name,
            signing=SigningKey(*_load_okp(folder, "signing", public)),
            sealing=PrivateKey(*_load_okp(folder, "sealing", public)),
        )


def init_device(folder: Path, *, device: str, site: str) -> DeviceKeys:
    """Make a device's keys in a new folder.

    Parameters
    ----------
    folder : Path
        Absent or empty; it appears complete or not at all.
    device, site : str
        As they stand in topics.

    Raises
    ------
    KeyFileError
        When the folder is not empty: keys are never overwritten.
    InvalidNameError
        When a name cannot stand in a topic.
    """
    identity = {"device": check_name(device, "device"), "site": check_name(site, "site")}
    _make_folder(folder, "device", identity, ("storage", "pseudonym"), RECIPIENTS)
    return DeviceKeys.load(folder)


def init_central(folder: Path, name: str) -> CentralKeys:
    """Make a central server's keys in a new folder; raises as `init_device` does."""
    _make_folder(folder, "central", {"name": check_name(name, "name")}, (), DEVICES)
    return CentralKeys.load(folder)


def add_recipient(folder: Path, public_file: Path) -> PublicKey:
    """Let a central server read this device's alerts from now on.

    Parameters
    ----------
    folder : Path
        The device's key folder.
    public_file : Path
        The server's `central.public.json`.

    Raises
    ------
    KeyFileError
        When the file is not a central server's.
    """
    public = _read_public(public_file, "central")
    check_private_folder(folder)
    copy_public(public_file, folder / RECIPIENTS / f"{public.sealing.kid}.json")
    return public.sealing


def load_recipients(folder: Path) -> tuple[PublicKey, ...]:
    """Return the servers that may read this device's alerts, in the order of their names.

    Raises
    ------
    KeyFileError
        When a file in `recipients` is not a central server's.
    """
    keys = [_read_public(file, "central").sealing for file in json_files(folder / RECIPIENTS)]
    return tuple(sorted(keys, key=lambda key: (key.owner, key.kid)))


def trust_device(folder: Path, public_file: Path) -> TrustedDevice:
    """Let a central server believe a device from now on; raises as `add_recipient` does."""
    public = _read_public(public_file, "device")
    check_private_folder(folder)
    copy_public(public_file, folder / DEVICES / f"{public.signing.kid}.json")
    return TrustedDevice(public.name, public.site, public.signing)


def load_trusted(folder: Path) -> TrustedDevices:
    """Return the devices that a central server believes; raises as `load_recipients` does."""
    publics = [_read_public(file, "device") for file in json_files(folder / DEVICES)]
    return TrustedDevices(
        {one.signing.kid: TrustedDevice(one.name, one.site, one.signing) for one in publics}
    )


def pseudonym(key: bytes, issuer: str, patient_id: str) -> str:
    """Return the keyed pseudonym of a patient: the same for every study, useless without the key.

    Parameters
    ----------
    key : bytes, shape (32,)
        `DeviceKeys.pseudonym`.
    issuer, patient_id : str
        DICOM (0010,0021) and (0010,0020). Leading and trailing spaces do not count
        (PS3.5 section 6.2, LO).

    Returns
    -------
    str
        26 characters of base32 (RFC 4648): 130 bits of HMAC-SHA256 (RFC 2104).
    """
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    who = issuer.strip().encode()
    text = b"%s\0%d:%s:%s" % (_PSEUDONYM_DOMAIN, len(who), who, patient_id.strip().encode())
    return base64.b32encode(hmac.new(key, text, hashlib.sha256).digest())[:26].decode()


@dataclass(frozen=True)
class _Public:
    """A public file, read and checked."""

    name: str
    site: str
    signing: PublicKey
    sealing: PublicKey


def _make_folder(
    folder: Path, kind: str, identity: Mapping[str, str], secret_names: Iterable[str], peers: str
) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is not empty: keys are never overwritten. Name a new folder."
        raise KeyFileError(msg)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Complete or absent: all is written beside the place and moved there in one step.
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # is 0700
    try:
        public_keys = []
        for name, curve in _CURVES.items():
            key = OKPKey.generate_key(curve)
            write_new(work / f"{name}.jwk", json.dumps(_jwk(key, name, private=True)), 0o600)
            public_keys.append(_jwk(key, name, private=False))
        for name in secret_names:
            value = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
            write_new(work / f"{name}.jwk", json.dumps({"kty": "oct", "k": value}), 0o600)
        document = {"scanside": _VERSION, "kind": kind, **identity, "keys": public_keys}
        write_new(work / f"{kind}.public.json", json.dumps(document, indent=2) + "\n", 0o644)
        (work / peers).mkdir(mode=0o700)
        work.rename(folder)  # over an empty folder at most: POSIX rename(2)
    except OSError as error:
        msg = f"{folder}: cannot make the key folder: {error.strerror}"
        raise KeyFileError(msg) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sync_folder(folder.parent)


def _jwk(key: OKPKey, name: str, *, private: bool) -> dict[str, Any]:
    use = {"signing": "sig", "sealing": "enc"}[name]
    return {**key.as_dict(private=private), "use": use, "kid": key.thumbprint()}


def _public_half(key: OKPKey) -> OKPKey:
    return OKPKey(key.public_key, key.public_key)


def _load_okp(folder: Path, name: str, public: _Public) -> tuple[str, OKPKey]:
    file = folder / f"{name}.jwk"
    key = _import_okp(read_private(file), file, _CURVES[name])
    if not key.is_private:
        msg = f"{file} holds no private key"
        raise KeyFileError(msg)
    kid = key.thumbprint()
    if kid != (public.signing if name == "signing" else public.sealing).kid:
        msg = f"{file} does not belong to the public file beside it. Restore both from one backup."
        raise KeyFileError(msg)
    return kid, key


def _load_secret(folder: Path, name: str) -> bytes:
    file = folder / f"{name}.jwk"
    document = read_private(file)
    try:
        secret = base64.urlsafe_b64decode(document["k"] + "=")  # 32 bytes lack one
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{file} is not a JWK of kty oct (RFC 7518 section 6.4)"
        raise KeyFileError(msg) from error
    if document.get("kty") != "oct" or len(secret) != 32:
        msg = f"{file} holds {len(secret)} secret bytes; 32 are needed"
        raise KeyFileError(msg)
    return secret


def _import_okp(document: Any, file: Path, curve: str) -> OKPKey:
    try:
        key: OKPKey = OKPKey.import_key(document)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{file}: not a JWK of kty OKP (RFC 8037)"
        raise KeyFileError(msg) from error
    if key.curve_name != curve:
        msg = f"{file}: a key on {key.curve_name}; {curve} is needed"
        raise KeyFileError(msg)
    return key


def _read_public(file: Path, kind: str) -> _Public:
    document = read_json(file)
    if document.get("scanside") != _VERSION or document.get("kind") != kind:
        msg = f"{file} is not the public file of a {kind}: it should be {kind}.public.json"
        raise KeyFileError(msg)
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) != len(_CURVES):
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
    pair = [
        _import_okp(jwk, file, curve) for jwk, curve in zip(keys, _CURVES.values(), strict=True)
    ]
    if any(key.is_private for key in pair):
        msg = f"{file} holds a private key: it must not be handed around. Make new keys."
        raise KeyFileError(msg)
    signing, sealing = (PublicKey(key.thumbprint(), str(name), key) for key in pair)
    return _Public(str(name), str(site), signing, sealing)
