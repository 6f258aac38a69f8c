"""A DICOM door with a store behind it, and a sender that can say anything a wire can carry."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from arrivals import open_store
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from edge.config import Dicom
from edge.intake.dicom import DicomDoor
from edge.intake.events import Heard, InstanceKept, SenderGone
from edge.store.spool import read_record
from edge.store.studies import Store
from tools.scanner import Peer

HOST = "127.0.0.1"
PATIENCE_S = 20.0
SETTINGS = Dicom(host=HOST, port=1, network_timeout_s=20, max_instance_mb=8, inbound_mb=32)

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
ACCEPTED = 0
STORE_RQ, ECHO_RQ = 0x0001, 0x0030
NO_DATA_SET = 0x0101


class Events:
    """What the door told the rest of the daemon."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards told
        self.told: list[Heard] = []

    def __call__(self, event: Heard) -> None:
        with self._changed:
            self.told.append(event)
            self._changed.notify_all()

    def wait_for(self, happened: Callable[[Events], bool]) -> None:
        """Wait until what was told is as it should be."""
        with self._changed:
            assert self._changed.wait_for(lambda: happened(self), PATIENCE_S), self.told

    @property
    def kept(self) -> list[InstanceKept]:
        return [event for event in self.told if isinstance(event, InstanceKept)]

    @property
    def gone(self) -> list[SenderGone]:
        return [event for event in self.told if isinstance(event, SenderGone)]


@dataclass(frozen=True)
class Intake:
    """An open door: where it is, what is behind it, and what it told."""

    door: DicomDoor
    store: Store
    events: Events

    @property
    def peer(self) -> Peer:
        return Peer("SCANSIDE", HOST, self.door.port)

    @property
    def instances(self) -> list[bytes]:
        """Every stored instance, decrypted."""
        return [
            read_record(event.receipt.instance.record, event.receipt.key)
            for event in self.events.kept
        ]

    def wait(self, happened: Callable[[], bool]) -> bool:
        """Wait for what nobody tells of; return whether it came."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not happened() and time.monotonic() < until:
            pause.wait(0.01)
        return happened()

    def wait_until_all_are_gone(self, senders: int) -> None:
        self.events.wait_for(lambda events: len(events.gone) >= senders)


@contextmanager
def open_intake(
    folder: Path,
    *,
    reserve_bytes: int = 0,
    on_revoked: Callable[[str, str], None] = lambda *_: None,
    **changes: Any,
) -> Iterator[Intake]:
    """Open a door on a free port; `changes` are of ``[dicom]``."""
    settings = replace_model(SETTINGS, **{"port": free_port(), **changes})
    with ExitStack() as cleanup:
        store = cleanup.enter_context(open_store(folder, reserve_bytes=reserve_bytes))
        events = Events()
        door = DicomDoor(settings, store, _pseudonym, events, on_revoked)
        door.open()
        cleanup.callback(door.close)
        yield Intake(door, store, events)


def _pseudonym(*_: str) -> str:
    return "A" * 26


def replace_model(settings: Dicom, **changes: Any) -> Dicom:
    return Dicom.model_validate({**settings.model_dump(), **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Answer:
    """A C-STORE or C-ECHO response."""

    status: int
    comment: str


class RawSender:
    """An association of which every byte is ours.

    Parameters
    ----------
    port : int
        Of the door.
    contexts : sequence of (abstract syntax, transfer syntax)
        What is asked for; the ids are 1, 3, 5 ...
    """

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, str]] = ((CTImageStorage, ExplicitVRLittleEndian),),
        *,
        calling: str = "SCANNER",
    ) -> None:
        self.line = socket.create_connection((HOST, port), PATIENCE_S)
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line.sendall(association_request(contexts, calling))
        self.kind, self.body = self.read_pdu()

    def __enter__(self) -> RawSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    @property
    def results(self) -> list[int]:
        """What became of each context that was asked for (PS3.8 table 9-18); 0 is accepted."""
        results = []
        place = 68
        while place < len(self.body):
            kind, length = struct.unpack_from(">BxH", self.body, place)
            if kind == 0x21:
                results.append(self.body[place + 6])
            place += 4 + length
        return results

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU; kind 0 when the door closed the connection."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._read(length)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self.line.recv(count - len(data))
            except ConnectionResetError:
                return data
            if not part:
                return data
            data += part
        return data

    def store(
        self,
        data_set: bytes,
        *,
        instance: str,
        sop_class: str = CTImageStorage,
        context: int = 1,
        pdu_bytes: int = 1 << 18,
    ) -> Answer | None:
        """Send one instance and return the answer; None if the association is ended instead."""
        try:
            self.send_store(
                data_set,
                instance=instance,
                sop_class=sop_class,
                context=context,
                pdu_bytes=pdu_bytes,
            )
        except OSError:  # it was cut off while we sent
            return None
        return self.answer()

    def send_store(
        self,
        data_set: bytes,
        *,
        instance: str,
        sop_class: str = CTImageStorage,
        context: int = 1,
        pdu_bytes: int = 1 << 18,
    ) -> None:
        """Send one instance and do not wait for the answer."""
        command = _command(STORE_RQ, 0, sop_class, instance)
        self.line.sendall(_p_data(context, 0b11, command))
        for start in range(0, len(data_set), pdu_bytes):
            last = start + pdu_bytes >= len(data_set)
            part = data_set[start : start + pdu_bytes]
            self.line.sendall(_p_data(context, 0b10 if last else 0b00, part))

    def echo(self, context: int) -> Answer | None:
        """Ask whether the door is there."""
        verification = "1.2.840.10008.1.1"
        self.line.sendall(_p_data(context, 0b11, _command(ECHO_RQ, NO_DATA_SET, verification, "")))
        return self.answer()

    def answer(self) -> Answer | None:
        """Read an answer; None if the association is ended instead."""
        kind, body = self.read_pdu()
        if kind != P_DATA:
            return None
        said: Dataset = decode(BytesIO(body[6:]), True, True)
        return Answer(int(said.Status), str(said.get("ErrorComment", "")))

    def release(self) -> int:
        """Release the association; return the kind of PDU that answers."""
        self.line.sendall(struct.pack(">BxLL", RELEASE_RQ, 4, 0))
        return self.read_pdu()[0]


def association_request(contexts: Sequence[tuple[str, str]], calling: str) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, "SCANSIDE"
    asked = [build_context(*one) for one in contexts]
    for number, context in enumerate(asked):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = asked
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received = 1 << 16
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.10.1"
    request.user_information = [longest, implementation]
    encoded: bytes = A_ASSOCIATE_RQ(request).encode()
    return encoded


def _p_data(context: int, control: int, fragment: bytes) -> bytes:
    """Return a P-DATA-TF PDU with one fragment (PS3.8 9.3.5, annex E)."""
    value = struct.pack(">LBB", len(fragment) + 2, context, control) + fragment
    return struct.pack(">BxL", P_DATA, len(value)) + value


def _command(field: int, data_set_type: int, sop_class: str, instance: str) -> bytes:
    """Return a command set (PS3.7 9.3.1, 9.3.5)."""
    values: list[tuple[int, bytes]] = [
        (0x0002, _uid(sop_class)),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", 1)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", data_set_type)),
    ]
    if instance:
        values.append((0x1000, _uid(instance)))
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in values)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def data_set_of(part10: bytes) -> bytes:
    """Return a file's data set without preamble and file meta."""
    (meta,) = struct.unpack_from("<L", part10, 140)  # the value of (0002,0000)
    return part10[144 + meta :]
