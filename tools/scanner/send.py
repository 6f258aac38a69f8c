"""Send instances as a scanner does: C-STORE, one after the other, on one association.

Sources: DICOM PS3.4 annex B (Storage), PS3.7 9.1.1 (C-STORE), PS3.8 annex D (fragments).
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.pdu_primitives import MaximumLengthNotification

from tools.scanner.gather import Instance, NewUids, associations, from_memory, gather
from tools.scanner.peer import (
    Peer,
    RefusedError,
    UnreachableError,
    explain_status,
    is_stored,
)
from tools.scanner.tls import Tls
from tools.scanner.why import CONNECT_TIMEOUT_S, UNKNOWN_HOST, why_not

CALLING_AE_TITLE = "SCANNER"
ASSOCIATE_TIMEOUT_S = 15.0  # a busy receiver takes seconds
ANSWER_TIMEOUT_S = 60.0
VERIFICATION = "1.2.840.10008.1.1"

OnSent = Callable[[int, int, int, "int | None"], None]
"""Called for each instance with (index, ns before, ns when its last byte left, status)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one instance.

    Parameters
    ----------
    index : int
        Its place in the sending order, from 0.
    started_ns, last_byte_ns, answered_ns : int
        `time.monotonic_ns` before the request, when the kernel took its last byte, and when
        the answer was in. Where nothing was sent the three are equal.
    status : int or None
        The C-STORE status; None when the instance was not sent or not answered.
    reason : str
        The status in words, or why there is none.
    """

    index: int
    started_ns: int
    last_byte_ns: int
    answered_ns: int
    status: int | None
    reason: str

    @property
    def stored(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and is_stored(self.status)


@dataclass(frozen=True, slots=True)
class SendReport:
    """What became of everything that was to be sent, in sending order."""

    peer: Peer
    sent: tuple[Sent, ...]
    elapsed_s: float

    @property
    def stored(self) -> int:
        """How many instances the receiver has."""
        return sum(one.stored for one in self.sent)

    @property
    def failures(self) -> dict[str, int]:
        """How many instances failed, by status and meaning; most frequent first."""
        counts = Counter(
            one.reason if one.status is None else f"0x{one.status:04X} {one.reason}"
            for one in self.sent
            if not one.stored
        )
        return dict(counts.most_common())

    @property
    def ok(self) -> bool:
        """Whether every instance was stored."""
        return self.stored == len(self.sent)


@dataclass(frozen=True, slots=True)
class Manner:
    """How to send.

    Parameters
    ----------
    calling : str
        Our AE title.
    rate : float or None
        Instances per second; None for as fast as the receiver answers.
    max_pdu : int
        Largest PDU in bytes that we send and accept; 0 leaves it to the receiver.
    one_association_per_image : bool
        Open and release an association for every instance, as some modalities do.
    new_uids : bool
        Give every instance, series and study a new UID.
    tls : Tls or None
        With what to speak TLS; None speaks none.
    """

    calling: str = CALLING_AE_TITLE
    rate: float | None = None
    max_pdu: int = 0
    one_association_per_image: bool = False
    new_uids: bool = False
    tls: Tls | None = None


@dataclass(slots=True)
class _Line:
    """The connection, and when bytes left on it.

    The network thread writes; the sending thread reads after the answer, when nothing moves.
    """

    last_byte_ns: int = 0
    tcp: socket.socket | None = None

    def on_open(self, event: Any) -> None:
        tcp: socket.socket = event.assoc.dul.socket.socket
        # Without this a short last segment waits for the receiver's delayed acknowledgement.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tcp = tcp

    def on_data(self, _: Any) -> None:
        self.last_byte_ns = time.monotonic_ns()

    def close(self) -> None:
        """Close the line: pynetdicom leaves it open where the receiver hung up first."""
        if self.tcp is not None:
            self.tcp.close()

    def handlers(self) -> list[Any]:
        return [(evt.EVT_CONN_OPEN, self.on_open), (evt.EVT_DATA_SENT, self.on_data)]


def send(
    what: Iterable[Dataset | Path | str | Instance],
    to: Peer,
    *,
    rate: float | None = None,
    on_sent: OnSent | None = None,
    manner: Manner | None = None,
    stop: threading.Event | None = None,
) -> SendReport:
    """Send data sets and files; may be called from any thread.

    Parameters
    ----------
    what : iterable of pydicom.Dataset, pathlib.Path, str or Instance
        Data sets are sent as they are; paths are gathered (see `gather`).
    to : Peer
        The receiver.
    rate : float, optional
        Instances per second; overrides `manner.rate`.
    on_sent : callable, optional
        ``on_sent(index, before_ns, last_byte_ns, status)`` in the sending thread after each
        answer; times are of `time.monotonic_ns`, status is None where there was no answer.
    manner : Manner, optional
        How to send.
    stop : threading.Event, optional
        Set it to stop before the next instance; the rest is reported as not sent.

    Returns
    -------
    SendReport

    Raises
    ------
    GatherError
        If something cannot be sent at all.
    UnreachableError, RefusedError
        If no association could be made.
    """
    manner = manner or Manner()
    pace = rate if rate is not None else manner.rate
    if pace is not None and pace <= 0:
        raise ValueError(f"the rate must be above 0 instances per second, not {pace}.")
    sending = _Sending(_instances(what), to, manner, pace, on_sent, stop or threading.Event())
    return sending.run()


def echo(to: Peer, *, calling: str = CALLING_AE_TITLE, tls: Tls | None = None) -> float:
    """Ask the peer whether it is there (C-ECHO); return the round trip in milliseconds.

    Raises
    ------
    UnreachableError, RefusedError
        If it is not, or answers something other than Success.
    """
    line = _Line()
    manner = Manner(calling=calling, tls=tls)
    with _associate(to, [(VERIFICATION, None)], manner, line) as association:
        before = time.monotonic_ns()
        status = association.send_c_echo()
        elapsed = (time.monotonic_ns() - before) / 1e6
        if "Status" not in status:
            raise RefusedError(f"{to} accepted the association and did not answer the echo.")
        if status.Status != 0:
            raise RefusedError(f"{to} answered the echo with status 0x{status.Status:04X}.")
    return elapsed


def _instances(what: Iterable[Dataset | Path | str | Instance]) -> list[Instance]:
    instances: list[Instance] = []
    for item in what:
        if isinstance(item, Instance):
            instances.append(item)
        elif isinstance(item, Dataset):
            instances.append(from_memory(item))
        else:
            instances.extend(gather([Path(item)]).instances)
    return instances


@dataclass(slots=True)
class _Sending:
    instances: list[Instance]
    to: Peer
    manner: Manner
    pace: float | None
    on_sent: OnSent | None
    stop: threading.Event
    uids: NewUids = field(default_factory=NewUids)
    done: list[Sent] = field(default_factory=list)
    began_ns: int = 0

    def run(self) -> SendReport:
        self.began_ns = time.monotonic_ns()
        runs: Iterable[list[int]] = associations(self.instances)
        if self.manner.one_association_per_image:
            runs = [[index] for index in range(len(self.instances))]
        for run in runs:
            # dict.fromkeys: each context once, in the order of first use.
            contexts = list(dict.fromkeys(self.instances[i].context for i in run))
            line = _Line()
            with _associate(self.to, contexts, self.manner, line) as association:
                for index in run:
                    self._wait_for_turn(index)
                    self._note(self._store(association, index, line))
        elapsed = (time.monotonic_ns() - self.began_ns) / 1e9
        return SendReport(self.to, tuple(self.done), elapsed)

    def _wait_for_turn(self, index: int) -> None:
        """Wait until this instance is due; `stop` ends the wait at once."""
        if self.pace is not None:
            due = index / self.pace - (time.monotonic_ns() - self.began_ns) / 1e9
            self.stop.wait(max(0.0, due))

    def _note(self, sent: Sent) -> None:
        self.done.append(sent)
        if self.on_sent is not None:
            self.on_sent(sent.index, sent.started_ns, sent.last_byte_ns, sent.status)

    def _store(self, association: Association, index: int, line: _Line) -> Sent:
        if self.stop.is_set():
            return _not_sent(index, "not sent: stopped")
        if not association.is_established:
            return _not_sent(index, "not sent: the receiver ended the association")
        instance = self.instances[index]
        dataset = instance.load()
        if not dataset:  # pydicom drops the whole of a file whose pixels end too soon
            return _not_sent(index, "not sent: the file is cut off")
        if self.manner.new_uids:
            dataset = self.uids.apply(dataset)
        started = time.monotonic_ns()
        line.last_byte_ns = started
        try:
            status = association.send_c_store(dataset, msg_id=index % 65535 + 1)
        except ValueError:
            name, syntax = instance.sop_class.name, instance.transfer_syntax.name
            return _not_sent(index, f"not sent: the receiver does not take {name} as {syntax}")
        except (AttributeError, RuntimeError) as error:
            # AttributeError: an element that must be there is missing. RuntimeError: the
            # association ended between the check above and the request.
            return _not_sent(index, f"not sent: {error}")
        answered = time.monotonic_ns()
        if "Status" not in status:
            reason = "no answer: the receiver ended the association or took too long"
            return Sent(index, started, line.last_byte_ns, answered, None, reason)
        code = int(status.Status)
        return Sent(index, started, line.last_byte_ns, answered, code, explain_status(code))


def _not_sent(index: int, reason: str) -> Sent:
    now = time.monotonic_ns()
    return Sent(index, now, now, now, None, reason)


@contextmanager
def _associate(
    to: Peer, contexts: Iterable[tuple[str, str | None]], manner: Manner, line: _Line
) -> Iterator[Association]:
    """An association that is released at the end, and aborted if the end is an exception."""
    ae = AE(ae_title=manner.calling)
    ae.connection_timeout = CONNECT_TIMEOUT_S
    ae.acse_timeout = ASSOCIATE_TIMEOUT_S
    ae.dimse_timeout = ANSWER_TIMEOUT_S
    ae.network_timeout = None  # a slow --rate leaves the line idle, and that is no fault
    try:
        association = ae.associate(
            to.host,
            to.port,
            contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
            ae_title=to.ae_title,
            max_pdu=manner.max_pdu,
            evt_handlers=line.handlers(),
            tls_args=None if manner.tls is None else (manner.tls.context(), to.host),
        )
    except socket.gaierror as error:
        raise UnreachableError(f"{to} cannot be reached: {UNKNOWN_HOST}") from error
    try:
        if not association.is_established:
            raise why_not(
                to, manner.calling, manner.tls, association, connected=line.tcp is not None
            )
        if manner.max_pdu:
            _limit_pdu(association, manner.max_pdu)
        _leave_answers_to_the_sender(association)
        yield association
        if association.is_established:
            association.release()
    finally:
        if association.is_established:
            # Also at Ctrl-C: the receiver should learn at once that no more will come.
            association.abort()
        line.close()


def _leave_answers_to_the_sender(association: Association) -> None:
    """Keep pynetdicom's own thread from reading answers: nobody sends us requests.

    It marks itself as paused before it waits and as running after. A sender that comes in
    between takes it for paused, and then both read the one answer; where the thread is first,
    it drops the answer as unexpected, and the sender waits for it in vain.
    """
    read = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return read(block) if block else (None, None)

    association.dimse.get_msg = get_msg


def _limit_pdu(association: Association, size: int) -> None:
    """Send no larger fragments than we were told, even where the receiver takes larger ones."""
    for item in association.acceptor.user_information:
        if isinstance(item, MaximumLengthNotification):
            theirs = item.maximum_length_received or size
            item.maximum_length_received = min(theirs, size)
