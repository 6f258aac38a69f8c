"""Whom this server believes at the moment: read again when the files change.

A device that is enrolled is heard, and one that is revoked is refused, from the next look on,
which is a second later at most; no process has to be restarted.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from edge.key_files import KeyFileError, json_files
from edge.keys import PublicKey, TrustedDevice, TrustedDevices, load_trusted
from edge.keys.public import read_public

REVOKED = "revoked"  # beside `devices`: the public files of those who are believed no longer
_LOOK_S = 1.0

log = logging.getLogger("scanside.central")

# A folder and its files from outside: names, sizes and times of change.
_Look = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Trust:
    """Whom a server believes, and whom it believed once."""

    devices: TrustedDevices
    revoked: TrustedDevices

    def answers_to(self, site: str, device: str) -> PublicKey | None:
        """Return the key under which a device is answered; None when it is no longer believed."""
        mine = [
            one for one in self.devices.by_kid.values() if (one.site, one.device) == (site, device)
        ]
        latest = [one for one in mine if one.until is None]
        return latest[0].sealing if latest else None


class TrustWatch:
    """Looks at the key folder at most once a second. One thread uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._look = _look_at(folder)
        self._next = time.monotonic() + _LOOK_S
        self._complaint = ""
        self.current = _load(folder)

    def refresh(self) -> bool:
        """Look, if it is time; return whether anybody else is believed now.

        Files that cannot be read are said once; whom they named before is believed as before.
        """
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOOK_S
        look = _look_at(self.folder)
        if look == self._look:
            return False
        try:
            self.current = _load(self.folder)
        except KeyFileError as error:
            if str(error) != self._complaint:
                log.error("the trusted devices cannot be read and stay as they were: %s", error)
            self._complaint = str(error)
            return False
        self._look, self._complaint = look, ""
        return True

    def look_now(self) -> bool:
        """Look without waiting for the second to pass."""
        self._next = 0.0
        return self.refresh()


def _load(folder: Path) -> Trust:
    gone = {one.key.kid: one for one in map(_device, json_files(folder / REVOKED))}
    believed = load_trusted(folder).by_kid
    kept = {kid: one for kid, one in believed.items() if kid not in gone}
    return Trust(TrustedDevices(kept), TrustedDevices(gone))


def _device(file: Path) -> TrustedDevice:
    public = read_public(file, "device")
    return TrustedDevice(public.name, public.site, public.signing, public.sealing)


def _look_at(folder: Path) -> _Look:
    seen = []
    for file in (*json_files(folder / "devices"), *json_files(folder / REVOKED)):
        try:
            status = file.stat()
        except OSError:
            continue  # it went away in this moment: the next look differs
        seen.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(seen)
