"""What was made for a PACS that is away is not held once its study is erased."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from findings import finding, series
from pacs import HOST, wait_until
from reporting import report
from results_parts import sending, settings

from edge.results.maker_link import MakerLink
from edge.results.order import Order as MakeOrder
from edge.results.pacs import Pacs
from edge.store.erasure import Erased, Order
from edge.store.journal import StudyState

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


def test_what_was_made_for_a_pacs_that_is_away_is_let_go_of_with_its_study(
    tmp_path: Path,
) -> None:
    with socket.create_server((HOST, 0)) as nobody:
        away = nobody.getsockname()[1]
    with sending(tmp_path, settings(away)) as here:
        study = here.take_in().study_id
        here.say()
        assert wait_until(lambda: here.courier.held == study)
        here.store.study_state(study, StudyState.DECIDED, 1)
        order = Order(study, "cli:root", "request 7", undelivered=True)
        assert isinstance(here.store.erase(order, lambda _: None, pressing=False), Erased)
        here.courier.forget(study)
        assert here.courier.held is None
        assert here.answers == ["erased before it was sent"] * 2


def test_what_is_of_a_study_that_is_erased_while_it_is_made_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as nobody:
        away = nobody.getsockname()[1]
    with sending(tmp_path, settings(away)) as here:
        make, associate = MakerLink.make, Pacs.association
        erased: list[object] = []
        held: list[int | None] = []

        def make_and_erase(maker: MakerLink, order: MakeOrder) -> bytes:
            made = make(maker, order)
            if not erased:
                by = Order(1, "cli:root", "request 7", undelivered=True)
                erased.append(here.store.erase(by, lambda _: None, pressing=False))
                here.courier.forget(1)  # before there is anything to let go of
            return made

        def associate_and_note(pacs: Pacs) -> Any:
            held.append(here.courier.held)
            return associate(pacs)

        monkeypatch.setattr(MakerLink, "make", make_and_erase)
        monkeypatch.setattr(Pacs, "association", associate_and_note)
        first = here.take_in()
        here.store.study_state(first.study_id, StudyState.DECIDED, 1)
        here.say()
        assert wait_until(lambda: here.documents.standing().waiting == 0)
        second = here.take_in(study="1.2.826.0.1.3680043.10.2")
        number = second.instance.id
        here.say(report(series(finding(0.9, key_instance=number)), first=number))
        assert wait_until(lambda: here.courier.held == second.study_id and held != [])
        assert [isinstance(one, Erased) for one in erased] == [True]
        assert set(held) == {second.study_id}
