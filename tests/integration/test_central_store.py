"""What central keeps: each alert once, in SQLite and PostgreSQL, by one process or several."""

from __future__ import annotations

import gc
import random
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from delivery_parts import make_central, make_device

from tools.central.database import Database, DatabaseError, open_database
from tools.central.own_keys import OwnKeys
from tools.central.receipts import ReceiptDesk
from tools.central.records import Record, Standing
from tools.central.store import AlertStore, DeviceState, StoreError
from tools.central.trust import TrustWatch
from tools.postgres import LocalPostgres


def record(
    sequence: int, *, kid: str = "key", second: int = 0, body: str = "", **changes: object
) -> Record:
    moment = f"2026-03-01T09:{second // 60:02d}:{second % 60:02d}.000Z"
    alert_id = f"0190f5c0-7b1a-7c3e-8f00-{sequence:012d}"
    one = Record(
        received=moment,
        device="ct-1",
        site="north",
        sequence=sequence,
        kid=kid,
        lineage=kid,
        created=moment,
        alert_id=alert_id,
        urgency="urgent",
        digest=f"{kid} {sequence} {second} {body}",
        body="{}",
    )
    return replace(one, **changes)  # type: ignore[arg-type]


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with closing(open_database(place)) as one:
        yield one


@pytest.fixture
def store(database: Database) -> AlertStore:
    return AlertStore(database)


def standings(store: AlertStore, *records: Record) -> list[Standing]:
    return [one.standing for one in store.keep(records)]


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with database.transaction() as read:
        return [tuple(row) for row in read.run(sql)]


def test_a_repeat_is_dropped_and_a_gap_is_counted_until_it_closes(store: AlertStore) -> None:
    kept = store.keep([record(number) for number in (1, 2, 5, 2, 5)])
    assert [one.standing for one in kept] == [Standing.NEW] * 3 + [Standing.REPEAT] * 2
    assert kept[-1].missing == 2
    assert store.keep([record(3)])[0].missing == 1
    assert store.keep([record(4)])[0].missing == 0
    assert store.count() == 5


def test_repeats_are_known_after_a_restart(place: str) -> None:
    for batch, new in (((1, 2, 4), 3), ((4, 3, 2), 1), ((1, 2, 3, 4), 0)):
        with closing(open_database(place)) as database:
            said = standings(AlertStore(database), *map(record, batch))
        assert said.count(Standing.NEW) == new


def test_each_alert_has_a_receipt_and_a_repeat_has_one_that_says_so(
    store: AlertStore, database: Database
) -> None:
    store.keep([record(1, second=5)])
    store.keep([record(1, second=5)])
    store.keep([replace(record(1, second=5), received="2026-03-01T10:00:00.000Z")])
    said = rows(database, "SELECT sequence, status, stored FROM receipts ORDER BY id")
    first = "2026-03-01T09:00:05.000Z"
    assert said == [(1, "stored", first), (1, "repeated", first), (1, "repeated", first)]


def test_receipts_are_numbered_on_when_all_before_them_have_left(
    store: AlertStore, database: Database, tmp_path: Path
) -> None:
    """A desk remembers how far it has come: a number that is given twice would never leave."""
    keys = make_central(tmp_path / "central")
    device = make_device(tmp_path / "device", keys)
    desk = ReceiptDesk(database, store.owner, OwnKeys(keys.folder, keys.keys))
    trust = TrustWatch(keys.folder).current
    for number in (1, 2, 3):
        store.keep([record(number, kid=device.keys.signing.kid, digest="d" * 43)])
        (parcel,) = desk.parcels(10, trust)
        desk.sent(parcel.rows)
    assert desk.parcels(10, trust) == []
    assert rows(database, "SELECT * FROM receipts") == []


def test_whoever_is_to_be_told_waits_in_the_same_transaction(database: Database) -> None:
    AlertStore(database, targets=("webhook", "fhir")).keep([record(1), record(1), record(2)])
    waiting = rows(database, "SELECT target, COUNT(*) FROM hand_ons GROUP BY target ORDER BY 1")
    assert waiting == [("fhir", 2), ("webhook", 2)]


def test_nothing_of_a_batch_is_kept_when_a_part_of_it_cannot_be(
    store: AlertStore, database: Database
) -> None:
    with database.transaction() as write:
        write.run("DROP TABLE receipts")
    with pytest.raises(StoreError):
        store.keep([record(1), record(2)])
    assert store.count() == 0
    assert rows(database, "SELECT * FROM counts") == []


def test_a_device_that_is_set_up_anew_counts_anew(store: AlertStore) -> None:
    assert standings(store, record(1), record(2)) == [Standing.NEW] * 2
    assert standings(store, record(1, kid="another")) == [Standing.NEW]


def test_a_device_that_replaced_its_keys_counts_on(store: AlertStore) -> None:
    store.keep([record(1), record(2, second=2)])
    store.succeed("key", "second")
    store.succeed("second", "third")
    (kept,) = store.keep([record(5, kid="third", second=5)])
    assert (kept.standing, kept.missing) == (Standing.NEW, 2)
    said = standings(store, record(3, kid="second", second=3), record(2, second=2))
    assert said == [Standing.NEW, Standing.REPEAT]


def test_a_device_that_lost_its_journal_is_not_taken_for_its_own_repeats(
    store: AlertStore,
) -> None:
    store.keep([record(number, second=number) for number in range(1, 6)])
    assert standings(store, record(3, second=60)) == [Standing.RESTARTED]  # urgent: it came first
    assert standings(store, record(1, second=58), record(2, second=59)) == [Standing.NEW] * 2
    repeats = [record(3, second=60), record(1, second=58), record(4, second=4)]
    assert standings(store, *repeats) == [Standing.REPEAT] * 3
    (last,) = store.keep([record(4, second=61)])
    assert (last.standing, last.missing) == (Standing.NEW, 0)


def test_a_journal_put_back_from_a_backup_loses_no_alert(store: AlertStore) -> None:
    """The same numbers over other bodies, with a clock that went back as well."""
    store.keep([record(number, second=number) for number in range(1, 6)])
    again = [record(number, second=1, body="other") for number in (3, 4, 5)]
    assert Standing.REPEAT not in standings(store, *again)
    assert store.count() == 8
    assert standings(store, *again) == [Standing.REPEAT] * 3


def test_what_was_kept_live_is_known_after_a_restart_whatever_the_order(place: str) -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    alerts = [record(rng.randint(1, 30), second=rng.randint(0, 500)) for _ in range(200)]
    with closing(open_database(place)) as database:
        store = AlertStore(database)
        for start in range(0, len(alerts), 10):
            store.keep(alerts[start : start + 10])
        assert store.count() == len({one.digest for one in alerts})
    with closing(open_database(place)) as database:
        assert set(standings(AlertStore(database), *alerts)) == {Standing.REPEAT}


def test_processes_that_receive_the_same_alerts_keep_each_once(place: str) -> None:
    """Four at once, each with every alert of 20 devices, in an order of its own."""
    alerts = [
        record(number, kid=f"key-{device}", device=f"ct-{device}")
        for device in range(20)
        for number in range(1, 11)
    ]
    failed: list[Exception] = []

    def receive(seed: int) -> None:
        mine = random.Random(seed).sample(alerts, len(alerts))  # noqa: S311 - no secret
        try:
            with closing(open_database(place)) as database:
                store = AlertStore(database, owner=f"central-{seed}")
                for start in range(0, len(mine), 16):
                    store.keep(mine[start : start + 16])
        except (StoreError, DatabaseError) as error:
            failed.append(error)

    with closing(open_database(place)) as database:
        threads = [threading.Thread(target=receive, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert AlertStore(database).count() == len(alerts)
        held = rows(database, "SELECT DISTINCT lowest, highest, held, gap_since FROM counts")
        assert held == [(1, 10, 10, None)]
        ((receipts,),) = rows(database, "SELECT COUNT(*) FROM receipts")
        assert receipts == 4 * len(alerts)


def test_what_a_device_says_of_itself_is_kept(store: AlertStore, database: Database) -> None:
    moment = "2026-03-01T09:30:00.000Z"
    store.note_state(DeviceState("north", "ct-1", True, moment, 3), moment)
    later = "2026-03-01T09:40:00.000Z"
    store.note_state(DeviceState("north", "ct-1", False, later, None), later)
    said = rows(database, "SELECT online, since, backlog, heard FROM devices")
    assert said == [(0, later, None, moment)]  # a will is the broker's word, not the device's


def test_two_processes_that_start_at_once_make_the_tables_once(place: str) -> None:
    opened: list[Database] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_database(place))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for one in opened:
        one.close()


def test_a_database_of_a_later_version_is_refused(place: str, database: Database) -> None:
    with database.transaction() as write:
        write.run("INSERT INTO scanside_schema VALUES (99)")
    with pytest.raises(DatabaseError, match="schema 99"):
        open_database(place)


# pg8000 leaves the line to a server that went away to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
def test_a_server_that_went_away_is_found_again(postgres: LocalPostgres) -> None:
    with closing(open_database(postgres.database("gone"))) as database:
        store = AlertStore(database)
        store.keep([record(1)])
        postgres.halt()
        with pytest.raises(StoreError):
            store.keep([record(2)])
        postgres.start_again()
        assert standings(store, record(1), record(2)) == [Standing.REPEAT, Standing.NEW]
    gc.collect()  # here, where it is known why


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "alerts.db"
    open_database(str(file)).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(DatabaseError, match=f"chmod 600 {file}"):
        open_database(str(file))


def test_a_file_that_is_no_database_and_a_folder_that_is_absent_are_named(tmp_path: Path) -> None:
    file = tmp_path / "alerts.db"
    file.write_bytes(b"no database, but long enough to have been one" * 100)
    file.chmod(0o600)
    with pytest.raises(DatabaseError, match=str(file)):
        open_database(str(file))
    with pytest.raises(DatabaseError, match=r"absent.+cannot be opened"):
        open_database(str(tmp_path / "absent" / "alerts.db"))


def test_a_full_disk_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "alerts.db"
    with closing(open_database(str(file))) as database:
        store = AlertStore(database)
        store.keep([record(1)])
        with database.transaction() as write:
            write.run(f"PRAGMA max_page_count = {_pages(file)}")
        with pytest.raises(StoreError, match="full"):
            store.keep([record(number, body="x" * 200) for number in range(2, 500)])
        assert store.count() == 1


def _pages(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        (count,) = connection.execute("PRAGMA page_count").fetchone()
    return int(count) + 2
