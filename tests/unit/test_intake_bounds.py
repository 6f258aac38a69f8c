"""What all senders together may hold in memory, and what the store is told of an instance."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from builders import ct_slice, radiograph

from edge.imaging.header import Limits, read_header
from edge.intake.arrival import arrival_of
from edge.intake.bounds import InboundBudget, OverLimit
from edge.store.records import Arrival


def test_an_instance_that_has_begun_may_grow_to_the_whole_budget_and_no_further() -> None:
    budget = InboundBudget(100)
    budget.take(60)
    budget.take(40)
    with pytest.raises(OverLimit, match="inbound_mb"):
        budget.take(1)
    assert budget.held == 100


def test_a_new_instance_waits_while_more_than_half_is_taken() -> None:
    budget = InboundBudget(100)
    budget.take(50)
    assert budget.wait_for_room(0)
    budget.take(1)
    assert not budget.wait_for_room(0)


def test_who_waits_goes_on_as_soon_as_there_is_room() -> None:
    budget = InboundBudget(100)
    budget.take(51)
    went_on: list[bool] = []
    waiting = threading.Thread(target=lambda: went_on.append(budget.wait_for_room(30)))
    waiting.start()
    budget.give_back(1)
    waiting.join(10)
    assert went_on == [True]


def test_what_was_refused_is_not_counted() -> None:
    budget = InboundBudget(10)
    with pytest.raises(OverLimit):
        budget.take(11)
    assert budget.held == 0


# From a header to the store


def arrived(data: bytes) -> Arrival:
    header, identity = read_header(data, limits=Limits())
    return arrival_of(header, identity, lambda issuer, patient: f"{issuer}/{patient}", 1.0, 2.0)


def test_the_store_is_told_who_and_what_and_when() -> None:
    told = arrived(ct_slice(number=3, position_mm=15.0, IssuerOfPatientID="HOSP"))
    assert told.pseudonym == "HOSP/TEST-1"
    assert told.identity["name"] == "Nobody^Test"
    assert (told.first_byte, told.last_byte) == (1.0, 2.0)
    assert (told.set_aside, told.position_mm) == (None, 15.0)
    assert told.about["modality"] == "CT"
    assert told.about["descriptions"] == ["Head without contrast", "5 mm brain"]


def test_the_number_of_the_series_counts_before_that_of_the_acquisition() -> None:
    both = arrived(
        ct_slice(NumberOfSeriesRelatedInstances=40, ImagesInAcquisition=20, AcquisitionNumber=2)
    )
    assert (both.announced, both.acquisition) == (40, None)
    acquisition = arrived(ct_slice(ImagesInAcquisition=20, AcquisitionNumber=2))
    assert (acquisition.announced, acquisition.acquisition) == (20, 2)
    neither = arrived(ct_slice())
    assert (neither.announced, neither.acquisition) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    ],
)
def test_a_slice_that_does_not_say_where_it_is_has_no_position(change: dict[str, Any]) -> None:
    assert arrived(ct_slice(**change)).position_mm is None


def test_an_image_of_many_frames_is_a_stack_of_its_own() -> None:
    assert arrived(ct_slice(stored=np.zeros((3, 8, 8), np.uint16))).position_mm is None


def test_a_localizer_is_set_aside_with_words_that_name_nobody() -> None:
    told = arrived(ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert told.set_aside == "It is a localizer, taken to plan the scan."


def test_a_radiograph_has_no_place_in_a_stack() -> None:
    assert arrived(radiograph()).position_mm is None
