"""The worker dies or hangs; intake and delivery do not notice."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import JPEGLSLossless

from tools.scanner import chest_xray_series, head_ct_series, send
from tools.site import Appliance, LocalSite
from tools.watch import Watch

ALERT_S = 60.0
READY = "The worker is ready"
DECODERS = re.compile(r"/[^/\n]*(gdcm|_CharLS|openjp|jpeg|cv2|imaging)[^/\n]*\.so", re.IGNORECASE)


@pytest.fixture
def site(tmp_path: Path, watch: Watch) -> Iterator[LocalSite]:
    with LocalSite(
        tmp_path, on_alert=watch.on_alert, settings={"analysis": {"slice_timeout_s": 5}}
    ) as running:
        yield running


def worker_of(appliance: Appliance) -> int:
    """Return the process id of the daemon's one child."""
    tasks = Path(f"/proc/{appliance.pid}/task").iterdir()
    (child,) = (pid for task in tasks for pid in (task / "children").read_text().split())
    return int(child)


def wait_for_worker(appliance: Appliance, times: int) -> int:
    """Wait until the daemon has said `times` times that a worker is ready."""
    pause = threading.Event()
    for _ in range(600):
        if appliance.log.read_text().count(READY) >= times:
            return worker_of(appliance)
        pause.wait(0.05)
    raise AssertionError(appliance.tail())


def wait_for(appliance: Appliance, words: str) -> None:
    """Wait until the daemon has said something."""
    pause = threading.Event()
    for _ in range(1200):
        if words in appliance.log.read_text():
            return
        pause.wait(0.05)
    raise AssertionError(appliance.tail())


def decoders_of(pid: int) -> set[str]:
    """Return which native decoders a process has loaded."""
    return {
        match.group(1).lower() for match in DECODERS.finditer(Path(f"/proc/{pid}/maps").read_text())
    }


def test_a_compressed_image_meets_a_decoder_in_the_worker_and_none_is_in_the_daemon(
    site: LocalSite, watch: Watch
) -> None:
    series = head_ct_series(lesion=True, slices=16, seed=3)
    for image in series:
        image.compress(JPEGLSLossless, generate_instance_uid=False)
    study = watch.follow("compressed", series[0].StudyInstanceUID, len(series))
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    assert study.alert is not None
    assert study.alert.study.series[0].analysed

    assert {"_charls", "cv2"} <= decoders_of(worker_of(site.appliance))
    assert decoders_of(site.appliance.pid) == set()


def test_an_image_that_ends_the_worker_twice_is_left_out_and_named_and_the_rest_is_analysed(
    site: LocalSite, watch: Watch
) -> None:
    appliance = site.appliance
    series = head_ct_series(lesion=False, slices=20, seed=1)
    study = watch.follow("poison", series[0].StudyInstanceUID, 20)
    worker = wait_for_worker(appliance, 1)
    os.kill(worker, signal.SIGSTOP)
    assert send(series[:10], appliance.peer).ok
    segment = endless(site)  # the worker hangs at the first image, and is ended
    os.kill(worker, signal.SIGCONT)
    assert send(series[10:], appliance.peer).ok  # intake does not notice
    wait_for(appliance, "at one image (2 times)")
    segment.with_suffix(".whole").rename(segment)

    assert watch.wait_for_final(study, ALERT_S), appliance.tail()
    assert study.alert is not None
    assert study.alert.outcome != "not_analysed"
    assert study.alert.study.series[0].analysed
    assert "1 of 20 images could not be read." in study.alert.reasons
    assert "Image 1 of 20 was left out: analysis failed twice on it." in study.alert.reasons


def test_a_study_in_which_image_after_image_ends_the_worker_is_given_up_and_the_next_is_analysed(
    tmp_path: Path, watch: Watch
) -> None:
    settings = {"analysis": {"slice_timeout_s": 1}}
    with LocalSite(tmp_path, on_alert=watch.on_alert, settings=settings) as site:
        appliance = site.appliance
        series = head_ct_series(lesion=False, slices=20, seed=1)
        study = watch.follow("hostile", series[0].StudyInstanceUID, 20)
        worker = wait_for_worker(appliance, 1)
        os.kill(worker, signal.SIGSTOP)
        assert send(series, appliance.peer).ok
        endless(site)
        os.kill(worker, signal.SIGCONT)
        assert watch.wait_for_final(study, 3 * ALERT_S), appliance.tail()
        assert study.alert is not None
        assert study.alert.outcome == "not_analysed"
        assert "quarantined" in study.alert.reasons[0]
        assert appliance.log.read_text().count("The worker died on study 1") == 6

        healthy = chest_xray_series(lesion=False, seed=2)
        following = watch.follow("healthy", healthy[0].StudyInstanceUID, 1)
        assert send(healthy, appliance.peer).ok
        assert watch.wait_for_final(following, ALERT_S), appliance.tail()
        assert following.alert is not None
        assert following.alert.study.series[0].analysed


def endless(site: LocalSite) -> Path:
    """Have the worker wait without end for the images of the only series; return its file."""
    (segment,) = (one for one in site.appliance.folder.rglob("spool/*/*") if one.is_file())
    segment.rename(segment.with_suffix(".whole"))
    os.mkfifo(segment)  # to open it waits for somebody who writes
    return segment


def test_a_worker_that_hangs_is_replaced_and_the_study_is_analysed(
    site: LocalSite, watch: Watch
) -> None:
    appliance = site.appliance
    os.kill(wait_for_worker(appliance, 1), signal.SIGSTOP)
    series = head_ct_series(lesion=False, slices=20, seed=3)
    study = watch.follow("slow", series[0].StudyInstanceUID, 20)
    assert send(series, appliance.peer).ok
    other = chest_xray_series(lesion=False, seed=3)
    other[0].ViewPosition = "LL"  # which no model is for
    beside = watch.follow("beside", other[0].StudyInstanceUID, 1)
    assert send(other, appliance.peer).ok
    assert watch.wait_for_final(beside, 4.0), "a study that needs no worker does not wait for it"
    assert watch.wait_for_final(study, ALERT_S), appliance.tail()
    assert study.alert is not None
    assert study.alert.study.series[0].analysed
    assert "hangs" in appliance.log.read_text()


def test_alerts_made_while_the_broker_is_away_arrive_when_it_is_back(
    site: LocalSite, watch: Watch
) -> None:
    site.broker.stop()
    series = head_ct_series(lesion=False, slices=20, seed=4)
    study = watch.follow("offline", series[0].StudyInstanceUID, 20)
    assert send(series, site.appliance.peer).ok
    assert not watch.wait_for_final(study, 1.5)
    site.broker.start()
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
