"""Where slices lie, in which order, and whether one is missing."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.imaging.geometry import Placement, describe_stack, order, slice_position

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def tilted(degrees: float) -> tuple[float, ...]:
    angle = math.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, math.cos(angle), -math.sin(angle))


def test_an_axial_slice_lies_at_its_z() -> None:
    assert slice_position((-125.0, -110.0, 42.5), AXIAL) == 42.5


def test_a_sagittal_slice_lies_along_x() -> None:
    assert slice_position((12.0, 5.0, 7.0), SAGITTAL) == pytest.approx(-12.0)


def test_a_tilted_gantry_keeps_its_step_even() -> None:
    stack = [slice_position((0, 0, 5.0 * index), tilted(20)) for index in range(30)]
    described = describe_stack(stack)
    assert described.median_spacing_mm == pytest.approx(5 * math.cos(math.radians(20)))
    assert described.largest_gap_mm == 0


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        ((0, 0, math.nan), AXIAL),
        ((0, 0), AXIAL),
        ((0, 0, 0), (1, 0, 0, 1, 0, 0)),
        ((0, 0, 0), (math.inf, 0, 0, 0, 1, 0)),
    ],
)
def test_a_plane_that_is_none_is_refused(
    position: tuple[float, ...], orientation: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"position|orientation"):
        slice_position(position, orientation)


@given(st.permutations(range(20)))
def test_slices_are_ordered_by_position_whatever_their_numbers(arrival: list[int]) -> None:
    placements = [Placement(position_mm=2.5 * at, instance_number=100 - at) for at in arrival]
    assert [arrival[index] for index in order(placements)] == list(range(20))


def test_without_positions_the_instance_number_decides() -> None:
    placements = [Placement(None, 3), Placement(10.0, None), Placement(None, 1)]
    assert order(placements) == (2, 0, 1)


def test_slices_at_one_place_keep_their_numbers_order() -> None:
    assert order([Placement(1.0, 2), Placement(1.0, 1), Placement(0.0, 9)]) == (2, 1, 0)


@given(
    count=st.integers(4, 60),
    step=st.sampled_from([0.5, 0.625, 1.0, 2.5, 5.0, 7.5]),
    start=st.floats(-1000, 1000),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_missing_slice_is_a_gap_of_one_step(
    count: int, step: float, start: float, seed: int, data: st.DataObject
) -> None:
    stack = [start + step * index for index in range(count)]
    assert describe_stack(stack).largest_gap_mm == 0
    del stack[data.draw(st.integers(1, count - 2))]
    random.Random(seed).shuffle(stack)  # noqa: S311
    assert describe_stack(stack).largest_gap_mm == pytest.approx(step, rel=0.02)


@given(st.lists(st.floats(-0.02, 0.02), min_size=3, max_size=60))
def test_jitter_of_the_table_is_no_gap(jitter: list[float]) -> None:
    stack = [5.0 * index + off for index, off in enumerate(jitter)]
    assert describe_stack(stack).largest_gap_mm == 0


def head(*, skull_base: int = 12, above: int = 14, joint: float = 3.75) -> list[float]:
    lower = [2.5 * index for index in range(skull_base)]
    return lower + [lower[-1] + joint + 5.0 * index for index in range(above)]


@pytest.mark.parametrize("joint", [2.5, 3.75, 5.0])
def test_a_step_that_changes_on_the_way_is_even(joint: float) -> None:
    assert describe_stack(head(joint=joint)).largest_gap_mm == 0


@pytest.mark.parametrize(("missing", "gap"), [(5, 2.5), (18, 5.0)])
def test_a_missing_slice_shows_in_either_block(missing: int, gap: float) -> None:
    stack = head()
    del stack[missing]
    assert describe_stack(stack).largest_gap_mm == pytest.approx(gap)


def test_a_slice_missing_at_the_joint_shows() -> None:
    assert describe_stack(head(joint=8.75)).largest_gap_mm == pytest.approx(3.75)


@pytest.mark.parametrize("stack", [[0, 5, 15], [0, 5, 15, 25], [0, 10, 15], [0, 5, 15, 20, 30]])
def test_too_few_slices_to_know_leave_the_series_open(stack: list[float]) -> None:
    assert describe_stack(stack).largest_gap_mm > 0


def test_a_slice_sent_twice_is_counted_and_no_step() -> None:
    described = describe_stack([0.0, 5.0, 5.0, 10.0, 10.004])
    assert described.duplicates == 2
    assert described.count == 5
    assert described.median_spacing_mm == 5.0
    assert described.largest_gap_mm == 0


@pytest.mark.parametrize("stack", [[], [3.0], [3.0, 3.0]])
def test_a_stack_of_one_place_has_no_spacing(stack: list[float]) -> None:
    described = describe_stack(stack)
    assert (described.median_spacing_mm, described.largest_gap_mm) == (0.0, 0.0)


def test_a_slice_turned_against_the_others_is_noticed() -> None:
    assert describe_stack([0, 5], orientations=[AXIAL, tilted(0.2)]).orientation_consistent
    assert not describe_stack([0, 5], orientations=[AXIAL, tilted(20)]).orientation_consistent


def test_positions_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        describe_stack([0.0, math.nan])


@given(st.lists(st.floats(-2000, 2000), max_size=80))
def test_any_positions_make_a_stack(positions: list[float]) -> None:
    described = describe_stack(positions)
    assert described.largest_gap_mm >= 0
    assert 0 <= described.duplicates <= len(positions)
