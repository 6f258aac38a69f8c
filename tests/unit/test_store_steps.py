"""Procedure steps in the journal: what they say of studies, and that they go with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import open_store
from erasing import eraser, order, told_study

from edge.store import steps as module
from edge.store.journal import StudyState
from edge.store.steps import Change, Steps, StepState, TooManySteps
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
    steps = Steps(store.journal)
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
    steps = Steps(store.journal)
    assert steps.begin("1.2.826.8", "CT1", {}, NOW + 29 * 86_400)
    assert steps.of_series(series) is not None
    assert steps.begin("1.2.826.9", "CT1", {}, NOW + 31 * 86_400)
    assert steps.of_series(series) is None
    assert steps.change(STEP, Change(), NOW).before is None


def test_an_erased_study_is_named_by_no_step(store: Store) -> None:
    series = store.study(1).series[0].series_uid
    ended(store, StepState.COMPLETED)
    eraser(store).erase(order())
    assert Steps(store.journal).of_series(series) is None
    with store.journal.reading() as read:
        (row,) = read.execute("SELECT uid FROM procedure_steps").fetchall()
    assert row["uid"] == "erased:1"


def test_of_one_station_so_many_steps_are_kept_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_STEPS", 2)
    steps = Steps(store.journal)
    assert steps.begin("1.2.1", "CT1", {}, NOW)
    assert steps.begin("1.2.2", "CT1", {}, NOW)
    with pytest.raises(TooManySteps, match="2 steps"):
        steps.begin("1.2.3", "CT1", {}, NOW)
    assert not steps.begin("1.2.2", "CT1", {}, NOW)  # known, as before
    assert steps.begin("1.2.3", "MR1", {}, NOW)
    assert steps.begin("1.2.4", "CT1", {}, NOW + 31 * 86_400)  # the others are forgotten
