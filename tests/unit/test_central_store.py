"""The file of received alerts: each once, none lost, whatever the power does."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.central.seen import Ranges, Seen, Standing
from tools.central.store import AlertStore, Record, StoreError


def record(sequence: int, *, kid: str = "key", second: int = 0) -> Record:
    moment = f"2026-03-01T09:{second // 60:02d}:{second % 60:02d}.000Z"
    return Record(moment, "ct-1", "north", sequence, kid, moment, {"finding": "x" * 100})


def write(file: Path, *sequences: int) -> None:
    store = AlertStore(file)
    for sequence in sequences:
        store.add(record(sequence))
    store.commit()
    store.close()


@given(st.lists(st.integers(1, 60), unique=True))
def test_ranges_hold_what_was_added_in_any_order(numbers: list[int]) -> None:
    ranges = Ranges()
    for number in numbers:
        assert number not in ranges
        ranges.add(number)
    assert [number for number in range(62) if number in ranges] == sorted(numbers)
    missing = max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0
    assert ranges.missing() == missing
    assert len(ranges.starts) <= missing + 1


def test_a_hundred_thousand_alerts_without_a_gap_are_one_range() -> None:
    ranges = Ranges()
    for number in range(100_000):
        ranges.add(number)
    assert (ranges.starts, ranges.ends) == ([0], [99_999])


def test_a_repeat_is_dropped_and_a_gap_is_counted() -> None:
    seen = Seen()
    standings = [seen.note("key", number, "t1") for number in (1, 2, 5, 2, 5)]
    assert standings == [Standing.NEW] * 3 + [Standing.REPEAT] * 2
    assert seen.missing("key") == 2
    assert seen.note("key", 3, "t1") is Standing.NEW
    assert seen.missing("key") == 1


def test_a_device_with_a_new_key_counts_anew() -> None:
    seen = Seen()
    seen.note("old", 1, "t1")
    assert seen.note("new", 1, "t2") is Standing.NEW


def test_a_device_that_lost_its_journal_is_not_taken_for_its_own_repeats() -> None:
    seen = Seen()
    for number in range(1, 6):
        seen.note("key", number, f"t{number}")
    assert seen.note("key", 3, "t8") is Standing.RESTARTED  # urgent, so it came first
    assert seen.note("key", 1, "t6") is Standing.NEW
    assert seen.note("key", 2, "t7") is Standing.NEW
    assert seen.note("key", 3, "t8") is Standing.REPEAT
    assert seen.note("key", 1, "t6") is Standing.REPEAT
    assert seen.note("key", 4, "t4") is Standing.REPEAT  # of the first run
    assert seen.note("key", 4, "t9") is Standing.NEW
    assert seen.missing("key") == 0


def test_the_file_is_its_owners_alone_and_one_process_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    store = AlertStore(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(StoreError, match="in use"):
        AlertStore(file)
    store.close()
    AlertStore(file).close()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    file.touch(0o644)
    with pytest.raises(StoreError, match=f"chmod 600 {file}"):
        AlertStore(file)


def test_repeats_are_known_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    write(file, 1, 2, 4)
    write(file, 4, 3, 2)
    store = AlertStore(file)
    assert store.records == 4
    assert store.seen.missing("key") == 0
    assert [store.add(record(number)) for number in (1, 2, 3, 4)] == [Standing.REPEAT] * 4
    store.close()


def test_a_repeat_within_one_batch_is_written_once(tmp_path: Path) -> None:
    write(tmp_path / "alerts.jsonl", 1, 1, 1)
    assert (tmp_path / "alerts.jsonl").read_bytes().count(b"\n") == 1


def test_a_line_torn_at_any_byte_is_cut_off_and_comes_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    write(whole, 1, 2, 3)
    lines = whole.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines[2])):
        file = tmp_path / "torn.jsonl"
        file.write_bytes(lines[0] + lines[1] + lines[2][:cut])
        file.chmod(0o600)
        store = AlertStore(file)
        assert (store.records, store.torn_bytes) == (2, cut)
        assert store.add(record(3)) is Standing.NEW
        store.commit()
        store.close()
        assert file.read_bytes() == b"".join(lines)
        file.unlink()


def test_blocks_of_zeros_at_the_end_are_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    write(file, 1)
    good = file.read_bytes()
    file.write_bytes(good + bytes(4096) + b"\n" + bytes(100))
    store = AlertStore(file)
    assert (store.records, store.torn_bytes) == (1, 4197)
    store.close()
    assert file.read_bytes() == good


def test_damage_in_the_middle_is_a_persons_to_decide(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    write(file, 1, 2, 3)
    lines = file.read_bytes().splitlines(keepends=True)
    damaged = lines[0] + b"{}\n" + lines[2]
    file.write_bytes(damaged)
    with pytest.raises(StoreError, match="line 2"):
        AlertStore(file)
    assert file.read_bytes() == damaged


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_leaves_the_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    write(file, 1)
    good = file.read_bytes()
    store = AlertStore(file)
    full = os.open("/dev/full", os.O_WRONLY)
    own = os.dup(store._stream.fileno())
    os.dup2(full, store._stream.fileno())  # from here on the disk is full
    store.add(record(2))
    with pytest.raises(StoreError, match="No space left"):
        store.commit()
    store.close()
    os.close(full)
    os.close(own)
    assert file.read_bytes() == good


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent.+cannot be opened"):
        AlertStore(tmp_path / "absent" / "alerts.jsonl")


def test_the_index_is_the_same_read_back_as_it_was_live(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    rng = random.Random(7)  # noqa: S311 - no secret
    store = AlertStore(file)
    alerts = [record(rng.randint(1, 30), second=rng.randint(0, 500)) for _ in range(300)]
    kept = [one for one in alerts if store.add(one) is not Standing.REPEAT]
    store.commit()
    store.close()
    again = AlertStore(file)
    assert again.records == len(kept)
    assert all(again.add(one) is Standing.REPEAT for one in kept)
    again.close()
