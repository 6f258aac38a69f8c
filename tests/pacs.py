"""PACS for tests: Orthanc as hospitals run it, and one that answers whatever a test wants."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from tools.broker import free_port
from tools.scanner import Peer

HOST = "127.0.0.1"
PATIENCE_S = 60.0
TITLE = "ARCHIVE"


def wait_until(happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Wait for what nobody tells of; return whether it came."""
    until, pause = time.monotonic() + patience_s, threading.Event()
    while not happened() and time.monotonic() < until:
        pause.wait(0.05)
    return happened()


class Orthanc:
    """An Orthanc of its own, on free ports; what it stored is still there after a restart.

    Parameters
    ----------
    folder : Path
        Empty or absent.
    settings : dict
        More of its configuration.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._http = free_port(), free_port()
        self._file, self._log = folder / "orthanc.json", folder / "orthanc.log"
        self._process: subprocess.Popen[bytes] | None = None
        ours = {
            "Name": TITLE,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": TITLE,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "HttpPort": self._http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
        }
        self._file.write_text(json.dumps({**ours, **settings}), "utf-8")

    @property
    def peer(self) -> Peer:
        return Peer(TITLE, HOST, self.port)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["Orthanc", str(self._file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        assert wait_until(self._answers), self._log.read_text("utf-8", "replace")[-2000:]

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(30)

    def _answers(self) -> bool:
        try:
            return self._get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{HOST}:{self._http}{path}", timeout=30)

    def instances(self, modality: str = "") -> list[Dataset]:
        """Return what it has, of one modality or all, in the order that they were made."""
        names = self._get("/instances").json()
        files = (self._get(f"/instances/{name}/file").content for name in names)
        found = [dcmread(BytesIO(file)) for file in files]
        wanted = [one for one in found if not modality or one.Modality == modality]
        return sorted(wanted, key=lambda one: int(one.InstanceNumber))

    def studies(self) -> list[dict[str, Any]]:
        """Return what it says of each study."""
        return [self._get(f"/studies/{name}").json() for name in self._get("/studies").json()]


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Run an Orthanc."""
    server = Orthanc(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


HAS_ORTHANC = shutil.which("Orthanc") is not None


class OwnPacs:
    """A C-STORE SCP that answers what it is told to.

    Parameters
    ----------
    answers : sequence of int
        C-STORE statuses, one after the other; after them Success.
    without : sequence of str
        SOP classes that it does not take.
    callers : sequence of str
        AE titles that it lets in; empty for all.
    """

    def __init__(
        self,
        answers: Sequence[int] = (),
        *,
        without: Sequence[str] = (),
        callers: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.offered: list[Dataset] = []
        self.stored: list[Dataset] = []
        self.answers = list(answers)
        self.before_answer: Callable[[Any], None] | None = None
        self._ae = AE(ae_title=TITLE)
        self._ae.require_calling_aet = list(callers)
        for context in [*AllStoragePresentationContexts]:
            if context.abstract_syntax not in without:
                self._ae.add_supported_context(
                    context.abstract_syntax, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
                )
        self._ae.add_supported_context(Verification)
        self._server: Any = None

    def start(self) -> None:
        self._server = self._ae.start_server(
            (HOST, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def let_in(self, *callers: str) -> None:
        """Change who may come."""
        self._ae.require_calling_aet = list(callers)

    def _store(self, event: Any) -> int:
        received: Dataset = event.dataset
        self.offered.append(received)
        if self.before_answer is not None:
            self.before_answer(event)
        status = self.answers.pop(0) if self.answers else 0
        if status == 0:
            self.stored.append(received)
        return status


@contextmanager
def own_pacs(answers: Sequence[int] = (), **what: Any) -> Iterator[OwnPacs]:
    """Run a PACS that answers what a test wants."""
    server = OwnPacs(answers, **what)
    server.start()
    try:
        yield server
    finally:
        server.stop()
