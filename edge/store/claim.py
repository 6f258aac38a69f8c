"""One writer: a folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge.store.journal import JournalError


class FolderTaken(JournalError):
    """Another process has the folder."""


class Claim:
    """Holds a folder until it is closed; the system lets go of it when the process dies.

    Parameters
    ----------
    folder : Path
        Must be there.

    Raises
    ------
    FolderTaken
        If another process, or another claim of this one, has it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise FolderTaken(
                f"{folder}: another process has this folder; only one `scanside run` may."
            ) from error

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)
