"""An association's threads wait: what comes is answered at once, and nothing is done meanwhile.

They come round by themselves every minute here, which no sender of these tests would wait for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from builders import ct_slice
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
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from edge.intake import waiting

SUCCESS = Answer(0x0000, "")
VERIFICATION = "1.2.840.10008.1.1"
BOTH = ((CTImageStorage, ExplicitVRLittleEndian), (VERIFICATION, ImplicitVRLittleEndian))
ECHO = 3  # the presentation context


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """As many as there were rounds of connections' threads."""
    counted: list[None] = []
    wait = waiting.Call.wait

    def counting(self: waiting.Call, connection: object, seconds: float) -> bool:
        counted.append(None)
        return wait(self, connection, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(waiting, "ROUND_S", 3 * PATIENCE_S)
    monkeypatch.setattr(waiting.Call, "wait", counting)
    return counted


@pytest.fixture
def intake(tmp_path: Path, rounds: list[None]) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies") as opened:
        yield opened


def store(sender: RawSender, number: int) -> Answer | None:
    slice_ = ct_slice(number=number)
    uid = str(dcmread(BytesIO(slice_)).SOPInstanceUID)
    return sender.store(data_set_of(slice_), instance=uid)


def test_what_comes_is_answered_when_it_comes(intake: Intake) -> None:
    with RawSender(intake.door.port, BOTH) as sender:
        for number in range(3):
            assert sender.echo(ECHO) == SUCCESS
            assert store(sender, number) == SUCCESS
        assert sender.release() == RELEASE_RP
        assert sender.read_pdu() == (0, b"")
    intake.wait_until_all_are_gone(1)


def test_an_abort_and_a_lost_connection_are_seen_when_they_come(intake: Intake) -> None:
    with RawSender(intake.door.port, BOTH) as sender:
        assert store(sender, 1) == SUCCESS
        sender.line.sendall(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
        intake.wait_until_all_are_gone(1)
    with RawSender(intake.door.port, BOTH) as sender:
        assert store(sender, 2) == SUCCESS
    intake.wait_until_all_are_gone(2)


def test_a_connection_comes_round_for_what_comes_and_for_nothing_else(
    intake: Intake, rounds: list[None]
) -> None:
    with RawSender(intake.door.port, BOTH) as sender:
        assert sender.echo(ECHO) == SUCCESS
        before = len(rounds)
        threading.Event().wait(0.2)  # nothing comes: pynetdicom alone would come round 200 times
        assert len(rounds) - before <= 3
        assert sender.echo(ECHO) == SUCCESS
        assert len(rounds) - before <= 12


def test_a_ring_after_the_end_reaches_no_other_file() -> None:
    call = waiting.Call()
    call.close()
    next_file = os.eventfd(0, os.EFD_NONBLOCK)  # it has the number that was closed
    try:
        call.ring()
        call.close()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(next_file)
    finally:
        os.close(next_file)
