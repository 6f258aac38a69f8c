"""A slice is looked at once its neighbours are there; at the end, order of arrival is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.analysis.stack import SliceStack, Window

STEP_MM = 5.0


def look_at_all_ready(stack: SliceStack) -> list[Window]:
    ready = stack.ready()
    for window in ready:
        stack.looked_at(window)
    return ready


def run(order: list[int], neighbours: int, *, spacing: float = STEP_MM) -> dict[int, Window]:
    """Look at slices as they come; return the last window that was looked at for each."""
    stack = SliceStack(neighbours)
    looked: dict[int, Window] = {}
    for slice_id in order:
        stack.add(slice_id, slice_id * spacing)
        looked |= {window.centre: window for window in look_at_all_ready(stack)}
    for window in stack.remaining():
        stack.looked_at(window)
        looked[window.centre] = window
    assert stack.remaining() == []
    return looked


@given(
    order=st.integers(0, 14).flatmap(lambda count: st.permutations(range(count))),
    neighbours=st.integers(0, 3),
)
def test_what_was_looked_at_in_the_end_does_not_depend_on_the_order_of_arrival(
    order: list[int], neighbours: int
) -> None:
    assert run(order, neighbours) == run(sorted(order), neighbours)


@given(
    positions=st.lists(st.floats(-2000, 2000), unique=True, max_size=12),
    data=st.data(),
    neighbours=st.integers(0, 2),
)
def test_nor_does_it_when_the_slices_are_unevenly_spaced(
    positions: list[float], data: st.DataObject, neighbours: int
) -> None:
    def windows(order: list[float]) -> set[Window]:
        stack = SliceStack(neighbours)
        looked: dict[int, Window] = {}
        for position in order:
            stack.add(positions.index(position), position)
            looked |= {window.centre: window for window in look_at_all_ready(stack)}
        looked |= {window.centre: window for window in stack.remaining()}
        return set(looked.values())

    assert windows(data.draw(st.permutations(positions))) == windows(sorted(positions))


@given(st.permutations(range(8)))
def test_a_window_is_never_handed_out_twice_while_it_is_the_same(order: list[int]) -> None:
    stack = SliceStack(1)
    seen: list[Window] = []
    for slice_id in order:
        stack.add(slice_id, float(slice_id))
        seen += look_at_all_ready(stack)
    seen += stack.remaining()
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("backwards", [False, True])
def test_slices_in_order_leave_only_the_two_ends_for_the_end(backwards: bool) -> None:
    order = list(range(40))[:: -1 if backwards else 1]
    stack = SliceStack(1)
    for place, slice_id in enumerate(order):
        stack.add(slice_id, slice_id * STEP_MM)
        one_behind = [order[place - 1]] if place > 1 else []
        assert [window.centre for window in look_at_all_ready(stack)] == one_behind
    assert stack.remaining() == [Window(0, (0, 0, 1)), Window(39, (38, 39, 39))]


def test_a_model_that_sees_single_slices_never_waits() -> None:
    stack = SliceStack(0)
    for slice_id in (3, 0, 7):
        stack.add(slice_id, float(slice_id))
        assert look_at_all_ready(stack) == [Window(slice_id, (slice_id,))]
    assert stack.remaining() == []


def test_neighbours_run_from_low_to_high_and_the_ends_are_repeated() -> None:
    assert run([2, 0, 1], 2) == {
        0: Window(0, (0, 0, 0, 1, 2)),
        1: Window(1, (0, 0, 1, 2, 2)),
        2: Window(2, (0, 1, 2, 2, 2)),
    }


def test_a_gap_is_waited_for_until_the_end() -> None:
    stack = SliceStack(1)
    for slice_id in (0, 1, 2, 4, 5, 6):
        stack.add(slice_id, slice_id * STEP_MM)
    assert [one.centre for one in look_at_all_ready(stack)] == [1, 5]
    assert [one.centre for one in stack.remaining()] == [0, 2, 4, 6]


def test_a_window_whose_neighbour_came_late_is_looked_at_again() -> None:
    stack = SliceStack(1)
    for slice_id in (0, 2, 4):  # every second one: nothing says yet that some are missing
        stack.add(slice_id, slice_id * STEP_MM)
    assert look_at_all_ready(stack) == [Window(2, (0, 2, 4))]
    stack.add(3, 3 * STEP_MM)
    assert Window(2, (0, 2, 3)) in stack.remaining()


def test_a_second_slice_at_the_same_position_is_left_out() -> None:
    stack = SliceStack(1)
    assert [stack.add(1, 5.0), stack.add(2, 5.0), stack.add(3, 10.0)] == [True, False, True]
    assert len(stack) == 2
    assert [one.centre for one in stack.remaining()] == [1, 3]


def test_an_empty_and_a_single_slice_are_series_too() -> None:
    assert run([], 1) == {}
    assert run([0], 1) == {0: Window(0, (0, 0, 0))}
