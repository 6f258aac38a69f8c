"""The phantoms are valid DICOM, look like anatomy in numbers, and say what they contain."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from tools.scanner import brain_mri_series, chest_xray_series, head_ct_series
from tools.scanner.brain_mri import draw_brain_mri
from tools.scanner.chest_xray import draw_chest_xray
from tools.scanner.cli import main
from tools.scanner.head_ct import HeadCt, draw_head_ct
from tools.scanner.series import write_series

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def healthy() -> HeadCt:
    return draw_head_ct(lesion=False, slices=16, seed=4)


@pytest.fixture(scope="module")
def bleeding() -> HeadCt:
    return draw_head_ct(lesion=True, slices=16, seed=4)


def all_series() -> list[list[FileDataset]]:
    return [
        head_ct_series(lesion=True, slices=4, seed=1),
        brain_mri_series(lesion=True, slices=4, seed=1),
        chest_xray_series(lesion=True, seed=1),
    ]


def test_every_phantom_is_written_and_read_back_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, series in enumerate(all_series()):
            for path, ds in zip(write_series(series, tmp_path / str(number)), series, strict=True):
                again = dcmread(path)
                assert again.SOPInstanceUID == again.file_meta.MediaStorageSOPInstanceUID
                assert again == ds
                assert np.array_equal(again.pixel_array, ds.pixel_array)


def test_type_1_attributes_are_there_and_type_2_attributes_are_at_least_empty() -> None:
    common_1 = [
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
    ]
    common_2 = [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "SeriesNumber",
        "Manufacturer",
        "InstanceNumber",
    ]
    plane = [
        "FrameOfReferenceUID",
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "SliceThickness",
    ]
    needed = {
        "CT": [*plane, *["ImageType", "KVP", "RescaleIntercept", "RescaleSlope", "RescaleType"]],
        "MR": [*plane, *["ImageType", "ScanningSequence", "SequenceVariant", "EchoTime"]],
        "DX": [
            "ImageType",
            "PresentationIntentType",
            "PixelIntensityRelationship",
            "RescaleIntercept",
            "PixelIntensityRelationshipSign",
            "RescaleSlope",
            "RescaleType",
            "PresentationLUTShape",
            "LossyImageCompression",
            "BurnedInAnnotation",
            "ImagerPixelSpacing",
            "ImageLaterality",
            "AnatomicRegionSequence",
            "WindowCenter",
            "WindowWidth",
            "PatientOrientation",
        ],
    }
    pixels = [
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelData",
    ]
    for series in all_series():
        for ds in series:
            for keyword in [*common_1, *needed[ds.Modality], *pixels]:
                assert ds.get(keyword) not in (None, ""), (ds.Modality, keyword)
            for keyword in common_2:
                assert keyword in ds, (ds.Modality, keyword)


def test_a_series_shares_its_study_and_counts_its_images_and_no_two_series_share_anything() -> None:
    one, other = (head_ct_series(lesion=False, slices=3, seed=0, when=WHEN) for _ in range(2))
    for series in (one, other):
        assert len({ds.StudyInstanceUID for ds in series}) == 1
        assert len({ds.SeriesInstanceUID for ds in series}) == 1
        assert len({ds.SOPInstanceUID for ds in series}) == 3
        assert {ds.ImagesInAcquisition for ds in series} == {3}
        assert [ds.InstanceNumber for ds in series] == [1, 2, 3]
    assert one[0].StudyInstanceUID != other[0].StudyInstanceUID
    assert one[0].PatientID == other[0].PatientID


def test_slices_run_evenly_from_foot_to_head() -> None:
    for series in all_series()[:2]:
        z = [float(ds.ImagePositionPatient[2]) for ds in series]
        assert np.all(np.diff(z) > 0)
        assert np.allclose(np.diff(z), float(series[0].SliceThickness), atol=1e-2)
        assert [float(v) for v in series[0].ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("lesion", [False, True])
def test_a_seed_draws_bit_equal_pixels_again(lesion: bool) -> None:
    assert np.array_equal(draw_head_ct(lesion, 3, 7).hu, draw_head_ct(lesion, 3, 7).hu)
    assert np.array_equal(draw_brain_mri(lesion, 3, 7).signal, draw_brain_mri(lesion, 3, 7).signal)
    assert np.array_equal(draw_chest_xray(lesion, 7).pixels, draw_chest_xray(lesion, 7).pixels)


def test_another_seed_is_another_person() -> None:
    assert not np.array_equal(draw_head_ct(False, 3, 7).hu, draw_head_ct(False, 3, 8).hu)


def test_tissues_have_the_hounsfield_units_of_their_kind(healthy: HeadCt) -> None:
    hu = healthy.hu
    assert hu[:, :20, :20].mean() == pytest.approx(-1000, abs=15)
    middle = hu[len(hu) // 2]
    bone = middle[middle > 300]
    assert 600 < np.percentile(bone, 75) < 1300
    brain = middle[200:330, 170:340]
    assert 28 < np.median(brain) < 42
    ventricles = hu[9][180:330, 200:312]
    assert -8 < np.percentile(ventricles, 1) < 14


def test_the_noise_is_that_of_a_head_protocol(healthy: HeadCt) -> None:
    deep_white = healthy.hu[11][230:280, 290:320].astype(float)
    assert 2.0 < deep_white.std() < 6.0


def test_the_bleed_changes_its_neighbourhood_and_nothing_else(
    healthy: HeadCt, bleeding: HeadCt
) -> None:
    truth = bleeding.truth["lesion"]
    assert isinstance(truth, dict)
    changed = np.argwhere(bleeding.hu != healthy.hu)
    assert len(changed) > 1000
    spacing, size = bleeding.grid.spacing_mm, bleeding.hu.shape[1]
    z = np.array(bleeding.grid.positions_mm)[changed[:, 0]]
    y, x = ((changed[:, axis] - (size - 1) / 2) * spacing for axis in (1, 2))
    cx, cy, cz = truth["centre_mm"]
    away = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
    # The blood in the other ventricle's horn is the farthest.
    assert away.max() < 95
    outside = np.abs(np.array(bleeding.grid.positions_mm) - cz) > 50
    assert np.array_equal(bleeding.hu[outside], healthy.hu[outside])


def test_the_bleed_is_where_and_as_dense_as_the_truth_says(bleeding: HeadCt) -> None:
    truth = bleeding.truth["lesion"]
    assert isinstance(truth, dict)
    spacing, size = bleeding.grid.spacing_mm, bleeding.hu.shape[1]
    column, row = (round(v / spacing + (size - 1) / 2) for v in truth["centre_mm"][:2])
    nearest = np.argmin(np.abs(np.array(bleeding.grid.positions_mm) - truth["centre_mm"][2]))
    assert nearest + 1 in truth["instances"]
    clot = bleeding.hu[nearest, row - 8 : row + 8, column - 8 : column + 8]
    assert 58 <= clot.mean() <= 76
    assert 5 < truth["blood_ml"] < 60


def test_an_epidural_bleed_lies_under_the_bone_and_leaves_the_other_side_alone() -> None:
    plain = draw_head_ct(False, 8, 2)
    epidural = draw_head_ct(True, 8, 2, bleed="epidural")
    truth = epidural.truth["lesion"]
    assert isinstance(truth, dict)
    assert truth["type"] == "epidural hemorrhage"
    assert 5 < truth["blood_ml"] < 80
    other_side = slice(320, None) if truth["centre_mm"][0] < 0 else slice(0, 192)
    assert np.array_equal(plain.hu[..., other_side], epidural.hu[..., other_side])


def test_the_truth_lies_beside_the_series_and_not_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "series"
    assert main(["phantom", "head-ct", "--lesion", "--slices", "3", "--out", str(folder)]) == 0
    assert "3 images written" in capsys.readouterr().out
    truth = json.loads(folder.with_name(f"{folder.name}-truth.json").read_text())
    assert "hemorrhage" in truth["lesion"]["type"]
    for path in folder.glob("*.dcm"):
        text = path.read_bytes().lower()
        assert b"hemorrhage" not in text
        assert b"lesion" not in text


def test_a_folder_that_holds_a_series_is_not_mixed_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["phantom", "brain-mri", "--slices", "1", "--out", str(tmp_path / "series")]
    assert main(command) == 0
    assert main(command) == 2
    assert "already holds a series" in capsys.readouterr().err


def test_the_opacity_in_the_chest_is_brighter_and_only_where_the_truth_says() -> None:
    for seed in (0, 4):
        plain, ill = draw_chest_xray(False, seed), draw_chest_xray(True, seed)
        truth = ill.truth["lesion"]
        assert isinstance(truth, dict)
        column, row = truth["centre_px"]
        here = (slice(row - 12, row + 12), slice(column - 12, column + 12))
        assert ill.pixels[here].mean() > plain.pixels[here].mean() + 200
        other_side = slice(600, None) if column < 512 else slice(0, 424)
        assert np.array_equal(ill.pixels[:, other_side], plain.pixels[:, other_side])


def test_a_wrong_number_of_slices_is_explained() -> None:
    with pytest.raises(ValueError, match="1 to 400 slices, not 0"):
        draw_head_ct(False, 0)
