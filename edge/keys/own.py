"""A key folder: made complete or not at all, read with its permissions checked."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.jwk import OKPKey

from edge.alerts.topics import check_name
from edge.key_files import (
    KeyFileError,
    check_private_folder,
    read_private,
    sync_folder,
    write_new,
)
from edge.keys.identity import PrivateKey, PublicKey, SigningKey, TrustedDevice, TrustedDevices
from edge.keys.peers import DEVICES, RECIPIENTS
from edge.keys.public import (
    CURVES,
    VERSION,
    PublicFile,
    import_okp,
    public_half,
    read_public,
    to_jwk,
)

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
        )

    @property
    def console(self) -> PublicKey:
        """The device itself as a recipient, so that its own console can read its alerts."""
        return PublicKey(self.sealing.kid, self.device, public_half(self.sealing.jwk))

    @property
    def trust_in_itself(self) -> TrustedDevices:
        """What the device's own console believes: this device and no other."""
        key = PublicKey(self.signing.kid, self.device, public_half(self.signing.jwk))
        return TrustedDevices({key.kid: TrustedDevice(self.device, self.site, key, self.console)})


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
        public = read_public(folder / CENTRAL_PUBLIC, "central")
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
        work.rename(folder)  # over an empty folder at most: POSIX rename(2)
    except OSError as error:
        msg = f"{folder}: cannot make the key folder: {error.strerror}"
        raise KeyFileError(msg) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sync_folder(folder.parent)


def _load_okp(folder: Path, name: str, public: PublicFile) -> tuple[str, OKPKey]:
    file = folder / f"{name}.jwk"
    key = import_okp(read_private(file), file, CURVES[name])
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
