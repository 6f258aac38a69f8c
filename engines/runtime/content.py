"""Read a file and be sure that it is the one that was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engines.runtime.protocol import EngineError


def read_checked(file: Path, digest: str | None, *, remedy: str) -> bytes:
    """Return a file's bytes, which are the very bytes that were checked.

    Parameters
    ----------
    file : pathlib.Path
        The file.
    digest : str or None
        SHA-256 it must have; None takes any.
    remedy : str
        A sentence that says what to do about another file.

    Raises
    ------
    EngineError
        If it cannot be read or is another file.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file}: cannot be read: {error.strerror}.") from error
    if digest is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise EngineError(f"{file}: its SHA-256 is {found}, expected {digest}. {remedy}")
    return content
