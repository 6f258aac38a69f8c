"""A model of chosen slices judges the middle of a head, and says what it did not judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from findings import BLEED, package

from edge.alerts.decision import SeriesFinding
from edge.analysis.completeness import Evidence
from edge.analysis.coverage import NONE_JUDGED, not_judged, outside
from edge.analysis.messages import Closed, Looked, Measured, SliceScore
from edge.analysis.progress import SeriesInProgress
from edge.analysis.reading import Reading
from edge.analysis.routing import SeriesAbout
from edge.imaging.quality.slice_measures import SliceMeasures
from engines import CoverageSpec
from tools.scanner.nifti import series_from_nifti
from tools.train import cli

MIDDLE = CoverageSpec(least_section=0.75, axial=True)
ABOUT = SeriesAbout("MR", "BRAIN", (), 40.0, 5.0, "", None)


def measured(body_mm: float | None, tilt: float | None = 0.0) -> SliceMeasures:
    return SliceMeasures(fingerprint=None, tilt_deg=tilt, body_mm=body_mm)


def head(*widths: float | None) -> dict[int, SliceMeasures]:
    return dict(enumerate(measured(one) for one in widths))


def test_slices_with_a_small_section_of_the_body_are_outside() -> None:
    # 140 mm of 160 is 0.77 of the area, 138 mm is 0.74.
    assert outside(MIDDLE, head(90.0, 138.0, 140.0, 160.0, None)) == {0, 1, 4}


def test_without_a_coverage_every_slice_is_judged() -> None:
    assert outside(None, head(10.0, 160.0)) == frozenset()


def test_images_of_which_nothing_can_be_measured_are_judged() -> None:
    plain = {0: measured(None, None), 1: measured(None, None)}
    assert outside(MIDDLE, plain) == frozenset()


def test_coronal_slices_are_outside_where_axial_ones_are_asked_for() -> None:
    coronal = {0: measured(None, 90.0), 1: measured(None, 88.0)}
    assert outside(MIDDLE, coronal) == {0, 1}
    assert outside(replace(MIDDLE, axial=False), coronal) == frozenset()


def looked(series: SeriesInProgress, *slices: tuple[float, float]) -> None:
    """Have slices of a width (mm) looked at, each with a probability."""
    for number, (width, probability) in enumerate(slices):
        score = SliceScore(number, 0, (probability,))
        told = Measured(number, 0, measured(width))
        series.images += 1
        series.heard(Looked(1, number, (score,), None, 1.0, (told,)))


def progress() -> SeriesInProgress:
    model = package(findings=(BLEED,), coverage=MIDDLE)
    return SeriesInProgress(1, "1.2.3", ABOUT, (Reading(model),), evidence=Evidence.COUNT_REACHED)


def test_nothing_is_foretold_before_it_is_known_which_slices_are_judged() -> None:
    series = progress()
    looked(series, (60.0, 0.99))
    assert series.result().stated == ()
    assert series.result().reason is None


def test_what_only_the_vertex_shows_is_not_flagged_and_told_of_as_not_judged() -> None:
    series = progress()
    looked(series, (60.0, 0.99), (150.0, 0.1), (160.0, 0.1))
    series.heard(Closed(1, 0, (), 0.0))
    result = series.result()
    (found,) = result.stated
    assert isinstance(found, SeriesFinding)
    assert (found.probability, found.flagged, found.key_instance) == (0.1, False, 1)
    assert result.doubts == (not_judged(1, 3),)


def test_a_series_of_which_no_slice_is_judged_is_not_analysed() -> None:
    series = progress()
    for number in range(3):
        score = SliceScore(number, 0, (0.99,))
        told = Measured(number, 0, measured(None, 90.0))
        series.images += 1
        series.heard(Looked(1, number, (score,), None, 1.0, (told,)))
    series.heard(Closed(1, 0, (), 0.0))
    result = series.result()
    assert not result.analysed
    assert result.reason == NONE_JUDGED


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A bright ball in a volume whose third axis runs from back to front."""
    x, y, z = np.mgrid[-32:32, -32:32, -32:32]
    ball = (1000 * (x**2 + y**2 + z**2 < 28**2)).astype(np.int16)
    ball += np.random.default_rng(1).integers(0, 50, ball.shape).astype(np.int16)
    affine = np.array([[-3, 0, 0, 96], [0, 0, 3, -96], [0, -3, 0, 96], [0, 0, 0, 1.0]])
    file = tmp_path / "ball.nii.gz"
    nibabel.Nifti1Image(ball, affine).to_filename(file)
    return file


def test_a_volume_is_cut_axially_and_stays_in_its_place(volume: Path) -> None:
    as_it_is, axial = series_from_nifti(volume), series_from_nifti(volume, axial=True)
    assert [abs(float(one)) for one in as_it_is[0].ImageOrientationPatient] == [1, 0, 0, 0, 0, 1]
    assert [float(one) for one in axial[0].ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    heights = [float(one.ImagePositionPatient[2]) for one in axial]
    assert heights == sorted(heights)
    assert heights[0] == pytest.approx(-93.0)
    # One voxel, found in both by where it is in the patient.
    across, down, up = 40, 21, 50
    there = axial[up].pixel_array[down, across]
    place = np.array([float(v) for v in axial[up].ImagePositionPatient]) + 3 * np.array(
        [across, down, 0]
    )
    for image in as_it_is:
        origin = np.array([float(v) for v in image.ImagePositionPatient])
        row, column = (
            np.array([float(v) for v in image.ImageOrientationPatient[a : a + 3]]) for a in (0, 3)
        )
        step = place - origin
        if abs(step @ np.cross(row, column)) < 0.1:
            assert image.pixel_array[round(step @ column / 3), round(step @ row / 3)] == there
            return
    raise AssertionError("no slice holds the place")


def test_alarms_are_counted_by_series(volume: Path, tmp_path: Path) -> None:
    figures = tmp_path / "alarms.json"
    asked = ["alarms", "brain-mri-tumour", str(volume), "--json", str(figures)]
    assert cli.main(asked) == cli.OK
    told = json.loads(figures.read_text(encoding="utf-8"))
    assert (told["series"], told["flagged"], told["not_judged"]) == (1, 0, 1)  # it is coronal
    assert cli.main([*asked, "--axial"]) == cli.OK
    (row,) = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    assert 0 < row["judged"] < row["slices"] == 64
    assert row["said"][0]["finding"] == "Brain tumour"


def test_what_is_no_series_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alarms", "brain-mri-tumour", str(tmp_path / "absent.nii")]) == cli.FAILED
    assert "neither a NIfTI file" in capsys.readouterr().err
