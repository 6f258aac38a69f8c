"""The DICOM door takes what scanners send, as they send it, and says so only when it is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import ct_data_set, ct_slice, part10, radiograph
from intake_parts import (
    ABORT,
    ACCEPTED,
    ASSOCIATE_RJ,
    RELEASE_RP,
    Answer,
    Intake,
    RawSender,
    data_set_of,
    open_intake,
)
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from edge.intake.events import SenderGone
from edge.store.records import Kept
from tools.scanner import Manner, echo, head_ct_series, send

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

SUCCESS = Answer(0x0000, "")
STORAGE_MANAGEMENT = "1.2.840.10008.5.1.4.1.1.201.1"
VERIFICATION = "1.2.840.10008.1.1"
MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies") as opened:
        yield opened


def uid_of(data: bytes) -> str:
    return str(dcmread(BytesIO(data)).SOPInstanceUID)


def test_the_door_answers_an_echo(intake: Intake) -> None:
    assert echo(intake.peer) > 0


def test_success_means_that_the_instance_can_be_read_again(intake: Intake) -> None:
    slice_ = ct_slice()
    with RawSender(intake.door.port) as sender:
        assert sender.store(data_set_of(slice_), instance=uid_of(slice_)) == SUCCESS
        # It is told of before the answer, so that nobody waits for it here.
        (stored,) = intake.instances
    assert data_set_of(stored) == data_set_of(slice_)
    assert intake.store.study(1).series[0].instances[0].instance_uid == uid_of(slice_)


def test_a_whole_series_at_full_speed_is_kept_in_order(intake: Intake) -> None:
    series = head_ct_series(True, slices=12, seed=1)
    report = send(series, intake.peer)
    assert report.ok
    kept = [event.receipt.instance.instance_uid for event in intake.events.kept]
    assert kept == [ds.SOPInstanceUID for ds in series]
    assert intake.door.counts.stored == 12


def test_the_rest_of_the_daemon_learns_of_each_image_then_of_the_senders_end(
    intake: Intake,
) -> None:
    slice_ = ct_slice(position_mm=12.5, ImagesInAcquisition=3)
    with RawSender(intake.door.port) as sender:
        sender.store(data_set_of(slice_), instance=uid_of(slice_))
        assert sender.release() == RELEASE_RP
        intake.wait_until_all_are_gone(1)
    kept, gone = intake.events.told
    assert kept is intake.events.kept[0]
    assert gone == SenderGone(intake.events.kept[0].sender, orderly=True)
    instance = intake.events.kept[0].receipt.instance
    assert (instance.position_mm, instance.announced) == (12.5, 3)
    assert intake.events.kept[0].about["modality"] == "CT"


def test_a_sender_that_aborts_or_vanishes_is_no_orderly_one(intake: Intake) -> None:
    slice_ = ct_slice()
    with RawSender(intake.door.port) as sender:
        sender.store(data_set_of(slice_), instance=uid_of(slice_))
        sender.line.sendall(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
        intake.wait_until_all_are_gone(1)
    with RawSender(intake.door.port) as sender:
        sender.store(data_set_of(slice_), instance=uid_of(slice_))
    intake.wait_until_all_are_gone(2)
    assert [gone.orderly for gone in intake.events.gone] == [False, False]


def test_senders_are_told_apart(intake: Intake) -> None:
    slices = [ct_slice(number=number) for number in (1, 2)]
    with RawSender(intake.door.port) as one, RawSender(intake.door.port) as two:
        for sender, slice_ in zip((one, two), slices, strict=True):
            assert sender.store(data_set_of(slice_), instance=uid_of(slice_)) == SUCCESS
    assert len({event.sender for event in intake.events.kept}) == 2


def test_the_end_of_a_sender_that_vanished_while_its_image_was_stored_is_told_last(
    intake: Intake,
) -> None:
    large = ct_slice(stored=np.random.default_rng(1).integers(0, 4096, (1400, 1400), np.uint16))
    with RawSender(intake.door.port) as sender:
        sender.send_store(data_set_of(large), instance=uid_of(large))
    intake.events.wait_for(
        lambda events: bool(events.kept) and isinstance(events.told[-1], SenderGone)
    )
    assert intake.events.gone[-1].sender == intake.events.kept[0].sender


def test_the_same_instance_sent_again_is_a_success_and_stored_once(intake: Intake) -> None:
    slice_ = ct_slice()
    with RawSender(intake.door.port) as sender:
        for _ in range(2):
            assert sender.store(data_set_of(slice_), instance=uid_of(slice_)) == SUCCESS
    assert [event.receipt.kept for event in intake.events.kept] == [Kept.NEW, Kept.REPEATED]
    assert (intake.door.counts.stored, intake.door.counts.repeated) == (1, 1)


def test_the_same_uid_with_other_content_is_a_success_and_kept_beside(intake: Intake) -> None:
    first, other = ct_slice(), ct_slice(SeriesDescription="another")
    with RawSender(intake.door.port) as sender:
        for slice_ in (first, other):
            assert sender.store(data_set_of(slice_), instance=uid_of(slice_)) == SUCCESS
    assert [data_set_of(stored) for stored in intake.instances] == [
        data_set_of(first),
        data_set_of(other),
    ]
    assert intake.events.kept[1].receipt.kept is Kept.CONFLICT


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_what_is_compressed_is_stored_as_it_came(intake: Intake, syntax: str) -> None:
    data_set = ct_data_set(stored=np.arange(64, dtype=np.uint16).reshape(8, 8))
    if syntax == JPEG2000Lossless:  # no encoder is installed, and the door needs no decoder
        data_set.PixelData = encapsulate([b"\xff\x4f a code stream that nobody opens "])
        data_set["PixelData"].is_undefined_length = True
    slice_ = part10(data_set, syntax=syntax)
    with RawSender(intake.door.port, [(CTImageStorage, syntax)]) as sender:
        assert sender.store(data_set_of(slice_), instance=uid_of(slice_)) == SUCCESS
    (kept,) = intake.instances
    assert data_set_of(kept) == data_set_of(slice_)
    assert dcmread(BytesIO(kept)).file_meta.TransferSyntaxUID == syntax


def test_uncompressed_is_preferred_where_a_sender_offers_both(intake: Intake) -> None:
    slice_ = ct_slice()
    contexts = [
        (CTImageStorage, JPEG2000Lossless),
        (CTImageStorage, ExplicitVRLittleEndian),
    ]
    with RawSender(intake.door.port, contexts) as sender:
        assert sender.results == [ACCEPTED, ACCEPTED]
        answer = sender.store(data_set_of(slice_), instance=uid_of(slice_), context=3)
        assert answer == SUCCESS


def test_a_localizer_a_report_and_a_radiograph_are_kept_too(intake: Intake) -> None:
    scout = ct_data_set(number=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    report = part10(scout)
    image = radiograph(number=2)
    digital = str(dcmread(BytesIO(image)).SOPClassUID)
    contexts = [(CTImageStorage, ExplicitVRLittleEndian), (digital, ExplicitVRLittleEndian)]
    with RawSender(intake.door.port, contexts) as sender:
        assert sender.store(data_set_of(report), instance=uid_of(report)) == SUCCESS
        answer = sender.store(
            data_set_of(image), instance=uid_of(image), sop_class=digital, context=3
        )
        assert answer == SUCCESS
    assert [event.receipt.instance.set_aside is None for event in intake.events.kept] == [
        False,
        True,
    ]


def test_no_image_touches_the_disk_in_clear(
    intake: Intake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    slice_ = ct_slice(stored=np.full((1024, 1024), 7, np.uint16))
    with RawSender(intake.door.port) as sender:
        sender.store(data_set_of(slice_), instance=uid_of(slice_))
    assert list(scratch.iterdir()) == []
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for secret in (b"DICM", b"Nobody", b"TEST-1", b"\7\0" * 50):
        assert not any(secret in content for content in written)


# Who may


def test_only_the_peers_of_the_configuration_may_send(tmp_path: Path) -> None:
    with open_intake(tmp_path, peers=("CT1", "CT 2")) as intake:
        for calling, kind in (("CT1", "AC"), ("CT 2", "AC"), ("CT3", "RJ"), ("ct1", "RJ")):
            with RawSender(intake.door.port, calling=calling) as sender:
                assert (sender.kind == ASSOCIATE_RJ) is (kind == "RJ"), calling
        intake.wait_until_all_are_gone(4)
        assert intake.door.counts.turned_away == 2


def test_a_peer_with_an_address_may_send_from_there_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peers = ("CT1@127.0.0.1", "CT2@10.0.0.0/8", "CT3@10.0.0.5", "CT3@127.0.0.0/24", "CT4")
    with open_intake(tmp_path, peers=peers) as intake:
        for calling, may in (("CT1", True), ("CT2", False), ("CT3", True), ("CT4", True)):
            with RawSender(intake.door.port, calling=calling) as sender:
                assert (sender.kind != ASSOCIATE_RJ) is may, calling
        intake.wait_until_all_are_gone(4)
        assert intake.door.counts.turned_away == 1
    said = (
        "Turned a sender away (AE title 'CT2' at 127.0.0.1): [dicom] peers does not have it there"
    )
    assert said in caplog.messages


def test_one_sender_too_many_is_turned_away_for_now(tmp_path: Path) -> None:
    with open_intake(tmp_path, max_associations=2) as intake:
        with RawSender(intake.door.port), RawSender(intake.door.port) as second:
            with RawSender(intake.door.port) as third:
                assert third.kind == ASSOCIATE_RJ
                # Result 2, transient; source 3; reason 2, local limit exceeded (PS3.8 table 9-21).
                assert third.body[1:4] == bytes([2, 3, 2])
            assert second.release() == RELEASE_RP
        intake.wait_until_all_are_gone(3)
        with RawSender(intake.door.port) as again:
            assert again.results == [ACCEPTED]


def test_what_is_not_offered_is_refused_when_it_is_asked_for(intake: Intake) -> None:
    asked = [CTImageStorage, VERIFICATION, STORAGE_MANAGEMENT, MODALITY_WORKLIST, "1.2.3.4"]
    with RawSender(intake.door.port, [(one, ImplicitVRLittleEndian) for one in asked]) as sender:
        not_supported = 3  # abstract syntax not supported (PS3.8 table 9-18)
        assert sender.results == [ACCEPTED, ACCEPTED] + [not_supported] * 3
        assert sender.echo(context=3) == SUCCESS


def test_an_encoding_that_nobody_here_can_read_is_refused_when_it_is_asked_for(
    intake: Intake,
) -> None:
    mpeg4 = "1.2.840.10008.1.2.4.102"
    with RawSender(intake.door.port, [(CTImageStorage, mpeg4)]) as sender:
        assert sender.results == [4]  # transfer syntaxes not supported


# Many, and slow


def test_a_sender_with_an_association_for_every_image_is_served(intake: Intake) -> None:
    series = head_ct_series(False, slices=3, seed=2)
    report = send(series, intake.peer, manner=Manner(one_association_per_image=True))
    assert report.ok
    intake.wait_until_all_are_gone(3)
    assert [gone.orderly for gone in intake.events.gone] == [True] * 3


def test_small_fragments_are_put_together(intake: Intake) -> None:
    slice_ = ct_slice()
    with RawSender(intake.door.port) as sender:
        answer = sender.store(data_set_of(slice_), instance=uid_of(slice_), pdu_bytes=100)
        assert answer == SUCCESS
    assert data_set_of(intake.instances[0]) == data_set_of(slice_)


def test_a_sender_that_does_not_wait_for_answers_gets_them_all(intake: Intake) -> None:
    slices = [ct_slice(number=number) for number in range(30)]
    with RawSender(intake.door.port) as sender:
        for slice_ in slices:
            sender.send_store(data_set_of(slice_), instance=uid_of(slice_))
        assert [sender.answer() for _ in slices] == [SUCCESS] * 30


def test_closing_does_not_wait_for_a_sender_that_hangs(tmp_path: Path) -> None:
    slice_ = ct_slice()
    with open_intake(tmp_path, network_timeout_s=600) as intake:
        hanging = RawSender(intake.door.port)
        sender = RawSender(intake.door.port)
        hanging.line.sendall(bytes([4, 0, 0, 0, 1, 0, 1, 2, 3]))  # a tenth of a PDU
        sender.store(data_set_of(slice_), instance=uid_of(slice_))
    # Open no more: 600 s have not passed.
    for one in (hanging, sender):
        assert one.read_pdu()[0] in (0, ABORT)
        one.line.close()
    assert intake.door.inbound_bytes == 0


def test_a_port_that_is_taken_is_an_error_of_the_system(intake: Intake, tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="Address already in use"),
        open_intake(tmp_path / "second", port=intake.door.port),
    ):
        pass
