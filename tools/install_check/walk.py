"""docs/install.md carried out, command by command, on machines that have nothing of it yet."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Mapping

from pydicom import FileDataset

from tools.install_check.image import ROOT, WHEELS
from tools.install_check.machine import Machine
from tools.install_check.page import Command, commands
from tools.install_check.pair import Pair

DEVICE = "ct-1"
SITE = "north"
PAGE = ROOT / "docs" / "install.md"
ON_A_PC, CENTRAL, UPDATE = "On a PC", "Central", "Update and remove"
_BUNDLE = "/root/scanside.bundle"
_CONFIG = "/etc/scanside/config.toml"

# What the page leaves to the person.
VALUES: Mapping[str, str] = {
    "ADDRESS_OF_THIS_REPOSITORY": _BUNDLE,
    "APPLIANCE": "appliance",
    "DEVICE_FOLDER": f"/root/{DEVICE}",
    "FILE.dcm": "/root/first.dcm",
    "SCANSIDE": "SCANSIDE",  # the AE title that the configuration comes with
}
# What a person sets in the configuration, as the page says.
_SETTINGS: Mapping[str, str] = {
    'name = "scanside-1"': f'name = "{DEVICE}"',
    'site = "hospital"': f'site = "{SITE}"',
    'host = "localhost"': 'host = "broker.hospital.example"',
}
# Machines without a network take the wheels from a folder; the page says so in step 3.
_PIP = f"[install]\nno-index = true\nfind-links = {WHEELS}\n"

Say = Callable[[str], None]


def steps(section: str, first: int, last: int) -> tuple[Command, ...]:
    """Return the page's commands of some steps."""
    page = commands(PAGE.read_text("utf-8"))
    return tuple(one for one in page if one.section == section and first <= one.step <= last)


def set_up(machine: Machine, say: Say) -> None:
    """Put the program on a fresh machine: steps 1 to 3, which are the same for every machine.

    Raises
    ------
    MachineError
        When a command fails.
    """
    machine.write("/etc/pip.conf", _PIP.encode())
    bring_checkout(machine)
    for command in steps(ON_A_PC, 1, 3):
        _carry_out(machine, command, say)


def bring_checkout(machine: Machine) -> None:
    """Bring this checkout's last commit to where the machine clones and pulls from."""
    bundle = subprocess.run(
        ["git", "bundle", "create", "--quiet", "-", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    machine.write(_BUNDLE, bundle.stdout)


def renew(machine: Machine) -> None:
    """Bring a program that an earlier run set up to this checkout's last commit."""
    bring_checkout(machine)
    machine.run("cd /opt/scanside")
    machine.run("git fetch --quiet origin HEAD && git reset --quiet --hard FETCH_HEAD")
    for command in steps(ON_A_PC, 2, 2):
        if not command.text.startswith("git clone"):
            machine.run(command.text)
    machine.run("tools/setup.sh run")


def go_on(pair: Pair) -> None:
    """Stand where the page's later steps are carried out."""
    for machine in pair.machines:
        machine.run("cd /opt/scanside")


def connect(pair: Pair, first_image: FileDataset, say: Say) -> None:
    """Make an appliance and a server of two machines with the program: every step from 4 on.

    Raises
    ------
    MachineError
        When a command fails.
    """
    go_on(pair)
    written = io.BytesIO()
    first_image.save_as(written, enforce_file_format=True)
    pair.central.write(VALUES["FILE.dcm"], written.getvalue())
    for command in (*steps(ON_A_PC, 4, 6), *steps(CENTRAL, 1, 6)):
        machine = pair.central if _is_central(command) else pair.appliance
        _before(pair, command)
        _carry_out(machine, command, say)


def update(machine: Machine, say: Say) -> None:
    """Carry out the page's update."""
    bring_checkout(machine)
    for command in steps(UPDATE, 0, 0):
        _carry_out(machine, command, say)


def _is_central(command: Command) -> bool:
    if command.section == CENTRAL:
        return command.step < 6
    return command.text.startswith("dcmsend ")  # any machine but the appliance


def _carry_out(machine: Machine, command: Command, say: Say) -> None:
    said = machine.run(command.filled(VALUES))
    say(f"{machine.name}# {command.text}")
    if command.text.split()[-1] == "status" or " check " in command.text:
        for line in said.splitlines():
            say(f"    {line}")


def _before(pair: Pair, command: Command) -> None:
    """Do what the page has a person do by hand before this command."""
    if " keys init " in command.text:
        text = pair.appliance.read(_CONFIG).decode()
        for default, chosen in _SETTINGS.items():
            text = text.replace(default, chosen)
        pair.appliance.write(_CONFIG, text.encode())
    if " enrol " in command.text:
        for name in ("device.public.json", "device.csr.pem"):
            public = pair.appliance.read(f"/etc/scanside/keys/{name}")
            pair.central.write(f"/opt/scanside/{name}", public)
    if " install-cert " in command.text:
        packed = pair.central.read_folder(f"/etc/scanside-central/enrolled/{DEVICE}")
        pair.appliance.write_folder("/root", packed)
