"""A second FLAIR study of a patient is compared with the first: through the whole daemon."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import nibabel
import pytest
from pairs import draw_head, rigid
from pydicom.dataset import FileDataset

from edge.imaging.volume import Volume
from tools.scanner import send
from tools.scanner.nifti import series_from_nifti
from tools.site import LocalSite
from tools.watch import Followed, Watch

PATIENCE_S = 240.0
FIRST, SECOND = (datetime(year, 5, 1, 10, 15, tzinfo=timezone.utc) for year in (2023, 2024))
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "brain-mri" / "ms-01"


def drawn(folder: Path, name: str, volume: Volume) -> Path:
    file = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), file)
    return file


def flair(file: Path, when: datetime, patient: str) -> list[FileDataset]:
    return series_from_nifti(file, when=when, patient=patient, flair=True)


def follow(site: LocalSite, watch: Watch, name: str, series: list[FileDataset]) -> Followed:
    study = watch.follow(name, series[0].StudyInstanceUID, len(series))
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(study, PATIENCE_S), site.appliance.tail()
    return study


def test_a_second_study_is_compared_with_the_first_and_no_other(tmp_path: Path) -> None:
    motion = rigid(6.0, (5.0, -7.0, 6.0))
    first = drawn(tmp_path, "first", draw_head(lesion=False, motion=motion, seed=1))
    second = drawn(tmp_path, "second", draw_head(lesion=True))
    stranger = drawn(tmp_path, "stranger", draw_head(lesion=True, other=True, seed=2))
    watch = Watch()
    with LocalSite(tmp_path / "site", on_alert=watch.on_alert) as site:
        alone = follow(site, watch, "alone", flair(first, FIRST, "P1"))
        assert alone.alert is not None
        assert "No earlier study to compare with." in alone.alert.reasons
        compared = follow(site, watch, "compared", flair(second, SECOND, "P1"))
        other = follow(site, watch, "other", flair(stranger, SECOND, "P2"))
        wrong = follow(site, watch, "wrong", flair(first, FIRST, "P3"))
        swapped = follow(site, watch, "swapped", flair(stranger, SECOND, "P3"))
    assert compared.alert is not None
    assert compared.alert.outcome == "not_flagged"
    brighter, darker = compared.alert.measurements
    assert (brighter.label, brighter.flagged) == ("Brighter than before", False)
    assert brighter.value > 1.0 > darker.value
    told = compared.alert.progression
    assert told is not None
    assert told.prior_study_uid == alone.study_uid
    assert told.change == "larger"
    assert "Brighter than before: " in told.text
    assert told.interval_days == pytest.approx(366, abs=1)
    assert other.alert is not None
    assert "No earlier study to compare with." in other.alert.reasons
    assert wrong.alert is not None
    assert swapped.alert is not None
    assert swapped.alert.outcome == "not_analysed"
    assert any("could not be aligned" in one for one in swapped.alert.reasons)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here: the real pair of FLAIR studies")
def test_a_real_pair_is_compared_as_dicom(tmp_path: Path) -> None:
    watch = Watch()
    with LocalSite(tmp_path / "site", on_alert=watch.on_alert) as site:
        follow(site, watch, "first", flair(REAL / "study1_FLAIR.nii.gz", FIRST, "MS"))
        study = follow(site, watch, "second", flair(REAL / "study2_FLAIR.nii.gz", SECOND, "MS"))
    assert study.alert is not None
    brighter, darker = study.alert.measurements
    # Readers saw 3.4 ml of change, nearly all of it brighter.
    assert brighter.value == pytest.approx(2.9, abs=0.6)
    assert darker.value < 0.5
