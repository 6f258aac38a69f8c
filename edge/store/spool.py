"""The spool: instances as encrypted records in one append-only segment a series.

A record is ``nonce (12) | ciphertext | tag (16)`` and is bound to its series and to the digest of
what it holds, so records cannot be exchanged. The journal says where each record is; bytes
after the last record it knows are the remains of a crash and are written over. File names are
random tokens.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from edge.store.study_key import StudyKey

_OPEN_SEGMENTS = 64


class OutOfSpace(OSError):
    """The disk takes no more, or has less free than the reserve; nothing was kept."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where one sealed record is.

    Parameters
    ----------
    path : Path
        The segment.
    place : bytes
        What it is bound to.
    offset, length : int
        In bytes; `length` counts nonce and tag.
    """

    path: Path
    place: bytes
    offset: int
    length: int


def read_record(record: Record, key: StudyKey) -> bytes:
    """Return the bytes that were stored.

    Raises
    ------
    OSError
        If the segment cannot be read.
    SealBroken
        If it is damaged.
    """
    with record.path.open("rb", buffering=0) as segment:
        sealed = os.pread(segment.fileno(), record.length, record.offset)
    return key.open(sealed, record.place)


class Spool:
    """Appends records. Used by one thread at a time: the store's lock sees to it.

    Parameters
    ----------
    folder : Path
        Made when absent, mode 0700.
    reserve_bytes : int
        Free space that is never used for images.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._reserve = reserve_bytes
        self._segments: OrderedDict[Path, int] = OrderedDict()  # open file descriptors, by use

    def segment(self, study: str, series: str) -> Path:
        """Return the segment of a series, by the tokens of study and series."""
        return self._folder / study / f"{series}.segment"

    def room_for(self, length: int) -> bool:
        """Return whether `length` more bytes leave the reserve untouched."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize - length >= self._reserve

    def append(self, record: Record, sealed: bytes) -> None:
        """Write one record and return when it is on the disk.

        Raises
        ------
        OutOfSpace
            If the disk is full or nearly so. What was written is given back.
        """
        if not self.room_for(len(sealed)):
            raise OutOfSpace("Less free disk than [storage] reserve_mb.")
        try:
            descriptor = self._open(record.path)
            written = 0
            view = memoryview(sealed)
            while written < len(sealed):
                written += os.pwrite(descriptor, view[written:], record.offset + written)
            os.fdatasync(descriptor)
        except OSError as error:
            self._give_back(record)
            raise OutOfSpace(f"The spool cannot be written: {error.strerror}.") from error

    def _open(self, path: Path) -> int:
        if path in self._segments:
            self._segments.move_to_end(path)
            return self._segments[path]
        if len(self._segments) >= _OPEN_SEGMENTS:
            os.close(self._segments.popitem(last=False)[1])
        made = not path.parent.exists()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._segments[path] = descriptor
        if is_new:  # the name must survive a power cut, not only the bytes
            _sync_folder(path.parent)
            if made:
                _sync_folder(self._folder)
        return descriptor

    def _give_back(self, record: Record) -> None:
        descriptor = self._segments.pop(record.path, None)
        if descriptor is None:
            return
        try:
            os.ftruncate(descriptor, record.offset)
        finally:
            os.close(descriptor)

    def remove(self, study: str) -> None:
        """Take away what there is of a study, by its token.

        Raises
        ------
        OSError
            If a file cannot be removed.
        """
        folder = self._folder / study
        for path in [one for one in self._segments if one.parent == folder]:
            os.close(self._segments.pop(path))
        if not folder.exists():
            return
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        _sync_folder(self._folder)

    def close(self) -> None:
        """Close every segment."""
        while self._segments:
            os.close(self._segments.popitem()[1])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
