"""How long the publisher waits, and that it ends cleanly with no broker at all."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alerts.bell import Bell
from edge.alerts.publisher import (
    BrokerSettings,
    OutboxEntry,
    OutboxError,
    Publisher,
    PublisherState,
    backoff_s,
)
from tools.broker import free_port


class EmptyOutbox:
    """An outbox with nothing in it; `broken` if it cannot even say so."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def pending(self, limit: int, exclude: Collection[int]) -> Sequence[OutboxEntry]:  # noqa: ARG002
        return []

    def mark_published(self, sequences: Collection[int]) -> None:  # noqa: ARG002
        raise AssertionError

    def backlog(self) -> int:
        if self.broken:
            msg = "the disk is full"
            raise OutboxError(msg)
        return 0


def first_state(settings: BrokerSettings, outbox: EmptyOutbox) -> PublisherState:
    said: list[PublisherState] = []
    told = threading.Event()

    def on_state(state: PublisherState) -> None:
        said.append(state)
        told.set()

    one = Publisher(settings, outbox, device="ct-1", site="north", on_state=on_state)
    one.start()
    assert told.wait(20)
    one.wake()
    one.stop()
    return said[0]


def test_the_pause_doubles_to_a_minute_and_no_further() -> None:
    pauses = [backoff_s(attempts, jitter=0.0) for attempts in range(1, 12)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_jitter_takes_at_most_half_of_the_pause(attempts: int, jitter: float) -> None:
    full = backoff_s(attempts, jitter=0.0)
    assert full / 2 <= backoff_s(attempts, jitter=jitter) <= full


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b", "\udc80"])
def test_a_broker_that_is_not_there_is_a_state_and_no_crash(host: str) -> None:
    port = free_port()
    state = first_state(BrokerSettings(host, port, "device"), EmptyOutbox())
    assert not state.connected
    assert str(port) in state.reason


def test_an_outbox_that_cannot_be_read_is_a_state_and_no_crash() -> None:
    state = first_state(BrokerSettings("127.0.0.1", 1, "device"), EmptyOutbox(broken=True))
    assert (state.connected, state.reason) == (False, "outbox: the disk is full")


def test_a_publisher_that_was_never_started_can_be_stopped() -> None:
    settings = BrokerSettings("127.0.0.1", 1, "device")
    one = Publisher(settings, EmptyOutbox(), device="a", site="b", on_state=lambda _: None)
    one.stop()
    one.wake()


def test_a_bell_rung_very_often_is_one_ring() -> None:
    bell = Bell()
    for _ in range(10_000):
        bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    bell.close()
    bell.ring()
