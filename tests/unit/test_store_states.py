"""Where a study stands survives a crash, and no acknowledged image is left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import STUDY, arrival, open_store

from edge.store.journal import StudyState
from edge.store.records import Deaths, Kept
from edge.store.spool import read_record
from edge.store.studies import Store

CLEAR = b"DICM and pixels that nobody may see" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with open_store(folder) as opened:
        yield opened


# After a crash


def test_what_a_crash_left_behind_the_last_record_is_written_over(folder: Path) -> None:
    with open_store(folder) as store:
        first = store.keep(arrival(1), CLEAR)
    with first.instance.record.path.open("ab") as segment:
        segment.write(b"half a record that nobody was told of" * 100)
    with open_store(folder) as store:
        second = store.keep(arrival(2), CLEAR[::-1])
        assert second.instance.record.offset == first.instance.record.length
        kept = [read_record(one.instance.record, one.key) for one in (first, second)]
        assert kept == [CLEAR, CLEAR[::-1]]


def test_a_store_that_was_not_closed_has_everything_it_acknowledged(folder: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from arrivals import *\n"
        "with open_store(Path(sys.argv[1])) as store:\n"
        "    for n in range(5): store.keep(arrival(n), bytes([n]) * 1000)\n"
        "    store.series_closed(1, 'count', 5)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    here = Path(__file__).parent.parent
    crashed = subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=False, cwd=here, timeout=60
    )
    assert crashed.returncode == -9
    with open_store(folder) as store:
        assert store.unfinished() == (1,)
        study = store.study(1)
        series = study.series[0]
        assert series.evidence == "count"
        stored = [read_record(one.record, study.key) for one in series.instances]
        assert stored == [bytes([n]) * 1000 for n in range(5)]


def test_a_study_whose_first_image_never_reached_the_disk_is_nothing_to_take_up(
    folder: Path,
) -> None:
    with open_store(folder) as store:
        store.keep(arrival(study=f"{STUDY}.1"), CLEAR)
        store.keep(arrival(study=f"{STUDY}.2"), CLEAR)
        with store.journal.transaction() as write:  # as if the power had gone before the record
            write.execute("DELETE FROM instances WHERE series_id = 1")
    with open_store(folder) as store:
        assert store.unfinished() == (2,)
        assert store.keep(arrival(study=f"{STUDY}.1"), CLEAR).kept is Kept.NEW
        assert store.unfinished() == (1, 2)


# The state machine


def test_a_new_study_is_receiving_and_unfinished(store: Store) -> None:
    store.keep(arrival(), CLEAR)
    assert store.study(1).state is StudyState.RECEIVING
    assert store.unfinished() == (1,)


@pytest.mark.parametrize(
    ("state", "unfinished"),
    [
        (StudyState.RECEIVING, (1,)),
        (StudyState.DECIDED, ()),
        (StudyState.QUARANTINED, ()),
    ],
)
def test_a_restart_takes_up_what_was_neither_decided_nor_quarantined(
    folder: Path, state: StudyState, unfinished: tuple[int, ...]
) -> None:
    with open_store(folder) as store:
        store.keep(arrival(), CLEAR)
        store.study_state(1, state, 1)
    with open_store(folder) as store:
        assert store.unfinished() == unfinished


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (StudyState.RECEIVING, StudyState.RECEIVING),
        (StudyState.DECIDED, StudyState.RECEIVING),
        (StudyState.QUARANTINED, StudyState.QUARANTINED),
    ],
)
def test_an_image_that_comes_later_opens_a_study_again_unless_it_is_quarantined(
    store: Store, state: StudyState, after: StudyState
) -> None:
    store.keep(arrival(1), CLEAR)
    store.study_state(1, state, 1)
    store.keep(arrival(2), CLEAR)
    assert store.study(1).state is after


def test_an_image_that_came_while_the_study_was_decided_leaves_it_unfinished(store: Store) -> None:
    store.keep(arrival(1), CLEAR)
    store.keep(arrival(2), CLEAR)  # acknowledged, but the decision did not know of it
    store.series_closed(1, "count", 1)
    store.study_state(1, StudyState.DECIDED, 1)
    assert store.unfinished() == (1,)
    assert store.study(1).series[0].evidence is None
    store.study_state(1, StudyState.DECIDED, 2)
    assert store.unfinished() == ()


def test_a_series_that_was_closed_and_receives_again_is_reopened(store: Store) -> None:
    store.keep(arrival(1), CLEAR)
    store.series_closed(1, "geometry", 1)
    store.keep(arrival(2), CLEAR)
    store.keep(arrival(3), CLEAR)
    series = store.study(1).series[0]
    assert (series.evidence, series.reopened) == (None, 1)


def test_the_workers_deaths_are_counted_over_restarts(folder: Path) -> None:
    with open_store(folder) as store:
        store.keep(arrival(1), CLEAR)
        store.keep(arrival(2), CLEAR)
        assert store.worker_died(1, 2) == Deaths(1, 0, 1)
    with open_store(folder) as store:
        assert store.worker_died(1, None) == Deaths(0, 1, 2)
        assert store.worker_died(1, 2) == Deaths(2, 1, 3)
        assert store.worker_died(1, 1) == Deaths(1, 1, 4)
        assert [one.deaths for one in store.study(1).series[0].instances] == [1, 2]
