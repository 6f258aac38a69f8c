"""Storage commitments in the journal: kept, answered once, and gone with an erased study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import open_store
from erasing import eraser, order, told_study

from edge.store import commitments as module
from edge.store.commitments import (
    Commitments,
    Reference,
    TooMany,
    count_commitments,
    unreported,
)
from edge.store.studies import Store

CT = "1.2.840.10008.5.1.4.1.1.2"
NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one study of two series, of one and of two images."""
    told_study(tmp_path)
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def uids(store: Store) -> dict[int, list[str]]:
    """The images' UIDs, by series."""
    series = store.study(1).series
    return {one.id: [image.instance_uid for image in one.instances] for one in series}


def keep(store: Store, named: list[str], transaction: str = "1.2.3") -> dict[int, int]:
    references = [Reference(CT, uid) for uid in named]
    return Commitments(store.journal).keep("CT1", transaction, references, NOW)[1]


def test_only_series_that_are_named_whole_are_covered(
    store: Store, uids: dict[int, list[str]]
) -> None:
    whole = max(uids, key=lambda one: len(uids[one]))
    (other,) = set(uids) - {whole}
    assert keep(store, uids[whole]) == {whole: len(uids[whole])}
    assert keep(store, [*uids[whole][:1], *uids[other]]) == {other: len(uids[other])}
    assert keep(store, [*uids[whole], "1.2.404"]) == {}
    assert store.study(1).one(whole).committed == len(uids[whole])


def test_the_same_request_is_one_until_it_is_answered_and_then_a_new_one(
    store: Store, uids: dict[int, list[str]]
) -> None:
    commitments = Commitments(store.journal)
    named = [uid for some in uids.values() for uid in some]
    keep(store, named)
    keep(store, named)
    (waiting,) = commitments.waiting()
    commitments.reported(waiting.id, NOW)
    commitments.given_up(waiting.id, NOW)  # too late
    assert count_commitments(store.journal) == {"waiting": 0, "reported": 1, "given_up": 0}
    keep(store, named)
    assert count_commitments(store.journal)["waiting"] == 1


def test_an_answer_that_was_not_taken_is_due_later(store: Store) -> None:
    commitments = Commitments(store.journal)
    keep(store, ["1.2.404"])
    keep(store, ["1.2.405"], "1.2.4")
    commitments.tried(commitments.waiting()[0].id, NOW + 60)
    assert unreported(store.journal, NOW + 1) == {"CT1": 2}
    assert unreported(store.journal, NOW) == {}
    assert [(one.tries, one.due) for one in commitments.waiting()] == [(0, NOW), (1, NOW + 60)]


def test_an_erased_study_is_named_by_no_request(
    store: Store, uids: dict[int, list[str]], tmp_path: Path
) -> None:
    named = uids[1]
    keep(store, named)
    keep(store, ["1.2.404"], "1.2.4")
    eraser(store).erase(order())
    commitments = Commitments(store.journal)
    left = commitments.read(commitments.waiting()[0].id)
    assert left is not None
    assert left.references == (Reference(CT, "1.2.404"),)
    with store.journal.reading() as read:
        rows = read.execute("SELECT named, transaction_uid FROM commitments ORDER BY id").fetchall()
    assert tuple(rows[0]) == ("[]", "")


def test_of_one_requester_so_many_requests_wait_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    commitments = Commitments(store.journal)
    references = [Reference(CT, "1.2.404")]
    keep(store, ["1.2.404"], "1.2.3")
    keep(store, ["1.2.404"], "1.2.4")
    keep(store, ["1.2.404"], "1.2.4")  # the same once more is no other
    with pytest.raises(TooMany, match="2 requests"):
        keep(store, ["1.2.404"], "1.2.5")
    commitments.keep("MR1", "1.2.5", references, NOW)
    assert count_commitments(store.journal)["waiting"] == 3
    commitments.reported(commitments.waiting()[0].id, NOW)
    keep(store, ["1.2.404"], "1.2.5")


def test_all_requests_that_wait_name_so_many_instances_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REFERENCES", 3)
    keep(store, ["1.2.404", "1.2.405"])
    with pytest.raises(TooMany, match="3 instances"):
        Commitments(store.journal).keep("MR1", "1.2.5", [Reference(CT, "1.2.404")] * 2, NOW)
    assert count_commitments(store.journal)["waiting"] == 1


def test_what_waits_is_listed_without_what_it_names(store: Store) -> None:
    commitments = Commitments(store.journal)
    keep(store, ["1.2.404"])
    (waiting,) = commitments.waiting()
    assert not hasattr(waiting, "references")
    read = commitments.read(waiting.id)
    assert read is not None
    assert (read.due, read.references) == (waiting.due, (Reference(CT, "1.2.404"),))
    commitments.reported(waiting.id, NOW)
    assert commitments.read(waiting.id) is None
