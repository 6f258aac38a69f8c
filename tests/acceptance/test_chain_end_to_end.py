"""The whole appliance as a process: a scanner sends, central reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from pydicom import Dataset

from edge.alerts.decision import UNFAMILIAR
from edge.alerts.message import FollowUp
from tools.scanner import Manner, brain_mri_series, chest_xray_series, head_ct_series, send
from tools.site import LocalSite
from tools.watch import Followed, Watch

ALERT_S = 30.0


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Iterator[LocalSite]:
    folder = tmp_path_factory.mktemp("site")
    protocol = folder / "follow-up.toml"
    protocol.write_text(
        '["SCT:1386000"]\nwithin_days = 1\ntext = "Repeat it."\nsource = "Protocol 3"\n', "utf-8"
    )
    with LocalSite(
        folder,
        on_alert=watch.on_alert,
        settings={"analysis": {"last_resort_s": 2}, "alerts": {"follow_up": str(protocol)}},
    ) as running:
        yield running


def send_and_wait(
    site: LocalSite, watch: Watch, series: Sequence[Dataset], manner: Manner | None = None
) -> Followed:
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    report = send(series, site.appliance.peer, manner=manner)
    assert report.ok, report.failures
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    return study


def test_a_head_ct_is_analysed_and_its_alert_is_opened_at_central(
    site: LocalSite, watch: Watch
) -> None:
    study = send_and_wait(site, watch, head_ct_series(lesion=True, slices=16, seed=1))
    alert = study.alert
    assert alert is not None
    assert alert.status == "final"
    (series,) = alert.study.series
    assert series.analysed
    assert series.instances == 16
    first, *others = alert.findings
    assert first.code.value == "1386000"
    assert len(others) == 2
    assert not any(finding.flagged for finding in others)  # told of, never flagged
    assert alert.model[0].name == "head-ct-hemorrhage"
    assert alert.patient.identity is None
    assert "not a diagnosis" in alert.notice
    assert alert.follow_up == FollowUp(1, "Repeat it.", "Protocol 3")


def test_a_study_no_model_is_for_is_told_of_as_not_analysed(site: LocalSite, watch: Watch) -> None:
    lateral = chest_xray_series(lesion=True, seed=1)
    lateral[0].ViewPosition = "LL"  # the models of the chest know frontal images alone
    study = send_and_wait(site, watch, lateral)
    assert study.alert is not None
    assert study.alert.outcome == "not_analysed"
    assert study.alert.urgency == "routine"
    assert study.alert.reasons == ("no model for this kind of study",)


def test_a_radiograph_of_one_image_is_analysed_and_weak_findings_are_named(
    site: LocalSite, watch: Watch
) -> None:
    alert = send_and_wait(site, watch, chest_xray_series(lesion=True, seed=2)).alert
    assert alert is not None
    assert alert.outcome != "not_analysed"
    assert [model.name for model in alert.model] == ["chest-xray-findings-adults"]
    assert len(alert.findings) == 14
    weak = {finding.label for finding in alert.findings if finding.abstained}
    assert {"Nodule", "Pneumonia"} <= weak
    assert any(reason.startswith("Not reliable enough to flag:") for reason in alert.reasons)


def test_a_child_goes_to_the_model_of_children(site: LocalSite, watch: Watch) -> None:
    child = chest_xray_series(lesion=False, seed=3)
    child[0].PatientAge = "004Y"
    alert = send_and_wait(site, watch, child).alert
    assert alert is not None
    assert [model.name for model in alert.model] == ["chest-xray-pneumonia-children"]


def test_a_brain_mri_is_analysed_slice_by_slice(site: LocalSite, watch: Watch) -> None:
    alert = send_and_wait(site, watch, brain_mri_series(lesion=True, slices=16, seed=4)).alert
    assert alert is not None
    assert [model.name for model in alert.model] == ["brain-mri-tumour"]
    assert alert.findings[0].label == "Brain tumour"


def test_an_image_that_only_claims_to_be_a_head_makes_the_model_abstain(
    site: LocalSite, watch: Watch
) -> None:
    series = head_ct_series(lesion=False, slices=16, seed=5)
    noise = np.random.default_rng(6)
    for image in series:
        pixels = noise.integers(0, 2000, (image.Rows, image.Columns)).astype(np.uint16)
        image.PixelData = pixels.tobytes()
    alert = send_and_wait(site, watch, series).alert
    assert alert is not None
    assert alert.outcome == "uncertain", alert.reasons
    assert UNFAMILIAR in alert.reasons


def test_a_scanner_with_an_association_for_every_image_gives_one_final_alert(
    site: LocalSite, watch: Watch
) -> None:
    series = head_ct_series(lesion=False, slices=20, seed=2)
    for image in series:
        del image.ImagesInAcquisition  # nothing but silence says that it is complete
    study = send_and_wait(site, watch, series, Manner(one_association_per_image=True))
    assert study.alert is not None
    assert study.alert.supersedes is None
    assert study.alert.study.series[0].instances == 20
    assert study.alert.study.series[0].completed_by == "quiet"
    assert any("silence" in reason for reason in study.alert.reasons)


def test_the_same_study_sent_again_says_nothing_new(site: LocalSite, watch: Watch) -> None:
    series = head_ct_series(lesion=False, slices=18, seed=3)
    first = send_and_wait(site, watch, series)
    before = site.appliance.run_cli("alerts", "list", "--json").stdout
    assert send(series, site.appliance.peer).ok
    other = send_and_wait(site, watch, head_ct_series(lesion=False, slices=18, seed=4))
    assert first.alert is not None
    assert other.alert is not None
    assert other.alert.sequence == first.alert.sequence + 1
    assert before.count('"sequence"') == first.alert.sequence


def test_images_that_come_late_are_analysed_and_the_new_alert_replaces_the_old(
    site: LocalSite, watch: Watch
) -> None:
    series = head_ct_series(lesion=False, slices=20, seed=5)
    for image in series:
        del image.ImagesInAcquisition
    first = send_and_wait(site, watch, series[:12]).alert
    assert first is not None
    late = chest_xray_series(lesion=False, seed=5)
    for image in late:  # another series of the same study
        image.StudyInstanceUID = series[0].StudyInstanceUID
        image.ViewPosition = "LL"  # which no model is for
    second = send_and_wait(site, watch, late).alert
    assert second is not None
    assert second.supersedes == first.id
    assert [one.analysed for one in second.study.series] == [True, False]


def test_nothing_of_the_patient_is_in_clear_outside_the_seal(site: LocalSite, watch: Watch) -> None:
    series = head_ct_series(lesion=True, slices=17, seed=6)
    name = str(series[0].PatientName).split("^", maxsplit=1)[0].encode()
    patient_id = series[0].PatientID.encode()
    pixels = series[3].PixelData[100_000:100_064]
    send_and_wait(site, watch, series)
    site.broker.stop()  # it writes what it holds, and then holds still
    try:
        places = [site.appliance.folder / "studies", site.broker.folder]
        kept = [file for place in places for file in place.rglob("*") if file.is_file()]
        contents = {file: file.read_bytes() for file in [*kept, site.appliance.log]}
    finally:
        site.broker.start()
    assert len(contents) > 3
    for file, content in contents.items():
        assert name not in content, file.name
        assert patient_id not in content, file.name
        assert pixels not in content, file.name
        assert patient_id.decode() not in str(file)


def test_the_command_line_shows_what_came_in_and_what_went_out(
    site: LocalSite, watch: Watch
) -> None:
    study = send_and_wait(site, watch, head_ct_series(lesion=False, slices=17, seed=7))
    assert study.alert is not None
    sequence = str(study.alert.sequence)
    assert "head-ct-hemorrhage" in site.appliance.run_cli("alerts", "show", sequence).stdout
    assert "decided" in site.appliance.run_cli("studies", "list").stdout
    shown = site.appliance.run_cli("studies", "show", "1").stdout
    assert "HEAD" in shown
    assert "not a diagnosis" in shown
    missing = site.appliance.run_cli("studies", "show", "4711")
    assert missing.returncode == 1
    assert missing.stderr.strip() == (
        "scanside: There is no study 4711. See: scanside studies list"
    )
    checked = site.appliance.run_cli("check")
    assert checked.returncode == 0, checked.stdout
