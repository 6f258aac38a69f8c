"""A key folder: made complete or not at all, read with its permissions checked."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from edge.key_files import (
    KeyFileError,
    check_private_folder,
    read_json,
    read_private,
    replace_json,
    sync_folder,
    write_new,
)
from edge.keys.former import FormerKeys, keep_former, load_former
from edge.keys.identity import PrivateKey, PublicKey, SigningKey, TrustedDevice, TrustedDevices
from edge.keys.peers import DEVICES, RECIPIENTS
from edge.keys.public import (
    CURVES,
    VERSION,
    PublicFile,
    import_okp,
    parse_public,
    public_half,
    read_public,
    to_jwk,
)
from edge.keys.tls import make_tls
from edge.names import check_name

DEVICE_PUBLIC = "device.public.json"
CENTRAL_PUBLIC = "central.public.json"


@dataclass(frozen=True)
class DeviceKeys:
    """Everything secret a device holds. Its repr shows names and thumbprints alone."""

    device: str
    site: str
    signing: SigningKey
    sealing: PrivateKey
    storage: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    former: tuple[FormerKeys, ...] = ()

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
        public = read_public(folder / DEVICE_PUBLIC, "device")
        return cls(
            device=public.name,
            site=public.site,
            signing=SigningKey(*_load_okp(folder, "signing", public)),
            sealing=PrivateKey(*_load_okp(folder, "sealing", public)),
            storage=_load_secret(folder, "storage"),
            pseudonym=_load_secret(folder, "pseudonym"),
            former=load_former(folder, "device", public.signing.kid),
        )

    @property
    def opening(self) -> tuple[PrivateKey, ...]:
        """The keys that open what was sealed for this device: its own, and the former ones."""
        return (self.sealing, *(one.sealing for one in self.former))

    @property
    def console(self) -> PublicKey:
        """The device itself as a recipient, so that its own console can read its alerts."""
        return PublicKey(self.sealing.kid, self.device, public_half(self.sealing.jwk))

    @property
    def trust_in_itself(self) -> TrustedDevices:
        """What the device's own console believes: this device and no other, with all its keys."""
        own = PublicKey(self.signing.kid, self.device, public_half(self.signing.jwk))
        keys = [own, *(one.signing for one in self.former)]
        return TrustedDevices(
            {key.kid: TrustedDevice(self.device, self.site, key, self.console) for key in keys}
        )


@dataclass(frozen=True)
class CentralKeys:
    """Everything secret a central server holds."""

    name: str
    signing: SigningKey
    sealing: PrivateKey
    former: tuple[FormerKeys, ...] = ()

    @property
    def opening(self) -> tuple[PrivateKey, ...]:
        """The keys that open what was sealed for this server: its own, and the former ones."""
        return (self.sealing, *(one.sealing for one in self.former))

    @classmethod
    def load(cls, folder: Path) -> CentralKeys:
        """Read a central server's keys; raises `KeyFileError` as `DeviceKeys.load` does."""
        check_private_folder(folder)
        public = read_public(folder / CENTRAL_PUBLIC, "central")
        return cls(
            name=public.name,
            signing=SigningKey(*_load_okp(folder, "signing", public)),
            sealing=PrivateKey(*_load_okp(folder, "sealing", public)),
            former=load_former(folder, "central", public.signing.kid),
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
        for name, curve in CURVES.items():
            key = OKPKey.generate_key(curve)
            write_new(work / f"{name}.jwk", json.dumps(to_jwk(key, name, private=True)), 0o600)
            public_keys.append(to_jwk(key, name, private=False))
        for name in secret_names:
            value = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
            write_new(work / f"{name}.jwk", json.dumps({"kty": "oct", "k": value}), 0o600)
        document = {"scanside": VERSION, "kind": kind, **identity, "keys": public_keys}
        write_new(work / f"{kind}.public.json", json.dumps(document, indent=2) + "\n", 0o644)
        (work / peers).mkdir(mode=0o700)
        if kind == "device":
            make_tls(work, identity["device"])
        work.rename(folder)  # over an empty folder at most: POSIX rename(2)
    except OSError as error:
        msg = f"{folder}: cannot make the key folder: {error.strerror}"
        raise KeyFileError(msg) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sync_folder(folder.parent)


def _load_okp(folder: Path, name: str, public: PublicFile) -> tuple[str, OKPKey]:
    """Read the private key that belongs to the public file.

    The public file is replaced last when keys rotate, and in one step: after a power cut the
    key that fits it may still stand under the name of the next one.
    """
    wanted = (public.signing if name == "signing" else public.sealing).kid
    file = folder / f"{name}.jwk"
    key = _read_okp(file, CURVES[name])
    if key.thumbprint() != wanted and (folder / f"{name}.next.jwk").exists():
        key = _read_okp(folder / f"{name}.next.jwk", CURVES[name])
    if key.thumbprint() != wanted:
        msg = f"{file} does not belong to the public file beside it. Restore both from one backup."
        raise KeyFileError(msg)
    return wanted, key


def _read_okp(file: Path, curve: str) -> OKPKey:
    key = import_okp(read_private(file), file, curve)
    if not key.is_private:
        msg = f"{file} holds no private key"
        raise KeyFileError(msg)
    return key


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


def replace_own(
    folder: Path,
    kind: str,
    name_next: Callable[[dict[str, Any]], str],
    retired: str,
) -> None:
    """Replace the signing and the sealing key of a folder by new ones.

    Whatever instant the power goes, the folder holds either the old keys or the new ones: the
    new private keys are written beside the old, the former are kept, and the public file, which
    says which of them count, is replaced in one step.

    Parameters
    ----------
    folder : Path
        A device's or a central server's.
    kind : str
        ``device`` or ``central``.
    name_next : callable
        Signs, with the old key, a statement that the new public file follows it.
    retired : str
        Now, RFC 3339.
    """
    file = folder / f"{kind}.public.json"
    old = read_json(file)
    parse_public(old, file, kind)
    _finish(folder, kind)
    keys = {name: OKPKey.generate_key(curve) for name, curve in CURVES.items()}
    public = [to_jwk(key, name, private=False) for name, key in keys.items()]
    new = {**old, "keys": public}
    for name, key in keys.items():
        place = folder / f"{name}.next.jwk"
        place.unlink(missing_ok=True)
        write_new(place, json.dumps(to_jwk(key, name, private=True)), 0o600)
    keep_former(
        folder,
        {
            "public": old,
            "sealing": read_private(folder / "sealing.jwk"),
            "statement": name_next(new),
            "retired": retired,
        },
    )
    replace_json(file, new, 0o644)  # from here on the new keys count
    _finish(folder, kind)


def _finish(folder: Path, kind: str) -> None:
    """Give the private keys that count their names, as after a rotation or a power cut in one."""
    public = read_public(folder / f"{kind}.public.json", kind)
    for name, wanted in (("signing", public.signing.kid), ("sealing", public.sealing.kid)):
        place = folder / f"{name}.next.jwk"
        if place.exists() and _read_okp(place, CURVES[name]).thumbprint() == wanted:
            place.replace(folder / f"{name}.jwk")
    sync_folder(folder)
