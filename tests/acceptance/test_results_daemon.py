"""The whole appliance and a real PACS: what central is told of is in the PACS, once, in the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pacs import HAS_ORTHANC, TITLE, orthanc, wait_until
from pydicom import Dataset
from reporting import said

from tools.scanner import brain_mri_series, chest_xray_series, head_ct_series, send
from tools.site import LocalSite
from tools.watch import Followed, Watch

ALERT_S = 60.0

pytestmark = pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed")


def test_reports_reach_orthanc_though_it_was_away_and_the_daemon_killed(tmp_path: Path) -> None:
    watch = Watch()
    protocol = tmp_path / "follow-up.toml"
    protocol.write_text(
        '["SCT:1386000"]\nwithin_days = 1\ntext = "Repeat the CT."\nsource = "Protocol 3"\n'
    )
    with orthanc(tmp_path / "pacs") as pacs:
        results: dict[str, object] = {
            "enabled": True,
            "host": "127.0.0.1",
            "port": pacs.port,
            "ae_title": TITLE,
            "timeout_s": 10,
            "heatmaps": True,
        }
        settings: dict[str, dict[str, object]] = {
            "results": results,
            "analysis": {"last_resort_s": 2},
            "alerts": {"follow_up": str(protocol)},
        }
        with LocalSite(tmp_path / "site", on_alert=watch.on_alert, settings=settings) as site:
            bleed = head_ct_series(lesion=True, slices=16, seed=1)
            told = _send(site, watch, bleed)
            assert wait_until(lambda: len(pacs.instances("SR")) == 1), site.appliance.tail()
            (report,) = pacs.instances("SR")
            assert report.StudyInstanceUID == bleed[0].StudyInstanceUID
            assert report.PatientID == bleed[0].PatientID
            assert told.alert is not None
            (outcome,) = said(report, "Outcome of the machine reading")
            assert outcome.startswith("Flagged") == (told.alert.outcome == "flagged")
            assert said(report, "Algorithm Name")[0] == "head-ct-hemorrhage"
            assert told.alert.outcome == "flagged"
            assert told.alert.follow_up is not None
            assert said(report, "Recommendation") == [told.alert.follow_up.words]
            assert said(report, "By this hospital's own protocol") == ["Protocol 3"]
            assert wait_until(lambda: len(pacs.instances("OT")) == 1), site.appliance.tail()
            # A PACS may forward what it gets: our own report makes no other.
            assert send([report], site.appliance.peer).ok
            assert wait_until(lambda: _study(site)["state"] == "decided")
            assert _study(site)["series"] == 2

            pacs.stop()
            xray = chest_xray_series(lesion=True, seed=2)
            lateral = chest_xray_series(lesion=True, seed=3)
            lateral[0].ViewPosition = "LL"
            for series in (xray, lateral):  # central hears while the PACS is away
                _send(site, watch, series)
            assert wait_until(lambda: "Results wait" in _log(site)), site.appliance.tail()
            site.appliance.kill()
            site.appliance.start(wait_for="READY=1")
            pacs.start()
            assert wait_until(lambda: len(pacs.instances("SR")) == 2), site.appliance.tail()
            site.appliance.kill()
            site.appliance.start(wait_for="READY=1")
            later = _send(site, watch, brain_mri_series(lesion=True, slices=16, seed=4))
            assert later.alert is not None
            assert wait_until(lambda: len(pacs.instances("SR")) == 3), site.appliance.tail()
            named = {said(one, "Algorithm Name")[0] for one in pacs.instances("SR")}
            assert named == {
                "head-ct-hemorrhage",
                "chest-xray-findings-adults",
                "brain-mri-tumour",
            }
            studies = Counter(str(one.StudyInstanceUID) for one in pacs.instances("SR"))
            assert set(studies.values()) == {1}
            assert str(lateral[0].StudyInstanceUID) not in studies  # no model looked at it
            for name in (str(bleed[0].PatientName), str(bleed[0].PatientID)):
                assert name not in _log(site)
            assert site.appliance.stop() == 0


def _study(site: LocalSite) -> dict[str, Any]:
    shown = site.appliance.run_cli("studies", "show", "1", "--json")
    study: dict[str, Any] = json.loads(shown.stdout)["study"]
    return study


def _log(site: LocalSite) -> str:
    return site.appliance.log.read_text("utf-8", "replace")


def _send(site: LocalSite, watch: Watch, series: Sequence[Dataset]) -> Followed:
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    report = send(series, site.appliance.peer)
    assert report.ok, report.failures
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    return study
