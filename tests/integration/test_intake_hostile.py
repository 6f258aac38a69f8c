"""What is broken, hostile or too much gets its DICOM status, and everything else goes on."""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import struct
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from builders import META, STUDY, ct_data_set, ct_slice, with_values
from intake_parts import (
    ABORT,
    PATIENCE_S,
    RELEASE_RP,
    Answer,
    Intake,
    RawSender,
    data_set_of,
    open_intake,
)
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)

from edge.store.spool import read_record

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
TWO_GB = 0x7FFFFFF0
UID = "1.2.826.0.1.3680043.10.1.1.1"  # of what `ct_slice` makes
SENDER = "AE title 'SCANNER' at 127.0.0.1"
GOOD = data_set_of(ct_slice())


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies", max_instance_mb=1, inbound_mb=4) as opened:
        yield opened


def assert_goes_on(intake: Intake) -> None:
    """Another sender is served as if nothing had happened, and no memory is held."""
    before = len(intake.events.gone)
    with RawSender(intake.door.port) as sender:
        answer = sender.store(GOOD, instance=UID)
        assert answer == Answer(0, "")
        assert sender.release() == RELEASE_RP
        intake.wait_until_all_are_gone(before + 1)
    assert intake.door.inbound_bytes == 0


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an explicit VR element that claims `length` bytes."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    claimed = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"UN", b"SQ"):
        return head + struct.pack("<HL", 0, claimed) + value
    return head + struct.pack("<H", claimed) + value


def cut_before_pixels() -> bytes:
    return GOOD[: GOOD.index(b"\xe0\x7f\x10\x00OW")]


def without(keyword: str) -> bytes:
    missing: dict[str, Any] = {keyword: None}
    return data_set_of(ct_slice(**missing))


def values(**given: bytes) -> bytes:
    return with_values(ct_data_set(), given)[len(META) :]


REFUSED = [
    ("cut off in its pixels", GOOD[:-100], CANNOT_UNDERSTAND),
    ("cut off in its header", GOOD[:200], CANNOT_UNDERSTAND),
    ("cut off within an element's head", GOOD[:5], CANNOT_UNDERSTAND),
    ("a text file", b"This is no DICOM, and never was.\n" * 40, CANNOT_UNDERSTAND),
    ("noise", np.random.default_rng(7).bytes(5000), CANNOT_UNDERSTAND),
    ("zeros", bytes(5000), CANNOT_UNDERSTAND),
    ("a JPEG", b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(500), CANNOT_UNDERSTAND),
    ("a Part 10 file inside", ct_slice(), CANNOT_UNDERSTAND),
    (
        "pixels that claim 2 GB",
        cut_before_pixels() + element(0x7FE00010, b"OW", b"\0" * 64, TWO_GB),
        CANNOT_UNDERSTAND,
    ),
    (
        "a private element that claims 2 GB",
        element(0x00080008, b"CS", b"") + element(0x00090010, b"UN", b"x" * 64, TWO_GB) + GOOD,
        CANNOT_UNDERSTAND,
    ),
    (
        "a sequence that never ends",
        element(0x00081140, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2000,
        CANNOT_UNDERSTAND,
    ),
    ("fewer pixels than rows and columns say", GOOD[:-2], CANNOT_UNDERSTAND),
    ("rows that claim more than there is", values(Rows=b"\xff\x3f"), CANNOT_UNDERSTAND),
    ("no rows", without("Rows"), CANNOT_UNDERSTAND),
    ("no pixels", cut_before_pixels(), DOES_NOT_MATCH),
    ("no study UID", without("StudyInstanceUID"), CANNOT_UNDERSTAND),
    ("a series UID with a path in it", values(SeriesInstanceUID=b"../../etc "), CANNOT_UNDERSTAND),
    ("an instance UID that is too long", values(SOPInstanceUID=b"1." * 40), CANNOT_UNDERSTAND),
    ("another instance than it was called", values(SOPInstanceUID=b"1.2.3.4 "), DOES_NOT_MATCH),
    (
        "another SOP class than it was called",
        data_set_of(ct_slice(SOPClassUID=MRImageStorage)),
        DOES_NOT_MATCH,
    ),
]


@pytest.mark.parametrize(
    ("data_set", "status"),
    [one[1:] for one in REFUSED],
    ids=[one[0] for one in REFUSED],
)
def test_what_cannot_be_used_is_refused_and_the_association_goes_on(
    intake: Intake, caplog: pytest.LogCaptureFixture, data_set: bytes, status: int
) -> None:
    caplog.set_level(logging.DEBUG, "scanside")
    with RawSender(intake.door.port) as sender:
        answer = sender.store(data_set, instance=UID)
        assert answer is not None
        assert answer.status == status
        assert sender.store(GOOD, instance=UID) == Answer(0, "")
        assert sender.release() == RELEASE_RP
    assert intake.door.counts.refused == 1
    intake.wait_until_all_are_gone(1)
    assert intake.door.inbound_bytes == 0
    said = [answer.comment, *(record.getMessage() for record in caplog.records)]
    assert 0 < len(answer.comment) <= 64
    (logged,) = (line for line in said if f"0x{status:04X}" in line)
    assert logged.startswith(f"Refused an instance with 0x{status:04X} ({SENDER}): ")
    for line in (one.replace(SENDER, "") for one in said):
        assert not re.search(r"Nobody|TEST-1|ACC1|19640501|etc|[0-9]+(\.[0-9]+){3}", line), line


def test_whatever_is_changed_in_an_instance_the_answer_is_a_status_of_the_standard(
    intake: Intake,
) -> None:
    chance = random.Random(20240501)  # noqa: S311
    header = GOOD.index(b"\xe0\x7f\x10\x00OW")
    statuses = set()
    with RawSender(intake.door.port) as sender:
        for _ in range(300):
            changed = bytearray(GOOD)
            for _ in range(chance.choice((1, 1, 2, 8))):
                changed[chance.randrange(header + 12)] = chance.randrange(256)
            if chance.random() < 0.2:
                del changed[chance.randrange(len(changed)) :]
            answer = sender.store(bytes(changed), instance=UID)
            assert answer is not None
            statuses.add(answer.status)
    # Any other would be an exception that nobody thought of.
    assert statuses == {0, DOES_NOT_MATCH, CANNOT_UNDERSTAND}
    assert_goes_on(intake)


def test_an_instance_in_an_encoding_other_than_agreed_is_refused(intake: Intake) -> None:
    contexts = [("1.2.840.10008.5.1.4.1.1.2", DeflatedExplicitVRLittleEndian)]
    with RawSender(intake.door.port, contexts) as sender:
        answer = sender.store(GOOD, instance=UID)
        assert answer is not None
        assert answer.status == CANNOT_UNDERSTAND
    assert_goes_on(intake)


def test_a_deflated_bomb_is_refused(intake: Intake) -> None:
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = press.compress(GOOD + bytes(200_000_000)) + press.flush()
    contexts = [("1.2.840.10008.5.1.4.1.1.2", DeflatedExplicitVRLittleEndian)]
    before = psutil.Process().memory_info().rss
    with RawSender(intake.door.port, contexts) as sender:
        answer = sender.store(bomb, instance=UID)
        assert answer is not None
        assert answer.status == CANNOT_UNDERSTAND
    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert_goes_on(intake)


def test_native_pixels_under_a_compressed_syntax_do_not_hurt(intake: Intake) -> None:
    contexts = [("1.2.840.10008.5.1.4.1.1.2", RLELossless)]
    with RawSender(intake.door.port, contexts) as sender:
        assert sender.store(GOOD, instance=UID) is not None
    assert_goes_on(intake)


# Too much


@pytest.mark.parametrize("kind", [1, 4])
@pytest.mark.parametrize("length", [TWO_GB, 0xFFFFFFFF])
def test_a_pdu_that_claims_gigabytes_ends_the_association_and_takes_no_memory(
    intake: Intake, kind: int, length: int
) -> None:
    before = psutil.Process().memory_info().rss
    with RawSender(intake.door.port) as sender:
        sender.line.sendall(struct.pack(">BxL", kind, length) + bytes(1000))
        assert sender.read_pdu()[0] in (0, ABORT)
    assert psutil.Process().memory_info().rss - before < 50_000_000
    intake.wait_until_all_are_gone(1)
    assert_goes_on(intake)


def test_an_instance_over_the_limit_is_cut_off_while_others_go_on(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    too_large = data_set_of(ct_slice(stored=np.zeros((1000, 1000), np.uint16)))
    with RawSender(intake.door.port) as other:
        with RawSender(intake.door.port) as sender:
            assert sender.store(too_large, instance=UID) is None
        assert other.store(GOOD, instance=UID) == Answer(0, "")
    intake.wait_until_all_are_gone(2)
    assert len(intake.events.kept) == 1
    said = f"Cut a sender off ({SENDER}): An instance over [dicom] max_instance_mb."
    assert [one for one in caplog.messages if "Cut" in one] == [said]
    assert_goes_on(intake)


def test_an_instance_that_never_ends_is_cut_off(intake: Intake) -> None:
    endless = GOOD + bytes(64_000_000)
    with RawSender(intake.door.port) as sender:
        assert sender.store(endless, instance=UID) is None
    intake.wait_until_all_are_gone(1)
    assert_goes_on(intake)


def test_small_instances_without_end_are_never_over_a_limit(intake: Intake) -> None:
    with RawSender(intake.door.port) as sender:
        for number in range(200):  # 200 kB each: forty times what may be on its way
            bulk = data_set_of(ct_slice(number=number, stored=np.zeros((320, 320), np.uint16)))
            sender.send_store(bulk, instance=f"{STUDY}.1.{number}")
            if number % 20 == 19:
                assert {sender.answer() for _ in range(20)} == {Answer(0, "")}
            assert intake.door.inbound_bytes < 1_000_000
    assert len(intake.events.kept) == 200


def test_memory_that_one_sender_holds_delays_the_next_until_it_comes_back(tmp_path: Path) -> None:
    with open_intake(tmp_path, max_instance_mb=2, inbound_mb=2, network_timeout_s=600) as intake:
        hoarder = RawSender(intake.door.port)
        hoarder.line.sendall(struct.pack(">BxL", 4, 1_500_000) + bytes(1000))  # and no more
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store_good_one, intake)
            hoarder.line.close()
            assert waiting.result(PATIENCE_S) == Answer(0, "")
        intake.wait_until_all_are_gone(2)
        assert_goes_on(intake)


def store_good_one(intake: Intake) -> Answer | None:
    with RawSender(intake.door.port) as sender:
        return sender.store(GOOD, instance=UID)


# Silence, and manners


def test_a_sender_silent_in_the_middle_is_cut_off_after_the_network_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_intake(tmp_path, network_timeout_s=0.3) as intake:
        with RawSender(intake.door.port) as sender:
            sender.line.sendall(struct.pack(">BxL", 4, 10_000) + bytes(100))
            assert sender.read_pdu()[0] in (0, ABORT)
        with RawSender(intake.door.port) as idle:
            assert idle.read_pdu()[0] in (0, ABORT)
        intake.wait_until_all_are_gone(2)
        silent = "Silent for [dicom] network_timeout_s in the middle of a message."
        assert f"Cut a sender off ({SENDER}): {silent}" in caplog.messages
        assert_goes_on(intake)


def test_who_only_knocks_leaves_nothing_behind(intake: Intake) -> None:
    for said in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x01\x00\x00\x00\x10\x00half"):
        with socket.create_connection(("127.0.0.1", intake.door.port), PATIENCE_S) as line:
            line.sendall(said)
    intake.wait_until_all_are_gone(3)
    assert intake.events.kept == []
    assert_goes_on(intake)


def test_bytes_behind_the_release_are_held_by_nobody(intake: Intake) -> None:
    with RawSender(intake.door.port) as sender:
        assert sender.release() == RELEASE_RP
        with suppress(OSError):  # it may have hung up already
            sender.send_store(GOOD + bytes(500_000), instance=UID)
    intake.wait_until_all_are_gone(1)
    assert intake.events.kept == []
    assert_goes_on(intake)


def test_data_without_a_command_ends_the_association(intake: Intake) -> None:
    with RawSender(intake.door.port) as sender:
        fragment = struct.pack(">LBB", 12, 1, 2) + bytes(10)
        sender.line.sendall(struct.pack(">BxL", 4, len(fragment)) + fragment)
        sender.line.sendall(struct.pack(">BxL", 9, 4) + bytes(4))
        assert sender.read_pdu()[0] in (0, ABORT)
    intake.wait_until_all_are_gone(1)
    assert_goes_on(intake)


# A full disk


def test_below_the_reserve_a_sender_hears_out_of_resources(tmp_path: Path) -> None:
    with open_intake(tmp_path / "studies", reserve_bytes=1 << 60) as intake:
        with RawSender(intake.door.port) as sender:
            answer = sender.store(GOOD, instance=UID)
            assert answer == Answer(OUT_OF_RESOURCES, "Less free disk than [storage] reserve_mb.")
            assert sender.release() == RELEASE_RP
        assert intake.events.kept == []
        assert intake.store.unfinished() == ()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system that is soon full."""
    folder.mkdir()
    command: list[Any] = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted only as root, with the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("reserve_bytes", [1_000_000, 0])
def test_when_the_disk_is_full_what_was_acknowledged_stays_and_the_rest_is_refused(
    tmp_path: Path, reserve_bytes: int
) -> None:
    slices = {
        f"{STUDY}.1.{number}": data_set_of(
            ct_slice(number=number, stored=np.full((300, 300), number, np.uint16))
        )
        for number in range(40)
    }
    with (
        small_disk(tmp_path / "disk", "4M") as disk,
        open_intake(disk / "studies", reserve_bytes=reserve_bytes) as intake,
    ):
        acknowledged = []
        statuses = set()
        with RawSender(intake.door.port) as sender:
            for uid, data_set in slices.items():
                answer = sender.store(data_set, instance=uid)
                assert answer is not None
                statuses.add(answer.status)
                if answer.status == 0:
                    acknowledged.append(uid)
        assert statuses == {0, OUT_OF_RESOURCES}
        study = intake.store.study(1)
        stored = {
            one.instance_uid: data_set_of(read_record(one.record, study.key))
            for one in study.series[0].instances
        }
        assert stored == {uid: slices[uid] for uid in acknowledged}
        if reserve_bytes:  # the reserve is for the journal and the alerts
            intake.store.series_closed(1, "count", 1)
