"""``scanside keys``: the device's keys, and who may read its alerts."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.commands.arguments import Commands, command, config_option, group
from edge.config import load_config
from edge.keys import DeviceKeys, add_recipient, init_device, load_recipients


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    keys = group(commands, "keys", "the device's keys, and who may read its alerts")
    config_option(command(keys, "init", _init, "make this device's keys"))
    config_option(command(keys, "show", _show, "show the device and its recipients"))
    recipient = command(keys, "add-recipient", _add, "let a central server read the alerts")
    recipient.add_argument("public_file", type=Path, help="the server's central.public.json")
    config_option(recipient)


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
    recipients = load_recipients(config.storage.keys)
    for recipient in recipients:
        print(f"Recipient {recipient.owner}, key {recipient.kid}")
    if not recipients:
        print("No recipients: nobody but this device can read its alerts.")
    return 0


def _add(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    recipient = add_recipient(config.storage.keys, options.public_file)
    print(f"{recipient.owner} can read alerts once the daemon is restarted.")
    return 0
