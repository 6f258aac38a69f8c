"""A study that was erased is gone: whole, from every file, at whatever moment the power went."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from arrivals import DEVICE_KEY, PSEUDONYM, STUDY, arrival, open_store
from erasing import PIXELS, eraser, found, order, tell, told_study, traces

from edge.audit import read_entries
from edge.store.erasure import (
    EMPTIED,
    KEPT,
    Erased,
    ErasureFacts,
    Erasures,
    Hindrance,
    hindrance,
)
from edge.store.feedback import FeedbackStore
from edge.store.heatmaps import heatmaps
from edge.store.journal import Journal, StudyState
from edge.store.lookup import (
    count_studies,
    find_identity,
    list_alerts,
    list_priors,
    list_series,
    list_studies,
    sealed_alert,
    studies_of,
)
from edge.store.outbox import NewAlert, Outbox
from edge.store.records import Kept
from edge.store.schema import MIGRATIONS
from edge.store.spool import read_record
from edge.store.studies import Store

TESTS = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one study that central has had all of."""
    told_study(tmp_path)
    with open_store(tmp_path) as opened:
        yield opened


# Whether a study may go


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (ErasureFacts(None), Hindrance.UNKNOWN),
        (ErasureFacts(StudyState.ERASED), Hindrance.ERASED),
        (ErasureFacts(StudyState.RECEIVING, instances=1), Hindrance.BUSY),
        (ErasureFacts(StudyState.RECEIVING), None),
        (ErasureFacts(StudyState.QUARANTINED, instances=1), None),
        (ErasureFacts(StudyState.DECIDED, undelivered=(7,)), Hindrance.UNDELIVERED),
        (ErasureFacts(StudyState.DECIDED, unsent=1), Hindrance.UNDELIVERED),
        (ErasureFacts(StudyState.DECIDED, pressing=True), Hindrance.UNACKNOWLEDGED),
    ],
)
def test_a_study_goes_when_it_is_decided_delivered_and_acknowledged(
    facts: ErasureFacts, why: Hindrance | None
) -> None:
    assert hindrance(facts, order()) is why


def test_whoever_says_so_erases_what_was_not_delivered_or_acknowledged() -> None:
    facts = ErasureFacts(StudyState.DECIDED, undelivered=(7,), unsent=1, pressing=True)
    assert hindrance(facts, order(undelivered=True, unacknowledged=True)) is None
    still = ErasureFacts(StudyState.RECEIVING, instances=1)
    assert hindrance(still, order(undelivered=True, unacknowledged=True)) is Hindrance.BUSY


# What goes, and what stays


def test_nothing_of_an_erased_study_is_in_any_file(tmp_path: Path) -> None:
    told_study(tmp_path)
    with open_store(tmp_path) as store:
        wanted = traces(store)
        assert found(tmp_path, wanted) == [name for name in wanted if name != "the key"]
        Erasures(store.journal).place([order()])
        assert eraser(store).carry_out() == 1
        assert found(tmp_path, wanted) == []
        assert list((tmp_path / "spool").iterdir()) == []


def test_every_table_of_the_journal_is_emptied_of_a_study_or_holds_nothing_of_it(
    store: Store,
) -> None:
    with store.journal.reading() as read:
        rows = read.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables = {row["name"] for row in rows if not row["name"].startswith("sqlite_")}
    assert tables == EMPTIED | KEPT


def test_it_is_shown_as_erased_with_who_when_and_why(store: Store) -> None:
    Erasures(store.journal).place([order()])
    eraser(store).carry_out()
    (line,) = list_studies(store.journal, DEVICE_KEY, 10)
    assert (line.state, line.told, line.pseudonym, line.instances) == ("erased", None, "", 0)
    assert line.erased is not None
    assert (line.erased.who, line.erased.reason) == ("cli:root", "request 2026-14")
    assert list_series(store.journal, DEVICE_KEY, 1) == []
    assert find_identity(store.journal, DEVICE_KEY, 1) == {}
    assert heatmaps(store.journal, DEVICE_KEY, 1) == ()
    assert count_studies(store.journal)["erased"] == 1
    with pytest.raises(LookupError, match="it was erased"):
        store.study(1)
    with pytest.raises(LookupError, match="it was erased"):
        FeedbackStore(store.journal, DEVICE_KEY).of_study(1)


def test_the_audit_says_who_and_why_in_the_same_transaction(store: Store) -> None:
    eraser(store).erase(order())
    (entry,) = read_entries(store.journal, 10)
    act = (entry.act.who, entry.act.what, entry.act.on, entry.act.outcome)
    assert act == ("cli:root", "study.erased", "study:1", "done: request 2026-14")


def test_counts_of_verdicts_and_scores_outlive_the_study(store: Store) -> None:
    words = FeedbackStore(store.journal, DEVICE_KEY)
    before = words.verdicts(), words.scores(10)
    eraser(store).erase(order())
    assert (words.verdicts(), words.scores(10)) == before
    assert before[0][0].number == 1


def test_alerts_keep_their_numbers_and_the_sequence_goes_on_without_a_gap(store: Store) -> None:
    eraser(store).erase(order())
    (line,) = list_alerts(store.journal, 10)
    assert (line.sequence, line.delivery, line.size) == (1, "settled", 0)
    assert sealed_alert(store.journal, 1) is None
    made = Outbox(store.journal).record_drill(lambda n: NewAlert(f"id-{n}", "drill", b"drill"))
    assert made == 2


def test_an_alert_that_central_has_not_had_is_withdrawn_when_somebody_says_so(
    tmp_path: Path,
) -> None:
    told_study(tmp_path, settled=False)
    with open_store(tmp_path) as store:
        outbox, words = Outbox(store.journal), FeedbackStore(store.journal, DEVICE_KEY)
        assert eraser(store).erase(order()) is Hindrance.UNDELIVERED
        assert len(outbox.pending(10, ())) == len(words.pending(10, ())) == 1
        done = eraser(store).erase(order(undelivered=True))
        assert isinstance(done, Erased)
        assert done.withdrawn == (1,)
        assert (outbox.pending(10, ()), words.pending(10, ())) == ([], [])
        assert list_alerts(store.journal, 1)[0].delivery == "lapsed"
        acts = [(entry.act.what, entry.act.on) for entry in read_entries(store.journal, 10)]
        assert ("alert.withdrawn", "alert:1 study:1") in acts


def test_an_order_that_is_refused_is_answered_and_audited_and_nothing_is_gone(
    store: Store,
) -> None:
    (number,) = Erasures(store.journal).place([order()])
    assert eraser(store, pressing=True).carry_out() == 0
    why = Erasures(store.journal).answers([number])[number]
    assert why is not None
    assert why.startswith("nobody acknowledged its flag")
    assert read_entries(store.journal, 1)[0].act.outcome == "refused: unacknowledged"
    assert Erasures(store.journal).waiting() == []
    assert store.study(1).pseudonym == PSEUDONYM


# The patient's other studies


def test_an_erased_study_is_nobodys_prior_and_has_none(store: Store) -> None:
    for study in (2, 3):
        store.keep(arrival(study=f"{STUDY}.{study}"), PIXELS)
        tell(store, study)
    assert len(store.priors(3)) == len(store.others(3)) == 2
    eraser(store).erase(order(1))
    assert [prior.study_uid for prior in store.priors(3)] == [f"{STUDY}.2"]
    assert [one.id for one in store.others(3)] == [2]
    assert [one.id for one in list_priors(store.journal, DEVICE_KEY, 3, 10)] == [2]
    eraser(store).erase(order(2))
    assert list_priors(store.journal, DEVICE_KEY, 1, 10) == []
    assert (store.priors(1), store.others(1)) == ((), ())
    assert studies_of(store.journal, PSEUDONYM) == [3]


# While images come


def test_a_study_that_is_sent_again_is_a_new_one_with_numbers_of_its_own(store: Store) -> None:
    before = store.study(1)
    eraser(store).erase(order())
    eraser(store).tidy()
    again = store.keep(arrival(1), PIXELS)
    assert (again.kept, again.study_id) == (Kept.NEW, 2)
    assert again.key.raw != before.key.raw
    known = {one.id for series in before.series for one in series.instances}
    assert again.series_id not in {series.id for series in before.series}
    assert again.instance.id not in known
    assert read_record(again.instance.record, again.key) == PIXELS


def test_an_image_that_is_being_sealed_while_its_study_goes_opens_with_the_new_key(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.study(1).key
    seal, gone = type(key).seal, threading.Event()

    def seal_after_it_went(self: object, data: bytes, place: bytes) -> bytes:
        if data == PIXELS[::-1] and not gone.is_set():
            gone.set()
            assert isinstance(eraser(store).erase(order()), Erased)
            eraser(store).tidy()
        return seal(self, data, place)  # type: ignore[arg-type]

    monkeypatch.setattr(type(key), "seal", seal_after_it_went)
    kept = store.keep(arrival(9), PIXELS[::-1])
    assert kept.study_id == 2
    assert read_record(kept.instance.record, kept.key) == PIXELS[::-1]
    assert kept.key.raw != key.raw


def test_the_segments_of_other_studies_stay_open_and_whole(store: Store) -> None:
    store.keep(arrival(1, study=f"{STUDY}.2"), PIXELS)
    eraser(store).erase(order())
    eraser(store).tidy()
    store.keep(arrival(2, study=f"{STUDY}.2"), PIXELS[::-1])
    study = store.study(2)
    stored = [read_record(one.record, study.key) for one in study.series[0].instances]
    assert stored == [PIXELS, PIXELS[::-1]]


# Power cuts


def test_killed_at_any_step_a_study_is_whole_or_gone_and_the_next_start_cleans_up(
    tmp_path: Path,
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    told_study(whole)
    with open_store(whole) as store:
        wanted = traces(store)
    subprocess.run([sys.executable, TESTS / "erasing.py", whole, out], check=True, timeout=120)
    steps = sorted(int(folder.name) for folder in out.iterdir())
    assert len(steps) > 20
    outcomes = [_after_restart(out / str(step), wanted) for step in steps]
    assert outcomes == sorted(outcomes), "whole until it is gone, and never whole again"
    assert set(outcomes) == {"decided", "erased"}


def _after_restart(folder: Path, wanted: dict[str, bytes]) -> str:
    """Start as the daemon does, look, and return the study's state."""
    with open_store(folder) as store:
        eraser(store).tidy()
        state = list_studies(store.journal, DEVICE_KEY, 1)[0].state
        if state == "erased":
            assert found(folder, wanted) == []
            assert len(read_entries(store.journal, 10)) == 1
            assert Erasures(store.journal).waiting() == []
            return state
        study = store.study(1)
        images = [one for series in study.series for one in series.instances]
        assert len(images) == 3
        assert all(read_record(one.record, study.key).startswith(PIXELS) for one in images)
        assert read_entries(store.journal, 10) == []
        assert eraser(store).carry_out() == 1, "the order stands"
    return state


# The journal of an earlier version


def test_a_journal_from_before_there_was_erasure_keeps_all_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_study(tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database:
        before = _content(database)
    old = tmp_path / "old.db"
    number = next(n for n, script in enumerate(MIGRATIONS) if "CREATE TABLE erasures" in script)
    with monkeypatch.context() as patched:
        patched.setattr("edge.store.journal.MIGRATIONS", MIGRATIONS[:number])
        Journal(old).close()
    with closing(sqlite3.connect(old)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("ATTACH ? AS new", (str(tmp_path / "journal.db"),))
        for table in before:
            there = database.execute(f"PRAGMA main.table_info({table})").fetchall()
            columns = ", ".join(column[1] for column in there)
            database.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"  # noqa: S608
            )
        database.commit()
    with closing(Journal(old)) as journal, journal.reading() as read:
        assert _content(read) == before
        assert read.execute("PRAGMA foreign_key_check").fetchall() == []
        assert read.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def _content(database: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of the tables that have any, but for those that came since."""
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables = [
        name for (name,) in names if not name.startswith(("sqlite_", "erasures", "device_key"))
    ]
    rows = {
        table: [tuple(row) for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608
        for table in sorted(tables)
    }
    return {table: found for table, found in rows.items() if found}
