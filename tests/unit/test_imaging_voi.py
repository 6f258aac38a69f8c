"""The look of an image as its maker meant it."""

from __future__ import annotations

import numpy as np
import pytest
from builders import radiograph
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from edge.imaging.pixels import Limits, decode, voi
from edge.imaging.voi import Curve, Table, Window, render

VALUES = np.array([[0, 25, 50, 75, 100]], np.float32)


def test_a_linear_window_follows_the_standards_formula() -> None:
    # PS3.3 C.11.2.1.2.1, note 2: centre 2048, width 4096 takes 0 to 0 and 4095 to 1.
    ends = np.array([[-1, 0, 4095, 4096]], np.float32)
    bright = render(ends, Window(2048, 4096, Curve.LINEAR))
    assert bright == pytest.approx(np.array([[0, 0, 1, 1]]))


def test_a_linear_window_of_width_one_is_a_threshold() -> None:
    assert render(VALUES, Window(50, 1, Curve.LINEAR)).tolist() == [[0, 0, 1, 1, 1]]


def test_an_exact_window_has_its_centre_in_the_middle() -> None:
    bright = render(VALUES, Window(50, 100, Curve.LINEAR_EXACT))
    assert bright.tolist() == [[0, 0.25, 0.5, 0.75, 1]]


def test_a_sigmoid_is_half_at_its_centre_and_never_overflows() -> None:
    bright = render(np.array([[-1e9, 50, 75, 1e9]], np.float32), Window(50, 100, Curve.SIGMOID))
    assert bright[0] == pytest.approx([0, 0.5, 1 / (1 + np.exp(-1)), 1], abs=1e-6)


def test_a_table_holds_at_its_ends() -> None:
    table = Table(first=25, entries=np.array([0.1, 0.9], np.float32))
    assert render(VALUES, table)[0] == pytest.approx([0.1, 0.1, 0.9, 0.9, 0.9])


def test_without_a_look_the_percentiles_decide() -> None:
    ramp = np.linspace(0, 1000, 1001, dtype=np.float32).reshape(1, -1)
    bright = render(ramp, None)
    assert (bright[0, 0], bright[0, 500], bright[0, -1]) == (0, pytest.approx(0.5), 1)


def test_a_flat_image_is_dark() -> None:
    assert (render(np.full((2, 2), 7, np.float32), None) == 0).all()


def shown(**changes: object) -> list[float]:
    stored = np.array([[0, 25, 50, 75, 100]], np.uint16)
    (one,) = decode(radiograph(stored=stored, **changes), limits=Limits())
    return list(voi(one)[0])


def test_the_first_of_several_windows_is_taken() -> None:
    bright = shown(
        WindowCenter=["50", "0"], WindowWidth=["100", "1"], VOILUTFunction="LINEAR_EXACT"
    )
    assert bright == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("width", ["0", "-5"])
def test_a_window_that_is_none_falls_back_on_the_percentiles(width: str) -> None:
    assert shown(WindowCenter="50", WindowWidth=width) == shown()


def test_a_table_goes_before_a_window() -> None:
    item = Dataset()
    item.LUTDescriptor = [101, 0, 8]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = bytes(range(0, 202, 2)) + b"\0"
    item["LUTData"].VR = "OW"
    bright = shown(VOILUTSequence=Sequence([item]), WindowCenter="50", WindowWidth="100")
    assert bright == pytest.approx([0, 50 / 255, 100 / 255, 150 / 255, 200 / 255])
