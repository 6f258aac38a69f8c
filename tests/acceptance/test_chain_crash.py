"""Power cuts: the daemon is killed at random moments while five studies stream in."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import Dataset

from edge.alerts.message import Alert
from tools.central.database import open_database
from tools.central.subscriber import Received
from tools.scanner import SendError, head_ct_series, send
from tools.site import LocalSite

KILLS = 20
STUDIES = 5
SLICES = 24
DONE_S = 120.0


class Finals:
    """The latest alert of each study at central, and a wait for them to be whole."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards latest
        self.latest: dict[str, Alert] = {}

    def on_alert(self, received: Received) -> None:
        assert received.alert is not None
        with self._changed:
            self.latest[received.alert.study.study_uid] = received.alert
            self._changed.notify_all()

    def wait_until_whole(self, instances: dict[str, int]) -> bool:
        def whole() -> bool:
            return all(
                study in self.latest
                and self.latest[study].status == "final"
                and self.latest[study].study.series[0].instances == count
                for study, count in instances.items()
            )

        with self._changed:
            return self._changed.wait_for(whole, DONE_S)


class Scanner(threading.Thread):
    """Sends one study and, as scanners do, sends again what was not answered with Success."""

    def __init__(self, series: Sequence[Dataset], site: LocalSite, up: threading.Event) -> None:
        super().__init__()
        self.left = list(series)
        self.acknowledged: list[str] = []
        self._site = site
        self._up = up

    def run(self) -> None:
        while self.left:
            self._up.wait()
            try:
                report = send(self.left, self._site.appliance.peer, rate=12.0)
            except SendError:
                continue
            stored = {sent.index for sent in report.sent if sent.stored}
            self.acknowledged += [str(self.left[i].SOPInstanceUID) for i in sorted(stored)]
            self.left = [one for i, one in enumerate(self.left) if i not in stored]


@pytest.mark.parametrize("seed", [20261])
def test_what_was_acknowledged_survives_kill_minus_nine_and_is_told_of_exactly_once(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    finals = Finals()
    studies = [head_ct_series(lesion=n % 2 == 0, slices=SLICES, seed=n) for n in range(STUDIES)]
    with LocalSite(
        tmp_path, on_alert=finals.on_alert, settings={"analysis": {"last_resort_s": 3}}
    ) as site:
        up = threading.Event()
        up.set()
        scanners = [Scanner(list(series), site, up) for series in studies]
        for scanner in scanners:
            scanner.start()
        pause = threading.Event()
        for _ in range(KILLS):
            pause.wait(chance.uniform(0.0, 0.6))
            up.clear()
            site.appliance.kill()
            site.appliance.start(wait_for="READY=1")
            up.set()
        for scanner in scanners:
            scanner.join(DONE_S)
            assert not scanner.left
        whole = {str(series[0].StudyInstanceUID): SLICES for series in studies}
        assert finals.wait_until_whole(whole), site.appliance.tail()
        for alert in finals.latest.values():
            assert alert.study.series[0].analysed
        assert_each_alert_once(site)
        assert site.appliance.stop() == 0


def assert_each_alert_once(site: LocalSite) -> None:
    """Central has every sequence from 1 to the last, each once, of one device that never restarted
    its counting.
    """
    with (
        closing(open_database(str(site.central.file))) as database,
        database.transaction() as read,
    ):
        rows = read.run("SELECT run, sequence FROM alerts ORDER BY sequence")
    assert [sequence for _, sequence in rows] == list(range(1, len(rows) + 1))
    assert len({run for run, _ in rows}) == 1
