"""Files that hold keys: read with their permissions checked, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

MAX_FILE = 16 * 1024  # bytes; a public file has less than 1 kB

Stamp = tuple[int, int, int]
"""What changes when a file does."""


class KeyFileError(ValueError):
    """A key file or folder cannot be used. The text names it and says what to do."""


def stamp_of(file: Path) -> Stamp | None:
    """Return a file's stamp; None while there is no such file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object of at most 16 KiB; raises `KeyFileError`."""
    try:
        with file.open("rb") as stream:
            document = json.loads(stream.read(MAX_FILE))
    except FileNotFoundError as error:
        msg = f"{file} does not exist"
        raise KeyFileError(msg) from error
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}"
        raise KeyFileError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{file} is not JSON"
        raise KeyFileError(msg) from error
    if not isinstance(document, dict):
        msg = f"{file} is not a JSON object"
        raise KeyFileError(msg)
    return document


def read_private(file: Path) -> dict[str, Any]:
    """Read a private JSON file; raises `KeyFileError` when others may read it, too."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError as error:
        msg = f"{file} does not exist: the key folder is not complete"
        raise KeyFileError(msg) from error
    if stat.S_IMODE(mode) & 0o077:
        msg = f"{file} can be read by others. Run: chmod 600 {file}"
        raise KeyFileError(msg)
    return read_json(file)


def check_private_folder(folder: Path) -> None:
    """Raise `KeyFileError` when the folder is absent or others may enter it."""
    if not folder.is_dir():
        msg = f"{folder} is not a folder with keys. Make one with the command 'keys init'."
        raise KeyFileError(msg)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        msg = f"{folder} can be entered by others. Run: chmod 700 {folder}"
        raise KeyFileError(msg)


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, by name; none when there is no folder."""
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def copy_public(source: Path, target: Path) -> None:
    """Copy a checked public file; the same key again is no error and takes the newer names."""
    make_private_folder(target.parent)
    replace_json(target, read_json(source))


def replace_json(file: Path, document: dict[str, Any], mode: int = 0o600) -> None:
    """Write a JSON file whole, or leave what was there."""
    replace_text(file, json.dumps(document, indent=2) + "\n", mode)


def replace_text(file: Path, text: str, mode: int) -> None:
    """Write a file whole, or leave what was there."""
    work = file.with_suffix(f".{secrets.token_hex(4)}.new")
    try:
        write_new(work, text, mode)
        work.replace(file)
    finally:
        work.unlink(missing_ok=True)
    sync_folder(file.parent)


def write_new(file: Path, text: str, mode: int) -> None:
    """Write a file that does not exist yet, with these permissions, down to the disk."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    _give_to_owner(file)


def make_private_folder(folder: Path) -> None:
    """Make a folder that its owner alone enters, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        _give_to_owner(folder)


def _give_to_owner(path: Path) -> None:
    """Root acts for the user of the service: who owns a folder owns what is put into it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """Make a rename last: fsync(2) of the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
