"""Sending to DCMTK's storescp, and what is said when a receiver will not have it."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, generate_uid
from pynetdicom import AE, Association, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.sop_class import CTImageStorage, Verification

from tools.dcmtk import find_dcmtk, needed
from tools.scanner import (
    Manner,
    Peer,
    RefusedError,
    UnreachableError,
    echo,
    head_ct_series,
    send,
)
from tools.scanner.cli import main
from tools.scanner.series import write_series

needs_dcmtk = pytest.mark.skipif(
    find_dcmtk("storescp") is None, reason="DCMTK's storescp is not installed"
)


# pynetdicom leaves the socket of a failed or aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Peer]:
    """A running storescp that answers to STORE."""
    peer = Peer("STORE", "127.0.0.1", free_port())
    command = [needed("storescp"), "-aet", "STORE", "-od", str(folder), *options, str(peer.port)]
    # DCMTK leaves Nagle's algorithm on unless told: its answers would each take 40 ms.
    process = subprocess.Popen(
        command,
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_listening(peer)
        yield peer
    finally:
        process.kill()
        process.wait()


def _wait_until_listening(peer: Peer) -> None:
    pause = threading.Event()
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((peer.host, peer.port)) == 0:
                return
        pause.wait(0.02)
    pytest.fail("storescp did not start")


@contextmanager
def receiver(status: int = 0x0000, *, ae: AE | None = None) -> Iterator[tuple[Peer, list[str]]]:
    """A pynetdicom receiver that gives every C-STORE the same answer."""
    got: list[str] = []

    def on_store(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return status

    ae = ae or AE("STORE")
    ae.add_supported_context(CTImageStorage)
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    try:
        yield Peer("STORE", "127.0.0.1", int(server.server_address[1])), got
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def series() -> list[FileDataset]:
    return head_ct_series(lesion=False, slices=5, seed=0)


@needs_dcmtk
def test_dcmtk_stores_every_image_as_it_was(series: list[FileDataset], tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    with storescp(stored) as peer:
        report = send(series, peer)
    assert report.ok
    assert report.stored == 5
    received = {ds.SOPInstanceUID: ds for ds in map(dcmread, stored.iterdir())}
    for ds in series:
        assert received[ds.SOPInstanceUID].PixelData == ds.PixelData
        assert received[ds.SOPInstanceUID].PatientName == ds.PatientName


@needs_dcmtk
def test_the_command_sends_a_folder_and_the_echo_is_answered(
    series: list[FileDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(series, tmp_path / "series")
    (tmp_path / "stored").mkdir()
    with storescp(tmp_path / "stored") as peer:
        assert main(["echo", "--to", str(peer)]) == 0
        assert "is there" in capsys.readouterr().out
        command = ["send", str(tmp_path / "series"), "--to", str(peer)]
        assert main([*command, "--pdu", "16384", "--repeat", "2", "--new-uids"]) == 0
        assert capsys.readouterr().out.count("5 of 5 images stored") == 2
        assert main([*command, "--one-association-per-image", "--order", "shuffle"]) == 0
    files = list((tmp_path / "stored").iterdir())
    assert len(files) == 15
    assert len({dcmread(file).StudyInstanceUID for file in files}) == 3


@pytest.mark.skipif(shutil.which("dcmftest") is None, reason="DCMTK's dcmftest is not installed")
def test_dcmtk_takes_the_written_files_for_dicom(series: list[FileDataset], tmp_path: Path) -> None:
    for path in write_series(series, tmp_path):
        done = subprocess.run(["dcmftest", str(path)], check=False, capture_output=True, text=True)
        assert done.stdout.startswith("yes:")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize("kind", ["head-ct", "chest-xray", "brain-mri"])
def test_dciodvfy_finds_no_fault_in_the_written_files(kind: str, tmp_path: Path) -> None:
    fewer = [] if kind == "chest-xray" else ["--slices", "2"]
    assert main(["phantom", kind, "--lesion", *fewer, "--out", str(tmp_path / kind)]) == 0
    for path in sorted((tmp_path / kind).glob("*.dcm")):
        done = subprocess.run(["dciodvfy", str(path)], check=False, capture_output=True, text=True)
        said = (done.stdout + done.stderr).splitlines()
        assert [line for line in said if line.startswith(("Error", "Warning"))] == []


def test_times_of_the_first_and_the_last_byte_are_given(series: list[FileDataset]) -> None:
    seen: list[tuple[int, int, int, int | None]] = []
    with receiver() as (peer, _):
        report = send(series, peer, on_sent=lambda *one: seen.append(one))
    assert [one[0] for one in seen] == [0, 1, 2, 3, 4]
    assert all(before < last for _, before, last, _ in seen)
    assert all(status == 0 for *_, status in seen)
    for sent, after in zip(report.sent, report.sent[1:], strict=False):
        assert sent.started_ns < sent.last_byte_ns <= sent.answered_ns <= after.started_ns


def test_a_rate_paces_the_images(series: list[FileDataset]) -> None:
    with receiver() as (peer, _):
        report = send(series, peer, rate=20.0)
    starts = [one.started_ns for one in report.sent]
    assert starts[-1] - starts[0] >= 0.9 * 4 / 20 * 1e9


def test_a_thread_can_send_and_be_told_to_stop(series: list[FileDataset]) -> None:
    stop = threading.Event()
    reports = []
    with receiver() as (peer, got):
        thread = threading.Thread(
            target=lambda: reports.append(
                send(series, peer, rate=0.5, on_sent=lambda *_: stop.set(), stop=stop)
            )
        )
        thread.start()
        thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(got) == 1
    assert reports[0].failures == {"not sent: stopped": 4}


class _LateEvent(threading.Event):
    """One that lets its waiter go a little late, as a busy machine does."""

    def wait(self, timeout: float | None = None) -> bool:
        done = super().wait(timeout)
        threading.Event().wait(0.1)
        return done


def test_an_answer_reaches_the_sender_also_on_a_busy_machine(
    series: list[FileDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, read = Association.__init__, DIMSEServiceProvider.get_msg

    def make_late(self: Association, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)
        if self.is_requestor:
            self._reactor_checkpoint = _LateEvent()
            self._reactor_checkpoint.set()

    def read_late(self: DIMSEServiceProvider, block: bool = False) -> object:
        if block:
            threading.Event().wait(0.3)
        return read(self, block)

    with receiver() as (peer, got):
        monkeypatch.setattr(Association, "__init__", make_late)
        monkeypatch.setattr(DIMSEServiceProvider, "get_msg", read_late)
        monkeypatch.setattr(sys.modules["tools.scanner.send"], "ANSWER_TIMEOUT_S", 5.0)
        report = send(series, peer)
    assert report.ok, report.failures
    assert len(got) == len(series)


def test_refused_images_are_counted_by_status_and_the_exit_code_says_so(
    series: list[FileDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(series, tmp_path)
    with receiver(0xA700) as (peer, got):
        assert main(["send", str(tmp_path), "--to", str(peer)]) == 1
    assert len(got) == 5
    said = capsys.readouterr()
    assert "0 of 5 images stored" in said.out
    assert "5 failed: 0xA700 refused: out of resources" in said.err


def test_an_image_type_that_the_receiver_does_not_take_fails_alone(
    series: list[FileDataset],
) -> None:
    odd = copy.deepcopy(series[0])
    odd.SOPInstanceUID = generate_uid()
    odd.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with receiver() as (peer, got):
        report = send([odd, *series[1:]], peer)
    assert report.stored == 4
    assert len(got) == 4
    assert list(report.failures) == [
        "not sent: the receiver does not take CT Image Storage as"
        " JPEG 2000 Image Compression (Lossless Only)"
    ]


def test_a_file_that_is_cut_off_fails_alone(series: list[FileDataset], tmp_path: Path) -> None:
    write_series(series, tmp_path)
    cut = copy.deepcopy(series[0])
    cut.PixelData = encapsulate([b"\xff\x4f" * 64])
    cut.file_meta.TransferSyntaxUID = JPEG2000Lossless
    cut.save_as(file := tmp_path / "cut.dcm")
    file.write_bytes(file.read_bytes()[:-8])  # the delimiter
    with receiver() as (peer, got), pytest.warns(UserWarning, match="before delimiter"):
        report = send([tmp_path], peer)
    assert (len(got), report.failures) == (5, {"not sent: the file is cut off": 1})


def test_a_receiver_that_takes_none_of_the_types_says_so(series: list[FileDataset]) -> None:
    ae = AE("STORE")
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        peer = Peer("STORE", "127.0.0.1", int(server.server_address[1]))
        with pytest.raises(RefusedError, match="accepted none of the image types"):
            send(series, peer)
    finally:
        server.shutdown()


def test_an_unreachable_port_gives_one_sentence_and_an_exit_code(
    series: list[FileDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(series[:1], tmp_path)
    nobody = f"STORE@127.0.0.1:{free_port()}"
    assert main(["send", str(tmp_path), "--to", nobody]) == 3
    assert capsys.readouterr().err == (
        f"scanside-scanner: {nobody} cannot be reached: nothing listens on that port;"
        " start the receiver, or check the port.\n"
    )
    with pytest.raises(UnreachableError, match="host name is not known"):
        echo(Peer("STORE", "no-such-host.invalid", 104))


def test_a_refused_ae_title_gives_one_sentence_that_names_it(
    series: list[FileDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(series[:1], tmp_path)
    ae = AE("STORE")
    ae.require_called_aet = True
    with receiver(ae=ae) as (peer, got):
        wrong = f"WRONG@{peer.host}:{peer.port}"
        assert main(["send", str(tmp_path), "--to", wrong]) == 3
        assert "does not answer to the AE title 'WRONG'" in capsys.readouterr().err
    ae = AE("STORE")
    ae.require_calling_aet = ["CT1"]
    with receiver(ae=ae) as (peer, got):
        assert main(["send", str(tmp_path), "--to", str(peer)]) == 3
        assert "does not know the calling AE title 'SCANNER'" in capsys.readouterr().err
        assert main(["send", str(tmp_path), "--to", str(peer), "--from", "CT1"]) == 0
        assert len(got) == 1


def test_a_port_that_is_not_dicom_is_recognised(series: list[FileDataset]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:
        answering = threading.Thread(target=_hang_up, args=(web,))
        answering.start()
        peer = Peer("STORE", "127.0.0.1", int(web.getsockname()[1]))
        with pytest.raises(RefusedError, match="check that the port is a DICOM port"):
            send(series, peer)
        answering.join(timeout=5)


def _hang_up(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.recv(64)
    connection.close()


def test_a_small_pdu_is_kept_to(series: list[FileDataset]) -> None:
    largest: list[int] = []
    ae = AE("STORE")
    ae.maximum_pdu_size = 0
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, lambda _: 0),
            (evt.EVT_DATA_RECV, lambda event: largest.append(len(event.data))),
        ],
    )
    try:
        peer = Peer("STORE", "127.0.0.1", int(server.server_address[1]))
        assert send(series[:1], peer, manner=Manner(max_pdu=8192)).ok
        assert max(largest) <= 8192 + 6
        largest.clear()
        assert send(series[:1], peer).ok
        assert max(largest) > 500_000
    finally:
        server.shutdown()


def test_ctrl_c_aborts_the_association_and_says_how_far_it_came(
    series: list[FileDataset], tmp_path: Path
) -> None:
    write_series(series, tmp_path)
    aborted = threading.Event()
    stored = threading.Event()

    def on_store(_: evt.Event) -> int:
        stored.set()
        return 0

    ae = AE("STORE")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, on_store),
            (evt.EVT_ABORTED, lambda _: aborted.set()),
        ],
    )
    try:
        to = f"STORE@127.0.0.1:{server.server_address[1]}"
        # Where the tests themselves run in the background, a child would inherit a deaf ear.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tools.scanner.cli"),
                *("send", str(tmp_path), "--to", to, "--rate", "0.2"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        assert stored.wait(timeout=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted: " in said
        assert "of 5 images were stored, the association was aborted." in said
        assert "Traceback" not in said
        assert aborted.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()
        server.shutdown()
