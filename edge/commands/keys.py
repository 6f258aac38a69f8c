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
    DeviceKeys,
    add_recipient,
    init_device,
    load_centrals,
    remove_recipient,
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
    config_option(command(keys, "rotate", _rotate, "replace this device's keys by new ones"))


def _init(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = init_device(config.storage.keys, device=config.device.name, site=config.device.site)
    public = config.storage.keys / "device.public.json"
    print(f"Made the keys of device {keys.device} at site {keys.site} in {config.storage.keys}.")
    print(f"Hand {public} to the central server: scanside-central keys trust FOLDER {public.name}")
    print("Then add the server here: scanside keys add-recipient central.public.json")
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
