"""What is left out, and what is given up, when the worker dies on a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import arrival, open_store

from edge.analysis.deaths import LEFT_OUT, is_given_up
from edge.analysis.examiner import Examiner
from edge.analysis.models import Models
from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.volume_desk import VolumeDesk
from edge.analysis.worker_link import WorkerLink
from edge.store.records import Deaths
from edge.store.studies import Store
from engines import load_package, shipped_packages

PACKAGE = load_package(shipped_packages() / "head-ct-hemorrhage")


@pytest.mark.parametrize(
    ("deaths", "given_up"),
    [
        (Deaths(at_the_image=1, at_an_end=0, altogether=1), False),
        (Deaths(at_the_image=2, at_an_end=0, altogether=5), False),
        (Deaths(at_the_image=0, at_an_end=1, altogether=3), False),
        (Deaths(at_the_image=0, at_an_end=2, altogether=2), True),
        (Deaths(at_the_image=2, at_an_end=0, altogether=6), True),
        (Deaths(at_the_image=1, at_an_end=1, altogether=6), True),
    ],
)
def test_a_study_is_given_up_at_two_ends_or_after_three_images(
    deaths: Deaths, given_up: bool
) -> None:
    assert is_given_up(deaths) is given_up


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        for number in (1, 2, 3):
            opened.keep(arrival(number), bytes(100))
        yield opened


def asked(store: Store) -> tuple[SeriesInProgress, int]:
    """Take the study up as after a restart; return its series, and how much the worker is asked."""
    link = WorkerLink(lambda _: None, slice_timeout_s=1, load_timeout_s=1)
    desk = VolumeDesk(lambda _: None, timeout_s=1)
    examiner = Examiner(store, Models([PACKAGE], 1), link, desk)
    stored = store.study(1)
    study = StudyInProgress.of(stored, None)
    series = SeriesInProgress.of(stored.series[0])
    examiner.route(study, series)
    for instance in stored.series[0].instances:
        series.add(instance)
        examiner.look(study, series, instance)
    return series, link.waiting


def test_an_image_that_ended_the_worker_twice_is_asked_about_no_more(store: Store) -> None:
    store.worker_died(1, 2)
    series, requests = asked(store)
    assert (requests, series.left_out) == (3, set()), "once may have been anything else"
    store.worker_died(1, 2)
    series, requests = asked(store)
    assert (requests, series.left_out) == (2, {2})
    assert series.readings[0].unreadable == {2: LEFT_OUT}


def test_where_every_image_was_left_out_nothing_was_analysed_and_the_reason_is_said(
    store: Store,
) -> None:
    for image in (1, 1, 2, 2, 3, 3):
        store.worker_died(1, image)
    series, requests = asked(store)
    assert requests == 0
    (reading,) = series.readings
    reading.finished = True
    assert reading.result(3).reason == f"no image could be read: {LEFT_OUT}"
