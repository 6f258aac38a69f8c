"""What anybody who may publish can write as a state, and what is made of it."""

from __future__ import annotations

import json

import pytest

from tools.central.states import MAX_STATE, read_state

TOPIC = "scanside/v1/north/ct-1/state"
MOMENT = "2026-03-01T09:30:00.250Z"


def test_a_state_is_read() -> None:
    state = read_state(
        TOPIC, json.dumps({"state": "online", "since": MOMENT, "backlog": 3}).encode()
    )
    assert state is not None
    assert (state.site, state.device, state.online) == ("north", "ct-1", True)
    assert (state.since, state.backlog) == (MOMENT, 3)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"state": 7}',
        b'{"state": "on"}',
        b'{"state": ["online"]}',
        b"[" * 3000,
        b" " * (MAX_STATE + 1),
    ],
)
def test_what_is_no_state_is_passed_over(payload: bytes) -> None:
    assert read_state(TOPIC, payload) is None


@pytest.mark.parametrize("backlog", [-1, 10**30, True, "3", 1.5, None, [1]])
def test_a_backlog_that_no_database_could_hold_is_none(backlog: object) -> None:
    state = read_state(TOPIC, json.dumps({"state": "online", "backlog": backlog}).encode())
    assert state is not None
    assert state.backlog is None


@pytest.mark.parametrize("since", ["\0", "x" * 30, 7, None, "2026-03-01"])
def test_a_moment_that_is_none_is_left_out(since: object) -> None:
    state = read_state(TOPIC, json.dumps({"state": "offline", "since": since}).encode())
    assert state is not None
    assert state.since == ""
