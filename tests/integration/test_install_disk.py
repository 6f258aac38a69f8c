"""What a power cut of `tools/install_check.sh` takes from a machine's disk, and what it leaves."""

from __future__ import annotations

import random
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.install_check.disk import SECTOR, Disk, Loss

SIZE = 1 << 20
BLOCK = 8 * SECTOR
OLD, NEW = b"\x11", b"\x22"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    content = tmp_path / "disk.raw"
    content.write_bytes(OLD * SIZE)
    disk = Disk(content, tmp_path / "disk", random.Random(1))  # noqa: S311 - no secret
    yield disk
    disk.settle(cut=False)


class Client:
    """The machine's end of the disk, spoken to as qemu does."""

    def __init__(self, disk: Disk) -> None:
        disk.start()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10.0)
        self.socket.connect(str(disk.socket_path))
        self._exactly(152)

    def write(self, offset: int, content: bytes) -> None:
        self._ask(1, offset, len(content), content)
        assert self._exactly(16)[4:8] == bytes(4)

    def flush(self) -> None:
        self._ask(3, 0, 0)
        assert self._exactly(16)[4:8] == bytes(4)

    def read(self, offset: int, length: int) -> bytes:
        self._ask(0, offset, length)
        assert self._exactly(16)[4:8] == bytes(4)
        return self._exactly(length)

    def _ask(self, kind: int, offset: int, length: int, content: bytes = b"") -> None:
        head = struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length)
        self.socket.sendall(head + content)

    def _exactly(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            more = self.socket.recv(length - len(received))
            assert more, "the disk hung up"
            received += more
        return received


def cut(disk: Disk, client: Client) -> Loss:
    disk.stop()
    client.socket.close()
    return disk.settle(cut=True)


def test_what_was_flushed_stays(disk: Disk) -> None:
    client = Client(disk)
    for number in range(64):
        client.write(number * BLOCK, NEW * BLOCK)
    client.flush()
    assert cut(disk, client) == Loss(0, 0)
    assert disk.file.read_bytes() == NEW * 64 * BLOCK + OLD * (SIZE - 64 * BLOCK)


def test_of_what_was_not_flushed_a_write_is_there_or_not_or_torn_between_two_sectors(
    disk: Disk,
) -> None:
    client = Client(disk)
    for number in range(64):
        client.write(number * BLOCK, NEW * BLOCK)
    assert client.read(0, 64 * BLOCK) == NEW * 64 * BLOCK  # until then it is as written
    loss = cut(disk, client)
    content = disk.file.read_bytes()
    blocks = [content[number * BLOCK : (number + 1) * BLOCK] for number in range(64)]
    kept = [block.count(NEW) // SECTOR for block in blocks]
    assert {0, 8} < set(kept)
    assert blocks == [NEW * n * SECTOR + OLD * (BLOCK - n * SECTOR) for n in kept]
    assert loss == Loss(64, sum(n < 8 for n in kept))
    assert content[64 * BLOCK :] == OLD * (SIZE - 64 * BLOCK)


def test_a_sector_that_was_written_again_is_as_flushed_or_as_one_of_the_two(disk: Disk) -> None:
    seen = set()
    for _ in range(32):
        client = Client(disk)
        client.write(0, b"a" * SECTOR)
        client.flush()
        client.write(0, b"b" * SECTOR)
        client.write(0, b"c" * SECTOR)
        cut(disk, client)
        seen.add(disk.file.read_bytes()[:1])
    assert seen == {b"a", b"b", b"c"}


def test_a_machine_that_shuts_down_in_order_loses_nothing(disk: Disk) -> None:
    client = Client(disk)
    client.write(0, NEW * BLOCK)
    client.socket.close()
    assert disk.settle(cut=False) == Loss(1, 0)
    assert disk.file.read_bytes()[:BLOCK] == NEW * BLOCK


def test_once_the_power_is_gone_no_request_is_answered_or_carried_out(disk: Disk) -> None:
    client = Client(disk)
    disk.stop()
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.write(0, NEW * BLOCK)
    client.socket.close()
    disk.settle(cut=True)
    assert disk.file.read_bytes() == OLD * SIZE


def test_a_disk_whose_machine_never_came_stops(disk: Disk) -> None:
    disk.start()
    assert disk.settle(cut=True) == Loss(0, 0)


@pytest.mark.skipif(shutil.which("qemu-io") is None, reason="needs qemu-utils")
def test_qemu_reads_writes_and_flushes_it(disk: Disk) -> None:
    disk.start()
    done = subprocess.run(
        ["qemu-io", "-f", "raw", "-t", "writeback", "-c", "write -P 0x22 4096 8192",
         "-c", "flush", "-c", "read -P 0x22 4096 8192", disk.address],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout
    assert disk.flushes > 0
    disk.settle(cut=True)
    assert disk.file.read_bytes()[4096 : 4096 + 8192] == NEW * 8192
