"""Bounds on what a sender can make the appliance hold.

pynetdicom reads a PDU of whatever length its header claims, and gathers a data set of whatever
size in memory. `BoundedSocket` stops both: a PDU or an instance over its limit ends the
association (PS3.8 section 9.3 gives the length field 32 bits; no scanner needs them). All
senders share one budget, so that a storm of large instances slows the senders, not the rest.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import AssociationSocket, RequestHandler

from edge.intake.own_requests import OwnRequests
from edge.intake.tls import is_tls
from edge.intake.waiting import Call, have_wait, readable

if TYPE_CHECKING:
    from pynetdicom.association import Association

_PDU_HEADER_BYTES = 6
_READ_BYTES = 1 << 18
MAX_PDU_BYTES = 1 << 24


class OverLimit(OSError):
    """A sender went over a bound; pynetdicom takes it as a lost connection and lets go."""


class InboundBudget:
    """Memory for instances that are on their way to disk, all senders together.

    Parameters
    ----------
    limit : int
        In bytes. A new instance waits while more than half is taken; one that has begun may
        grow to the whole, so that senders cannot lock each other out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._changed = threading.Condition()  # guards _taken

    @property
    def held(self) -> int:
        """Bytes held now."""
        with self._changed:
            return self._taken

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until a new instance may begin; return whether it may."""
        with self._changed:
            return self._changed.wait_for(lambda: self._taken <= self._limit // 2, timeout_s)

    def take(self, amount: int) -> None:
        """Count `amount` bytes as held.

        Raises
        ------
        OverLimit
            If that is more than the whole budget.
        """
        with self._changed:
            if self._taken + amount > self._limit:
                raise OverLimit("All senders together are over [dicom] inbound_mb.")
            self._taken += amount

    def give_back(self, amount: int) -> None:
        """Count `amount` bytes as free again."""
        with self._changed:
            self._taken -= amount
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one association may do. Sizes in bytes, time in seconds."""

    max_instance: int
    network_timeout: float
    budget: InboundBudget


class BoundedSocket(AssociationSocket):  # type: ignore[misc]
    """An association's socket that keeps to its bounds and notes when an instance came.

    A sender that does not wait for its answer waits here: the next message is read when the one
    before is settled.

    Attributes
    ----------
    first_byte, last_byte : float
        When the message now being received began, and the latest byte; seconds since the epoch.
    sender : int
        Tells associations apart; the door numbers them.
    spoke_tls : bool
        Whether it began a TLS handshake, which is for another port.
    cut_for : str
        Why the sender was cut off; empty when it was not.
    own_requests : OwnRequests or None
        What we ask on it, once there is something.
    call : Call
        Ends its wait for bytes.
    """

    def __init__(self, plain: AssociationSocket, bounds: Bounds) -> None:
        # Takes the place of the socket that pynetdicom made, state and all: making a second one
        # would announce the connection twice.
        self.__dict__.update(plain.__dict__)
        self._bounds = bounds
        self.call = Call()
        self.sender = 0
        self.spoke_tls = False
        self.cut_for = ""
        self.own_requests: OwnRequests | None = None
        self._held = 0
        self._ended = False
        self._whole = True  # whether what was last read came whole
        # Guards _held and _ended: one thread receives, another settles.
        self._changed = threading.Condition()
        self.first_byte = self.last_byte = time.time()
        # pynetdicom sets none: a sender silent in the middle of a PDU would never be cut off.
        self.socket.settimeout(bounds.network_timeout)

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for it while there is nothing else to do."""
        if self.socket is None or not self._is_connected:
            return False
        dul = self.assoc.dul
        idle = dul.to_provider_queue.empty() and dul.event_queue.empty()
        # Sta13 waits for the end of the connection, and takes silence for it.
        patient = idle and dul.state_machine.current_state != "Sta13"
        try:
            return readable(self.socket, self.call, patient=patient)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the connection is closed
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly `nr_bytes`, or fewer when the sender went away.

        Raises
        ------
        OverLimit
            If the PDU, the instance, or all instances together are over a bound, the
            association has ended, or it never was one but TLS.
        TimeoutError
            If the sender is silent for the network timeout.
        """
        try:
            return self._receive(nr_bytes)
        except OverLimit as error:
            self.cut_for = str(error)
            raise
        except TimeoutError:
            self.cut_for = "Silent for [dicom] network_timeout_s in the middle of a message."
            raise

    def _receive(self, nr_bytes: int) -> bytearray:
        if nr_bytes == _PDU_HEADER_BYTES and self.assoc.dimse.message is None:
            self._wait_for_turn()
            data = self._read(nr_bytes)
            self.first_byte = time.time()
            if is_tls(data):
                self.spoke_tls = True
                raise OverLimit("TLS at the port without TLS.")
            return data
        if nr_bytes > MAX_PDU_BYTES:
            raise OverLimit(f"A PDU that claims {nr_bytes} bytes; the limit is {MAX_PDU_BYTES}.")
        with self._changed:
            if self._held + nr_bytes > self._bounds.max_instance:
                raise OverLimit("An instance over [dicom] max_instance_mb.")
            if self._ended:
                raise OverLimit("Bytes behind the end of the association.")
            self._bounds.budget.take(nr_bytes)
            self._held += nr_bytes
        self._whole = False
        data = self._read(nr_bytes)
        self._whole = len(data) == nr_bytes
        self.last_byte = time.time()
        return data

    def _wait_for_turn(self) -> None:
        timeout = self._bounds.network_timeout
        with self._changed:
            settled = self._changed.wait_for(self._may_go_on, timeout)
        if not settled or not self._bounds.budget.wait_for_room(timeout):
            raise OverLimit("No memory for another instance within the network timeout.")

    def _may_go_on(self) -> bool:
        # Before it is accepted, and when the sender went away, there is nothing to wait for.
        over = self._ended or not self._whole
        return not self._held or over or not self.assoc.is_established

    def _read(self, count: int) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        done = 0
        connection: socket.socket = self.socket
        while done < count:
            read = connection.recv_into(view[done : done + _READ_BYTES])
            if read == 0:
                return data[:done]
            done += read
        return data

    def settle(self) -> None:
        """Give back what this association held: its instance is stored, refused or gone."""
        with self._changed:
            self._bounds.budget.give_back(self._held)
            self._held = 0
            self._changed.notify_all()

    def end(self) -> bool:
        """Give back what is held, and take no more; return False if it had ended before."""
        with self._changed:
            first, self._ended = not self._ended, True
        self.settle()
        self.call.close()
        return first

    @property
    def ended(self) -> bool:
        """Whether the association is over."""
        with self._changed:
            return self._ended

    def abort(self) -> None:
        """Have the association aborted; where none was asked for yet, end the connection."""
        if self.assoc.requestor.primitive is None:
            self.cut()
        else:
            self.assoc.abort(block=False)

    def cut(self) -> None:
        """End the connection, whatever the sender does."""
        self._shutdown_socket()


def bounded(bounds: Bounds) -> type[RequestHandler]:
    """Return a request handler whose associations keep to `bounds`."""

    class BoundedRequestHandler(RequestHandler):  # type: ignore[misc]
        def _create_association(self) -> Association:
            association: Any = super()._create_association()
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bounded_socket = BoundedSocket(association.dul.socket, bounds)
            association.dul.socket = bounded_socket
            have_wait(association, bounded_socket.call)
            return association

    return BoundedRequestHandler
