"""DCMTK's storescp as a peer: it writes each instance to a file, without encryption or sync."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.broker import HOST, free_port
from tools.dcmtk import find_dcmtk, needed
from tools.site import SiteError

_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of one side: the authority of the other's certificate, its own, and its key."""

    ca: Path
    cert: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """What DCMTK is told."""
        return ["+tls", str(self.key), str(self.cert), "+cf", str(self.ca)]


def installed() -> bool:
    """Return whether DCMTK's storescp and storescu are installed."""
    return all(find_dcmtk(name) for name in ("storescp", "storescu"))


@contextmanager
def storescp(folder: Path, settings: Mapping[str, str], tls: Tls | None = None) -> Iterator[int]:
    """Run storescp on a free port and yield the port.

    Parameters
    ----------
    folder : Path
        Where it writes.
    settings : mapping
        Environment variables for it.
    tls : Tls or None
    """
    port = free_port()
    how = [] if tls is None else tls.options
    process = subprocess.Popen(
        [needed("storescp"), *how, "--output-directory", str(folder), str(port)],
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def storescu_s(files: Path, title: str, port: int, tls: Tls | None = None) -> float:
    """Send every file of a folder with DCMTK's storescu; return how long it took, in seconds.

    Raises
    ------
    SiteError
        If it fails.
    """
    how = [] if tls is None else tls.options
    began = time.monotonic()
    done = subprocess.run(
        [needed("storescu"), *how, "-aec", title, HOST, str(port), "+sd", str(files)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SiteError(f"storescu failed: {done.stderr.splitlines()[-1:]}")
    return time.monotonic() - began


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while not _answers(port):
        if time.monotonic() > deadline:
            raise SiteError("storescp did not start.")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.1):
            return True
    except OSError:
        time.sleep(0.02)  # a refusal comes at once; this is the pause between two tries
        return False
