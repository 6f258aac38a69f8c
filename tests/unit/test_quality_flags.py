"""What the technician is told of a series' images, and what not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quality_parts import ct, head, stacked

from edge.imaging.quality.flags import Flag, Stacked, flags
from edge.imaging.quality.slice_measures import SliceMeasures

FINE = SliceMeasures(
    fingerprint=None,
    tilt_deg=0.0,
    body_mm=170.0,
    cut=0.0,
    roll_deg=2.0,
    background=-1000.0,
    edge_mm=1.9,
    streaks_hu=1.0,
)
PICTURE = SliceMeasures(fingerprint=1, blur=0.4, column=0.3, likeness=0.8, white=0.0, spread=0.7)


def head_ct(count: int = 20, **changes: float | None) -> list[SliceMeasures]:
    """Return a good series: widest in the middle, narrow at the top; `changes` to all of them."""
    sizes = [min(170.0, 110.0 + 12 * min(n + 4, count - n)) for n in range(count)]
    return [
        replace(FINE, height_mm=5.0 * n, body_mm=size, fingerprint=n, **changes)
        for n, size in enumerate(sizes)
    ]


def names(found: tuple[Flag, ...]) -> list[str]:
    return [flag.name for flag in found]


def test_nothing_is_said_of_a_good_series() -> None:
    assert flags(stacked("CT", head_ct())) == ()


def test_nothing_is_said_of_a_good_radiograph() -> None:
    assert flags(Stacked("DX", [PICTURE], [], True)) == ()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"edge_mm": 3.4}, "blur"),
        ({"streaks_hu": 9.0}, "motion"),
        ({"cut": 0.2}, "cut-off"),
        ({"background": 24.0}, "wrong-intensity"),
        ({"roll_deg": -21.0}, "rotated"),
        ({"tilt_deg": 40.0}, "tilt"),
    ],
)
def test_each_doubt_about_a_head_ct_has_its_flag(changes: dict[str, float], name: str) -> None:
    (flag,) = flags(stacked("CT", head_ct(20, **changes)))
    assert flag.name == name
    assert flag.text
    (value,) = changes.values()
    assert flag.value in (value, 100 * value)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"blur": 0.7}, "blur"),
        ({"column": -0.3, "likeness": -0.8}, "inverted"),
        ({"likeness": -0.1}, "wrong-body-part"),
        ({"white": 0.3}, "wrong-window"),
        ({"spread": 0.1}, "wrong-window"),
    ],
)
def test_each_doubt_about_a_chest_radiograph_has_its_flag(
    changes: dict[str, float], name: str
) -> None:
    image = replace(PICTURE, **changes)  # type: ignore[arg-type]
    assert names(flags(Stacked("DX", [image], [], True))) == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"ghosts": 0.09}, "motion"), ({"background": 2.0}, "inverted"), ({"blur": 0.6}, "blur")],
)
def test_each_doubt_about_an_mr_has_its_flag(changes: dict[str, float], name: str) -> None:
    images = [
        replace(one, **{"background": 0.01, "streaks_hu": None, "edge_mm": None} | changes)  # type: ignore[arg-type]
        for one in head_ct()
    ]
    assert names(flags(stacked("MR", images))) == [name]


def test_a_missing_slice_is_said_when_the_series_is_complete_and_not_before() -> None:
    positions = [5.0 * n for n in range(20) if n not in (9, 10)]
    (flag,) = flags(Stacked("CT", head_ct(18), positions, True))
    assert (flag.name, flag.value, flag.unit) == ("missing-slices", 10.0, "mm")
    assert "2 slices" in flag.text
    assert flags(Stacked("CT", head_ct(18), positions, False)) == ()


def test_the_same_place_twice_and_the_same_pixels_twice_are_repeats() -> None:
    positions = [5.0 * n for n in range(20)]
    (place,) = flags(Stacked("CT", head_ct(), [*positions, 45.0], True))
    assert (place.name, place.value) == ("repeated-slices", 1.0)
    images = head_ct()
    images[7] = replace(images[7], fingerprint=images[6].fingerprint)
    (pixels,) = flags(Stacked("CT", images, positions, True))
    assert (pixels.name, pixels.value) == ("repeated-slices", 1.0)


def test_a_scan_that_ends_below_the_top_of_the_head_is_said() -> None:
    images = head_ct()[:12]
    (flag,) = flags(stacked("CT", images))
    assert flag.name == "top-missing"
    assert flags(replace(stacked("CT", images), complete=False)) == ()


def test_a_body_of_another_size_is_no_head() -> None:
    images = [replace(one, body_mm=2 * (one.body_mm or 0)) for one in head_ct()]
    assert names(flags(stacked("CT", images))) == ["wrong-body-part"]


def test_one_slice_that_grazes_the_frame_is_not_a_cut_head() -> None:
    images = head_ct()
    images[3] = replace(images[3], cut=0.3)
    assert flags(stacked("CT", images)) == ()


def test_two_streaked_slices_in_a_row_may_be_chance_and_three_are_not() -> None:
    images = head_ct()
    for number in (8, 9):
        images[number] = replace(images[number], streaks_hu=20.0)
    assert flags(stacked("CT", images)) == ()
    images[10] = replace(images[10], streaks_hu=20.0)
    assert names(flags(stacked("CT", images))) == ["motion"]


def test_an_empty_series_has_no_doubts() -> None:
    assert flags(Stacked("CT", [], [], True)) == ()


def test_drawn_heads_are_judged_by_their_pixels() -> None:
    scales = [0.75, 0.85, 0.95, 1.0, 0.99, 0.98, 0.9, 0.8, 0.6, 0.4]
    good = [ct(head(scale=scale), 5.0 * n) for n, scale in enumerate(scales)]
    assert flags(stacked("CT", good)) == ()
    shifted = [
        ct(head(scale=scale, shift=(0, 70), roll_deg=20), 5.0 * n) for n, scale in enumerate(scales)
    ]
    assert {"cut-off", "rotated"} <= set(names(flags(stacked("CT", shifted))))
    stored = [ct(head(scale=scale) + np.float32(1024), 5.0 * n) for n, scale in enumerate(scales)]
    assert "wrong-intensity" in names(flags(stacked("CT", stored)))
