"""Who brings the answers: goes on whatever a requester or a file does."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from intake_parts import HOST, PATIENCE_S, free_port
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

from edge.config import Dicom
from edge.intake.commitment import event_report
from edge.intake.own_requests import EventReport
from edge.intake.reporter import Reporter
from edge.store.commitments import Commitment, Commitments, Reference
from edge.store.journal import Journal

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

NOW = 1_800_000_000.0


@pytest.fixture
def commitments(tmp_path: Path) -> Iterator[Commitments]:
    """One request of CT1's that waits."""
    journal = Journal(tmp_path / "journal.db")
    kept = Commitments(journal)
    kept.keep("CT1", "1.2.3", [Reference(CTImageStorage, "1.2.3.4")], NOW, due=1.0)
    yield kept
    journal.close()


def answer(commitment: Commitment) -> EventReport:
    return event_report(commitment, [0])


def wait_until(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if happened():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen")


def listening(port: int, context: str, handlers: list[Any]) -> Any:
    scanner = AE("CT1")
    scanner.add_supported_context(context, scu_role=True, scp_role=True)
    return scanner.start_server((HOST, port), block=False, evt_handlers=handlers)


def test_a_requester_that_aborts_when_it_is_called_is_called_again_later(
    commitments: Commitments, caplog: pytest.LogCaptureFixture
) -> None:
    port, called = free_port(), threading.Event()

    def abort(event: Any) -> int:
        event.assoc.abort()
        return 0x0000

    def slowly(commitment: Commitment) -> EventReport:
        if called.wait(1.0):  # whoever calls first has nobody to tell when it is made
            for association in server.active_associations:
                association.abort()
            threading.Event().wait(0.5)
        return answer(commitment)

    handlers = [(evt.EVT_ESTABLISHED, lambda _: called.set()), (evt.EVT_N_EVENT_REPORT, abort)]
    server = listening(port, StorageCommitmentPushModel, handlers)
    reporter = Reporter(Dicom(report_to=(f"CT1@{HOST}:{port}",)), commitments)
    reporter.start(slowly)
    try:
        wait_until(lambda: not reporter.running or commitments.waiting()[0].tries == 1)
        assert reporter.running
        assert "was not reached" in caplog.text
    finally:
        reporter.stop()
        server.shutdown()
    assert not reporter.running


def test_a_requester_that_is_called_with_files_that_are_absent_is_called_again_later(
    commitments: Commitments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hospital = Authority(tmp_path, "hospital")
    cert, key = hospital.issue("scanside-1")
    where = (f"CT1@{HOST}:{free_port()}",)
    settings = Dicom(tls_port=2762, cert=cert, key=key, ca=hospital.file, report_to_tls=where)
    reporter = Reporter(settings, commitments)
    hospital.file.unlink()
    reporter.start(answer)
    try:
        wait_until(lambda: not reporter.running or commitments.waiting()[0].tries == 1)
        assert reporter.running
        assert "[dicom] ca:" in caplog.text
    finally:
        reporter.stop()


def test_a_requester_whose_certificate_was_taken_back_is_told_nothing(
    commitments: Commitments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hospital = Authority(tmp_path, "hospital")
    (cert, key), stolen = hospital.issue("scanside-1"), hospital.issue("ct1")
    port, reported = free_port(), threading.Event()

    def report(_: Any) -> int:
        reported.set()
        return 0x0000

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*stolen)
    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    scanner = AE("CT1")
    scanner.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = scanner.start_server(
        (HOST, port), block=False, evt_handlers=handlers, ssl_context=context
    )
    crl = hospital.revoke(stolen[0])
    settings = Dicom(
        cert=cert, key=key, ca=hospital.file, crl=crl, report_to_tls=(f"CT1@{HOST}:{port}",)
    )
    reporter = Reporter(settings, commitments)
    reporter.start(answer)
    try:
        wait_until(lambda: commitments.waiting()[0].tries == 1)
        assert "its certificate CN=ct1, serial " in caplog.text
        assert not reported.is_set()
    finally:
        reporter.stop()
        server.shutdown()
