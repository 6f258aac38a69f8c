"""A fresh Debian system as a disk that qemu boots: nothing on it but what Debian brings.

The packages that docs/install.md asks for lie in apt's cache and the wheels of the lock in
`/root/wheels`, so that the machine needs no network; the checkout is a git repository in
`/root/scanside.git`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.install_check.machine import ADDRESSES, Arch

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
REPOSITORY = "/root/scanside.git"
WHEELS = "/root/wheels"
_PYTHON = "3.11"  # of the suite
_SIZE = "8G"  # of the disk; it takes as much as is on it

# A kernel, an init and a way in. What the product needs is the page's to say.
_BASE = ("systemd-sysv", "udev", "dbus", "openssh-server", "iproute2", "ca-certificates")
_TAGS = ("2_28", "2_27", "2_26", "2_24", "2_17")


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine is started from.

    Parameters
    ----------
    disk, kernel, initrd : Path
    key : Path
        The private key that root of the machine lets in.
    """

    disk: Path
    kernel: Path
    initrd: Path
    key: Path


class ImageError(RuntimeError):
    """The image could not be made; the text has the command and the end of what it said."""


def lacking(arch: Arch) -> tuple[str, ...]:
    """Return why no image can be made and booted here; empty when one can."""
    programs = {
        arch.qemu: arch.qemu_package,
        "debootstrap": "debootstrap",
        "mke2fs": "e2fsprogs",
        "ssh": "openssh-client",
        "dcmsend": "dcmtk",
    }
    if not arch.native:
        programs[f"qemu-{arch.name}-static"] = "qemu-user-static"
    missing = tuple(package for name, package in programs.items() if shutil.which(name) is None)
    if missing:
        return (f"apt-get install {' '.join(missing)}",)
    if os.geteuid() != 0:
        return ("debootstrap needs root",)
    if not arch.native and not Path(f"/proc/sys/fs/binfmt_misc/qemu-{arch.name}").exists():
        return (
            f"programs of {arch.name} do not run here: mount -t binfmt_misc binfmt_misc "
            "/proc/sys/fs/binfmt_misc && update-binfmts --enable",
        )
    return ()


def make_image(folder: Path, arch: Arch, packages: Sequence[str]) -> Image:
    """Make the disk in `folder`, or take the one that is there.

    Parameters
    ----------
    folder : Path
        Kept, so that a second run begins with it.
    arch : Arch
    packages : sequence of str
        Which packages of Debian the machine can install without a network.

    Raises
    ------
    ImageError
        When a command fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = Image(
        folder / "fresh.raw", folder / "vmlinuz", folder / "initrd.img", folder / "ssh_key"
    )
    if image.disk.exists():
        return image
    root = folder / "root"
    if not (folder / "bootstrapped").exists():
        shutil.rmtree(root, ignore_errors=True)
        include = ",".join((*_BASE, arch.kernel))
        _run(
            "debootstrap", "--variant=minbase", f"--arch={arch.debian}", f"--include={include}",
            SUITE, str(root),
        )  # fmt: skip
        (folder / "bootstrapped").touch()
    _cache_packages(root, packages)
    _cache_wheels(folder / "wheels", arch)
    shutil.copytree(folder / "wheels", root / WHEELS[1:], dirs_exist_ok=True)
    _clone(root / REPOSITORY[1:])
    _let_in(root, image.key)
    for name, file in (("vmlinuz", image.kernel), ("initrd.img", image.initrd)):
        shutil.copy((root / name).resolve(), file)
    unfinished = folder / "unfinished.raw"
    unfinished.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(unfinished), _SIZE)
    unfinished.rename(image.disk)
    shutil.rmtree(root)
    (folder / "bootstrapped").unlink()
    return image


def copied(disk: Path, copy: Path) -> Path:
    """Copy a machine's disk, and return the copy."""
    _run("cp", "--sparse=always", str(disk), str(copy))
    return copy


def _cache_packages(root: Path, packages: Sequence[str]) -> None:
    apt = root / "etc/apt/apt.conf.d"
    # A person answers yes. Packages that were fetched are kept: they are what the machine has.
    (apt / "10-install-check").write_text(
        'APT::Get::Assume-Yes "true";\nAPT::Keep-Downloaded-Packages "true";\n', "utf-8"
    )
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    _run("chroot", str(root), "apt-get", "update")
    _run("chroot", str(root), "apt-get", "install", "--download-only", *packages)


def _cache_wheels(folder: Path, arch: Arch) -> None:
    """Fetch what the lock names, for the machine's Python and processor, as the page says."""
    platforms = [f"--platform=manylinux_{tag}_{arch.name}" for tag in _TAGS]
    platforms.append(f"--platform=manylinux2014_{arch.name}")
    _run(
        ".venv/bin/python", "-m", "pip", "--no-input", "download", "--quiet", "--require-hashes",
        "--only-binary=:all:", f"--python-version={_PYTHON}", *platforms,
        "-r", "requirements/run.lock", "-d", str(folder),
    )  # fmt: skip


def _clone(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    _run("git", "clone", "--quiet", "--bare", "--no-hardlinks", "--single-branch", ".", str(place))


def _let_in(root: Path, key: Path) -> None:
    """Write what a machine of this check is beside Debian: a way in, and its two networks."""
    key.unlink(missing_ok=True)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "install-check", "-f", str(key))
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_name(key.name + ".pub"), ssh / "authorized_keys")
    hosts = "".join(f"{address} {names}\n" for names, address in ADDRESSES.values())
    networks = {
        "10-host": ("52:54:00:00:00:*", "10.0.2.15/24"),
        **{
            f"20-{name}": (f"52:54:00:00:01:{address.rpartition('.')[2].zfill(2)}", f"{address}/24")
            for name, (_, address) in ADDRESSES.items()
        },
    }
    files: Mapping[str, str] = {
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{hosts}",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        **{
            f"etc/systemd/network/{name}.network": (
                f"[Match]\nMACAddress={card.replace('*', '01')}\n[Network]\nAddress={address}\n"
            )
            for name, (card, address) in networks.items()
        },
    }
    for name, text in files.items():
        (root / name).write_text(text, "utf-8")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    _run("chroot", str(root), "systemctl", "enable", "systemd-networkd")


def _run(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise ImageError(f"{' '.join(command[:6])} ... failed ({done.returncode}):\n{said}")
