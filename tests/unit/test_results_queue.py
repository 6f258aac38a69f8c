"""What is to be sent is kept with the decision, sealed, in order, and waits for the PACS alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import arrival, open_store
from clock import Clock
from findings import finding, series
from reporting import DEVICE, NAMES, report, sources
from reporting import said as said_in

from edge.config import Results
from edge.results.desk import Content, ContentError, Desk, wanted
from edge.results.pacs import Fate, meaning_of
from edge.results.structured_report import structured_report
from edge.store import documents as module
from edge.store.documents import (
    RESEND_S,
    SWITCHED_OFF,
    Documents,
    DocumentState,
    Kind,
    resend_after_s,
)
from edge.store.erasure import Erased, Hindrance, Order
from edge.store.journal import StudyState
from edge.store.records import Receipt
from edge.store.studies import Store

SETTINGS = Results(host="pacs", enabled=True)
FLAGGED, CALM = report(series(finding(0.9))), report(series(finding(0.1)))
UNSEEN = report(series(reason="no model for this kind of study"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> Receipt:
    return store.keep(arrival(), b"bytes")


@pytest.fixture
def documents(store: Store) -> Documents:
    return Documents(store.journal)


@pytest.fixture
def desk(documents: Documents) -> Desk:
    return Desk(documents, DEVICE, SETTINGS)


def contents(documents: Documents, study: Receipt, kind: Kind = Kind.REPORT) -> list[Content]:
    queued = documents.about(study.study_id, study.key, kind)
    return [Content.from_json(one) for one in queued.opened]


def test_a_flag_calls_for_a_report_and_key_images_and_both_say_the_same(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    (first,) = contents(documents, study)
    (second,) = contents(documents, study, Kind.KEY_IMAGES)
    assert first.report == second.report == FLAGGED
    assert first.device == DEVICE
    assert first.names.instance_uid != second.names.instance_uid
    assert first.names.series_uid != second.names.series_uid
    assert [one.kind for one in documents.latest(9)] == [Kind.KEY_IMAGES, Kind.REPORT]


@pytest.mark.parametrize(
    ("what", "changes", "replaces", "kinds"),
    [
        (FLAGGED, {}, False, (Kind.REPORT, Kind.KEY_IMAGES)),
        (FLAGGED, {"key_images": False}, False, (Kind.REPORT,)),
        (CALM, {}, False, (Kind.REPORT,)),
        (UNSEEN, {}, False, ()),
        (UNSEEN, {"not_analysed": True}, False, (Kind.REPORT,)),
        (UNSEEN, {}, True, (Kind.REPORT,)),
    ],
)
def test_what_is_sent_of_a_study(
    what: object, changes: dict[str, bool], replaces: bool, kinds: tuple[Kind, ...]
) -> None:
    settings = SETTINGS.model_copy(update=changes)
    assert wanted(what, settings, replaces=replaces) == kinds  # type: ignore[arg-type]


def test_a_report_that_replaces_another_names_the_last_in_the_same_series(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    for what, replaces in ((CALM, False), (FLAGGED, True), (CALM, True)):
        desk.keep(study.study_id, study.key, what, replaces=replaces)
    first, second, third = contents(documents, study)
    assert first.predecessor is None
    assert second.predecessor is not None
    assert third.predecessor is not None
    assert second.predecessor.instance_uid == first.names.instance_uid
    assert third.predecessor.instance_uid == second.names.instance_uid
    assert len({one.names.series_uid for one in (first, second, third)}) == 1
    assert [one.names.number for one in (first, second, third)] == [1, 2, 3]


def test_what_says_nothing_new_is_not_sent_again(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    """A PACS may forward our own report to us: a series more, and nothing more to say."""
    looked = series(finding(0.9))
    back = replace(
        series(reason="no images to look at"), modality="SR", is_image=False, series_uid="2.25.1"
    )
    for parts in ((looked,), (looked, back), (looked, replace(back, instances=41))):
        desk.keep(study.study_id, study.key, report(*parts), replaces=True)
    assert len(documents.latest(9)) == 2
    # A figure that changed makes a report, and no second selection of the same image.
    desk.keep(study.study_id, study.key, report(series(finding(0.8))), replaces=True)
    assert documents.latest(1)[0].kind is Kind.REPORT
    assert len(documents.latest(9)) == 3


def test_a_report_beside_an_earlier_one_that_stands_names_none(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    desk.keep(study.study_id, study.key, CALM, replaces=False)
    assert [one.predecessor for one in contents(documents, study)] == [None, None]


def test_what_an_object_says_is_in_the_journal_under_the_study_key_alone(
    desk: Desk, study: Receipt, store: Store, tmp_path: Path
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    journal = b"".join(file.read_bytes() for file in tmp_path.glob("journal.db*"))
    for text in (b"hemorrhage", b"2.25.", b"head-ct"):
        assert text not in journal.lower()


def test_objects_are_lost_with_a_decision_that_was_not_kept(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    def decide() -> None:
        with store.journal.transaction():
            desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        decide()
    assert documents.latest(9) == []


def test_objects_of_one_study_keep_their_order_and_those_of_others_pass(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    other = store.keep(arrival(study="1.2.826.0.1.3680043.10.78"), b"others")
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    desk.keep(other.study_id, other.key, CALM, replaces=False)
    first = documents.next()
    assert first is not None
    assert (first.id, first.kind) == (1, Kind.REPORT)
    documents.failed(1, "0xA700")
    passing = documents.next()
    assert passing is not None
    assert passing.study_id == other.study_id
    documents.stored(passing.id, "")
    assert documents.next() is None  # the key images wait behind their report
    documents.refused(1, "0xC000")
    after = documents.next()
    assert after is not None
    assert after.kind is Kind.KEY_IMAGES


def test_an_object_that_failed_waits_longer_each_time_and_up_to_an_hour(
    desk: Desk, documents: Documents, study: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [resend_after_s(n) for n in (1, 2, 3, 99)] == [5.0, 10.0, 20.0, RESEND_S[1]]
    desk.keep(study.study_id, study.key, CALM, replaces=False)
    clock = Clock()
    clock.now = time.time()
    monkeypatch.setattr(module, "time", clock)
    for pause in (5.0, 10.0):
        documents.failed(1, "0xA700: the PACS is out of resources")
        clock.now += pause - 0.5
        assert documents.next() is None
        clock.now += 1.0
        assert documents.next() is not None


def test_what_was_refused_or_stored_is_sent_again_when_somebody_asks(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    documents.refused(1, "0xC000")
    documents.stored(2, "")
    assert documents.given_up() == [1]
    assert documents.standing().counts == {"waiting": 0, "stored": 1, "refused": 1}
    assert documents.ask_again([1, 2, 77]) == [1, 2]
    assert documents.standing().counts == {"waiting": 2, "stored": 0, "refused": 0}
    line = documents.find(1)
    assert line is not None
    assert (line.state, line.attempts) == (DocumentState.WAITING, 0)


def test_a_clock_that_was_put_back_lets_nothing_wait_longer_than_an_hour(
    desk: Desk, documents: Documents, study: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.keep(study.study_id, study.key, CALM, replaces=False)
    clock = Clock()
    clock.now = time.time()
    monkeypatch.setattr(module, "time", clock)
    clock.now -= 100_000.0
    documents.catch_up()
    clock.now += RESEND_S[1] + 1.0
    assert documents.next() is not None


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0x0000, Fate.STORED),
        (0xB000, Fate.STORED),
        (0xB007, Fate.STORED),
        (0x0111, Fate.STORED),  # an object that it had already is what was wanted
        (0xA700, Fate.LATER),
        (0x0110, Fate.LATER),
        (0x0106, Fate.LATER),
        (0x0122, Fate.NEVER),
        (0x0124, Fate.NEVER),
        (0xA900, Fate.NEVER),
        (0xC000, Fate.NEVER),
    ],
)
def test_what_an_answer_of_the_pacs_means(status: int, fate: Fate) -> None:
    assert meaning_of(status).fate is fate


def test_an_erased_study_leaves_nothing_but_that_there_was_an_object(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    order = Order(study.study_id, "cli:root", "request 7", undelivered=True)
    store.study_state(study.study_id, StudyState.DECIDED, 1)
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    documents.stored(1, "")
    hindered = store.erase(replace(order, undelivered=False), lambda _: None, pressing=False)
    assert hindered is Hindrance.UNFILED
    assert isinstance(store.erase(order, lambda _: None, pressing=False), Erased)
    assert [one.state for one in documents.latest(9)] == [
        DocumentState.ERASED,
        DocumentState.STORED,
    ]
    assert documents.standing().counts == {"waiting": 0, "stored": 1, "refused": 0}
    assert documents.latest(1)[0].answer == "erased before it was sent"
    assert documents.opened(1, study.key) is None
    assert documents.ask_again([1, 2]) == []


def test_what_was_sent_once_and_is_erased_before_it_is_sent_again_says_so(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    store.study_state(study.study_id, StudyState.DECIDED, 1)
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    documents.stored(1, "")
    assert documents.ask_again([1]) == [1]
    order = Order(study.study_id, "cli:root", "request 7", undelivered=True)
    assert isinstance(store.erase(order, lambda _: None, pressing=False), Erased)
    key_images, sent = documents.latest(9)
    assert sent.state is DocumentState.STORED, "the PACS has it still"
    assert sent.answer == "sent once; erased before it was sent again"
    assert (key_images.state, key_images.answer) == (
        DocumentState.ERASED,
        "erased before it was sent",
    )


def test_where_nothing_is_sent_any_more_nothing_waits(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    documents.give_up(SWITCHED_OFF)
    assert documents.standing().counts == {"waiting": 0, "stored": 0, "refused": 2}
    assert documents.ask_again([1]) == [1]


def test_what_another_version_queued_is_replaced_and_not_compared(
    desk: Desk, documents: Documents, study: Receipt
) -> None:
    desk.keep(study.study_id, study.key, CALM, replaces=False)
    (about,) = documents.about(study.study_id, study.key, Kind.REPORT).opened
    with pytest.raises(ContentError, match="another version of Scanside"):
        Content.from_json({**about, "schema": 2})
    documents.add(study.study_id, study.key, Kind.REPORT, {**about, "schema": 2, "report": {}})
    desk.keep(study.study_id, study.key, CALM, replaces=True)
    queued = documents.about(study.study_id, study.key, Kind.REPORT)
    last = Content.from_json(queued.opened[-1])
    assert last.predecessor is not None
    assert last.predecessor.instance_uid == about["names"]["instance_uid"]


def test_an_object_that_does_not_open_any_more_holds_up_nothing(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    with store.journal.transaction() as write:
        write.execute("UPDATE documents SET about = randomblob(60)")
    assert contents(documents, study) == []
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    assert [one.report for one in contents(documents, study)] == [FLAGGED]


def test_a_report_says_that_it_replaces_one_that_is_damaged_and_the_next_names_it(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    for what, replaces in ((CALM, False), (FLAGGED, True)):
        desk.keep(study.study_id, study.key, what, replaces=replaces)
    documents.stored(2, "")
    with store.journal.transaction() as write:
        write.execute("UPDATE documents SET about = randomblob(60) WHERE id = 2")
    for what in (CALM, FLAGGED, FLAGGED):
        desk.keep(study.study_id, study.key, what, replaces=True)
    first, second, third = contents(documents, study)
    assert second.predecessor is not None
    assert second.predecessor.instance_uid == first.names.instance_uid
    (said,) = second.unnamed
    assert said.startswith("Report 2 on the appliance, made 20")
    assert "is in the PACS and cannot be named here" in said
    assert third.predecessor is not None
    assert third.predecessor.instance_uid == second.names.instance_uid
    assert third.unnamed == ()
    assert [one.names.number for one in (first, second, third)] == [1, 3, 4]
    made = structured_report(second.report, NAMES, DEVICE, sources(), None, second.unnamed)
    assert said_in(made, "Reservation") == [said]


def test_the_only_report_of_a_study_can_be_damaged_and_is_replaced_all_the_same(
    desk: Desk, documents: Documents, study: Receipt, store: Store
) -> None:
    desk.keep(study.study_id, study.key, FLAGGED, replaces=False)
    with store.journal.transaction() as write:
        write.execute("UPDATE documents SET about = randomblob(60), had = 1 WHERE id = 1")
    desk.keep(study.study_id, study.key, UNSEEN, replaces=True)
    (only,) = contents(documents, study)
    assert (only.predecessor, len(only.unnamed), only.names.number) == (None, 1, 2)
