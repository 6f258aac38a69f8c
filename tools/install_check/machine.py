"""A virtual machine: started, spoken to over ssh, shut down, or cut from its power."""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.broker import HOST, free_port
from tools.install_check.disk import Disk, Loss

# On the network between the machines: every name, and the address.
ADDRESSES: Mapping[str, tuple[str, str]] = {
    "central": ("central broker.hospital.example", "192.168.77.1"),
    "appliance": ("appliance", "192.168.77.2"),
}
_PATIENCE_S = 3600.0  # an emulated processor is some twenty times slower
_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Arch:
    """A processor, as uname, Debian and qemu name it."""

    name: str
    debian: str
    kernel: str
    qemu_package: str
    board: tuple[str, ...]
    console: str

    @property
    def qemu(self) -> str:
        """The program that is such a machine."""
        return f"qemu-system-{self.name}"

    @property
    def native(self) -> bool:
        """Whether this machine has such a processor."""
        return platform.machine() == self.name

    def acceleration(self) -> tuple[str, ...]:
        """Return how qemu is to run it: on the processor where that can, else emulated."""
        if self.native and _virtualises():
            return ("-accel", "kvm", "-cpu", "host")
        # qemu 7.2 emulates AVX with errors: ONNX Runtime's results are then off by 1e14.
        without = ",avx=off,avx2=off,fma=off,f16c=off" if self.name == "x86_64" else ""
        return ("-accel", "tcg,thread=multi", "-cpu", f"max{without}")


ARCHES = {
    "x86_64": Arch(
        "x86_64", "amd64", "linux-image-cloud-amd64", "qemu-system-x86", ("-M", "q35"), "ttyS0"
    ),
    "aarch64": Arch(
        "aarch64", "arm64", "linux-image-cloud-arm64", "qemu-system-arm", ("-M", "virt"), "ttyAMA0"
    ),
}


class MachineError(RuntimeError):
    """A machine or a command on it failed; the text has what was said last."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a machine is started from: disk, kernel and the key that lets in."""

    arch: Arch
    disk: Disk
    kernel: Path
    initrd: Path
    key: Path


class Machine:
    """One virtual machine.

    Parameters
    ----------
    name : str
        Its host name, and its key in `ADDRESSES`.
    boot : Boot
    folder : Path
        For its console's log and the socket of its network card.
    ports : sequence of int
        Of the machine, to be reached on this one.
    memory : int
        In MiB.
    """

    def __init__(
        self,
        name: str,
        boot: Boot,
        folder: Path,
        *,
        ports: tuple[int, ...] = (),
        memory: int = 2048,
    ) -> None:
        self.name = name
        self.boot = boot
        self.folder = folder
        self.memory = memory
        self.forwards = {port: free_port() for port in (22, *ports)}
        self.where = "/root"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> Path:
        """What the kernel and systemd wrote."""
        return self.folder / f"{self.name}.console"

    def start(self) -> None:
        """Boot, and wait until systemd has started everything.

        Raises
        ------
        MachineError
            When it does not come up.
        """
        card = self.folder / f"{self.name}.lan"
        card.unlink(missing_ok=True)
        self.boot.disk.start()
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(card),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE_S
        while (state := self.said("systemctl is-system-running")) not in ("running", "degraded"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise MachineError(f"{self.name} did not come up ({state}); see {self.console}")
            time.sleep(_PAUSE_S)

    def run(self, command: str, *, stdin: bytes = b"", patience_s: float = _PATIENCE_S) -> str:
        """Run a command of root's at a terminal, in the folder of the last ``cd``.

        Returns
        -------
        str
            What it wrote.

        Raises
        ------
        MachineError
            When it ends with another status than 0, or does not end.
        """
        done = self._ssh(f"cd {shlex.quote(self.where)} && {command}", stdin, patience_s)
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            said += done.stderr.decode("utf-8", "replace")
            raise MachineError(f"{self.name}# {command}\n  status {done.returncode}\n{said}")
        if command.startswith("cd "):
            self.where = command.removeprefix("cd ")
        return said

    def said(self, command: str) -> str:
        """Return what a command wrote, whatever its status; empty where the machine is not up."""
        return self._ssh(command, b"", 60.0).stdout.decode("utf-8", "replace").strip()

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        return self._bytes(f"cat {shlex.quote(path)}")

    def write(self, path: str, content: bytes) -> None:
        """Write a file as root."""
        self.run(f"cat > {shlex.quote(path)}", stdin=content)

    def read_folder(self, path: str) -> bytes:
        """Return a folder, packed."""
        parent, _, name = path.rpartition("/")
        return self._bytes(f"tar -C {shlex.quote(parent)} -c {shlex.quote(name)}")

    def write_folder(self, parent: str, packed: bytes) -> None:
        """Unpack a folder as root's."""
        self.run(f"tar -C {shlex.quote(parent)} --no-same-owner -x", stdin=packed)

    def cut_power(self) -> Loss:
        """End it as a power cut does, and return what its disk lost."""
        disk = self.boot.disk
        disk.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        return disk.settle(cut=True)

    def shut_down(self) -> None:
        """Have it shut down in order, and wait for that."""
        if self._process is None:
            return
        self.said("systemctl poweroff")
        try:
            self._process.wait(300)
        except subprocess.TimeoutExpired:
            self.cut_power()
            raise MachineError(f"{self.name} did not shut down; see {self.console}") from None
        self._process = None
        self.boot.disk.settle(cut=False)

    def _bytes(self, command: str) -> bytes:
        done = self._ssh(command, b"", 120.0)
        if done.returncode != 0:
            raise MachineError(f"{self.name}# {command}\n{done.stderr.decode()}")
        return done.stdout

    def _ssh(
        self, command: str, stdin: bytes, patience_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                   "LogLevel=ERROR", "ConnectTimeout=30", "ServerAliveInterval=15")  # fmt: skip
        line = [
            "ssh", "-i", str(self.boot.key), "-p", str(self.forwards[22]),
            *(word for option in options for word in ("-o", option)),
            f"root@{HOST}", f"bash -lc {shlex.quote(command)}",
        ]  # fmt: skip
        try:
            return subprocess.run(
                line, input=stdin, capture_output=True, timeout=patience_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            said = f"not done after {patience_s:.0f} s".encode()
            return subprocess.CompletedProcess(line, 124, error.stdout or b"", said)

    def _command(self, card: Path) -> list[str]:
        number = ADDRESSES[self.name][1].rpartition(".")[2].zfill(2)
        (other,) = (name for name in ADDRESSES if name != self.name)
        forwards = ",".join(
            f"hostfwd=tcp:{HOST}:{here}-:{there}" for there, here in self.forwards.items()
        )
        lan = f"dgram,id=lan,local.type=unix,local.path={card},remote.type=unix"
        options = f"root=/dev/vda rw console={self.boot.arch.console} panic=-1 net.ifnames=0"
        return [
            self.boot.arch.qemu, *self.boot.arch.board, *self.boot.arch.acceleration(),
            "-m", str(self.memory), "-smp", "2", "-no-reboot", "-nodefaults", "-no-user-config",
            "-display", "none", "-serial", "stdio",
            "-kernel", str(self.boot.kernel), "-initrd", str(self.boot.initrd),
            "-append", f"{options} systemd.hostname={self.name}",
            "-drive", f"file={self.boot.disk.address},format=raw,if=virtio,cache=writeback",
            "-netdev", f"user,id=host,restrict=on,{forwards}",
            "-device", "virtio-net-pci,netdev=host,mac=52:54:00:00:00:01",
            "-netdev", f"{lan},remote.path={self.folder / other}.lan",
            "-device", f"virtio-net-pci,netdev=lan,mac=52:54:00:00:01:{number}",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip


def _virtualises() -> bool:
    """Whether the processor lends itself: /dev/kvm alone does not say so."""
    flags = Path("/proc/cpuinfo").read_text("utf-8")
    return Path("/dev/kvm").exists() and (" vmx" in flags or " svm" in flags)
