"""``scanside-central init``, ``enrol`` and ``revoke``: a site's authority, broker and devices."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.commands.arguments import CommandError, Commands, command
from edge.keys import CentralKeys
from tools.central.commands.arguments import broker_address
from tools.central.site_folder import (
    Certificate,
    NewSite,
    SiteFolder,
    enrol,
    make_site,
    revoke,
    tell_broker,
)

_PORT = 8883


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    init = command(commands, "init", _init, "make a site: authority, keys, broker, settings")
    init.add_argument("folder", type=Path, help="new or empty")
    init.add_argument("--site", required=True, help="the site's name, as devices have it")
    init.add_argument("--name", default="central", help="what devices call this server")
    init.add_argument(
        "--broker",
        required=True,
        type=broker_address,
        metavar="HOST[:PORT]",
        help=f"under which devices reach the broker; port {_PORT} if none is named",
    )
    init.add_argument(
        "--also", action="append", default=[], metavar="HOST", help="another name of the broker"
    )
    init.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="for what is received; default: the site's",
    )
    init.add_argument(
        "--enrol",
        nargs=2,
        type=Path,
        metavar=("PUBLIC", "CSR"),
        action="append",
        default=[],
        help="enrol a device at once, see `enrol`; may be repeated",
    )
    own = init.add_argument_group("with an authority of the hospital instead of the site's own")
    files = ("CA", "CERT", "KEY")
    own.add_argument("--cert", nargs=3, type=Path, metavar=files, help="this server's, in PEM")
    own.add_argument("--broker-cert", nargs=3, type=Path, metavar=files, help="the broker's")

    add_device = command(commands, "enrol", _enrol, "believe a device and sign its certificate")
    _folder(add_device)
    add_device.add_argument("public_file", type=Path, help="the device's device.public.json")
    add_device.add_argument(
        "request",
        type=Path,
        nargs="?",
        help="its certificate request; none where the hospital's authority signs",
    )
    gone = command(commands, "revoke", _revoke, "believe a device no longer, from this moment")
    _folder(gone)
    gone.add_argument("device", help="its name")


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the site's, made by `init`")


def _init(options: argparse.Namespace) -> int:
    host, port = options.broker
    folder = make_site(
        options.folder,
        NewSite(
            site=options.site,
            name=options.name,
            host=host,
            port=port or _PORT,
            names=options.also,
            data=options.data,
            own=Certificate(*options.cert) if options.cert else None,
            broker=Certificate(*options.broker_cert) if options.broker_cert else None,
        ),
    )
    print(f"Made site {options.site} in {folder.path}.")
    print(f"Broker:  mosquitto -c {folder.broker / 'mosquitto.conf'}")
    print(f"Server:  scanside-central run {folder.path}")
    for public_file, request in options.enrol:
        _enrol_one(folder, public_file, request)
    if not options.enrol:
        print(f"Devices: scanside-central enrol {folder.path} device.public.json device.csr.pem")
    return 0


def _enrol(options: argparse.Namespace) -> int:
    folder = _opened(options.folder)
    _enrol_one(folder, options.public_file, options.request)
    _say_broker(folder)
    return 0


def _enrol_one(folder: SiteFolder, public_file: Path, request: Path | None) -> None:
    device = enrol(folder, public_file, request)
    print(f"Enrolled {device.device}, signing key {device.key.kid}.")
    print("Compare the key with what the device shows (scanside keys show): who holds it is heard.")
    print(f"Hand {folder.handed_to(device.device)} to the device. No secret is in it.")


def _revoke(options: argparse.Namespace) -> int:
    folder = _opened(options.folder)
    count = revoke(folder, options.device)
    print(f"{options.device} is revoked: {count} signing key(s), and its certificates.")
    _say_broker(folder)
    return 0


def _say_broker(folder: SiteFolder) -> None:
    if tell_broker(folder):
        print("The broker has read its rules again.")
    else:
        print(
            f"No broker runs here from {folder.broker}. If it runs elsewhere, copy acl and crl.pem "
            "there and have it read them: kill -HUP"
        )


def _opened(path: Path) -> SiteFolder:
    folder = SiteFolder(path.resolve())
    if not folder.keys.is_dir():
        msg = f"{path} is not a site's folder. Make one with: scanside-central init {path}"
        raise CommandError(msg)
    CentralKeys.load(folder.keys)
    return folder
