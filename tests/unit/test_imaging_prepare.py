"""From modality units to the planes a model eats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.imaging.prepare import between, fit, prepare, prepare_for, subject, window
from engines import InputSpec


def test_a_window_maps_its_ends_to_nought_and_one() -> None:
    hu = np.array([[-1024, -20, 40, 100, 3000]], np.float32)
    assert window(hu, 40, 120).tolist() == [[0.0, 0.0, 0.5, 1.0, 1.0]]


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_window_without_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        window(np.zeros((1, 1), np.float32), 40, width)


def test_the_pixels_given_are_left_as_they_are() -> None:
    hu = np.full((8, 8), 40, np.float32)
    prepare(hu, windows=[(40, 80)], height=8, width=8)
    assert (hu == 40).all()


def test_each_window_gives_one_plane_in_order() -> None:
    planes = prepare(
        np.full((64, 64), 80, np.float32), windows=[(40, 80), (80, 200)], height=32, width=32
    )
    assert planes.shape == (2, 32, 32)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    assert (planes[0] == 1).all()
    assert (planes[1] == 0.5).all()


def test_shrinking_averages_so_that_a_thin_bright_line_stays() -> None:
    hu = np.zeros((64, 64), np.float32)
    hu[31] = 100
    plane = prepare(hu, windows=[(50, 100)], height=16, width=16)[0]
    assert plane.sum() == pytest.approx(16 * 0.25)


def test_growing_interpolates() -> None:
    hu = np.array([[0, 100], [0, 100]], np.float32)
    row = prepare(hu, windows=[(50, 100)], height=8, width=8)[0, 4]
    assert (np.diff(row) >= 0).all()
    assert len(np.unique(row)) > 2


def test_a_wide_image_is_centred_between_bands_of_the_floor() -> None:
    plane = prepare(np.full((32, 64), 100, np.float32), windows=[(50, 100)], height=64, width=64)[0]
    assert (plane[:16] == 0).all()
    assert (plane[16:48] == 1).all()
    assert (plane[48:] == 0).all()


def test_a_circle_stays_round_when_pixels_are_not_square() -> None:
    rows, columns = np.mgrid[:64, :128]
    inside = ((rows - 31.5) * 1.0) ** 2 + ((columns - 63.5) * 0.5) ** 2 < 20**2
    disc = np.where(inside, 100, 0).astype(np.float32)
    plane = prepare(disc, windows=[(50, 100)], height=64, width=64, spacing=(1.0, 0.5))[0] > 0.5
    assert abs(int(plane.any(axis=0).sum()) - int(plane.any(axis=1).sum())) <= 1


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(1, 512),
    st.integers(1, 512),
    st.floats(0.01, 5),
)
def test_any_image_fits_and_touches_two_sides(
    rows: int, columns: int, height: int, width: int, across: float
) -> None:
    fitted = fit((rows, columns), height=height, width=width, spacing=(1.0, across))
    assert 1 <= fitted[0] <= height
    assert 1 <= fitted[1] <= width
    assert fitted[0] == height or fitted[1] == width


def test_nothing_cannot_be_prepared() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        prepare(np.zeros((0, 5), np.float32), windows=[(0, 1)], height=4, width=4)
    with pytest.raises(ValueError, match="spacing"):
        prepare(np.zeros((5, 5), np.float32), windows=[(0, 1)], height=4, width=4, spacing=(0, 1))


def test_the_head_fills_the_frame_and_the_head_rest_is_left_out() -> None:
    picture = np.full((512, 512), -1000, np.float32)
    rows, columns = np.mgrid[:512, :512]
    picture[np.hypot((rows - 200) / 150, (columns - 260) / 110) < 1] = 40
    picture[440:446, 100:420] = 200  # the rest, thinner than any head
    down, across = subject(picture, -400)
    assert 40 <= down.start <= 50
    assert 350 <= down.stop <= 362
    assert down.stop - down.start == pytest.approx(across.stop - across.start, abs=4)
    assert (across.start + across.stop) / 2 == pytest.approx(260, abs=6)


def test_where_there_is_no_body_nothing_is_cut() -> None:
    air = np.full((40, 60), -1000, np.float32)
    assert subject(air, -400) == (slice(0, 40), slice(0, 60))


def test_an_image_can_be_scaled_by_percentiles_and_stretched_to_the_frame() -> None:
    ramp = np.tile(np.linspace(0, 4095, 200, dtype=np.float32), (100, 1))
    spec = InputSpec("x", 32, 32, (), 0, normalise="percentile", percentiles=(10, 90))
    kept = prepare_for(spec, ramp)
    stretched = prepare_for(replace(spec, fit="stretch"), ramp)
    assert kept.shape == stretched.shape == (1, 32, 32)
    assert np.all(kept[0, :7] == 0)
    assert stretched[0, 0].min() == 0
    assert stretched[0, 0].max() == pytest.approx(1)
    assert stretched[0, 0, 15] == pytest.approx(0.48, abs=0.05)


def test_an_image_of_one_value_is_dark_and_no_error() -> None:
    assert np.all(between(np.full((4, 4), 7, np.float32), 1, 99) == 0)
