"""Files that are there whole, and still there after a power cut, or not there at all."""

from __future__ import annotations

import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(target: Path, content: bytes) -> None:
    """Put `content` in the place of a file in one step: a reader sees the old or the new, whole.

    Raises
    ------
    OSError
        If the folder cannot be written; the file is then as it was.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        to_disk(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    to_disk(target.parent)
