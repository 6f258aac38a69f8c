"""A machine's disk, with a cache that is lost in a power cut, as the cache of a real disk is.

qemu reaches it over NBD. What the machine flushed stays for ever. Of what it wrote since, a power
cut leaves each write whole, not at all, or its first sectors, by chance: later writes may be there
where earlier ones are not.

Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, oldstyle negotiation.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
_CACHE = 32 << 20  # what the disk holds back; beyond that it writes the oldest of its own accord
_LONGEST = 64 << 20  # of one request; qemu asks for at most 32 MiB

_GREETING = struct.Struct(">8sQQI124x")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_HELLO, _OLDSTYLE = b"NBDMAGIC", 0x00420281861253
_ASKED, _ANSWERED = 0x25609513, 0x67446698
_HAS_FLAGS, _TAKES_FLUSH = 1, 4
_READ, _WRITE, _GOODBYE, _FLUSH = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Loss:
    """What a power cut took.

    Parameters
    ----------
    unflushed : int
        Writes that the machine had not flushed.
    lost : int
        Of these, the writes that are not there, or not whole.
    """

    unflushed: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Write:
    offset: int
    before: bytes
    after: bytes


class Disk:
    """A raw file as the disk of one machine.

    Parameters
    ----------
    file : Path
        Its content. Holds every write at once; a cut takes back what it loses.
    socket_path : Path
        Where qemu connects.
    chance : random.Random
        Chooses what a cut loses.
    """

    def __init__(self, file: Path, socket_path: Path, chance: random.Random) -> None:
        self.file = file
        self.socket_path = socket_path
        self.flushes = 0
        self._chance = chance
        self._cache: deque[_Write] = deque()
        self._cached = 0
        self._lock = threading.Lock()
        self._powered = False
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """The disk as qemu names it."""
        return f"nbd+unix:///?socket={self.socket_path}"

    def start(self) -> None:
        """Wait for a machine's connection, in a thread; the machine must not be up yet."""
        self.socket_path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(1)
        self._powered = True
        self._thread = threading.Thread(
            target=self._serve, args=(self._listener,), name="disk", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no request any more, and answer none; to be called before the machine ends."""
        with self._lock:
            self._powered = False

    def settle(self, *, cut: bool) -> Loss:
        """Decide, once the machine has ended, what of the cache is there.

        Parameters
        ----------
        cut : bool
            Whether the power was cut. If not, the disk writes what it holds, as one does
            that is told to stop.
        """
        if self._listener is None or self._thread is None:
            return Loss(0, 0)
        self.stop()
        self._listener.shutdown(socket.SHUT_RDWR)  # it may still wait for a machine
        with self._lock:
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        self._listener = self._connection = self._thread = None
        writes = list(self._cache)
        self._forget()
        return self._lose(writes) if cut else Loss(len(writes), 0)

    def _lose(self, writes: list[_Write]) -> Loss:
        lost = 0
        with self.file.open("r+b", buffering=0) as file:
            for one in reversed(writes):
                os.pwrite(file.fileno(), one.before, one.offset)
            for one in writes:
                sectors = len(one.after) // SECTOR
                kept = self._chance.choice((0, sectors, self._chance.randint(0, sectors)))
                os.pwrite(file.fileno(), one.after[: kept * SECTOR], one.offset)
                lost += kept < sectors
        return Loss(len(writes), lost)

    def _serve(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the disk was stopped before a machine came
            return
        with self._lock:
            self._connection = connection
            if not self._powered:
                return
        with self.file.open("r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            greeting = _GREETING.pack(_HELLO, _OLDSTYLE, size, _HAS_FLAGS | _TAKES_FLUSH)
            try:
                connection.sendall(greeting)
                while self._answer(connection, file.fileno(), size):
                    pass
            except ConnectionError:  # the machine ended
                return

    def _answer(self, connection: socket.socket, file: int, size: int) -> bool:
        """Carry out one request; return whether another may follow."""
        magic, _, kind, handle, offset, length = _REQUEST.unpack(
            _exactly(connection, _REQUEST.size)
        )
        if magic != _ASKED or length > _LONGEST:
            raise ConnectionError("not a request that a disk takes")
        content = _exactly(connection, length) if kind == _WRITE else b""
        if kind == _GOODBYE:
            return False
        with self._lock:
            if not self._powered:
                # The machine waits for this answer until it is ended.
                return True
            error, answer = 0, b""
            if kind == _FLUSH:
                self.flushes += 1
                self._forget()
            elif offset + length > size:
                error = errno.EINVAL
            elif kind == _READ:
                answer = os.pread(file, length, offset)
            elif kind == _WRITE:
                self._remember(_Write(offset, os.pread(file, length, offset), content))
                os.pwrite(file, content, offset)
            else:
                error = errno.EINVAL
        connection.sendall(_REPLY.pack(_ANSWERED, error, handle) + answer)
        return True

    def _remember(self, write: _Write) -> None:
        self._cache.append(write)
        self._cached += len(write.after)
        while self._cached > _CACHE:
            self._cached -= len(self._cache.popleft().after)

    def _forget(self) -> None:
        self._cache.clear()
        self._cached = 0


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        more = connection.recv(min(length - len(received), 1 << 20))
        if not more:
            raise ConnectionError("the machine ended")
        received += more
    return bytes(received)
