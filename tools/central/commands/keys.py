"""``scanside-central keys``: this server's keys, and the devices it believes."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from edge.alerts.rotation import rotate
from edge.commands.arguments import Commands, command, group
from edge.keys import CENTRAL_PUBLIC, CentralKeys, init_central, load_trusted, trust_device
from tools.central.commands.arguments import days


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    keys = group(commands, "keys", "this server's keys, and the devices it believes")
    init = command(keys, "init", _init, "make this server's keys in a new folder")
    init.add_argument("folder", type=Path)
    init.add_argument("--name", default="central", help="what devices call this server")
    trust = command(keys, "trust", _trust, "believe a device from now on")
    trust.add_argument("folder", type=Path)
    trust.add_argument("public_file", type=Path, help="the device's device.public.json")
    rotate_keys = command(keys, "rotate", _rotate, "replace this server's keys by new ones")
    rotate_keys.add_argument("folder", type=Path)
    rotate_keys.add_argument(
        "--overlap-days",
        type=days,
        default=timedelta(days=30),
        help="how long devices believe the old key (30)",
    )
    listing = command(keys, "list", _list, "show this server's and its devices' keys")
    listing.add_argument("folder", type=Path)


def _init(options: argparse.Namespace) -> int:
    keys = init_central(options.folder, options.name)
    print(f"made the keys of {keys.name} in {options.folder}")
    print(f"give {options.folder / CENTRAL_PUBLIC} to every device that shall write to it")
    return 0


def _trust(options: argparse.Namespace) -> int:
    trusted = trust_device(options.folder, options.public_file)
    print(f"trusts {trusted.device} of {trusted.site}, key {trusted.key.kid}")
    print("compare the key with what the device shows: whoever holds it is believed")
    return 0


def _rotate(options: argparse.Namespace) -> int:
    rotate(options.folder, "central", options.overlap_days)
    keys = CentralKeys.load(options.folder)
    print(f"{keys.name} signs with {keys.signing.kid} now, and opens with {keys.sealing.kid}")
    print("a running server uses them within a second and tells the devices, signed with the old")
    print("key; what was sealed for the old ones is still opened with them")
    return 0


def _list(options: argparse.Namespace) -> int:
    keys = CentralKeys.load(options.folder)
    print(f"{keys.name}: signs with {keys.signing.kid}, opens with {keys.sealing.kid}")
    for device in load_trusted(options.folder).by_kid.values():
        print(f"trusts {device.device} of {device.site}, key {device.key.kid}")
    return 0
