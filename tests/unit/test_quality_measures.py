"""What the plain measures of an image's quality say of drawn heads and chests."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from quality_parts import SIDE, chest, ct, head, mr, signal

from edge.imaging.pixels import Slice
from edge.imaging.quality.measures import Anatomy, expected_anatomy, measure


@pytest.mark.parametrize("roll", [-30, -12, 0, 7, 25])
def test_the_roll_of_a_head_is_measured_to_two_degrees(roll: int) -> None:
    assert ct(head(roll_deg=roll)).roll_deg == pytest.approx(roll, abs=2)


def test_a_head_is_as_large_as_it_was_drawn() -> None:
    assert ct(head()).body_mm == pytest.approx(2 * np.sqrt(82 * 82 * 1.25), rel=0.02)


def test_a_head_inside_the_frame_is_not_cut() -> None:
    assert ct(head()).cut == 0


def test_a_head_that_leaves_the_frame_is_cut() -> None:
    cut = ct(head(shift=(0, 60))).cut
    assert cut is not None
    assert cut > 0.1


def test_a_head_at_the_edge_of_a_round_field_of_view_is_cut() -> None:
    image = head(shift=(50, 0))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    image[np.hypot(x, y) > SIDE / 2] = -1024
    cut = ct(image).cut
    assert cut is not None
    assert cut > 0.05


def test_edges_widen_as_the_image_is_blurred() -> None:
    widths = [ct(cv2.GaussianBlur(head(), (0, 0), sigma)).edge_mm for sigma in (0.3, 1.0, 2.0)]
    assert all(width is not None for width in widths)
    assert widths == sorted(widths)  # type: ignore[type-var]
    assert widths[2] == pytest.approx(2.5066 * np.hypot(2.0, 0.6), rel=0.2)


def test_streaks_in_the_air_are_measured_and_noise_is_not() -> None:
    still = ct(head()).streaks_hu
    moved = head()
    angles = np.linspace(0, np.pi, 24, endpoint=False)
    for angle in angles:
        away = (int(200 * np.cos(angle)), int(200 * np.sin(angle)))
        one = (SIDE // 2 + away[0], SIDE // 2 + away[1])
        other = (SIDE // 2 - away[0], SIDE // 2 - away[1])
        lines = np.zeros_like(moved)
        cv2.line(lines, one, other, 60.0, 3, cv2.LINE_AA)
        moved += lines
    streaked = ct(moved).streaks_hu
    assert still is not None
    assert streaked is not None
    assert still < 3
    assert streaked > 6


def test_background_tells_hounsfield_units_from_other_numbers() -> None:
    assert ct(head()).background == pytest.approx(-1000, abs=5)
    assert ct(head() + np.float32(1024)).background == pytest.approx(24, abs=15)


def test_ghosts_beside_a_head_are_measured() -> None:
    still = signal(head())
    ghosted = still + 0.1 * np.roll(still, SIDE // 2, axis=1)
    still_ghosts, ghosts = mr(still).ghosts, mr(np.asarray(ghosted, np.float32)).ghosts
    assert still_ghosts is not None
    assert ghosts is not None
    assert still_ghosts < 0.02
    assert ghosts > 0.03


def test_blur_rises_with_blurring_and_is_a_share() -> None:
    values = [mr(cv2.GaussianBlur(signal(head()), (0, 0), sigma)).blur for sigma in (0.3, 2, 4)]
    assert all(value is not None and 0 <= value <= 1 for value in values)
    assert values == sorted(values)  # type: ignore[type-var]


def radiograph(pixels: np.ndarray, anatomy: Anatomy | None = Anatomy.CHEST):  # type: ignore[no-untyped-def,type-arg]
    image = Slice(None, np.asarray(pixels, np.float32), 0, None, None, None)
    return measure(image, "DX", anatomy)


def test_a_chest_is_like_one_and_its_negative_has_a_dark_column() -> None:
    positive, negative = radiograph(chest()), radiograph(1 - chest())
    assert positive.likeness > 0.3
    assert positive.column > 0.2
    assert negative.column < -0.2


def test_a_radiograph_of_something_else_is_not_asked_whether_it_is_a_chest() -> None:
    assert radiograph(chest(), None).likeness is None


def test_equal_pictures_have_equal_fingerprints_and_empty_ones_have_none() -> None:
    assert ct(head()).fingerprint == ct(head(), 5.0).fingerprint
    assert ct(head()).fingerprint != ct(head(roll_deg=1)).fingerprint
    assert ct(np.full((64, 64), -1000, np.float32)).fingerprint is None


def test_an_image_without_a_place_is_measured_as_far_as_it_goes() -> None:
    image = Slice(None, head(), 0, None, None, None)
    measured = measure(image, "CT", Anatomy.HEAD)
    assert measured.body_mm is None
    assert measured.fingerprint is not None


@pytest.mark.parametrize(
    ("parts", "anatomy"),
    [(("BRAIN",), Anatomy.HEAD), (("CHEST",), Anatomy.CHEST), (("KNEE",), None), ((), None)],
)
def test_what_is_expected_follows_from_the_body_parts(
    parts: tuple[str, ...], anatomy: Anatomy | None
) -> None:
    assert expected_anatomy(parts) is anatomy
