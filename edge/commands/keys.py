"""``scanside keys``: the device's keys, and who may read its alerts."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from edge.alerts.rotation import rotate
from edge.commands.acting import note
from edge.commands.arguments import CommandError, Commands, command, config_option, group
from edge.config import load_config
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    DeviceKeys,
    add_recipient,
    init_device,
    load_centrals,
    remove_recipient,
)
from edge.keys.tls import (
    AUTHORITY,
    REQUEST,
    install_authority,
    install_certificate,
    write_request,
)


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    keys = group(commands, "keys", "the device's keys, and who may read its alerts")
    config_option(command(keys, "init", _init, "make this device's keys"))
    config_option(command(keys, "show", _show, "show the device and its recipients"))
    recipient = command(keys, "add-recipient", _add, "let a central server read the alerts")
    recipient.add_argument("public_file", type=Path, help="the server's central.public.json")
    config_option(recipient)
    gone = command(keys, "remove-recipient", _remove, "let a server read no more alerts")
    gone.add_argument("name", help="as `keys show` names it")
    config_option(gone)
    request = command(keys, "csr", _csr, "write a request for a TLS certificate")
    request.add_argument("--new-key", action="store_true", help="for a new key, to renew both")
    config_option(request)
    install = command(keys, "install-cert", _install, "take a signed TLS certificate into use")
    install.add_argument("path", type=Path, help="the certificate, or what `enrol` handed out")
    install.add_argument("--ca", type=Path, help="the authority of the broker's certificate")
    config_option(install)
    config_option(command(keys, "rotate", _rotate, "replace this device's keys by new ones"))


def _init(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = init_device(config.storage.keys, device=config.device.name, site=config.device.site)
    folder = config.storage.keys
    print(f"Made the keys of device {keys.device} at site {keys.site} in {folder}.")
    print("Hand two files to the central server; no secret is in them:")
    print(f"  scanside-central enrol FOLDER {folder / DEVICE_PUBLIC} {folder / REQUEST}")
    print("and take what it hands out into use here:")
    print("  scanside keys install-cert ENROLLED-FOLDER")
    return 0


def _show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    print(f"Device {keys.device} at site {keys.site}, signing key {keys.signing.kid}")
    for former in keys.former:
        print(f"Former signing key {former.signing.kid}, replaced {former.retired}")
    centrals = load_centrals(config.storage.keys).by_kid.values()
    for central in sorted(centrals, key=lambda one: (one.name, one.until is not None)):
        until = "" if central.until is None else f", replaced, believed until {central.until}"
        print(f"Recipient {central.name}, key {central.sealing.kid}{until}")
    if not centrals:
        print("No recipients: nobody but this device can read its alerts.")
    return 0


def _add(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    recipient = add_recipient(config.storage.keys, options.public_file)
    note(config, "keys.recipient_added", f"key:{recipient.kid}")
    print(f"{recipient.owner} can read alerts from now on; a running daemon sees it in a second.")
    return 0


def _remove(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    removed = remove_recipient(config.storage.keys, options.name)
    if not removed:
        raise CommandError(f"There is no recipient {options.name!r}. See: scanside keys show")
    for key in removed:
        note(config, "keys.recipient_removed", f"key:{key.kid}")
    print(f"{options.name} can read no alert from now on; a running daemon sees it in a second.")
    print("What was sealed for it before, it can still read.")
    return 0


def _rotate(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    overlap = timedelta(days=config.alerts.key_overlap_days)
    rotate(config.storage.keys, "device", overlap)
    keys = DeviceKeys.load(config.storage.keys)
    note(config, "keys.rotated", f"key:{keys.signing.kid}")
    print(f"The signing key is now {keys.signing.kid}.")
    print("A running daemon uses it within a second and tells the servers, signed with the old")
    print(f"key, which they believe for {config.alerts.key_overlap_days:g} days more.")
    return 0


def _csr(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    file = write_request(config.storage.keys, keys.device, new_key=options.new_key)
    note(config, "keys.certificate_requested")
    print(f"Have {file} signed, then: scanside keys install-cert CERTIFICATE")
    return 0


def _install(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    folder = config.storage.keys
    keys = DeviceKeys.load(folder)
    handed: Path = options.path
    is_folder = handed.is_dir()
    file = handed / "device.pem" if is_folder else handed
    certificate = install_certificate(folder, file, keys.device)
    note(config, "keys.certificate_installed")
    print(
        f"The certificate of {certificate.name}, good until {certificate.until:%Y-%m-%d}, is used."
    )
    ca = options.ca or (handed / AUTHORITY if is_folder else None)
    if ca is not None:
        print(f"Brokers with a certificate from {install_authority(folder, ca)} are trusted.")
    if is_folder and (handed / CENTRAL_PUBLIC).exists():
        recipient = add_recipient(folder, handed / CENTRAL_PUBLIC)
        note(config, "keys.recipient_added", f"key:{recipient.kid}")
        print(f"{recipient.owner} can read alerts. Compare its key on another way: {recipient.kid}")
    return 0
