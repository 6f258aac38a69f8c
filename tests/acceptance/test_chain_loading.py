"""Engines take long to load, or cannot be: what a hospital sees of it."""

from __future__ import annotations

from pathlib import Path

from tools.scanner import head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

ALERT_S = 60.0
COULD_NOT = "the model's engine could not be loaded on this device"


def test_engines_may_take_longer_to_load_than_a_slice_may_take(
    tmp_path: Path, watch: Watch
) -> None:
    settings = {"analysis": {"slice_timeout_s": 0.01}}
    with LocalSite(tmp_path, on_alert=watch.on_alert, settings=settings) as site:
        assert "The worker is ready" in site.appliance.log.read_text()
        assert "hangs" not in site.appliance.log.read_text()


def test_a_study_is_told_of_as_not_analysed_where_the_engines_could_not_be_loaded(
    tmp_path: Path, watch: Watch
) -> None:
    settings = {"analysis": {"load_timeout_s": 300.0}}
    with LocalSite(tmp_path, on_alert=watch.on_alert, settings=settings) as site:
        appliance = site.appliance
        assert appliance.stop() == 0
        config = appliance.config.read_text(encoding="utf-8")
        assert "load_timeout_s = 300.0" in config
        appliance.config.write_text(config.replace("= 300.0", "= 0.01"), encoding="utf-8")
        appliance.start(wait_for="STATUS=Engines could not be loaded: ")

        log = appliance.log.read_text()
        assert "The worker took longer than [analysis] load_timeout_s, 0.01 s: it hangs" in log
        assert "died while it loaded the model head-ct-hemorrhage (3 of 3)" in log
        series = head_ct_series(lesion=True, slices=16, seed=5)
        study = watch.follow("unseen", series[0].StudyInstanceUID, len(series))
        assert send(series, appliance.peer).ok
        assert watch.wait_for_final(study, ALERT_S), appliance.tail()
        assert study.alert is not None
        assert (study.alert.outcome, study.alert.reasons) == ("not_analysed", (COULD_NOT,))
