"""The folder of a site: made once, devices enrolled into it and revoked from it.

=============== ==========================================================================
central.toml    what the server is told; every key is explained in it
authority/      the site's certificate authority, where the hospital lends none
keys/           the server's keys, and the devices it believes
tls/            with what the server proves itself to the broker
broker/         mosquitto's configuration, rules, certificate and data
enrolled/NAME/  what a device is handed: no secret is in it
=============== ==========================================================================

Whom the server believes and whom the broker lets write are made from the same files,
``keys/devices``, so that they cannot differ.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.key_files import copy_public, write_new
from edge.keys import (
    CENTRAL_PUBLIC,
    CentralKeys,
    TrustedDevice,
    init_central,
    load_trusted,
    trust_device,
)
from tools.central.authority import (
    Authority,
    AuthorityError,
    Role,
    common_name,
    make_request,
    pem,
    read_request,
    replace_file,
)
from tools.central.broker_files import BrokerPlace, access_rules, configuration
from tools.central.settings import CentralSettings, read_settings, settings_toml

SETTINGS = "central.toml"
_BROKER_USER = "mosquitto"  # Debian's: the broker becomes it when started as root


@dataclass(frozen=True)
class Certificate:
    """A certificate of the hospital's own authority: three files in PEM."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class SiteFolder:
    """A site's folder."""

    path: Path

    @property
    def settings(self) -> CentralSettings:
        """What stands in ``central.toml``."""
        return read_settings(self.path / SETTINGS)

    @property
    def keys(self) -> Path:
        """The server's keys."""
        return self.path / "keys"

    @property
    def broker(self) -> Path:
        """The broker's files."""
        return self.path / "broker"

    def handed_to(self, device: str) -> Path:
        """Return the folder with what a device is handed."""
        return self.path / "enrolled" / device


@dataclass(frozen=True)
class NewSite:
    """What a site is made from.

    Parameters
    ----------
    site, name : str
        The site's name and the server's.
    host, port : str, int
        Under which devices reach the broker.
    names : sequence of str
        More names and addresses of the broker.
    data : Path or None
        Where received alerts and the audit go; None: into the site's folder.
    own : Certificate or None
        The server's, of the hospital's authority; None: the site gets an authority of its own.
    broker : Certificate or None
        The broker's, likewise.
    """

    site: str
    name: str
    host: str
    port: int
    names: Sequence[str] = ()
    data: Path | None = None
    own: Certificate | None = None
    broker: Certificate | None = None


def make_site(path: Path, new: NewSite) -> SiteFolder:
    """Make a site's folder.

    Raises
    ------
    AuthorityError
        When it is not empty, or a certificate is missing.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        msg = f"{path} is not empty: a site is never made over another. Name a new folder."
        raise AuthorityError(msg)
    if (new.own is None) != (new.broker is None):
        msg = "With an authority of the hospital, name both certificates: the server's and the "
        msg += "broker's."
        raise AuthorityError(msg)
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = SiteFolder(path.resolve())
    init_central(folder.keys, new.name)
    for part in ("tls", "broker"):
        (folder.path / part).mkdir(mode=0o700)
    if new.own is not None and new.broker is not None:
        _copy_certificate(new.own, folder.path / "tls", "central")
        _copy_certificate(new.broker, folder.broker, "broker")
    else:
        _issue_certificates(folder, new)
    listening = configuration(BrokerPlace(folder.broker, new.port))
    if new.own is not None:  # revocation is then the hospital's, and so is its list
        listening = "\n".join(
            f"# {line}" if line.startswith("crlfile") else line for line in listening.split("\n")
        )
    write_new(folder.broker / "mosquitto.conf", listening, 0o644)
    (folder.broker / "data").mkdir(mode=0o700)
    values: dict[str, dict[str, object]] = {
        "site": {"name": new.site},
        "broker": {
            "host": new.host,
            "port": new.port,
            "ca": "tls/ca.pem",
            "cert": "tls/central.pem",
            "key": "tls/central.key",
        },
    }
    if new.data is not None:
        place = new.data.resolve()
        values["store"] = {"database": str(place / "alerts.db"), "audit": place / "audit.db"}
    write_new(folder.path / SETTINGS, settings_toml(values), 0o644)
    write_rules(folder)
    _give_to_broker(folder.broker)
    return folder


def enrol(folder: SiteFolder, public_file: Path, request_file: Path | None) -> TrustedDevice:
    """Believe a device, let it write to the broker, and make what it is handed.

    Parameters
    ----------
    folder : SiteFolder
    public_file : Path
        The device's ``device.public.json``.
    request_file : Path or None
        Its certificate signing request; None where the hospital's authority signs.

    Raises
    ------
    AuthorityError, KeyFileError
        When a file is not what it should be, or the device is of another site.
    """
    settings = folder.settings
    request = None if request_file is None else read_request(request_file)
    device = trust_device(folder.keys, public_file)
    try:
        if device.site != settings.site.name:
            msg = f"{public_file} is of site {device.site!r}; this server receives "
            msg += f"{settings.site.name!r}. Set [device] site there and make its keys anew."
            raise AuthorityError(msg)
        if device.device == CentralKeys.load(folder.keys).name:
            msg = f"{device.device!r} is this server's own name. Rename the device."
            raise AuthorityError(msg)
        handed = folder.handed_to(device.device)
        handed.mkdir(mode=0o755, parents=True, exist_ok=True)
        if request is not None:
            authority = Authority.load(folder.path / "authority")
            _check_name(common_name(request), device.device)
            certificate = authority.sign(request, device.device, Role.DEVICE)
            replace_file(handed / "device.pem", pem(certificate), 0o644)
    except BaseException:
        _trust_file(folder, device).unlink(missing_ok=True)
        raise
    replace_file(handed / "ca.pem", (folder.path / "tls" / "ca.pem").read_text("utf-8"), 0o644)
    copy_public(folder.keys / CENTRAL_PUBLIC, handed / CENTRAL_PUBLIC)
    (handed / CENTRAL_PUBLIC).chmod(0o644)
    broker = f'[broker]\nhost = "{settings.broker.host}"\nport = {settings.broker.port}\n'
    replace_file(handed / "broker.toml", broker, 0o644)
    write_rules(folder)
    return device


def revoke(folder: SiteFolder, device: str) -> int:
    """Stop believing a device and turn it away at the broker; return how many keys it had.

    Raises
    ------
    AuthorityError
        When no such device is believed.
    """
    files = [
        _trust_file(folder, one)
        for one in load_trusted(folder.keys).by_kid.values()
        if one.device == device
    ]
    if not files:
        msg = f"No device {device!r} is believed here. See: scanside-central keys list"
        raise AuthorityError(msg)
    gone = folder.keys / "revoked"
    gone.mkdir(mode=0o700, exist_ok=True)
    for file in files:
        file.replace(gone / file.name)
    authority = folder.path / "authority"
    if authority.is_dir():
        Authority.load(authority).revoke(device)
    write_rules(folder)
    return len(files)


def write_rules(folder: SiteFolder) -> None:
    """Write who may do what at the broker, and who is revoked, from what the server believes."""
    devices = sorted({one.device for one in load_trusted(folder.keys).by_kid.values()})
    name = CentralKeys.load(folder.keys).name
    site = folder.settings.site.name or ""
    replace_file(folder.broker / "acl", access_rules(site, [name], devices), 0o600)
    authority = folder.path / "authority"
    if authority.is_dir():
        crl = Authority.load(authority).revocation_list()
        replace_file(folder.broker / "crl.pem", crl, 0o600)


def tell_broker(folder: SiteFolder) -> bool:
    """Have a mosquitto on this machine read its rules again; return whether one was told."""
    file = folder.broker / "mosquitto.pid"
    try:
        pid = int(file.read_text("ascii"))
        if Path(f"/proc/{pid}/comm").read_text("ascii").strip() != "mosquitto":
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def _trust_file(folder: SiteFolder, device: TrustedDevice) -> Path:
    return folder.keys / "devices" / f"{device.key.kid}.json"


def _check_name(asked: str, device: str) -> None:
    if asked != device:
        msg = f"The request is of {asked!r}, the keys are of {device!r}: two devices' files are "
        msg += "mixed up."
        raise AuthorityError(msg)


def _issue_certificates(folder: SiteFolder, new: NewSite) -> None:
    authority = Authority.make(folder.path / "authority", new.site)
    hosts = list(dict.fromkeys([new.host, *new.names, "localhost", "127.0.0.1"]))
    _issue(authority, folder.path / "tls", "central", new.name, Role.CENTRAL, [])
    _issue(authority, folder.broker, "broker", new.host, Role.BROKER, hosts)


def _issue(
    authority: Authority, place: Path, file: str, name: str, role: Role, hosts: Sequence[str]
) -> None:
    request, key = make_request(name)
    write_new(place / f"{file}.key", key, 0o600)
    certificate = authority.sign(request, name, role, hosts=hosts)
    write_new(place / f"{file}.pem", pem(certificate), 0o644)
    write_new(place / "ca.pem", pem(authority.certificate), 0o644)


def _copy_certificate(given: Certificate, place: Path, name: str) -> None:
    _copy_pem(given.ca, place / "ca.pem", 0o644)
    _copy_pem(given.cert, place / f"{name}.pem", 0o644)
    _copy_pem(given.key, place / f"{name}.key", 0o600)


def _copy_pem(source: Path, target: Path, mode: int) -> None:
    try:
        write_new(target, source.read_text("ascii"), mode)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{source} cannot be read as PEM"
        raise AuthorityError(msg) from error


def _give_to_broker(folder: Path) -> None:
    """Let mosquitto's own user read its files, when we are root and there is such a user."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(_BROKER_USER)
    except KeyError:
        return
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)
