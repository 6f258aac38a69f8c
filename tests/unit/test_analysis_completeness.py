"""A series is complete by evidence: what each kind is, and what makes it wait."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from arrivals import about

from edge.analysis.completeness import Evidence, SeriesFacts, judge
from edge.analysis.progress import SeriesInProgress
from edge.analysis.routing import SeriesAbout
from edge.store.records import StoredInstance
from edge.store.spool import Record

OPEN = SeriesFacts(
    received=40,
    announced=None,
    stacked=True,
    gap_mm=math.inf,
    performed=False,
    discontinued=False,
    committed=False,
    brought_together=40,
    sender_open=True,
    sender_orderly=False,
    reopened=0,
    quiet_s=1.0,
)
RELEASED = replace(OPEN, sender_open=False, sender_orderly=True, gap_mm=0.0)
ASKED = replace(OPEN, committed=True)
STEP = replace(OPEN, performed=True)
MPPS, STOPPED, COUNT, COMMITMENT, GEOMETRY, DONE, QUIET = (
    Evidence.MPPS_COMPLETED,
    Evidence.MPPS_DISCONTINUED,
    Evidence.COUNT_REACHED,
    Evidence.COMMITMENT_ASKED,
    Evidence.GEOMETRY_CLOSED,
    Evidence.SENDER_DONE,
    Evidence.QUIET,
)


@pytest.mark.parametrize(
    ("name", "facts", "evidence"),
    [
        ("while it is being sent", OPEN, None),
        ("every announced image", replace(OPEN, announced=40), COUNT),
        ("more than announced", replace(OPEN, announced=39), COUNT),
        ("one is still to come", replace(OPEN, announced=41), None),
        ("released, no slice missing", RELEASED, GEOMETRY),
        ("released, a slice missing", replace(RELEASED, gap_mm=5.0), None),
        ("released, announced more", replace(RELEASED, announced=41), None),
        ("the sender was cut off", replace(RELEASED, sender_orderly=False), None),
        ("another sender is open", replace(RELEASED, sender_open=True), None),
        ("one association per image", replace(RELEASED, brought_together=1), None),
        ("all that the step lists", STEP, MPPS),
        ("all that it lists, one slice", replace(STEP, received=1), MPPS),
        ("the step lists less than announced", replace(STEP, announced=41), MPPS),
        ("the step was discontinued", replace(STEP, discontinued=True), STOPPED),
        ("discontinued, and more to come", replace(OPEN, discontinued=True), None),
        ("more came than the step lists", replace(STEP, reopened=1), None),
        ("commitment was asked for all", ASKED, COMMITMENT),
        ("asked, images announced", replace(ASKED, announced=41), None),
        ("asked after the first slice", replace(ASKED, received=1), None),
        ("asked, a radiograph", replace(ASKED, received=1, stacked=False), COMMITMENT),
        ("asked, then more came before", replace(ASKED, reopened=1), None),
        ("asked, and the count is reached", replace(ASKED, announced=40), COUNT),
        ("it was reopened", replace(RELEASED, reopened=1), None),
        ("no stack, released", replace(RELEASED, stacked=False, gap_mm=math.inf), DONE),
        ("no stack, cut off", replace(RELEASED, stacked=False, sender_orderly=False), None),
        ("no stack, announced more", replace(RELEASED, stacked=False, announced=41), None),
        ("no stack, reopened", replace(RELEASED, stacked=False, reopened=1), None),
        ("no stack, one image", replace(RELEASED, stacked=False, brought_together=1), DONE),
        ("silence", replace(RELEASED, gap_mm=5.0, quiet_s=30.0), QUIET),
        ("silence, but short", replace(RELEASED, gap_mm=5.0, quiet_s=29.9), None),
        ("silence, an image announced", replace(RELEASED, announced=41, quiet_s=30.0), QUIET),
        ("silence, reopened", replace(RELEASED, reopened=1, quiet_s=30.0), QUIET),
        ("silence, reopened again", replace(RELEASED, reopened=2, quiet_s=59.9), None),
        ("twice the silence then", replace(RELEASED, reopened=2, quiet_s=60.0), QUIET),
        ("silence that was wrong often", replace(RELEASED, reopened=9, quiet_s=239.9), None),
        ("no more than eight times", replace(RELEASED, reopened=9, quiet_s=240.0), QUIET),
        ("silence on an open line", replace(OPEN, quiet_s=3600.0), None),
        ("the count is stronger", replace(RELEASED, announced=40, quiet_s=99.0), COUNT),
        ("the geometry is stronger", replace(RELEASED, quiet_s=99.0), GEOMETRY),
    ],
)
def test_what_closes_a_series(name: str, facts: SeriesFacts, evidence: Evidence | None) -> None:
    assert judge(facts, last_resort_s=30) is evidence, name


# What is known of a series, from what came


def series() -> SeriesInProgress:
    return SeriesInProgress(1, "1.2.3", SeriesAbout.from_json(about()))


def slice_at(
    number: int,
    position_mm: float | None = None,
    *,
    announced: int | None = None,
    acquisition: int | None = None,
    conflict: bool = False,
    set_aside: str | None = None,
) -> StoredInstance:
    """Return an instance as the store tells of it, 5 mm from the one before."""
    return StoredInstance(
        id=number,
        instance_uid=f"1.2.3.{number}",
        record=Record(path=None, place=b"", offset=0, length=0),  # type: ignore[arg-type]
        conflict=conflict,
        set_aside=set_aside,
        position_mm=5.0 * number if position_mm is None else position_mm,
        announced=announced,
        acquisition=acquisition,
        received=0.0,
    )


def radiograph(number: int, **changes: object) -> StoredInstance:
    return replace(slice_at(number), position_mm=None, **changes)  # type: ignore[arg-type]


def send(
    to: SeriesInProgress, *instances: StoredInstance, sender: int = 1, orderly: bool = True
) -> None:
    """Have one association bring instances and end."""
    for instance in instances:
        to.add(instance)
        to.brought_by(sender)
    to.sender_gone(sender, orderly=orderly)


def closed_by(one: SeriesInProgress, *, after_s: float = 0.0) -> Evidence | None:
    return judge(one.facts(one.latest + after_s), last_resort_s=30)


def test_a_stack_sent_at_once_is_complete_when_the_sender_releases() -> None:
    one = series()
    for number in range(10):
        one.add(slice_at(number))
        one.brought_by(1)
    assert closed_by(one) is None
    one.sender_gone(1, orderly=True)
    assert closed_by(one) is GEOMETRY


def test_slices_may_come_in_any_order() -> None:
    one = series()
    send(one, *(slice_at(number) for number in (3, 1, 4, 0, 2)))
    assert closed_by(one) is GEOMETRY


def test_a_missing_slice_keeps_the_series_open_until_the_last_resort() -> None:
    one = series()
    send(one, *(slice_at(number) for number in range(10) if number != 4))
    assert closed_by(one, after_s=29) is None
    assert closed_by(one, after_s=30) is QUIET


def test_a_sender_with_an_association_for_every_image_is_not_taken_for_done() -> None:
    one = series()
    for number in range(5):
        send(one, slice_at(number), sender=number)
        assert closed_by(one) is None
    assert closed_by(one, after_s=30) is QUIET


def test_two_senders_of_one_series_must_both_be_done() -> None:
    one = series()
    for number in range(6):
        one.add(slice_at(number))
        one.brought_by(number % 2)
    one.sender_gone(0, orderly=True)
    assert closed_by(one) is None
    one.sender_gone(1, orderly=True)
    assert closed_by(one) is GEOMETRY


def test_a_sender_of_another_series_does_not_count() -> None:
    one = series()
    send(one, slice_at(0), slice_at(1), orderly=False)
    one.sender_gone(99, orderly=True)
    assert closed_by(one) is None


def test_a_sender_that_was_cut_off_and_comes_back_with_the_rest_completes_the_series() -> None:
    one = series()
    send(one, *(slice_at(number) for number in range(5)), orderly=False)
    assert closed_by(one) is None
    send(one, *(slice_at(number) for number in range(5, 10)), sender=2)
    assert closed_by(one) is GEOMETRY


def test_the_announced_number_closes_a_series_before_the_sender_releases() -> None:
    one = series()
    for number in range(4):
        assert closed_by(one) is None
        one.add(slice_at(number, announced=4, acquisition=1))
        one.brought_by(1)
    assert closed_by(one) is COUNT


def test_the_numbers_of_several_acquisitions_are_added() -> None:
    one = series()
    for number in range(4):
        one.add(slice_at(number, announced=4, acquisition=1))
    one.add(slice_at(4, announced=4, acquisition=2))
    assert closed_by(one) is None
    for number in range(5, 8):
        one.add(slice_at(number, announced=4, acquisition=2))
    assert closed_by(one) is COUNT


def test_the_number_of_the_whole_series_counts_for_more_than_that_of_acquisitions() -> None:
    one = series()
    one.add(slice_at(0, announced=1, acquisition=1))
    one.add(slice_at(1, announced=3))
    assert closed_by(one) is None
    one.add(slice_at(2, announced=3))
    assert closed_by(one) is COUNT


def test_a_scanner_whose_every_slice_is_an_acquisition_announces_nothing() -> None:
    one = series()
    for number in range(4):
        one.add(slice_at(number, announced=1, acquisition=number))
        one.brought_by(1)
        assert closed_by(one) is None
    one.sender_gone(1, orderly=True)
    assert closed_by(one) is GEOMETRY


def test_an_acquisition_count_that_was_wrong_once_is_not_believed_again() -> None:
    one = series()
    one.add(slice_at(0, announced=2, acquisition=1))
    one.add(slice_at(1, announced=2, acquisition=1))
    assert closed_by(one) is COUNT
    one.reopened += 1
    one.add(slice_at(2, announced=2, acquisition=2))
    one.add(slice_at(3, announced=2, acquisition=2))
    assert closed_by(one) is None
    assert closed_by(one, after_s=30) is QUIET


def test_an_image_sent_twice_with_other_content_does_not_stand_for_a_missing_one() -> None:
    one = series()
    for number in range(3):
        one.add(slice_at(number, announced=4))
    one.add(replace(slice_at(9, announced=4), conflict=True))
    assert closed_by(one) is None


def test_a_series_of_radiographs_is_complete_when_the_sender_releases() -> None:
    one = series()
    send(one, radiograph(1), radiograph(2))
    assert closed_by(one) is DONE


def test_a_series_of_localizers_alone_is_complete_when_the_sender_releases() -> None:
    one = series()
    send(one, slice_at(1, set_aside="a localizer"))
    assert closed_by(one) is DONE


def test_a_localizer_among_slices_is_no_gap() -> None:
    one = series()
    far = slice_at(99, 4000.0, set_aside="a localizer")
    send(one, far, slice_at(1), slice_at(2), slice_at(3))
    assert closed_by(one) is GEOMETRY


def test_a_series_that_was_read_from_the_disk_waits_for_its_count_or_for_silence() -> None:
    one = series()
    for number in range(5):
        one.add(slice_at(number))
    assert closed_by(one) is None
    assert closed_by(one, after_s=30) is QUIET
