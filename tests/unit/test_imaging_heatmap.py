"""A place in a model's activation map is found again in the image and in the patient."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.imaging.heatmap import heatmap, spot
from edge.imaging.pixels import Slice
from edge.imaging.prepare import prepare_for
from engines import InputSpec

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SPEC = InputSpec("slices", 96, 96, ((40.0, 120.0),), 0)


def image(rows: int = 200, columns: int = 300, **changes: object) -> Slice:
    """Return an axial slice with a disc of tissue and one bright dot in it."""
    pixels = np.full((rows, columns), -1000, np.float32)
    cv2.circle(pixels, (columns // 2, rows // 2), 80, 20.0, cv2.FILLED)
    pixels[60:70, 170:180] = 100
    made = Slice(5.0, pixels, 0, (0.5, 0.5), None, None, (-75.0, -50.0, 5.0), AXIAL)
    return replace(made, **changes)  # type: ignore[arg-type]


def seen(one: Slice, spec: InputSpec) -> NDArray[np.float32]:
    """Return what a perfect model would show: the brightness of its input, in cells of 4."""
    plane = prepare_for(spec, one.pixels, spacing=one.spacing)[0]
    cells = (spec.width // 4, spec.height // 4)
    activation: NDArray[np.float32] = cv2.resize(plane, cells, interpolation=cv2.INTER_AREA)
    return activation


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, height=64, width=128),
        replace(SPEC, crop_above=-400.0),
        replace(SPEC, fit="stretch"),
        replace(SPEC, crop_above=-400.0, fit="stretch"),
    ],
    ids=["padded", "wide", "cropped", "stretched", "cropped and stretched"],
)
def test_the_brightest_place_is_found_again_whatever_way_the_image_went(spec: InputSpec) -> None:
    one = image()
    found = heatmap(seen(one, spec), spec, one)
    assert (found.row, found.column) == pytest.approx((64.5, 174.5), abs=7)
    height, width = found.values.shape
    assert max(height, width) == 128
    row, column = np.unravel_index(int(found.values.argmax()), found.values.shape)
    scale = 300 / 128
    assert (row * scale, column * scale) == pytest.approx((64.5, 174.5), abs=9)
    assert found.values.max() == pytest.approx(255, abs=25)


def test_pixels_that_are_not_square_keep_their_place() -> None:
    one = image(spacing=(1.0, 0.5))
    found = heatmap(seen(one, SPEC), SPEC, one)
    assert (found.row, found.column) == pytest.approx((64.5, 174.5), abs=9)


def test_a_flat_activation_marks_nothing() -> None:
    assert not heatmap(np.zeros((12, 12), np.float32), SPEC, image()).values.any()


def test_a_place_is_told_in_the_patients_own_sides_and_in_millimetres() -> None:
    at = spot(64.5, 174.5, image())
    assert at.text == "patient's left, front"
    assert at.position_mm == pytest.approx((12.2, -17.8, 5.0), abs=0.1)


def test_the_sides_follow_the_orientation() -> None:
    mirrored = image(orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    assert spot(64.5, 174.5, mirrored).text == "patient's right, front"
    assert spot(30.0, 150.0, image(orientation=SAGITTAL)).text == "patient's upper"


def test_without_an_orientation_the_words_are_of_the_image() -> None:
    at = spot(64.5, 174.5, image(position=None, orientation=None))
    assert (at.text, at.position_mm) == ("upper right of the image", None)
    assert spot(99.5, 149.5, image(position=None, orientation=None)).text == "middle of the image"
