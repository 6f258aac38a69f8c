"""Keys that were replaced: kept to open what was sealed for them, and to tell who followed them.

``former/KID.json`` (0600), one for each former signing key, holds its public file, the private
sealing key, and the statement by which it named its successor (`edge.alerts.rotation`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.key_files import (
    KeyFileError,
    json_files,
    make_private_folder,
    read_private,
    sync_folder,
    write_new,
)
from edge.keys.identity import PrivateKey, PublicKey
from edge.keys.public import CURVES, import_okp, parse_public

FORMER = "former"


@dataclass(frozen=True)
class FormerKeys:
    """A pair of keys that was replaced.

    Parameters
    ----------
    signing : PublicKey
    sealing : PrivateKey
    retired : str
        When, RFC 3339.
    statement : str
        Signed with `signing`: who follows it.
    """

    signing: PublicKey
    sealing: PrivateKey
    retired: str
    statement: str = field(repr=False)


def load_former(folder: Path, kind: str, current: str) -> tuple[FormerKeys, ...]:
    """Return the former keys of a key folder, oldest first; raises `KeyFileError`.

    The signing key `current` is not one of them, although a rotation that a power cut ended may
    have left its file: the successor that it names never came to be.
    """
    former = [_read(file, kind) for file in json_files(folder / FORMER)]
    replaced = (one for one in former if one.signing.kid != current)
    return tuple(sorted(replaced, key=lambda one: one.retired))


def keep_former(folder: Path, document: dict[str, Any]) -> None:
    """Write the file of keys that are about to be replaced, down to the disk."""
    place = folder / FORMER
    make_private_folder(place)
    kid = document["public"]["keys"][0]["kid"]
    file, work = place / f"{kid}.json", place / f".{kid}.new"
    work.unlink(missing_ok=True)  # of a rotation that a power cut ended
    write_new(work, json.dumps(document), 0o600)
    work.replace(file)
    sync_folder(place)


def _read(file: Path, kind: str) -> FormerKeys:
    document = read_private(file)
    try:
        public = parse_public(document["public"], file, kind)
        sealing = import_okp(document["sealing"], file, CURVES["sealing"])
        retired, statement = str(document["retired"]), str(document["statement"])
    except (KeyError, TypeError) as error:
        msg = f"{file} is not a file of former keys: a member is missing"
        raise KeyFileError(msg) from error
    if not sealing.is_private or sealing.thumbprint() != public.sealing.kid:
        msg = f"{file} does not hold the private key of its public one. Restore it from a backup."
        raise KeyFileError(msg)
    return FormerKeys(public.signing, PrivateKey(public.sealing.kid, sealing), retired, statement)
