"""The other side: which servers may read a device's alerts, which devices a server believes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.key_files import (
    check_private_folder,
    copy_public,
    json_files,
    read_json,
    replace_json,
)
from edge.keys.identity import (
    PublicKey,
    TrustedCentral,
    TrustedCentrals,
    TrustedDevice,
    TrustedDevices,
)
from edge.keys.public import PublicFile, parse_public, read_public

RECIPIENTS = "recipients"  # beside a device's keys: the servers that may read its alerts
DEVICES = "devices"  # beside a server's keys: the devices it believes


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
    public = read_public(public_file, "central")
    check_private_folder(folder)
    copy_public(public_file, folder / RECIPIENTS / f"{public.sealing.kid}.json")
    return public.sealing


def remove_recipient(folder: Path, name: str) -> tuple[PublicKey, ...]:
    """Let a central server read no more alerts; return the keys it was removed with."""
    check_private_folder(folder)
    removed = []
    for file in json_files(folder / RECIPIENTS):
        public = read_public(file, "central")
        if public.name == name:
            file.unlink()
            removed.append(public.sealing)
    return tuple(removed)


def load_recipients(folder: Path) -> tuple[PublicKey, ...]:
    """Return the servers that may read this device's alerts, in the order of their names.

    Raises
    ------
    KeyFileError
        When a file in `recipients` is not a central server's.
    """
    return load_centrals(folder).readers


def load_centrals(folder: Path) -> TrustedCentrals:
    """Return the same servers with the keys that sign their receipts; raises likewise."""
    publics = [read_public(file, "central") for file in json_files(folder / RECIPIENTS)]
    return TrustedCentrals(
        {
            one.signing.kid: TrustedCentral(one.name, one.signing, one.sealing, one.until)
            for one in publics
        }
    )


def trust_device(folder: Path, public_file: Path) -> TrustedDevice:
    """Let a central server believe a device from now on; raises as `add_recipient` does."""
    public = read_public(public_file, "device")
    check_private_folder(folder)
    copy_public(public_file, folder / DEVICES / f"{public.signing.kid}.json")
    return _device(public)


def load_trusted(folder: Path) -> TrustedDevices:
    """Return the devices that a central server believes; raises as `load_recipients` does."""
    publics = [read_public(file, "device") for file in json_files(folder / DEVICES)]
    devices = [_device(one) for one in publics]
    return TrustedDevices({one.key.kid: one for one in devices})


def succeed(folder: Path, kind: str, old_kid: str, document: dict[str, Any], until: str) -> None:
    """Believe the new keys of a peer, and its old ones until then.

    Parameters
    ----------
    folder : Path
        Our key folder.
    kind : str
        ``device`` or ``central``: what the peer is.
    old_kid : str
        The signing key that named its successor.
    document : dict
        The new public file, checked.
    until : str
        RFC 3339.
    """
    place = folder / (DEVICES if kind == "device" else RECIPIENTS)
    new = parse_public(document, "the new keys", kind)
    # The new ones first: a crash between the two leaves both believed, and no alert unread.
    replace_json(place / _file_name(kind, new), document)
    for file in json_files(place):
        if read_public(file, kind).signing.kid == old_kid:
            replace_json(file, {**read_json(file), "until": until})


def _file_name(kind: str, public: PublicFile) -> str:
    return f"{(public.signing if kind == 'device' else public.sealing).kid}.json"


def _device(public: PublicFile) -> TrustedDevice:
    return TrustedDevice(public.name, public.site, public.signing, public.sealing, public.until)
