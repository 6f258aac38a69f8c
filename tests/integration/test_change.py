"""A second FLAIR study of a patient is compared with the first: through the whole daemon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import nibabel
import pytest
from browsing import LIMIT_MS, chromium, find_chromium, log_in, violations, window
from pairs import draw_head, rigid
from playwright.sync_api import expect
from pydicom.dataset import FileDataset

from edge.alerts.message import Alert
from edge.imaging.volume import Volume
from tools.scanner import send
from tools.scanner.nifti import series_from_nifti
from tools.site import LocalSite
from tools.watch import Followed, Watch

PATIENCE_S = 240.0
PASSWORD = "a long enough pass phrase"
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


@dataclass(frozen=True)
class Told:
    """The appliance, and what it told of each study."""

    site: LocalSite
    studies: dict[str, Alert]
    prior_uid: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Four studies: the first of a patient, the second, and two that cannot be compared."""
    folder = tmp_path_factory.mktemp("change")
    motion = rigid(6.0, (5.0, -7.0, 6.0))
    first = drawn(folder, "first", draw_head(lesion=False, motion=motion, seed=1))
    second = drawn(folder, "second", draw_head(lesion=True))
    stranger = drawn(folder, "stranger", draw_head(lesion=True, other=True, seed=2))
    (folder / "password").write_text(PASSWORD)
    watch = Watch()
    with LocalSite(folder / "site", on_alert=watch.on_alert) as site:
        user = ("Amina", "--role", "technician", "--password-file", str(folder / "password"))
        site.appliance.run_cli("users", "add", *user)
        found = {
            name: follow(site, watch, name, flair(file, when, patient))
            for name, file, when, patient in (
                ("alone", first, FIRST, "P1"),
                ("compared", second, SECOND, "P1"),
                ("other patient", first, FIRST, "P2"),
                ("not one head", stranger, SECOND, "P2"),
            )
        }
        alerts = {name: one.alert for name, one in found.items() if one.alert is not None}
        yield Told(site, alerts, found["alone"].study_uid)


def test_a_second_study_is_compared_with_the_first(told: Told) -> None:
    alert = told.studies["compared"]
    assert alert.outcome == "not_flagged"
    brighter, darker = alert.measurements
    assert (brighter.label, brighter.flagged) == ("Brighter than before", False)
    assert brighter.value > 1.0 > darker.value
    said = alert.progression
    assert said is not None
    assert said.prior_study_uid == told.prior_uid
    assert said.change == "larger"
    assert "Brighter than before: " in said.text
    assert said.interval_days == pytest.approx(366, abs=1)
    # No other model looked at the series, and that is said.
    assert "Compared with an earlier study; nothing else was looked for." in alert.reasons


@pytest.mark.parametrize("name", ["alone", "other patient"])
def test_without_an_earlier_study_of_the_patient_that_is_said(told: Told, name: str) -> None:
    assert "No earlier study to compare with." in told.studies[name].reasons
    assert told.studies[name].progression is None


def test_two_studies_that_do_not_fit_are_not_analysed_and_it_says_why(told: Told) -> None:
    alert = told.studies["not one head"]
    assert alert.outcome == "not_analysed"
    assert any("could not be aligned: they correlate" in one for one in alert.reasons)


@pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
)
def test_the_page_shows_how_much_changed_and_where(told: Told) -> None:
    address = f"https://localhost:{told.site.appliance.console_port}"
    with chromium() as browser, window(browser, width=1440) as page:
        log_in(page, address, "Amina", PASSWORD)
        page.goto(f"{address}/study/2")
        canvas = page.locator("canvas[data-index]")
        expect(canvas).to_be_visible(timeout=LIMIT_MS)
        finding = page.locator(".said", has_text="Brighter than before")
        expect(finding).to_contain_text(" ml")
        expect(page.locator(".about")).to_contain_text("The bounds are of the threshold alone")
        finding.get_by_role("button", name="Show the key image").click()
        expect(page.locator("#heat-label")).to_be_visible(timeout=LIMIT_MS)
        assert violations(page) == []


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
