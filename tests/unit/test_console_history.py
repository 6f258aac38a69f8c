"""The board after a restart: what the journal knows from before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from terminal import Terminal, fresh, tell_of_a_bleed, with_two_studies

from edge.audit import Act, Audit
from edge.config import load_config
from edge.console.acknowledgements import Acknowledgements
from edge.console.board import Board
from edge.console.cards import Card
from edge.console.database import ConsoleDatabase
from edge.console.history import UNACKNOWLEDGED, History
from edge.keys import KeyRing
from edge.store.studies import Store

LATER_S = 3600.0


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance with a study whose flag nobody acknowledged."""
    return with_two_studies(fresh(tmp_path, capsys))


@pytest.fixture
def ring(used: Terminal) -> KeyRing:
    return KeyRing(load_config(used.config).storage.keys)


@pytest.fixture
def store(used: Terminal, ring: KeyRing) -> Iterator[Store]:
    folder = load_config(used.config).storage.folder
    with closing(Store(folder, device_key=ring.current.own.storage, reserve_bytes=0)) as opened:
        yield opened


@pytest.fixture
def history(store: Store, ring: KeyRing, tmp_path: Path) -> Iterator[History]:
    with closing(ConsoleDatabase(tmp_path)) as database:
        yield History(store.journal, lambda: ring.current.own, Acknowledgements(database))


def escalated_after_a_restart(history: History) -> list[int]:
    said: list[Card] = []
    board = Board(escalate_after_s=0.0, on_escalated=said.append)
    cards = history.cards(10)
    board.fill(cards)
    board.escalate(max(card.made for card in cards) + LATER_S)
    assert [card.study for card in board.cards() if card.escalated] == [1]
    return [card.study for card in said]


def test_nobody_in_time_is_said_once_over_all_restarts(
    history: History, store: Store, ring: KeyRing
) -> None:
    assert escalated_after_a_restart(history) == [1]
    audit = Audit(store.journal, lambda: ring.current.own.signing)
    audit.note(Act("daemon", UNACKNOWLEDGED, "study:1"))
    assert escalated_after_a_restart(history) == []
    tell_of_a_bleed(store, ring)  # the same flag again: an image came late
    assert escalated_after_a_restart(history) == []
