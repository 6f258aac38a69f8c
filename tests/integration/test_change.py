"""A second FLAIR study of a patient is compared with the first, and looked at for tumours.

Through the whole daemon. What the model of tumours says of a drawing is its own affair: here it
counts that it says it, and that neither model takes the other's result away.
"""

from __future__ import annotations

import shutil
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
from edge.analysis.comparison import COMPARED_ALONE, NO_PRIOR
from edge.analysis.models import ENGINE_FAILED
from edge.imaging.volume import Volume
from engines import load_package, shipped_packages
from engines.package import digest_of
from tools.scanner import send
from tools.scanner.nifti import series_from_nifti
from tools.site import LocalSite
from tools.watch import Followed, Watch

CHANGE, TUMOUR = "brain-flair-change", "brain-mri-tumour"
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
    brighter, darker = alert.measurements
    assert (brighter.label, brighter.flagged) == ("Brighter than before", False)
    assert brighter.value > 1.0 > darker.value
    said = alert.progression
    assert said is not None
    assert said.prior_study_uid == told.prior_uid
    assert said.change == "larger"
    assert "Brighter than before: " in said.text
    assert said.interval_days == pytest.approx(366, abs=1)
    assert {one.model for one in alert.measurements} == {CHANGE}


def looked_for_tumours(alert: Alert) -> bool:
    """Return whether the alert has all that the model of tumours looks for."""
    package = load_package(shipped_packages() / TUMOUR)
    said = {one.code.value for one in alert.findings if one.model == TUMOUR}
    return said == {one.code.value for one in package.findings}


def test_what_is_compared_is_looked_at_for_tumours_too(told: Told) -> None:
    alert = told.studies["compared"]
    assert looked_for_tumours(alert)
    assert {one.name for one in alert.model} == {CHANGE, TUMOUR}
    assert COMPARED_ALONE not in alert.reasons
    (series,) = alert.study.series
    assert (series.analysed, series.reason) == (True, None)


@pytest.mark.parametrize("name", ["alone", "other patient"])
def test_without_an_earlier_study_of_the_patient_that_is_said(told: Told, name: str) -> None:
    alert = told.studies[name]
    assert NO_PRIOR in alert.reasons
    assert alert.progression is None
    assert looked_for_tumours(alert)
    assert [one.name for one in alert.model] == [TUMOUR]


def test_two_studies_that_do_not_fit_are_not_compared_and_looked_at_all_the_same(
    told: Told,
) -> None:
    alert = told.studies["not one head"]
    (why,) = (one for one in alert.reasons if one.startswith(f"Not analysed by {CHANGE}: "))
    assert "could not be aligned: they correlate" in why
    assert looked_for_tumours(alert)
    assert alert.measurements == ()
    assert alert.study.series[0].analysed


def broken(folder: Path) -> Path:
    """Write a package under the name of the model of tumours whose network no engine can load."""
    package = folder / TUMOUR
    shutil.copytree(shipped_packages() / TUMOUR, package)
    before = digest_of(package / "model.onnx")
    (package / "model.onnx").write_bytes(b"no network")
    text = (package / "model.toml").read_text(encoding="utf-8")
    text = text.replace(before, digest_of(package / "model.onnx"))
    (package / "model.toml").write_text(text, encoding="utf-8")
    return folder


def test_where_the_model_of_tumours_cannot_look_the_comparison_stands_and_it_says_so(
    tmp_path: Path,
) -> None:
    settings = {"analysis": {"packages": str(broken(tmp_path / "packages"))}}
    motion = rigid(6.0, (5.0, -7.0, 6.0))
    first = drawn(tmp_path, "first", draw_head(lesion=False, motion=motion, seed=1))
    second = drawn(tmp_path, "second", draw_head(lesion=True))
    watch = Watch()
    with LocalSite(tmp_path / "site", on_alert=watch.on_alert, settings=settings) as site:
        alone = follow(site, watch, "first", flair(first, FIRST, "P1")).alert
        compared = follow(site, watch, "second", flair(second, SECOND, "P1")).alert
    assert alone is not None
    assert compared is not None
    assert (alone.outcome, alone.reasons[0]) == ("not_analysed", ENGINE_FAILED)
    assert f"Not analysed by {TUMOUR}: {ENGINE_FAILED}" in compared.reasons
    assert COMPARED_ALONE in compared.reasons
    assert [one.name for one in compared.model] == [CHANGE]
    assert compared.measurements[0].label == "Brighter than before"


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
        expect(finding).to_contain_text(CHANGE)
        expect(page.locator(".said", has_text="Brain tumour")).to_contain_text(TUMOUR)
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
