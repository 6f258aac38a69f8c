"""The store keeps what it acknowledged, once, and in no form that a thief could read."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import DEVICE_KEY, NAME, STUDY, about, arrival, open_store

from edge.store import spool, studies
from edge.store.claim import FolderTaken
from edge.store.journal import Journal, StudyState
from edge.store.records import Kept, Receipt
from edge.store.spool import OutOfSpace, read_record
from edge.store.studies import Store
from edge.store.study_key import SealBroken

CLEAR = b"DICM and pixels that nobody may see" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with open_store(folder) as opened:
        yield opened


def bytes_of(receipt: Receipt) -> bytes:
    return read_record(receipt.instance.record, receipt.key)


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


# What is kept


def test_an_instance_comes_back_as_it_came(store: Store) -> None:
    receipt = store.keep(arrival(), CLEAR)
    assert receipt.kept is Kept.NEW
    assert bytes_of(receipt) == CLEAR


def test_a_study_is_read_back_with_its_series_and_instances_in_order(store: Store) -> None:
    for series, instance in [(1, 2), (1, 1), (2, 1)]:
        store.keep(arrival(instance, series=series, announced=7, acquisition=3), CLEAR)
    study = store.study(1)
    assert study.study_uid == STUDY
    assert study.identity["name"] == NAME
    assert study.state is StudyState.RECEIVING
    assert [one.series_uid for one in study.series] == [f"{STUDY}.1", f"{STUDY}.2"]
    first = study.series[0]
    assert [one.instance_uid for one in first.instances] == [f"{STUDY}.1.2", f"{STUDY}.1.1"]
    assert first.about == about()
    assert (first.instances[0].position_mm, first.instances[0].announced) == (10.0, 7)
    assert first.instances[0].acquisition == 3
    assert read_record(first.instances[1].record, study.key) == CLEAR


def test_the_first_and_the_last_byte_are_of_the_whole_study(store: Store) -> None:
    store.keep(arrival(1, at=100.0), CLEAR)
    store.keep(arrival(2, at=200.0), CLEAR)
    study = store.study(1)
    assert (study.first_byte, study.last_byte) == (100.0, 200.5)


def test_the_same_instance_sent_twice_is_stored_once(store: Store, folder: Path) -> None:
    first = store.keep(arrival(), CLEAR)
    size = len(everything_on_disk(folder / "spool"))
    again = store.keep(arrival(at=500.0), CLEAR)
    assert again.kept is Kept.REPEATED
    assert again.instance == first.instance
    assert bytes_of(again) == CLEAR
    assert len(store.study(1).series[0].instances) == 1
    assert len(everything_on_disk(folder / "spool")) == size


def test_a_repeat_does_not_reopen_what_was_decided(store: Store) -> None:
    store.keep(arrival(), CLEAR)
    store.series_closed(1, "count", 1)
    store.study_state(1, StudyState.DECIDED, 1)
    store.keep(arrival(), CLEAR)
    study = store.study(1)
    assert study.state is StudyState.DECIDED
    assert (study.series[0].evidence, study.series[0].reopened) == ("count", 0)


def test_the_same_uid_with_other_bytes_is_kept_beside_the_first_and_flagged(store: Store) -> None:
    first = store.keep(arrival(), CLEAR)
    other = store.keep(arrival(), CLEAR[::-1])
    assert other.kept is Kept.CONFLICT
    assert [one.conflict for one in store.study(1).series[0].instances] == [False, True]
    assert bytes_of(first) == CLEAR
    assert bytes_of(other) == CLEAR[::-1]
    assert store.keep(arrival(), CLEAR[::-1]).kept is Kept.REPEATED


def test_a_localizer_that_comes_first_does_not_say_what_the_series_is(store: Store) -> None:
    scout = arrival(1, set_aside="a localizer", about=about("ABDOMEN"))
    store.keep(scout, CLEAR)
    assert store.study(1).series[0].about == about("ABDOMEN")
    store.keep(arrival(2), CLEAR)
    store.keep(arrival(3, about=about("CHEST")), CLEAR)
    assert store.study(1).series[0].about == about("HEAD")


# Nothing in clear


def test_nothing_on_the_disk_tells_who_the_patient_is_or_what_was_sent(folder: Path) -> None:
    with open_store(folder) as store:
        for instance in range(5):
            store.keep(arrival(instance), CLEAR + bytes([instance]))
        running = everything_on_disk(folder)  # the write-ahead log is still there
        assert (folder / "journal.db-wal").stat().st_size > 0
    for disk in (running, everything_on_disk(folder)):
        for secret in (b"DICM", b"Nobody", b"SECRET", b"19640501", b"Confidential", b"HEAD"):
            assert secret not in disk
        assert DEVICE_KEY not in disk


def test_no_file_name_holds_a_uid(store: Store, folder: Path) -> None:
    store.keep(arrival(), CLEAR)
    names = [file.name for file in folder.rglob("*")]
    assert not any("1.2.826" in name for name in names)


def test_only_the_owner_may_look_into_the_folder(store: Store, folder: Path) -> None:
    store.keep(arrival(), CLEAR)
    folders = [folder, folder / "spool", *(folder / "spool").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in folders} == {0o700}
    segments = [*folder.glob("spool/*/*.segment"), folder / "journal.db"]
    assert {file.stat().st_mode & 0o777 for file in segments} == {0o600}


def test_a_study_does_not_show_its_patient_when_it_is_printed(store: Store) -> None:
    store.keep(arrival(), CLEAR)
    printed = repr(store.study(1))
    assert NAME not in printed
    assert store.study(1).key.raw.hex() not in printed


def test_every_study_has_a_key_of_its_own(store: Store) -> None:
    receipts = [store.keep(arrival(study=f"{STUDY}.{n}"), CLEAR) for n in (1, 2)]
    assert receipts[0].key.raw != receipts[1].key.raw
    with pytest.raises(SealBroken):
        read_record(receipts[0].instance.record, receipts[1].key)


# Damage


def test_records_that_were_exchanged_do_not_open(store: Store) -> None:
    one, two = (store.keep(arrival(n), CLEAR + bytes([n])) for n in (1, 2))
    moved = replace(one.instance.record, offset=two.instance.record.offset)
    with pytest.raises(SealBroken):
        read_record(moved, one.key)


@pytest.mark.parametrize("at", [0, 12, 200, -1])
def test_a_record_with_one_changed_bit_does_not_open(store: Store, at: int) -> None:
    receipt = store.keep(arrival(), CLEAR)
    file = receipt.instance.record.path
    sealed = bytearray(file.read_bytes())
    sealed[at] ^= 1
    file.write_bytes(sealed)
    with pytest.raises(SealBroken, match="damaged"):
        bytes_of(receipt)


def test_a_segment_that_was_cut_short_does_not_open(store: Store) -> None:
    receipt = store.keep(arrival(), CLEAR)
    file = receipt.instance.record.path
    for length in (len(CLEAR), 5, 0):
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(SealBroken):
            bytes_of(receipt)


def test_the_key_of_another_device_is_told_as_what_it_is(folder: Path) -> None:
    with open_store(folder) as store:
        store.keep(arrival(), CLEAR)
    with (
        pytest.raises(SealBroken, match=r"Check \[storage\] folder and keys"),
        open_store(folder, device_key=bytes(32)),
    ):
        pass


# The disk


def test_below_the_reserve_nothing_is_kept_and_the_journal_still_writes(folder: Path) -> None:
    with open_store(folder, reserve_bytes=1 << 60) as store:
        with pytest.raises(OutOfSpace, match="reserve_mb"):
            store.keep(arrival(), CLEAR)
        assert not store.room_for(1)
        assert [*folder.glob("spool/*")] == []
        with store.journal.reading() as read:
            assert read.execute("SELECT COUNT(*) FROM studies").fetchone()[0] == 0
        with store.journal.transaction() as write:
            write.execute("PRAGMA user_version")


def test_a_journal_that_cannot_be_written_keeps_nothing_and_goes_on_later(store: Store) -> None:
    store.keep(arrival(1), CLEAR)
    with store.journal.reading() as read:
        (pages,) = read.execute("PRAGMA page_count").fetchone()
        read.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own full disk
    with pytest.raises(OutOfSpace, match="journal cannot be written: database or disk is full"):
        keep_many(store)
    kept = len(store.study(1).series[0].instances)
    with store.journal.reading() as read:
        read.execute("PRAGMA max_page_count = 100000")
    receipt = store.keep(arrival(1000), CLEAR)
    assert bytes_of(receipt) == CLEAR
    study = store.study(1)
    assert len(study.series[0].instances) == kept + 1
    assert {read_record(one.record, study.key) for one in study.series[0].instances} == {CLEAR}


def keep_many(store: Store) -> None:
    for instance in range(2, 1000):
        store.keep(arrival(instance), CLEAR)


TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from arrivals import *
from edge.store.spool import OutOfSpace, read_record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open_store(Path(sys.argv[1])) as store:
    first = store.keep(arrival(1), b"a" * 300_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    try:
        store.keep(arrival(2), b"b" * 300_000)
    except OutOfSpace as error:
        print(error)
    print(first.instance.record.path.stat().st_size == first.instance.record.length)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    third = store.keep(arrival(3), b"c" * 300_000)
    for receipt in (first, third):
        print(read_record(receipt.instance.record, receipt.key)[:1])
    print(len(store.study(1).series[0].instances))
"""


def test_a_record_that_could_only_be_half_written_is_given_back(folder: Path) -> None:
    here = Path(__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, str(folder)],
        check=True,
        cwd=here,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.splitlines() == [
        "The spool cannot be written: File too large.",
        "True",
        "b'a'",
        "b'c'",
        "2",
    ]


# Many at once


@pytest.mark.parametrize("known", [256, 1])
def test_many_senders_at_once_all_find_their_images_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(studies, "_KNOWN_SERIES", known)
    work = [(study, instance) for instance in range(12) for study in range(6)]
    begin = threading.Barrier(8)

    def send(part: int) -> None:
        begin.wait()
        for study, instance in work[part::8]:
            store.keep(arrival(instance, study=f"{STUDY}.{study}"), content(study, instance))

    with ThreadPoolExecutor(8) as senders:
        list(senders.map(send, range(8)))
    assert len(store.unfinished()) == 6
    for study_id in store.unfinished():
        study = store.study(study_id)
        number = int(study.study_uid.rpartition(".")[2])
        found = {
            one.instance_uid: read_record(one.record, study.key)
            for one in study.series[0].instances
        }
        assert found == {
            f"{STUDY}.{number}.1.{instance}": content(number, instance) for instance in range(12)
        }


def content(study: int, instance: int) -> bytes:
    return bytes([study, instance]) * (1000 + 100 * instance)


def test_more_series_at_once_than_segments_may_be_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_OPEN_SEGMENTS", 2)
    receipts = [
        store.keep(arrival(instance, series=series), content(series, instance))
        for instance in range(2)
        for series in range(4)
    ]
    assert [bytes_of(one)[:2] for one in receipts] == [
        bytes([series, instance]) for instance in range(2) for series in range(4)
    ]


def test_the_same_instance_from_two_senders_at_once_is_stored_once(store: Store) -> None:
    with ThreadPoolExecutor(4) as senders:
        kept = list(senders.map(lambda _: store.keep(arrival(), CLEAR).kept, range(8)))
    assert sorted(one.value for one in kept) == ["new"] + ["repeated"] * 7


# Others


def test_the_journal_can_be_read_while_it_is_written(store: Store, folder: Path) -> None:
    store.keep(arrival(1), CLEAR)
    onlooker = Journal(folder / "journal.db", read_only=True)

    def count() -> int:
        with onlooker.reading() as read:
            return int(read.execute("SELECT COUNT(*) FROM instances").fetchone()[0])

    assert count() == 1
    with store.journal.transaction() as write:
        write.execute("DELETE FROM instances")
        assert count() == 1
    assert count() == 0
    with pytest.raises(sqlite3.OperationalError), onlooker.reading() as read:
        read.execute("DELETE FROM studies")
    onlooker.close()


def test_two_daemons_do_not_share_a_folder(store: Store, folder: Path) -> None:
    with pytest.raises(FolderTaken, match="only one `scanside run` may"), open_store(folder):
        pass
