"""The keys of the moment: read again when the key folder changes, without a restart.

Whoever may read the alerts, and whose receipts count, is what lies in the folder. A server
that is added, removed or has new keys counts from the next look on, which is a second later
at most; so does a new key of the device itself. A look is a handful of stat calls.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from edge.key_files import KeyFileError
from edge.keys.identity import MAX_RECIPIENTS, PublicKey, TrustedCentrals
from edge.keys.own import DeviceKeys
from edge.keys.peers import load_centrals

log = logging.getLogger("scanside.keys")

# What a file looks like from outside: its path, inode, size and time of change.
_Look = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True)
class KeySet:
    """A device's own keys and the servers it trusts, as they were at one moment."""

    own: DeviceKeys
    centrals: TrustedCentrals

    @property
    def readers(self) -> tuple[PublicKey, ...]:
        """Whom an alert is sealed for: the servers, and the device's own console."""
        return (*self.centrals.readers, self.own.console)

    @property
    def readers_names(self) -> tuple[str, ...]:
        """The servers that alerts are sealed for, each once."""
        return tuple(dict.fromkeys(key.owner for key in self.centrals.readers))


class KeyRing:
    """Holds the keys of the moment. Any thread may ask for them.

    Parameters
    ----------
    folder : Path
        The device's key folder.

    Raises
    ------
    KeyFileError
        When the keys cannot be used at the start. Later, the last that could be used stay.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()  # guards _look and _complaint: one refresh at a time
        self._look = _look_at(folder)
        self._complaint = ""
        self.current = _load(folder)  # replaced whole: a reader sees the old or the new

    def refresh(self) -> bool:
        """Read the folder again if it has changed; return whether there are new keys.

        A folder that cannot be used is said once in the log, and looked at again.
        """
        with self._lock:
            look = _look_at(self.folder)
            if look == self._look:
                return False
            try:
                self.current = _successor(self.current, _load(self.folder))
            except KeyFileError as error:
                if str(error) != self._complaint:
                    log.error("The key folder changed and cannot be used; the keys stay: %s", error)
                self._complaint = str(error)
                return False
            self._look, self._complaint = look, ""
            return True


def _load(folder: Path) -> KeySet:
    keys = KeySet(DeviceKeys.load(folder), load_centrals(folder))
    if len(keys.readers) > MAX_RECIPIENTS:
        msg = (
            f"{len(keys.readers) - 1} servers are to read the alerts; an alert is sealed for "
            f"{MAX_RECIPIENTS - 1} at most.\n  Remove files from {folder}/recipients."
        )
        raise KeyFileError(msg)
    return keys


def _successor(before: KeySet, after: KeySet) -> KeySet:
    """Return the new keys if they are still this device's."""
    old, new = before.own, after.own
    if (old.device, old.site, old.storage) != (new.device, new.site, new.storage):
        msg = "they are of another device or another storage key. Restart to use them."
        raise KeyFileError(msg)
    return after


def _look_at(folder: Path) -> _Look:
    seen = set()
    for file in (*folder.glob("*"), *folder.glob("*/*")):
        try:
            status = file.stat()
        except OSError:
            continue  # it went away in this moment: the next look differs
        seen.add((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(seen)
