"""An MR series is one volume: through the desk and its process, and through the whole daemon."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from arrivals import arrival, open_store
from pydicom.dataset import FileDataset
from segmenting import brightness, write_brightness

from edge.analysis.models import ENGINE_FAILED
from edge.analysis.volume_desk import FAILED, TOO_LONG, VolumeDesk
from edge.analysis.volume_messages import VolumeJob, VolumeLooked
from edge.store.studies import Store
from tools.scanner import send
from tools.scanner.nifti import series_from_nifti
from tools.site import LocalSite
from tools.watch import Watch

PATIENCE_S = 120.0
WHEN = datetime(2024, 5, 1, 10, 15, tzinfo=timezone.utc)
BOX_ML = 2.4


def write_head(file: Path) -> Path:
    """Write a drawn volume, 20 x 18 x 16 voxels of 1 x 1 x 2 mm, with a box of 2.4 ml in it."""
    voxels = np.zeros((20, 18, 16), np.uint8)
    voxels[4:14, 5:15, 2:14] = 100
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = (10, 9, -16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return file


def bytes_of(data_set: FileDataset) -> bytes:
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture
def series(tmp_path: Path) -> list[FileDataset]:
    return series_from_nifti(write_head(tmp_path / "head.nii.gz"), when=WHEN)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "studies") as opened:
        yield opened


class Desk:
    """A desk and what it told."""

    def __init__(self, *, timeout_s: float = PATIENCE_S) -> None:
        self._told: queue.SimpleQueue[VolumeLooked] = queue.SimpleQueue()
        self.desk = VolumeDesk(self._told.put, timeout_s=timeout_s)

    def ask(self, job: VolumeJob) -> VolumeLooked:
        self.desk.ask(job)
        return self._told.get(timeout=PATIENCE_S)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.desk.stop()


@pytest.fixture
def job(tmp_path: Path, store: Store, series: list[FileDataset]) -> VolumeJob:
    kept = [store.keep(arrival(n), bytes_of(one)) for n, one in enumerate(series)]
    return VolumeJob(
        study=kept[0].study_id,
        series=kept[0].series_id,
        revision=0,
        package=write_brightness(tmp_path / "brightness"),
        modality="MR",
        images=tuple((one.instance.id, one.instance.record) for one in kept),
        key=kept[0].key.raw,
        threads=1,
        engines=None,
    )


def test_a_series_is_measured_in_millilitres(desk: Desk, job: VolumeJob) -> None:
    looked = desk.ask(job)
    assert looked.reason is None
    grey, seen = looked.volumes_ml
    # Resampling blurs the edge, where grey and white lie between black and full.
    assert seen == pytest.approx(BOX_ML, rel=0.35)
    assert grey <= seen
    assert looked.engine == ("onnxruntime", "fp32")
    assert len(looked.measured) == 16


def test_a_series_with_a_missing_slice_is_not_measured_and_says_so(
    desk: Desk, job: VolumeJob
) -> None:
    looked = desk.ask(replace(job, images=job.images[:7] + job.images[8:]))
    assert looked.volumes_ml == ()
    assert "slices are missing" in (looked.reason or "")


def test_an_image_that_cannot_be_read_is_no_smaller_volume(
    desk: Desk, job: VolumeJob, store: Store
) -> None:
    poison = store.keep(arrival(99), b"no DICOM")
    looked = desk.ask(
        replace(job, images=(*job.images, (poison.instance.id, poison.instance.record)))
    )
    assert looked.volumes_ml == ()
    assert looked.unreadable == ((poison.instance.id, "not-dicom"),)


def test_a_damaged_package_is_refused_and_noted(desk: Desk, job: VolumeJob) -> None:
    (job.package / "model.onnx").write_bytes(b"damaged")
    looked = desk.ask(job)
    assert looked.reason == ENGINE_FAILED
    assert "model.onnx" in looked.note


def test_a_process_that_dies_is_tried_once_more_and_then_given_up(
    desk: Desk, job: VolumeJob
) -> None:
    assert desk.ask(replace(job, key=b"no key has this length")).reason == FAILED
    assert desk.ask(job).reason is None, "the next is looked at all the same"


def test_a_process_that_takes_too_long_is_ended(job: VolumeJob) -> None:
    hasty = Desk(timeout_s=0.01)
    assert hasty.ask(job).reason == TOO_LONG
    hasty.desk.stop()


def test_a_desk_stops_in_the_middle_of_a_volume(job: VolumeJob) -> None:
    made = Desk()
    made.desk.ask(job)
    made.desk.stop()


def test_the_daemon_tells_of_a_volume_in_its_alert(
    tmp_path: Path, series: list[FileDataset]
) -> None:
    watch = Watch()
    packages = tmp_path / "packages"
    packages.mkdir()
    brightness(packages / "brightness")
    with LocalSite(
        tmp_path / "site",
        on_alert=watch.on_alert,
        settings={"analysis": {"packages": str(packages)}},
    ) as site:
        study = watch.follow("volume", series[0].StudyInstanceUID, len(series))
        assert send(series, site.appliance.peer).ok
        assert watch.wait_for_final(study, PATIENCE_S), site.appliance.tail()
    assert study.alert is not None
    grey, seen = sorted(study.alert.measurements, key=lambda one: one.label)
    assert (grey.label, grey.unit, grey.flagged) == ("Grey", "ml", False)
    assert seen.value == pytest.approx(BOX_ML, rel=0.35)
    assert study.alert.study.series[0].analysed
    engines = {model.name: model.engine for model in study.alert.model}
    assert engines["brightness"] == "onnxruntime"
    # A model of volumes does not keep a series from the one that judges its slices.
    said = {finding.model for finding in study.alert.findings}
    assert said == engines.keys() - {"brightness"} == {"brain-mri-tumour"}
