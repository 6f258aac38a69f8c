"""A server's own keys of the moment: read again when they were replaced, without a restart.

What was sealed for the former keys is still opened with them. Which keys followed which is told to
every device in one retained message, signed by the keys that were replaced.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from edge.alerts.rotation import keys_message
from edge.alerts.topics import central_keys_topic
from edge.key_files import KeyFileError, json_files
from edge.keys import CENTRAL_PUBLIC, CentralKeys

_LOOK_S = 1.0

log = logging.getLogger("scanside.central")


class OwnKeys:
    """Looks at the key folder at most once a second. One thread uses it.

    Parameters
    ----------
    folder : Path
    keys : CentralKeys
        As they were read from it.
    """

    def __init__(self, folder: Path, keys: CentralKeys) -> None:
        self.current = keys
        self._folder = folder
        self._look = _look_at(folder)
        self._next = time.monotonic() + _LOOK_S

    @property
    def announcement(self) -> tuple[str, bytes] | None:
        """What to publish, retained, and where; None when no key was ever replaced."""
        message = keys_message(self.current.former)
        return None if message is None else (central_keys_topic(self.current.name), message)

    def refresh(self) -> bool:
        """Look, if it is time; return whether there are new keys.

        In the middle of a replacement the files do not fit each other: the next look finds them.
        """
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOOK_S
        look = _look_at(self._folder)
        if look == self._look:
            return False
        try:
            self.current = CentralKeys.load(self._folder)
        except KeyFileError as error:
            log.warning("the server's own keys cannot be read and stay as they were: %s", error)
            return False
        self._look = look
        log.info("the server's own key is now %s", self.current.signing.kid)
        return True


def _look_at(folder: Path) -> tuple[tuple[str, int], ...]:
    files = (folder / "signing.jwk", folder / CENTRAL_PUBLIC, *json_files(folder / "former"))
    return tuple((str(file), file.stat().st_mtime_ns) for file in files if file.exists())
