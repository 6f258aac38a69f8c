"""A NIfTI file becomes an MR series whose voxels lie where they lay."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest

from edge.imaging.header import Limits
from edge.imaging.pixels import Slice, decode
from edge.imaging.volume import assemble
from tools.scanner.cli import main
from tools.scanner.nifti import NiftiError, series_from_nifti

CORONAL = np.array([[-1.0, 0, 0, 9], [0, 0, 1.5, -12], [0, -2.0, 0, 10], [0, 0, 0, 1]])
OBLIQUE = np.array(
    [[-0.9962, 0.0872, 0, 5], [-0.0872, -0.9962, 0, 6], [0, 0, 3.0, -20], [0, 0, 0, 1]]
)


def write(file: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:  # type: ignore[type-arg]
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return file


@pytest.mark.parametrize("affine", [CORONAL, OBLIQUE], ids=["coronal", "oblique"])
def test_the_series_makes_the_same_volume_again(tmp_path: Path, affine: np.ndarray) -> None:  # type: ignore[type-arg]
    voxels = np.random.default_rng(1).integers(0, 900, (7, 8, 9), np.int16)
    slices: list[Slice] = []
    for data_set in series_from_nifti(write(tmp_path / "a.nii.gz", voxels, affine)):
        file = BytesIO()
        data_set.save_as(file, enforce_file_format=True)
        slices.extend(decode(file.getvalue(), limits=Limits()))
    volume = assemble(slices)
    # Slices are put in order along their normal, which may be the other way round.
    forward = np.allclose(volume.affine[:3, 2], affine[:3, 2], atol=1e-3)
    again = volume.voxels if forward else volume.voxels[:, :, ::-1]
    assert np.array_equal(again, voxels)
    corner = [0, 0, 0, 1] if forward else [0, 0, 8, 1]
    assert volume.affine @ corner == pytest.approx(affine @ [0, 0, 0, 1], abs=1e-3)


def test_numbers_that_are_not_whole_are_spread(tmp_path: Path) -> None:
    voxels = np.random.default_rng(1).normal(size=(6, 6, 8)).astype(np.float32)
    series = series_from_nifti(write(tmp_path / "a.nii", voxels, np.eye(4)))
    stored = np.stack([one.pixel_array for one in series])
    assert (stored.min(), stored.max()) == (0, 4095)


def test_two_files_of_one_patient_share_the_patient_id(tmp_path: Path) -> None:
    voxels = np.arange(6 * 6 * 8, dtype=np.int16).reshape(6, 6, 8)
    files = [write(tmp_path / f"{name}.nii", voxels, np.eye(4)) for name in "ab"]
    one, two = (series_from_nifti(file, patient="P7", flair=True)[0] for file in files)
    assert one.PatientID == two.PatientID == "P7"
    assert one.StudyInstanceUID != two.StudyInstanceUID
    assert one.SeriesDescription == "FLAIR 3D"


def test_an_empty_or_skewed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NiftiError, match="all voxels are alike"):
        series_from_nifti(write(tmp_path / "a.nii", np.zeros((6, 6, 8), np.int16), np.eye(4)))
    skewed = np.eye(4)
    skewed[0, 1] = 0.5
    voxels = np.arange(6 * 6 * 8, dtype=np.int16).reshape(6, 6, 8)
    with pytest.raises(NiftiError, match="right angle"):
        series_from_nifti(write(tmp_path / "b.nii", voxels, skewed))


def test_the_command_writes_a_series_and_names_a_file_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = np.arange(6 * 6 * 8, dtype=np.int16).reshape(6, 6, 8)
    file = write(tmp_path / "head.nii.gz", voxels, np.eye(4))
    command = ["from-nifti", str(file), "--date", "2024-05-01", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 8
    (tmp_path / "bad.nii").write_bytes(b"nothing")
    assert main(["from-nifti", str(tmp_path / "bad.nii"), "--out", str(tmp_path / "no")]) == 2
    assert "bad.nii" in capsys.readouterr().err
