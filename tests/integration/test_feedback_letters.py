"""A physician's word reaches central: sealed, after a broker that was away, once in effect."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from arrivals import arrival, open_store
from delivery_parts import PATIENCE_S, MemoryOutbox, States, make_central, make_device
from paho.mqtt.enums import CallbackAPIVersion

from edge.alerts.broker import BrokerSettings
from edge.alerts.letters import Post
from edge.alerts.publisher import Publisher
from edge.alerts.topics import feedback_filter, feedback_topic
from edge.audit import Audit, read_entries
from edge.console.accounts import Role, User
from edge.console.verdicts import Verdicts
from edge.feedback.message import open_feedback
from edge.keys import KeyRing, load_trusted
from edge.store.feedback import FeedbackStore, Verdict
from edge.store.studies import Store
from tools.broker import LocalBroker
from tools.central.database import open_database
from tools.central.feedback import latest

DR_ZAINAB = User(1, "Dr Zainab", Role.PHYSICIAN, "ar", 0.0, 0.0, False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        opened.keep(arrival(), b"image")
        yield opened


@contextmanager
def listening(broker: LocalBroker) -> Iterator[queue.Queue[mqtt.MQTTMessage]]:
    """Subscribe to feedback as a central server does."""
    came: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    subscribed: queue.Queue[bool] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: came.put(message)
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.subscribe(feedback_filter("north"), qos=1)
    subscribed.get(timeout=PATIENCE_S)
    try:
        yield came
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_word_is_sent_when_the_broker_is_back_and_opened_by_central(
    broker: LocalBroker, store: Store, tmp_path: Path
) -> None:
    central = make_central(tmp_path / "central")
    device = make_device(tmp_path / "device", central)
    ring = KeyRing(device.folder)
    feedback = FeedbackStore(store.journal, store._device_key)
    audit = Audit(store.journal, lambda: device.keys.signing)
    outbox = MemoryOutbox()
    publisher = Publisher(
        BrokerSettings(broker.host, broker.port, "device-ct-1"),
        outbox,
        device="ct-1",
        site="north",
        on_state=States(),
        post=Post(feedback, feedback_topic("north", "ct-1")),
    )
    verdicts = Verdicts(
        feedback,
        audit,
        keys=lambda: device.keys,
        recipients=lambda: ring.current.readers,
        wake=publisher.wake,
    )
    alert = device.alert(1, "critical")
    broker.stop()
    publisher.start()
    verdicts.say(DR_ZAINAB, 1, alert, 0, Verdict.DISAGREE, "calcified falx")
    assert [number for number, _ in feedback.pending(9, ())] == [1]
    broker.start()
    central.start(broker)
    assert central.subscriber is not None
    assert central.subscriber.wait_until_subscribed(PATIENCE_S)
    try:
        with listening(broker) as came:
            verdicts.say(DR_ZAINAB, 1, alert, 0, Verdict.AGREE, "")
            words: dict[int, str] = {}
            while 2 not in words:  # the first may have gone before we listened
                message = came.get(timeout=PATIENCE_S)
                assert message.topic == "scanside/v1/north/ct-1/feedback"
                for secret in (b"falx", b"Zainab", b"1.2.3"):
                    assert secret not in message.payload
                opened, _ = open_feedback(
                    bytes(message.payload),
                    me=central.keys.sealing,
                    trusted=load_trusted(central.folder),
                    now=datetime.now(timezone.utc),
                )
                words[opened.sequence] = opened.verdict
            assert words[2] == "agree"
            # What central has taken before an alert that was sent later, it has kept.
            outbox.add(device.entry(1))
            publisher.wake()
            assert central.wait_for_alerts(1)
    finally:
        publisher.stop()
    assert feedback.pending(9, ()) == []
    central.stop()
    with closing(open_database(str(central.folder / "alerts.db"))) as database:
        kept = {row.verdict: row for row in latest(database, 9)}
    assert kept["agree"].who == "Dr Zainab"
    assert kept["agree"].alert_id == alert.id
    assert kept["agree"].flagged
    acts = [entry.act for entry in read_entries(store.journal, 9)]
    assert [act.on for act in acts] == ["feedback:2 study:1", "feedback:1 study:1"]
    assert {act.who for act in acts} == {"console:Dr Zainab (physician)"}
