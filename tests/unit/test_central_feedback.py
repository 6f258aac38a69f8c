"""Central keeps a physician's word once, and takes it from its own device's topic alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge.alerts.connection import Message
from edge.feedback.message import Feedback, Finding, seal_feedback
from edge.jose.envelope import Refusal, SealError
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    DeviceKeys,
    KeyRing,
    add_recipient,
    init_central,
    init_device,
    trust_device,
)
from tools.central.database import Database, open_database
from tools.central.feedback import FeedbackTray, latest
from tools.central.own_keys import OwnKeys
from tools.central.trust import TrustWatch

TOPIC = "scanside/v1/north/ct-1/feedback"
WORD = Feedback(
    sequence=1,
    device="ct-1",
    site="north",
    created="2026-11-25T08:59:00.000Z",
    alert="018f0000-0000-7000-8000-000000000001",
    study_uid="1.2.3",
    finding=Finding("SCT:1386000", "Intracranial hemorrhage", "1.2.3.4", True, "m", "0.1.0"),
    verdict="disagree",
    note="تكلّس",
    who="د. هدى",
    role="physician",
)


@pytest.fixture
def device(tmp_path: Path) -> DeviceKeys:
    """A device and a central server that know each other."""
    keys = init_device(tmp_path / "device", device="ct-1", site="north")
    init_central(tmp_path / "central", "central")
    add_recipient(tmp_path / "device", tmp_path / "central" / CENTRAL_PUBLIC)
    trust_device(tmp_path / "central", tmp_path / "device" / DEVICE_PUBLIC)
    return keys


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(str(tmp_path / "alerts.db"))
    yield opened
    opened.close()


@pytest.fixture
def tray(tmp_path: Path, device: DeviceKeys, database: Database) -> FeedbackTray:
    folder = tmp_path / "central"
    own = OwnKeys(folder, CentralKeys.load(folder))
    return FeedbackTray(database, own, TrustWatch(folder), None)


def message(tmp_path: Path, word: Feedback = WORD, topic: str = TOPIC) -> Message:
    keys = KeyRing(tmp_path / "device").current
    sealed = seal_feedback(word, signer=keys.own.signing, recipients=keys.readers)
    return Message(topic, sealed, 1, 1, False, time.time(), time.monotonic())


def test_a_word_that_comes_twice_is_kept_once(
    tmp_path: Path, tray: FeedbackTray, database: Database
) -> None:
    one = message(tmp_path)
    assert tray.take(one)
    assert tray.take(one)
    assert tray.take(message(tmp_path, replace(WORD, sequence=2, verdict="agree")))
    rows = latest(database, 9)
    assert [(row.verdict, row.note, row.who) for row in rows] == [
        ("agree", "تكلّس", "د. هدى"),
        ("disagree", "تكلّس", "د. هدى"),
    ]


def test_a_device_that_counts_anew_is_heard(
    tmp_path: Path, tray: FeedbackTray, database: Database
) -> None:
    tray.take(message(tmp_path))
    tray.take(message(tmp_path, replace(WORD, created="2026-12-01T08:59:00.000Z")))
    assert len(latest(database, 9)) == 2


def test_a_word_on_another_devices_topic_is_refused(
    tmp_path: Path, tray: FeedbackTray, database: Database
) -> None:
    with pytest.raises(SealError) as refused:
        tray.take(message(tmp_path, topic="scanside/v1/north/ct-2/feedback"))
    assert refused.value.reason is Refusal.MISMATCH
    assert latest(database, 9) == []


def test_other_topics_are_left_to_others(tmp_path: Path, tray: FeedbackTray) -> None:
    assert not tray.take(message(tmp_path, topic="scanside/v1/north/ct-1/state"))


def test_a_word_that_is_too_old_is_refused(
    tmp_path: Path, tray: FeedbackTray, database: Database
) -> None:
    tray._max_age = timedelta(minutes=1)
    with pytest.raises(SealError) as refused:
        tray.take(message(tmp_path, replace(WORD, created="2020-01-01T00:00:00.000Z")))
    assert refused.value.reason is Refusal.STALE
