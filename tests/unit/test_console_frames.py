"""Frames for the browser: packed without loss, in units, with the patient's sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import ct_slice, radiograph
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edge.console.frames import LARGEST, frame_of, pack, unpack
from edge.imaging.pixels import Limits, Slice, decode
from edge.imaging.plane import edges_of


def one_slice(pixels: NDArray[Any], **changes: object) -> Slice:
    facts = {"position_mm": 1.0, "frame": 0, "spacing": (0.5, 0.25), "look": None, "mirror": None}
    return Slice(pixels=pixels.astype(np.float32), **{**facts, **changes})  # type: ignore[arg-type]


@given(arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_packed_pixels_come_back_as_they_were(numbers: NDArray[Any]) -> None:
    assert np.array_equal(unpack(pack(numbers), *numbers.shape), numbers)


def test_hounsfield_units_stay_exact_and_the_scanners_window_is_the_first() -> None:
    (decoded,) = decode(ct_slice(WindowCenter="40", WindowWidth="80"), limits=Limits())
    facts, packed = frame_of(decoded, 1)
    assert (facts.slope, facts.intercept) == (1.0, 0.0)
    assert (facts.level, facts.width) == (40.0, 80.0)
    assert np.array_equal(unpack(packed, facts.rows, facts.columns), decoded.pixels)
    assert facts.edges == ("R", "L", "A", "P")


def test_values_that_are_not_whole_keep_their_unit_within_a_small_step() -> None:
    pixels = np.linspace(0.0, 7.5, 64).reshape(8, 8)
    facts, packed = frame_of(one_slice(pixels), 1)
    back = unpack(packed, 8, 8) * facts.slope + facts.intercept
    assert np.abs(back - pixels).max() <= 7.5 / 65535


def test_a_large_radiograph_is_made_smaller_and_still_measures_right() -> None:
    facts, _ = frame_of(one_slice(np.zeros((3 * LARGEST, LARGEST))), 1)
    assert facts.reduced
    assert (facts.rows, facts.spacing) == (LARGEST, (1.5, 0.75))


def test_a_radiograph_that_says_nothing_of_its_place_has_no_sides() -> None:
    (decoded,) = decode(radiograph(), limits=Limits())
    facts, _ = frame_of(decoded, 1)
    assert facts.edges is None
    assert facts.width > 0


@pytest.mark.parametrize(
    ("orientation", "edges"),
    [
        ((1, 0, 0, 0, 1, 0), ("R", "L", "A", "P")),
        ((0, 1, 0, 0, 0, -1), ("A", "P", "H", "F")),
        ((1, 0, 0, 0, 0, -1), ("R", "L", "H", "F")),
        ((0.9, 0.1, -0.4, -0.1, 0.99, 0.0), ("R", "L", "A", "P")),
    ],
)
def test_the_patients_sides_follow_the_direction_of_rows_and_columns(
    orientation: tuple[float, ...], edges: tuple[str, ...]
) -> None:
    assert edges_of(orientation) == edges  # type: ignore[arg-type]
