"""Delivery: each alert at central exactly once in effect, whatever goes away in between."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delivery_parts
import paho.mqtt.client as mqtt
import pytest
from delivery_parts import (
    PATIENCE_S,
    Central,
    Device,
    FolderOutbox,
    MemoryOutbox,
    States,
    make_central,
    make_device,
    publisher,
)
from paho.mqtt.enums import CallbackAPIVersion

from edge.alerts.publisher import OutboxEntry, Publisher
from edge.alerts.sealing import Refusal
from edge.alerts.topics import alert_topic
from edge.keys import add_recipient
from tools.broker import LocalBroker
from tools.central.database import open_database
from tools.central.store import AlertStore

BrokerMaker = Callable[..., LocalBroker]


Starter = Callable[..., Publisher]


@pytest.fixture
def publishing() -> Iterator[Starter]:
    """Start publishers; all are stopped with the test."""
    started: list[Publisher] = []

    def start(*arguments: Any) -> Publisher:
        started.append(publisher(*arguments))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop(0.0)


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    one = make_central(tmp_path / "central")
    yield one
    one.stop()


@pytest.fixture
def device(tmp_path: Path, central: Central) -> Device:
    return make_device(tmp_path / "device", central)


def listening(central: Central, broker: LocalBroker) -> None:
    central.start(broker)
    assert central.subscriber is not None
    assert central.subscriber.wait_until_subscribed(PATIENCE_S)


def in_the_file(central: Central) -> int:
    store = AlertStore(open_database(str(central.folder / "alerts.db")))
    count = store.count()
    store.close()
    return count


def send(broker: LocalBroker, *messages: tuple[str, bytes]) -> None:
    """Publish as anyone on the network could."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def has_published(outbox: MemoryOutbox, last: int) -> Callable[[], bool]:
    """Return whether every alert from 1 to `last` is published, as a question."""
    return lambda: set(range(1, last + 1)) <= set(outbox.published)


def has_states(central: Central, count: int) -> Callable[[], bool]:
    """Return whether central heard of `count` states, as a question."""
    return lambda: len(central.states) >= count


def test_an_alert_arrives_decrypted_and_verified(
    any_broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    listening(central, any_broker)
    outbox, states = MemoryOutbox(), States()
    sender = publishing(any_broker, outbox, device, states)
    outbox.add(device.entry(1, "critical"))
    sender.wake()
    assert central.wait_for_alerts(1)
    assert outbox.wait_for(lambda: outbox.published == [1])
    received = central.alerts[0]
    assert received.alert is not None
    assert received.alert.findings[0].label == "Intracranial hemorrhage"
    assert received.record.problem == ""
    sender.stop()
    assert states.last.published == 1


def test_the_most_urgent_leaves_first_and_the_oldest_before_the_newer(
    any_broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    listening(central, any_broker)
    outbox = MemoryOutbox()
    outbox.add(*(device.entry(number, "routine") for number in (1, 2)))
    outbox.add(device.entry(3, "critical"), device.entry(4, "urgent"), device.entry(5, "critical"))
    sender = publishing(any_broker, outbox, device)
    assert central.wait_for_alerts(5)
    sender.stop()
    assert central.sequences() == [3, 5, 4, 1, 2]


def test_a_broker_that_restarts_loses_nothing_and_doubles_nothing(
    broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    listening(central, broker)
    outbox = MemoryOutbox()
    sender = publishing(broker, outbox, device)
    sequence = 0
    for _ in range(3):
        for _ in range(15):
            sequence += 1
            outbox.add(device.entry(sequence))
            sender.wake()
        broker.stop()
        for _ in range(5):  # made while no broker is there
            sequence += 1
            outbox.add(device.entry(sequence))
            sender.wake()
        broker.start()
    assert central.wait_for_alerts(sequence)
    assert outbox.wait_for(lambda: not outbox.rows)
    sender.stop()
    central.stop()
    assert sorted(central.sequences()) == list(range(1, sequence + 1))
    assert in_the_file(central) == sequence


def test_a_central_server_that_was_away_gets_what_it_missed(
    any_broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    listening(central, any_broker)
    central.stop()
    outbox = MemoryOutbox()
    outbox.add(*(device.entry(number) for number in range(1, 101)))
    sender = publishing(any_broker, outbox, device)
    assert outbox.wait_for(lambda: not outbox.rows)
    central.start(any_broker)
    assert central.wait_for_alerts(100)
    sender.stop()
    assert sorted(central.sequences()) == list(range(1, 101))


def test_alerts_sent_but_not_marked_are_sent_again_and_kept_once(
    any_broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    listening(central, any_broker)
    rows = [device.entry(number) for number in range(1, 11)]
    for outbox in (MemoryOutbox(forgetful=True), MemoryOutbox()):
        outbox.add(*rows)
        sender = publishing(any_broker, outbox, device)
        assert outbox.wait_for(has_published(outbox, 10))
        sender.stop()
    outbox.add(device.entry(11))
    sender = publishing(any_broker, outbox, device)
    assert central.wait_for(lambda: 11 in central.sequences())
    sender.stop()
    central.stop()
    assert sorted(central.sequences()) == list(range(1, 12))
    assert in_the_file(central) == 11
    assert central.subscriber is not None
    assert central.subscriber.counts.repeats >= 10


def test_a_publisher_killed_at_any_moment_loses_nothing_and_doubles_nothing(
    broker: LocalBroker, central: Central, device: Device, tmp_path: Path
) -> None:
    listening(central, broker)
    rows = tmp_path / "rows"
    rows.mkdir()
    FolderOutbox(rows).add(*(device.entry(number) for number in range(1, 121)))
    command = [sys.executable, delivery_parts.__file__, broker.host, str(broker.port), str(rows)]
    for after in (1, 7, 13, 26):  # rows marked before it is killed
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        process.communicate()
    last = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert central.wait_for_alerts(120)
    last.communicate(b"")
    central.stop()
    assert last.returncode == 0
    assert sorted(central.sequences()) == list(range(1, 121))
    assert in_the_file(central) == 120


def test_a_killed_device_is_offline_at_central_and_a_stopped_one_says_so(
    any_broker: LocalBroker, central: Central, tmp_path: Path
) -> None:
    listening(central, any_broker)
    rows = tmp_path / "rows"
    rows.mkdir()
    host, port = any_broker.host, str(any_broker.port)
    command = [sys.executable, delivery_parts.__file__, host, port, str(rows)]
    for ending in (subprocess.Popen.kill, None):
        seen = len(central.states)
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert central.wait_for(has_states(central, seen + 1))
        assert central.states[-1].online
        if ending is not None:
            ending(process)
        process.communicate(b"")
        assert central.wait_for(has_states(central, seen + 2))
        assert not central.states[-1].online


def test_a_central_server_that_comes_later_learns_who_is_online(
    any_broker: LocalBroker, central: Central, device: Device, publishing: Starter
) -> None:
    states = States()
    sender = publishing(any_broker, MemoryOutbox(), device, states)
    assert states.wait_for(lambda: states.last.connected)
    listening(central, any_broker)
    assert central.wait_for(lambda: bool(central.states))
    assert (central.states[0].device, central.states[0].online) == ("ct-1", True)
    sender.stop()
    assert central.wait_for(lambda: not central.states[-1].online)


def test_what_strangers_send_is_counted_and_stops_nothing(
    any_broker: LocalBroker, central: Central, device: Device, tmp_path: Path
) -> None:
    listening(central, any_broker)
    other = make_central(tmp_path / "other-central")
    stranger = make_device(tmp_path / "stranger", other, name="ct-9")
    add_recipient(stranger.folder, central.folder / "central.public.json")
    topic = alert_topic("north", "ct-1", "critical")
    good = device.entry(1).sealed
    send(
        any_broker,
        (topic, b""),
        (topic, b"{}"),
        (topic, good[:-9]),
        (topic, b"x" * 150_000),
        (topic, stranger.entry(1).sealed),
        ("scanside/v1/north/ct-1/state", b'{"state": 7}'),
        ("scanside/v1/north/ct-1/state", b"\xff" * 9000),
        (topic, good),
        (topic, good),
        (topic, device.entry(2).sealed),
    )
    assert central.wait_for_alerts(2)
    central.stop()
    assert central.sequences() == [1, 2]
    assert central.subscriber is not None
    counts = central.subscriber.counts
    assert counts.refused == {
        Refusal.MALFORMED: 3,
        Refusal.TOO_LARGE: 1,
        Refusal.UNKNOWN_DEVICE: 1,
    }
    assert (counts.accepted, counts.repeats) == (2, 1)


def test_a_device_trusted_while_central_runs_is_heard_without_a_restart(
    broker: LocalBroker, central: Central, device: Device, tmp_path: Path
) -> None:
    listening(central, broker)
    late = make_device(tmp_path / "late", central, name="mr-1")
    assert central.subscriber is not None
    send(broker, (alert_topic("north", "mr-1", "urgent"), late.entry(1).sealed))
    assert central.wait_for_alerts(1)
    assert central.alerts[0].record.device == "mr-1"


def test_an_alert_on_a_topic_that_is_not_its_own_is_kept_and_marked(
    broker: LocalBroker, central: Central, device: Device
) -> None:
    listening(central, broker)
    send(broker, (alert_topic("north", "ct-1", "routine"), device.entry(1, "critical").sealed))
    assert central.wait_for_alerts(1)
    assert "topic" in central.alerts[0].record.problem


def test_an_alert_that_the_broker_refuses_stays_and_the_others_pass(
    make_broker: BrokerMaker, central: Central, device: Device, tmp_path: Path, publishing: Starter
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(
        "topic readwrite scanside/#\ntopic deny scanside/v1/north/ct-1/alert/critical\n"
    )
    broker: LocalBroker = make_broker(config=f"acl_file {rules}\n")
    listening(central, broker)
    outbox, states = MemoryOutbox(), States()
    outbox.add(device.entry(1, "critical"), device.entry(2, "urgent"), device.entry(3, "routine"))
    sender = publishing(broker, outbox, device, states)
    assert central.wait_for_alerts(2)
    assert states.wait_for(lambda: states.last.set_aside == 1)
    assert any("Not authorized" in state.reason for state in states.said)
    assert outbox.wait_for(lambda: outbox.rows.keys() == {1})
    rules.write_text("topic readwrite scanside/#\n")
    broker.reload()
    assert central.wait_for_alerts(3)
    assert outbox.wait_for(lambda: not outbox.rows)
    sender.stop()
    assert states.last.connected is False
    assert central.sequences() == [2, 3, 1]


def test_an_alert_larger_than_the_broker_takes_stays_and_costs_no_connection(
    make_broker: BrokerMaker, central: Central, device: Device, publishing: Starter
) -> None:
    broker: LocalBroker = make_broker(config="max_packet_size 8000\n")
    listening(central, broker)
    outbox, states = MemoryOutbox(), States()
    outbox.add(OutboxEntry(1, "critical", b"x" * 9000), device.entry(2))
    sender = publishing(broker, outbox, device, states)
    assert central.wait_for_alerts(1)
    assert states.wait_for(lambda: states.last.set_aside == 1)
    sender.stop()
    assert outbox.rows.keys() == {1}
    assert all(state.connected for state in states.said[:-1])


def test_an_exercise_that_nobody_received_expires_at_the_broker(
    broker: LocalBroker, device: Device, publishing: Starter
) -> None:
    """Real alerts never do: only the drill carries an expiry."""
    expiries: dict[str, int | None] = {}
    watched = delivery_parts.Watched()

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with watched.changed:
            expiry = getattr(message.properties, "MessageExpiryInterval", None)
            expiries[message.topic.rsplit("/", 1)[1]] = expiry
            watched.changed.notify_all()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.connect(broker.host, broker.port)
    client.subscribe("scanside/v1/+/+/alert/+", qos=1)
    client.loop_start()
    outbox = MemoryOutbox()
    outbox.add(device.entry(1, "drill"), device.entry(2, "critical"))
    sender = publishing(broker, outbox, device)
    assert watched.wait_for(lambda: len(expiries) == 2)
    sender.stop()
    client.disconnect()
    client.loop_stop()
    assert expiries["critical"] is None
    assert expiries["drill"] is not None
    assert 3590 <= expiries["drill"] <= 3600
