"""Storage Commitment: what is safe is named as safe, durably, on whichever association there is."""

from __future__ import annotations

import sqlite3
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from intake_parts import HOST, PATIENCE_S, Intake, free_port, open_intake
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

from edge.intake.commitment import WELL_KNOWN_INSTANCE
from edge.intake.events import CommitmentAsked
from edge.store import commitments
from edge.store.commitments import Commitments, count_commitments
from tools.scanner import head_ct_series, send

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(socket.socket|ssl):pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"),
]

TRANSACTION = "1.2.826.0.1.3680043.8.498.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
NO_SUCH_INSTANCE, CLASS_CONFLICT, PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110


class Scanner:
    """A scanner that asks for storage commitment, and listens for the answer."""

    def __init__(self, *, status: int = 0x0000, pause: threading.Event | None = None) -> None:
        self._changed = threading.Condition()  # guards reports
        self.reports: list[tuple[int, Dataset]] = []
        self.status = status
        self.pause = pause
        self.handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self.ae = AE("CT1")
        self.ae.add_requested_context(StorageCommitmentPushModel)
        self.ae.add_requested_context(CTImageStorage)
        self.ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

    def _on_report(self, event: Any) -> tuple[int, None]:
        with self._changed:
            self.reports.append((event.request.EventTypeID, event.event_information))
            self._changed.notify_all()
        if self.pause is not None:
            self.pause.wait(PATIENCE_S)
        return self.status, None

    def wait(self, reports: int = 1) -> Dataset:
        """Return the latest of so many reports."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.reports) >= reports, PATIENCE_S)
        return self.reports[-1][1]

    @contextmanager
    def associated(self, intake: Intake) -> Iterator[Any]:
        association = self.ae.associate(HOST, intake.door.port, evt_handlers=self.handlers)
        assert association.is_established
        yield association
        association.release()

    @contextmanager
    def listening(self, port: int, context: Any = None) -> Iterator[None]:
        server = self.ae.start_server(
            (HOST, port), block=False, evt_handlers=self.handlers, ssl_context=context
        )
        yield
        server.shutdown()


def asked_for(
    instances: Sequence[Dataset], *, transaction: str = TRANSACTION, sop_class: str = CTImageStorage
) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = []
    for one in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = one.SOPInstanceUID
        request.ReferencedSOPSequence.append(item)
    return request


def ask(association: Any, request: Dataset | None, *, action: int = 1, instance: str = "") -> int:
    answer, _ = association.send_n_action(
        request, action, StorageCommitmentPushModel, instance or WELL_KNOWN_INSTANCE
    )
    return int(answer.Status)


def states(intake: Intake) -> dict[str, int]:
    return count_commitments(intake.store.journal)


def wait_until(intake: Intake, state: str) -> None:
    assert intake.wait(lambda: states(intake)[state] == 1), states(intake)


def failures(report: Dataset) -> dict[str, int]:
    return {
        one.ReferencedSOPInstanceUID: one.FailureReason
        for one in report.get("FailedSOPSequence", [])
    }


def safe(report: Dataset) -> list[str]:
    return [one.ReferencedSOPInstanceUID for one in report.get("ReferencedSOPSequence", [])]


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies") as opened:
        yield opened


@pytest.fixture(scope="module")
def series() -> list[Any]:
    return list(head_ct_series(True, slices=4, seed=1))


def test_what_is_stored_is_reported_as_safe_on_the_same_association(
    intake: Intake, series: list[Any]
) -> None:
    scanner = Scanner()
    assert send(series, intake.peer).ok
    with scanner.associated(intake) as association:
        assert ask(association, asked_for(series)) == 0x0000
        report = scanner.wait()
        wait_until(intake, "reported")
        # The association goes on as before.
        assert association.send_c_store(series[0]).Status == 0x0000
    assert scanner.reports[0][0] == 1
    assert report.TransactionUID == TRANSACTION
    assert safe(report) == [one.SOPInstanceUID for one in series]
    assert "FailedSOPSequence" not in report


def test_images_and_requests_share_an_association_while_reports_come(
    intake: Intake, series: list[Any]
) -> None:
    scanner = Scanner()
    with scanner.associated(intake) as association:
        for number, image in enumerate(series, start=1):
            assert association.send_c_store(image).Status == 0x0000
            request = asked_for([image], transaction=f"{TRANSACTION}.{number}")
            assert ask(association, request) == 0x0000
        scanner.wait(len(series))
        assert intake.wait(lambda: states(intake)["reported"] == len(series))
    assert all(event_type == 1 for event_type, _ in scanner.reports)


def test_each_instance_that_is_not_safe_has_its_reason(
    intake: Intake, series: list[Any], tmp_path: Path
) -> None:
    scanner = Scanner()
    assert send(series[:3], intake.peer).ok
    spoil(tmp_path, intake, series[1].SOPInstanceUID)
    request = asked_for(series)
    request.ReferencedSOPSequence[2].ReferencedSOPClassUID = MR
    with scanner.associated(intake) as association:
        assert ask(association, request) == 0x0000
        report = scanner.wait()
    assert scanner.reports[0][0] == 2
    assert safe(report) == [series[0].SOPInstanceUID]
    assert failures(report) == {
        series[1].SOPInstanceUID: PROCESSING_FAILURE,
        series[2].SOPInstanceUID: CLASS_CONFLICT,
        series[3].SOPInstanceUID: NO_SUCH_INSTANCE,
    }


def spoil(folder: Path, intake: Intake, uid: str) -> None:
    """Change a byte of a stored instance, as a failing disk does."""
    ((record, _),) = intake.store.copies(uid)
    with record.path.open("r+b") as segment:
        segment.seek(record.offset + record.length // 2)
        byte = segment.read(1)
        segment.seek(-1, 1)
        segment.write(bytes([byte[0] ^ 0xFF]))
    assert record.path.is_relative_to(folder)


def test_a_scanner_that_has_left_is_called(tmp_path: Path, series: list[Any]) -> None:
    scanner, port = Scanner(), free_port()
    with (
        open_intake(tmp_path / "studies", report_to=[f"CT1@{HOST}:{port}"]) as intake,
        scanner.listening(port),
    ):
        assert send(series, intake.peer).ok
        with scanner.associated(intake) as association:
            assert ask(association, asked_for(series)) == 0x0000
        assert safe(scanner.wait()) == [one.SOPInstanceUID for one in series]
        wait_until(intake, "reported")


def test_a_scanner_is_called_over_tls(tmp_path: Path, series: list[Any]) -> None:
    scanner, port, hospital = Scanner(), free_port(), Authority(tmp_path, "hospital")
    cert, key = hospital.issue("scanside-1")
    context = server_context(hospital)
    with (
        open_intake(
            tmp_path / "studies",
            cert=cert,
            key=key,
            ca=hospital.file,
            report_to_tls=[f"CT1@{HOST}:{port}"],
        ) as intake,
        scanner.listening(port, context),
    ):
        assert send(series, intake.peer).ok
        with scanner.associated(intake) as association:
            assert ask(association, asked_for(series)) == 0x0000
        scanner.wait()
        wait_until(intake, "reported")


def server_context(hospital: Authority) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*hospital.issue("ct1.hospital"))
    context.load_verify_locations(hospital.file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_closing_does_not_wait_for_a_scanner_that_does_not_answer(
    tmp_path: Path, series: list[Any]
) -> None:
    answer = threading.Event()
    scanner, port = Scanner(pause=answer), free_port()
    with scanner.listening(port):
        with open_intake(tmp_path / "studies", report_to=[f"CT1@{HOST}:{port}"]) as intake:
            with scanner.associated(intake) as association:
                assert ask(association, asked_for(series)) == 0x0000
            scanner.wait()
        # Closed: the report's 30 s have not passed, and the scanner has not answered.
        assert not answer.is_set()
        answer.set()


def test_a_scanner_that_is_not_there_holds_nobody_else_up(
    tmp_path: Path, series: list[Any]
) -> None:
    scanner, absent, port = Scanner(), Scanner(), free_port()
    absent.ae.ae_title = "CT2"
    report_to = [f"CT1@{HOST}:{port}", f"CT2@{HOST}:{free_port()}"]
    with open_intake(tmp_path / "studies", report_to=report_to) as intake:
        with absent.associated(intake) as association:
            for number in range(5):
                request = asked_for(series, transaction=f"{TRANSACTION}.{number}")
                assert ask(association, request) == 0x0000
        with scanner.listening(port):
            with scanner.associated(intake) as association:
                assert ask(association, asked_for(series)) == 0x0000
            scanner.wait()
            wait_until(intake, "reported")
        waiting = Commitments(intake.store.journal).waiting()
    assert [one.requester for one in waiting] == ["CT2"] * 5
    assert all(one.tries == 1 for one in waiting)


def test_a_request_that_was_acknowledged_is_answered_after_a_restart(
    tmp_path: Path, series: list[Any]
) -> None:
    scanner, port = Scanner(), free_port()
    folder, report_to = tmp_path / "studies", [f"CT1@{HOST}:{port}"]
    with open_intake(folder, report_to=report_to) as intake:
        assert send(series, intake.peer).ok
        with scanner.associated(intake) as association:
            assert ask(association, asked_for(series)) == 0x0000
            assert states(intake)["waiting"] == 1  # in the journal before it is acknowledged
    assert not scanner.reports
    with scanner.listening(port), open_intake(folder, report_to=report_to) as intake:
        assert safe(scanner.wait()) == [one.SOPInstanceUID for one in series]
        wait_until(intake, "reported")


def test_a_report_that_is_not_taken_waits_and_names_no_instance_twice(
    intake: Intake, series: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    scanner = Scanner(status=0x0110)
    assert send(series, intake.peer).ok
    with scanner.associated(intake) as association:
        assert ask(association, asked_for([*series, *series])) == 0x0000
        assert len(safe(scanner.wait())) == len(series)
        said = "'CT1' answered a storage commitment report with 0x0110"
        assert intake.wait(lambda: said in caplog.messages)
    intake.wait_until_all_are_gone(2)
    assert states(intake) == {"waiting": 1, "reported": 0, "given_up": 0}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"instance": "1.2.3"}, 0x0112),
        ({"request": None}, 0x0115),
        ({"without": "TransactionUID"}, 0x0115),
        ({"without": "ReferencedSOPSequence"}, 0x0115),
    ],
)
def test_a_malformed_request_is_refused_with_its_status(
    intake: Intake, series: list[Any], change: dict[str, Any], status: int
) -> None:
    request = asked_for(series)
    if "without" in change:
        delattr(request, change["without"])
    options = {key: change[key] for key in ("action", "instance") if key in change}
    scanner = Scanner()
    with scanner.associated(intake) as association:
        asked = change.get("request", request)
        assert ask(association, asked, **options) == status
        # And a good one is taken after it.
        assert ask(association, asked_for(series)) == 0x0000
    assert states(intake)["waiting"] + states(intake)["reported"] == 1


def test_a_disk_that_is_full_takes_no_request(tmp_path: Path, series: list[Any]) -> None:
    with open_intake(tmp_path, reserve_bytes=1 << 60) as intake:
        with Scanner().associated(intake) as association:
            assert ask(association, asked_for(series)) == 0x0213
        assert states(intake)["waiting"] == 0


def test_a_requester_with_too_many_requests_that_wait_is_refused(
    intake: Intake, series: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitments, "MOST_REQUESTS", 0)
    with Scanner().associated(intake) as association:
        assert ask(association, asked_for(series)) == 0x0213
    assert states(intake)["waiting"] == 0


def test_a_journal_that_cannot_be_read_for_a_report_leaves_the_association_as_it_was(
    tmp_path: Path, series: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner, port, failed = Scanner(), free_port(), threading.Event()

    def copies(uid: str) -> Any:
        if failed.is_set():
            return read(uid)
        failed.set()
        raise sqlite3.OperationalError("disk I/O error")

    report_to = [f"CT1@{HOST}:{port}"]
    with (
        open_intake(tmp_path / "studies", report_to=report_to) as intake,
        scanner.listening(port),
    ):
        assert send(series, intake.peer).ok
        read = intake.store.copies
        monkeypatch.setattr(intake.store, "copies", copies)
        with scanner.associated(intake) as association:
            assert ask(association, asked_for(series)) == 0x0000
            assert failed.wait(PATIENCE_S)
            assert association.send_c_store(series[0]).Status == 0x0000
            # Who asked is still there, and is called all the same.
            assert safe(scanner.wait()) == [one.SOPInstanceUID for one in series]
            wait_until(intake, "reported")


# What it says of a series


def test_a_request_for_all_of_a_series_is_told_and_kept(intake: Intake, series: list[Any]) -> None:
    assert send(series, intake.peer).ok
    with Scanner().associated(intake) as association:
        assert ask(association, asked_for(series)) == 0x0000
    told = [event for event in intake.events.told if isinstance(event, CommitmentAsked)]
    (stored,) = intake.store.study(1).series
    assert told == [CommitmentAsked({stored.id: len(series)})]
    assert stored.committed == len(series)


@pytest.mark.parametrize("asked", ["some", "one that is not here"])
def test_a_request_for_less_or_more_says_nothing(
    intake: Intake, series: list[Any], asked: str
) -> None:
    assert send(series[:3], intake.peer).ok
    named = series[:2] if asked == "some" else series
    with Scanner().associated(intake) as association:
        assert ask(association, asked_for(named)) == 0x0000
    assert not any(isinstance(event, CommitmentAsked) for event in intake.events.told)
    assert intake.store.study(1).series[0].committed == 0
