"""A study is erased between two things that are done with it, and never while one is."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from test_analysis_several import CHANGE, HEAD, PRIOR, TUMOUR

from edge.analysis.erasing import EraseAsked
from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.reading import Reading
from edge.store.erasure import Erased, Hindrance, Order
from edge.store.study_key import StudyKey

DONE = Erased(Order(1, "daemon", "keep_days = 30"))


def asked() -> EraseAsked:
    return EraseAsked(1, lambda: DONE)


def test_whoever_asks_is_told_what_came_of_it_in_the_other_thread() -> None:
    one = asked()
    threading.Thread(target=one.do).start()
    assert one.wait(lambda: True) is DONE
    one = asked()
    one.refuse(Hindrance.COMPARED)
    assert one.wait(lambda: True) is Hindrance.COMPARED


def test_an_error_of_the_journal_goes_to_whoever_asked() -> None:
    def full() -> Erased:
        raise sqlite3.OperationalError("database or disk is full")

    one = EraseAsked(1, full)
    one.do()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        one.wait(lambda: True)


def test_nobody_waits_for_an_analysis_that_has_stopped() -> None:
    assert asked().wait(lambda: False) is Hindrance.BUSY


def test_a_study_that_is_being_compared_with_an_earlier_one_holds_that() -> None:
    readings = (Reading(TUMOUR), Reading(CHANGE, PRIOR))
    series = SeriesInProgress(1, "1.2.3", HEAD, readings)
    study = StudyInProgress(1, "1.2", "P", {}, StudyKey.new(), 0.0, 0.0, None, series={1: series})
    assert study.compares_with(PRIOR.study)
    assert not study.compares_with(1)
    series.readings = (Reading(TUMOUR),)
    assert not study.compares_with(PRIOR.study)
