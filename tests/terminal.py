"""A terminal in front of an appliance that has something to show."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import STUDY, about, arrival
from findings import finding, package, series
from prometheus_client import CollectorRegistry

from edge.alerts.decision import decide
from edge.alerts.follow_up import FollowUps
from edge.alerts.policy import next_alert
from edge.alerts.reception import ReceiptRules
from edge.analysis.herald import Herald
from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.routing import SeriesAbout
from edge.audit import Audit
from edge.cli import main
from edge.config import default_toml, load_config
from edge.keys import DeviceKeys, KeyRing
from edge.metrics import Metrics
from edge.store.journal import StudyState
from edge.store.outbox import Outbox
from edge.store.studies import Store


class Terminal:
    """Runs `scanside` as a person would, and holds what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], config: Path) -> None:
        self._capsys = capsys
        self.config = config
        self.out = ""
        self.err = ""

    def __call__(self, command: str, *arguments: str, with_config: bool = True) -> int:
        words = [*command.split(), *arguments]
        code = main([*words, "--config", str(self.config)] if with_config else words)
        self.out, self.err = self._capsys.readouterr()
        return code

    def refused(self, command: str, *arguments: str) -> str:
        """Run a command that fails, and return the one message it failed with."""
        assert self(command, *arguments) in {1, 2}
        assert self.out == ""
        assert self.err.startswith("scanside: ")
        assert "Traceback" not in self.err
        return self.err.removeprefix("scanside: ").rstrip("\n")


def fresh(folder: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return an appliance that has its configuration, and nothing else."""
    config = folder / "config.toml"
    ours = default_toml().replace("/var/lib/scanside", "studies").replace("/etc/scanside/", "")
    config.write_text(ours.replace("port = 8883", "port = 1"), encoding="utf-8")
    return Terminal(capsys, config)


def with_two_studies(scanside: Terminal) -> Terminal:
    """Have two studies come in, one of them with a bleed, told of by an alert."""
    scanside("keys init")
    config = load_config(scanside.config)
    keys = DeviceKeys.load(config.storage.keys)
    with closing(Store(config.storage.folder, device_key=keys.storage, reserve_bytes=0)) as store:
        for number in range(3):
            store.keep(arrival(number), bytes(100))
        store.keep(arrival(1), bytes(50))
        store.keep(arrival(9, set_aside="a localizer"), bytes(100))
        store.series_closed(1, "geometry", 5)
        store.keep(arrival(study=f"{STUDY}.2", about=about("[/b] \x1b[31mred")), bytes(100))
        store.study_state(2, StudyState.QUARANTINED, 1)
        tell_of_a_bleed(store, KeyRing(config.storage.keys))
    return scanside


def tell_of_a_bleed(store: Store, ring: KeyRing) -> None:
    """Have the first study of a store decided, with a bleed in one of its two series."""
    stored = store.study(1)
    study = StudyInProgress.of(stored, None)
    for one in stored.series:
        known = SeriesInProgress(one.id, one.series_uid, SeriesAbout.from_json(one.about))
        known.instances = {image.id: image.instance_uid for image in one.instances}
        study.series[one.id] = known
    doubtful = replace(series(finding(0.9, key_instance=None)), doubts=("[odd] :warning: doubt",))
    decision = decide([doubtful, series(reason="no model for this kind of study")], complete=True)
    step = next_alert(decision, None)
    assert step is not None
    herald = Herald(
        ring,
        Outbox(store.journal),
        with_identity=False,
        rules=ReceiptRules(),
        wake=lambda: None,
        audit=Audit(store.journal, lambda: ring.current.own.signing),
        metrics=Metrics(CollectorRegistry()),
        on_told=lambda _study, _alert: None,
        follow_ups=FollowUps({}),
    )
    engines = {package().name: ("onnxruntime", "fp32")}
    herald.tell(study, decision, step, StudyState.DECIDED, engines)


def unread(command: Sequence[str]) -> tuple[int, bytes]:
    """Run a command whose reader is gone; return its status and what it says of that."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command,
            stdout=writing,
            stderr=subprocess.PIPE,
            # Output waits in a buffer, and is written when the command is over.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            check=False,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr
