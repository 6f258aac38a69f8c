"""Procedure steps in the journal: what they say of studies, and that they go with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import arrival, open_store
from erasing import PIXELS, eraser, found, order, told_study, traces

from edge.store import steps as module
from edge.store.journal import StudyState
from edge.store.records import StoredSeries
from edge.store.steps import Change, Changed, Steps, StepState, TooManySteps
from edge.store.studies import Store

NOW = 1_800_000_000.0
STEP = "1.2.826.7"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one study that was decided and told of."""
    told_study(tmp_path)
    with open_store(tmp_path) as opened:
        yield opened


def ended(store: Store, state: StepState) -> tuple[int, ...]:
    """Have a step that names the first series end; return the studies to be told of anew."""
    series = store.study(1).series[0]
    steps = Steps(store.journal, store.fingerprint)
    steps.begin(STEP, "CT1", {}, NOW)
    named = {series.series_uid: [one.instance_uid for one in series.instances]}
    return steps.change(STEP, Change(state, series=named), NOW).reopened


def test_a_decided_study_whose_step_was_discontinued_is_told_of_anew(store: Store) -> None:
    assert ended(store, StepState.DISCONTINUED) == (1,)
    assert store.study(1).state is StudyState.RECEIVING
    assert store.unfinished() == (1,)


def test_a_decided_study_whose_step_was_completed_stays_decided(store: Store) -> None:
    assert ended(store, StepState.COMPLETED) == ()
    assert store.study(1).state is StudyState.DECIDED


def test_steps_of_a_month_ago_are_forgotten(store: Store) -> None:
    series = store.study(1).series[0].series_uid
    ended(store, StepState.COMPLETED)
    steps = Steps(store.journal, store.fingerprint)
    assert steps.begin("1.2.826.8", "CT1", {}, NOW + 29 * 86_400)
    assert steps.of_series(series) is not None
    assert steps.begin("1.2.826.9", "CT1", {}, NOW + 31 * 86_400)
    assert steps.of_series(series) is None
    assert steps.change(STEP, Change(), NOW).before is None


def test_an_erased_study_is_named_by_no_step(store: Store) -> None:
    series = store.study(1).series[0].series_uid
    ended(store, StepState.COMPLETED)
    eraser(store).erase(order())
    assert Steps(store.journal, store.fingerprint).of_series(series) is None
    with store.journal.reading() as read:
        (row,) = read.execute("SELECT uid FROM procedure_steps").fetchall()
    assert row["uid"] == "erased:1"


def kept_uids(store: Store) -> set[str]:
    """Return every UID that the journal has of steps."""
    with store.journal.reading() as read:
        steps = read.execute("SELECT uid FROM procedure_steps").fetchall()
        named = read.execute("SELECT series_uid FROM performed_series").fetchall()
    return {row["uid"] for row in steps} | {row["series_uid"] for row in named}


def test_what_a_step_names_after_the_erasure_of_its_study_is_not_kept(
    store: Store, tmp_path: Path
) -> None:
    wanted = traces(store)
    named = {one.series_uid: _images(one) for one in store.study(1).series}
    steps = Steps(store.journal, store.fingerprint)
    steps.begin(STEP, "CT1", {}, time.time())
    eraser(store).erase(order())
    eraser(store).tidy()  # the log still has what there was
    never_came = {"1.2.826.99": ["1.2.826.99.1"]}
    told = steps.change(
        STEP, Change(StepState.COMPLETED, series={**named, **never_came}), time.time()
    )
    assert told.before is None  # as of a step that is not known
    assert kept_uids(store) == {"erased:1"}
    steps.begin(f"{STEP}.2", "CT1", named, time.time())
    assert kept_uids(store) == {"erased:1", "erased:2"}
    assert found(tmp_path, wanted) == []


def test_what_never_came_of_an_erased_study_goes_with_it(store: Store) -> None:
    series = store.study(1).series[0]
    steps = Steps(store.journal, store.fingerprint)
    steps.begin(STEP, "CT1", {series.series_uid: _images(series), "1.2.826.99": []}, time.time())
    eraser(store).erase(order())
    assert kept_uids(store) == {"erased:1"}


def test_a_step_of_two_studies_goes_on_for_the_one_that_is_here(store: Store) -> None:
    other = store.keep(arrival(study="1.2.826.5"), PIXELS)
    steps = Steps(store.journal, store.fingerprint)
    steps.begin(STEP, "CT1", {}, time.time())
    named: dict[str, list[str]] = {store.study(1).series[0].series_uid: [], "1.2.826.5.1": []}
    eraser(store).erase(order())
    told = steps.change(STEP, Change(StepState.COMPLETED, series=named), time.time())
    assert told == Changed(StepState.IN_PROGRESS, ("1.2.826.5.1",))
    assert kept_uids(store) == {"erased:1", "1.2.826.5.1"}
    assert other.study_id == 2


def test_a_series_that_was_sent_again_after_its_erasure_is_spoken_of_again(store: Store) -> None:
    series = store.study(1).series[0]
    steps = Steps(store.journal, store.fingerprint)
    eraser(store).erase(order())
    store.keep(arrival(1, series=2), PIXELS)
    steps.begin(STEP, "CT1", {}, time.time())
    change = Change(StepState.COMPLETED, series={series.series_uid: _images(series)})
    assert steps.change(STEP, change, time.time()).series == (series.series_uid,)


def test_which_series_were_erased_is_forgotten_with_the_steps_of_that_time(store: Store) -> None:
    eraser(store).erase(order())
    steps = Steps(store.journal, store.fingerprint)

    def remembered() -> int:
        with store.journal.reading() as read:
            return int(read.execute("SELECT COUNT(*) FROM erased_series").fetchone()[0])

    assert remembered() == 2
    steps.begin(STEP, "CT1", {}, time.time() + 29 * 86_400)
    assert remembered() == 2
    steps.begin(f"{STEP}.2", "CT1", {}, time.time() + 31 * 86_400)
    assert remembered() == 0


def _images(series: StoredSeries) -> list[str]:
    return [one.instance_uid for one in series.instances]


def test_of_one_station_so_many_steps_are_kept_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_STEPS", 2)
    steps = Steps(store.journal, store.fingerprint)
    assert steps.begin("1.2.1", "CT1", {}, NOW)
    assert steps.begin("1.2.2", "CT1", {}, NOW)
    with pytest.raises(TooManySteps, match="2 steps"):
        steps.begin("1.2.3", "CT1", {}, NOW)
    assert not steps.begin("1.2.2", "CT1", {}, NOW)  # known, as before
    assert steps.begin("1.2.3", "MR1", {}, NOW)
    assert steps.begin("1.2.4", "CT1", {}, NOW + 31 * 86_400)  # the others are forgotten
