"""A CT series is rebuilt from two windows without losing what they hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tools.scanner import SlicesError, series_from_slices
from tools.scanner.slices import bone_shift, read_slices, rebuild_hu

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "head-ct"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared head CT slices are not at {SHARED}"
)


def window(hu: NDArray[np.floating], level: float, width: float) -> NDArray[np.floating]:
    return np.asarray(np.clip((hu - level + width / 2) * 255 / width, 0, 255))


def ramp() -> NDArray[np.floating]:
    return np.tile(np.linspace(-1000.0, 2000.0, 3000, dtype=np.float64), (64, 1))


def both_windows(hu: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    brain, bone = (
        np.rint(window(hu, *values)).astype(np.uint8)[None] for values in ((40, 120), (700, 3200))
    )
    return brain, bone


def test_soft_tissue_keeps_the_precision_of_the_brain_window() -> None:
    hu = ramp()
    rebuilt = rebuild_hu(*both_windows(hu))[0]
    soft = (hu > -16) & (hu < 96)
    assert np.abs(rebuilt - hu)[soft].max() <= 1


def test_bone_fat_and_air_have_the_precision_of_the_bone_window() -> None:
    hu = ramp()
    rebuilt = rebuild_hu(*both_windows(hu))[0]
    assert np.abs(rebuilt - hu)[hu > -900].max() <= 12.6 / 2 + 1
    assert np.all(rebuilt[hu < -900] <= -894)


def test_there_is_no_seam_where_the_windows_meet() -> None:
    rebuilt = rebuild_hu(*both_windows(ramp()))[0, 0].astype(int)
    assert np.diff(rebuilt).min() >= 0
    assert np.diff(rebuilt).max() <= 13


def test_a_bone_window_that_was_exported_shifted_is_found_and_taken_out() -> None:
    smooth = np.tile(np.linspace(10.0, 70.0, 256), (256, 1))
    brain, bone = both_windows(smooth)
    assert bone_shift(brain, bone) == 0.0
    assert bone_shift(brain, bone - 7) == pytest.approx(-7, abs=0.3)


def test_a_folder_without_slices_or_with_half_a_pair_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SlicesError, match=r"holds no NN-brain\.jpg"):
        series_from_slices(tmp_path)
    cv2.imwrite(str(tmp_path / "01-brain.jpg"), np.zeros((8, 8), np.uint8))
    with pytest.raises(SlicesError, match=r"01-bone\.jpg is missing"):
        series_from_slices(tmp_path)
    with pytest.raises(SlicesError, match="is not a folder"):
        series_from_slices(tmp_path / "nowhere")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("01-brain.jpg", "01-bone.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(SlicesError, match=r"01-brain\.jpg cannot be read"):
        series_from_slices(tmp_path)


def test_a_missing_number_leaves_its_gap(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        for kind in ("brain", "bone"):
            cv2.imwrite(str(tmp_path / f"{number:02d}-{kind}.jpg"), np.zeros((8, 8), np.uint8))
    series = series_from_slices(tmp_path)
    assert [ds.InstanceNumber for ds in series] == [1, 2, 4]
    assert [float(ds.ImagePositionPatient[2]) for ds in series] == [0, 5, 15]
    assert {ds.ImagesInAcquisition for ds in series} == {3}


@needs_shared
def test_the_brain_window_of_the_rebuilt_series_is_the_published_image() -> None:
    folder = SHARED / "097"
    _, brain, _ = read_slices(folder)
    series = series_from_slices(folder)
    hu = np.stack(
        [ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in series]
    )
    grey = window(hu, 40, 120)
    unclipped = (brain >= 6) & (brain <= 249)
    assert np.abs(grey - brain)[unclipped].max() <= 1.5
    assert np.abs(grey - brain).max() <= 6


@needs_shared
def test_the_two_windows_of_the_published_slices_agree_or_are_made_to() -> None:
    for patient, expected in (("097", 0.0), ("050", -7.3)):
        _, brain, bone = read_slices(SHARED / patient)
        assert bone_shift(brain, bone) == pytest.approx(expected, abs=0.5)


@needs_shared
def test_the_first_slice_is_the_base_of_the_skull(tmp_path: Path) -> None:
    shutil.copytree(SHARED / "097", tmp_path / "copy")
    series = series_from_slices(tmp_path / "copy")
    # The base has air-filled sinuses inside the head, the vertex only brain and bone.
    head = [ds.pixel_array.astype(int) - 1024 for ds in series]
    inner = [plane[150:350, 180:330] for plane in (head[5], head[-5])]
    assert (inner[0] < -600).mean() > 0.005
    assert (inner[1] < -600).mean() < 0.005
    z = [float(ds.ImagePositionPatient[2]) for ds in series]
    assert z == sorted(z)
