"""The other side: which servers may read a device's alerts, which devices a server believes."""

from __future__ import annotations

from pathlib import Path

from edge.key_files import check_private_folder, copy_public, json_files
from edge.keys.identity import (
    PublicKey,
    TrustedCentral,
    TrustedCentrals,
    TrustedDevice,
    TrustedDevices,
)
from edge.keys.public import read_public

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
        {one.signing.kid: TrustedCentral(one.name, one.signing, one.sealing) for one in publics}
    )


def trust_device(folder: Path, public_file: Path) -> TrustedDevice:
    """Let a central server believe a device from now on; raises as `add_recipient` does."""
    public = read_public(public_file, "device")
    check_private_folder(folder)
    copy_public(public_file, folder / DEVICES / f"{public.signing.kid}.json")
    return TrustedDevice(public.name, public.site, public.signing, public.sealing)


def load_trusted(folder: Path) -> TrustedDevices:
    """Return the devices that a central server believes; raises as `load_recipients` does."""
    publics = [read_public(file, "device") for file in json_files(folder / DEVICES)]
    devices = [TrustedDevice(one.name, one.site, one.signing, one.sealing) for one in publics]
    return TrustedDevices({one.key.kid: one for one in devices})
