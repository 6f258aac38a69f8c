"""A volume becomes what a model eats: its place in the patient decides, not its order on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.imaging.conform import CannotConform, conform
from edge.imaging.nifti import UnreadableVolume, read_nifti
from engines import InputSpec

SPEC = InputSpec(
    "volume",
    16,
    16,
    (),
    0,
    layout="NCDHW",
    normalise="percentile",
    percentiles=(0.0, 100.0),
    depth=16,
    spacing_mm=(1.0, 1.0, 1.0),
    axes="RAS",
)
T1 = Path(__file__).parents[2].parent / "shared/data/brain-mri/t1.nii.gz"


def blob() -> NDArray[np.float32]:
    """A volume that differs along every axis, (16, 16, 16), from 0 to 1."""
    i, j, k = np.meshgrid(*[np.linspace(0, 1, 16)] * 3, indexing="ij")
    return np.asarray((0.5 * i + 0.3 * j + 0.2 * k), np.float32)


def test_a_volume_that_lies_as_the_model_wants_it_is_not_resampled() -> None:
    volume = blob()
    assert np.array_equal(conform(volume, np.eye(4), SPEC), volume[None])


def test_directions_are_the_patients_and_not_the_arrays() -> None:
    volume = blob()
    found = conform(volume, np.eye(4), replace(SPEC, axes="LIA"))
    expected = volume[::-1, :, ::-1].transpose(0, 2, 1)
    assert np.allclose(found, expected[None], atol=1e-6)


def test_an_array_stored_the_other_way_round_gives_the_same() -> None:
    volume = blob()
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 15
    assert np.allclose(conform(volume[::-1], turned, SPEC), conform(volume, np.eye(4), SPEC))


def test_thick_slices_are_filled_in_between() -> None:
    fine = blob()
    thick = np.diag([1.0, 1.0, 3.0, 1.0])
    found = conform(fine[:, :, ::3], thick, replace(SPEC, percentiles=(0.0, 100.0)))[0]
    # Of a straight slope the values in between are on it again.
    assert np.allclose(found[:, :, 1:15], fine[:, :, 1:15] / fine[:, :, ::3].max(), atol=1e-5)


def test_a_small_volume_lies_in_the_middle_of_nothing() -> None:
    found = conform(np.ones((8, 8, 8)) * np.arange(1, 9), np.eye(4), SPEC)[0]
    assert found.shape == (16, 16, 16)
    assert found[:3].max() == found[-3:].max() == 0.0
    assert found[4:12, 4:12, 11].min() == 1.0


def test_a_tilted_volume_is_turned_straight() -> None:
    angle = np.deg2rad(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    axis = np.arange(32) - 15.5
    j, k = np.meshgrid(axis, axis, indexing="ij")
    height = np.sin(angle) * j + np.cos(angle) * k  # of each voxel, towards the head
    volume = np.broadcast_to(height, (32, 32, 32))
    spec = replace(SPEC, normalise="windows", percentiles=None, windows=((0.0, 20.0),))
    found = conform(volume, tilt, spec)[0]
    steps = np.diff(found[8, 8])
    assert np.allclose(steps, 1 / 20, atol=1e-3)  # a millimetre a voxel, in a window of 20
    assert np.allclose(np.diff(found, axis=1), 0, atol=1e-3)


def test_windows_become_channels() -> None:
    spec = replace(SPEC, normalise="windows", percentiles=None, windows=((0.5, 1.0), (0.25, 0.5)))
    found = conform(blob(), np.eye(4), spec)
    assert found.shape == (2, 16, 16, 16)
    assert found.dtype == np.float32
    assert found[1].mean() > found[0].mean()


@pytest.mark.parametrize(
    ("volume", "affine", "says"),
    [
        (np.ones((16, 16, 16)), np.eye(4), "do not vary"),
        (np.full((16, 16, 16), np.nan), np.eye(4), "not a finite number"),
        (np.ones((16, 16)), np.eye(4), "shape (16, 16)"),
        (blob(), np.zeros((4, 4)), "where the voxels lie"),
    ],
)
def test_what_cannot_be_used_is_told(
    volume: NDArray[np.float64], affine: NDArray[np.float64], says: str
) -> None:
    with pytest.raises(CannotConform) as caught:
        conform(volume, affine, SPEC)
    assert says in str(caught.value)


def test_a_model_of_slices_takes_no_volume() -> None:
    with pytest.raises(CannotConform, match="takes slices"):
        conform(blob(), np.eye(4), InputSpec("slices", 64, 64, ((40.0, 80.0),), 1))


def test_a_nifti_file_keeps_its_values_and_its_place(tmp_path: Path) -> None:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    nibabel.Nifti1Image(blob(), affine).to_filename(tmp_path / "t1.nii.gz")
    voxels, place = read_nifti(tmp_path / "t1.nii.gz")
    assert np.array_equal(voxels, blob())
    assert np.array_equal(place, affine)


def test_what_is_no_volume_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t1.nii.gz"
    with pytest.raises(UnreadableVolume, match="cannot be read as NIfTI"):
        read_nifti(file)
    file.write_bytes(b"not gzip at all" * 100)
    with pytest.raises(UnreadableVolume, match="cannot be read as NIfTI"):
        read_nifti(file)
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)).to_filename(file)
    with pytest.raises(UnreadableVolume, match=r"has shape \(4, 4, 4, 2\)"):
        read_nifti(file)
    whole = file.read_bytes()
    nibabel.Nifti1Image(np.zeros((64, 64, 64), np.float32), np.eye(4)).to_filename(file)
    file.write_bytes(file.read_bytes()[: len(whole) // 2])
    with pytest.raises(UnreadableVolume, match="cannot be read as NIfTI"):
        read_nifti(file)


@pytest.mark.skipif(not T1.is_file(), reason=f"{T1} is not here")
def test_the_real_head_lies_as_its_model_wants_it() -> None:
    voxels, affine = read_nifti(T1)
    spec = replace(SPEC, depth=256, height=256, width=256, axes="LIA", percentiles=(2.0, 98.0))
    found = conform(voxels, affine, spec)[0]
    low, high = np.percentile(voxels, (2, 98))
    assert np.allclose(found, np.clip((voxels - low) / (high - low), 0, 1), atol=1e-6)
