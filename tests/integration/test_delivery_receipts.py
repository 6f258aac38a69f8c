"""Receipts, escalation, keys over time and refusals, through a real broker."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from receipt_parts import DEVICE, SITE, Appliance, Server

from edge.alerts.broker import BrokerSettings
from edge.alerts.drill import REASON, send_drill
from edge.alerts.receipt import Receipt, Standing, StoredAlert, make_receipt
from edge.alerts.reception import ReceiptRules
from edge.alerts.rotation import keys_message, rotate
from edge.alerts.topics import central_keys_topic, keys_topic, receipt_topic
from edge.jose import envelope
from edge.store.lookup import delivery_of
from tools.broker import LocalBroker

RECEIPTS = receipt_topic(SITE, DEVICE)


def settings(broker: LocalBroker, who: str) -> BrokerSettings:
    return BrokerSettings(broker.host, broker.port, who)


@pytest.fixture
def appliance(broker: LocalBroker, tmp_path: Path) -> Iterator[Appliance]:
    one = Appliance(tmp_path, settings(broker, "device"), ReceiptRules(escalate_after_s=600))
    yield one
    one.close()


@pytest.fixture
def ward(broker: LocalBroker, appliance: Appliance, tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path, "ward", settings(broker, "ward"))
    one.join(appliance)
    one.start()
    yield one
    one.stop()


def test_alerts_are_settled_by_their_receipts(appliance: Appliance, ward: Server) -> None:
    appliance.start()
    numbers = [appliance.tell(urgency) for urgency in ("routine", "critical", "urgent")]
    for number in numbers:
        assert appliance.wait_until_settled(number)
        assert appliance.line(number).receipts_of == ("ward",)
    assert appliance.comes_to("scanside_receipts_total", 3, result="settled")
    assert appliance.comes_to("scanside_alert_settled_seconds_count", 3)


def test_an_alert_waits_for_all_its_servers(
    broker: LocalBroker, appliance: Appliance, ward: Server, tmp_path: Path
) -> None:
    archive = Server(tmp_path, "archive", settings(broker, "archive"))
    archive.join(appliance)
    archive.answers = False
    archive.start()
    appliance.start()
    number = appliance.tell()
    assert appliance.wait_for(lambda: appliance.line(number).receipts_of == ("ward",))
    assert archive.wait_for_alert(number)
    assert appliance.line(number).owed_by == ("archive",)
    archive.send(RECEIPTS, archive.receipt_for(archive.alerts[0][0]))
    assert appliance.wait_until_settled(number)
    archive.stop()


def test_receipts_that_came_while_the_device_was_away_are_not_lost(
    appliance: Appliance, ward: Server
) -> None:
    ward.answers = False
    appliance.start()
    number = appliance.tell()
    assert ward.wait_for_alert(number)
    assert appliance.wait_for(lambda: appliance.line(number).published is not None)
    appliance.stop()
    ward.send(RECEIPTS, ward.receipt_for(ward.alerts[0][0]))
    ward.send(RECEIPTS, b"garbage after it")  # when it is refused, the first has been taken
    appliance.start()
    assert appliance.wait_until_settled(number)


def test_without_a_receipt_an_alert_escalates_on_the_second_topic(
    appliance: Appliance, ward: Server
) -> None:
    ward.answers = False
    appliance.rules = replace(appliance.rules, escalate_after_s=0.5)
    appliance.start()
    number = appliance.tell("critical")
    assert ward.wait_for_alert(number, escalated=True)
    assert appliance.line(number).delivery == "escalated"
    topics = {topic: set(payloads) for topic, payloads in ward.payloads.items()}
    first = f"scanside/v1/{SITE}/{DEVICE}/alert/critical"
    assert topics[first.replace("alert", "escalated")] == topics[first]  # the same sealed bytes
    assert appliance.audited("alert.escalated") == ["no receipt"]
    ward.send(RECEIPTS, ward.receipt_for(ward.alerts[0][0]))
    assert appliance.wait_until_settled(number)


@pytest.mark.parametrize("at_once", [1, 3])
def test_escalated_alerts_are_no_more_at_once_than_the_broker_takes(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, at_once: int
) -> None:
    """A broker ends the connection of a client that goes over its Receive Maximum."""
    broker = make_broker(config=f"max_inflight_messages {at_once}\n")
    rules = ReceiptRules(escalate_after_s=0.5)
    appliance = Appliance(tmp_path, settings(broker, "device"), rules)
    ward = Server(tmp_path, "ward", settings(broker, "ward"))
    ward.join(appliance)
    ward.answers = False
    ward.start()
    numbers = [appliance.tell() for _ in range(10)]
    appliance.start()
    for number in numbers:
        assert ward.wait_for_alert(number, escalated=True)
    # Each went out as new once, and once or twice when it was escalated: no connection was lost.
    assert len(ward.alerts) <= 3 * len(numbers)
    appliance.close()
    ward.stop()


def test_a_server_that_gives_no_receipts_is_served_as_before(
    appliance: Appliance, ward: Server
) -> None:
    ward.answers = False
    appliance.rules = ReceiptRules(wanted=False)
    appliance.start()
    number = appliance.tell()
    assert appliance.wait_until_settled(number)
    assert appliance.line(number).receipts_of == ()


def test_every_bad_receipt_is_refused_counted_and_audited_and_settles_nothing(
    broker: LocalBroker, appliance: Appliance, ward: Server, tmp_path: Path
) -> None:
    ward.answers = False
    stranger = Server(tmp_path, "stranger", settings(broker, "stranger"))
    appliance.start()
    first, second = appliance.tell(), appliance.tell()
    assert ward.wait_for_alert(first)
    assert ward.wait_for_alert(second)
    alert = next(one for one, _ in ward.alerts if one.sequence == first)
    other = next(one for one, _ in ward.alerts if one.sequence == second)
    good = ward.receipt_for(alert)
    inside = envelope.unwrap(good, appliance.ring.current.own.sealing).signed
    head, body, _ = inside.split(b".")
    forged = b".".join((head, body, b"A" * 86))
    device = appliance.ring.current.own.console
    wrong = {
        "malformed": [b"", b"garbage", b"[" * 9999, good[:-9] + b"AAAAAAAAA", good[:-1]],
        "too large": [b"x" * (envelope.MAX_MESSAGE + 1)],
        "bad signature": [envelope.wrap(forged, [device])],
        "unknown server": [_receipt_by(stranger, appliance, alert.sequence)],
        # For another id or content under the same number, as a former journal's would be.
        "mismatch": [
            ward.receipt_for(alert, digest="A" * 43),
            ward.receipt_for(alert, alert_id=other.id),
            ward.receipt_for(alert, sequence=99),
        ],
        "not for me": [ward.receipt_for(alert).replace(device.kid.encode(), b"A" * 43)],
    }
    for messages in wrong.values():
        for message in messages:
            ward.send(RECEIPTS, message)
    ward.send(RECEIPTS, ward.receipt_for(other))  # a good one after them all
    assert appliance.wait_until_settled(second)
    assert appliance.line(first).delivery == "published"
    for reason, messages in wrong.items():
        assert appliance.refusals("receipt", reason) == len(messages), reason
        assert f"{reason}, 1 so far" in appliance.audited("receipt.refused")
    # Played again, a good receipt does nothing, and nothing to another alert.
    ward.send(RECEIPTS, ward.receipt_for(other))
    ward.send(RECEIPTS, good)
    assert appliance.wait_until_settled(first)
    assert appliance.comes_to("scanside_receipts_total", 1, result="known")
    stranger.stop()


def _receipt_by(stranger: Server, appliance: Appliance, sequence: int) -> bytes:
    """A receipt of a server that the device has never heard of, under the name of one it has."""
    stored = StoredAlert(
        sequence,
        "0190f5c0-7b1a-7c3e-8f00-0123456789ab",
        "A" * 43,
        "2026-03-01T09:30:00.250Z",
        Standing.STORED,
    )
    return make_receipt(
        Receipt("ward", SITE, DEVICE, (stored,)),
        signer=stranger.keys.signing,
        device_key=appliance.ring.current.own.console,
    )


def test_a_server_removed_while_the_device_runs_reads_nothing_more_and_settles_nothing(
    broker: LocalBroker, appliance: Appliance, ward: Server, tmp_path: Path
) -> None:
    archive = Server(tmp_path, "archive", settings(broker, "archive"))
    archive.join(appliance)
    archive.start()
    appliance.start()
    assert appliance.wait_until_settled(appliance.tell())
    for file in (appliance.keys / "recipients").iterdir():
        if "archive" in file.read_text():
            file.unlink()
    assert appliance.wait_for(lambda: appliance.ring.current.readers_names == ("ward",))
    number = appliance.tell()
    assert appliance.wait_until_settled(number)
    assert appliance.line(number).receipts_of == ("ward",)
    assert archive.wait_for(lambda: archive.unreadable == ["not for me"])
    archive.send(RECEIPTS, archive.receipt_for(ward.alerts[-1][0]))
    assert appliance.wait_for(lambda: appliance.refusals("receipt", "unknown server") == 1)
    archive.stop()


def test_a_server_added_while_the_device_runs_reads_from_then_on_and_nothing_earlier(
    broker: LocalBroker, appliance: Appliance, ward: Server, tmp_path: Path
) -> None:
    appliance.start()
    earlier = appliance.tell()
    assert appliance.wait_until_settled(earlier)
    night = Server(tmp_path, "night", settings(broker, "night"))
    night.start()
    night.join(appliance)
    later = appliance.tell()
    assert night.wait_for_alert(later)
    assert appliance.wait_until_settled(later)
    for payload in ward.payloads[f"scanside/v1/{SITE}/{DEVICE}/alert/urgent"][:1]:
        with pytest.raises(envelope.SealError, match="not for me"):
            envelope.unwrap(payload, night.keys.opening)
    night.stop()


def test_new_keys_of_a_server_are_followed_while_the_device_runs(
    appliance: Appliance, ward: Server
) -> None:
    appliance.start()
    assert appliance.wait_until_settled(appliance.tell())
    rotate(ward.folder, "central", timedelta(days=1))
    message = keys_message(ward.keys.former)
    assert message is not None
    ward.send_keys(b"garbage")
    ward.send_keys(message.replace(b".", b"!", 1))
    ward.send_keys(message)
    kid = ward.keys.sealing.kid
    assert appliance.wait_for(
        lambda: [key.kid for key in appliance.ring.current.centrals.readers] == [kid]
    )
    assert appliance.refusals("keys", "malformed") == 2
    assert appliance.audited("keys.followed") == ["done"]
    number = appliance.tell()
    assert appliance.wait_until_settled(number)
    assert ward.unreadable == []
    assert central_keys_topic("ward") == "scanside-central/v1/ward/keys"


def test_new_keys_of_the_device_are_told_and_used_without_a_restart(
    appliance: Appliance, ward: Server
) -> None:
    appliance.start()
    assert appliance.wait_until_settled(appliance.tell())
    before = appliance.ring.current.own.signing.kid
    rotate(appliance.keys, "device", timedelta(days=1))
    topic = keys_topic(SITE, DEVICE)
    assert ward.wait_for(lambda: topic in ward.payloads, 40)
    assert appliance.ring.current.own.signing.kid != before
    chain = json.loads(ward.payloads[topic][0])["chain"]
    assert len(chain) == 1


def test_a_drill_goes_the_whole_way_and_each_part_of_it_is_timed(
    appliance: Appliance, ward: Server
) -> None:
    appliance.start()
    number = send_drill(
        appliance.outbox, appliance.audit, appliance.ring.current, appliance.rules, "cli:tester"
    )
    assert appliance.wait_until_settled(number)
    way = delivery_of(appliance.store.journal, number)
    assert way is not None
    assert way.published is not None
    (receipt,) = way.receipts
    assert way.created <= way.published
    assert way.created <= receipt.received
    assert (receipt.central, receipt.status) == ("ward", "stored")
    alert, _ = ward.alerts[0]
    assert (alert.urgency, alert.outcome, alert.reasons) == ("drill", "not_analysed", (REASON,))
    assert alert.study.series == ()
    assert alert.findings == ()
    assert appliance.comes_to("scanside_drills_total", 1, result="settled")
    assert appliance.audited("drill.made") == ["done"]


class Wire:
    """Stands between a client and the broker, and keeps all that passes."""

    def __init__(self, broker: LocalBroker) -> None:
        self._target = (broker.host, broker.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passed = bytearray()
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(source, target))
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.passed += data
                target.sendall(data)
        except OSError:
            return
        finally:
            target.close()

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def wire(broker: LocalBroker) -> Iterator[Wire]:
    one = Wire(broker)
    yield one
    one.close()


def test_the_wire_shows_no_patient_and_few_sizes(
    wire: Wire, broker: LocalBroker, tmp_path: Path
) -> None:
    """On a listener without TLS, where whoever listens hears all."""
    link = BrokerSettings("127.0.0.1", wire.port, "device")
    appliance = Appliance(tmp_path, link, ReceiptRules())
    ward = Server(tmp_path, "ward", replace(link, client_id="ward"))
    ward.join(appliance)
    ward.start()
    appliance.start()
    for _ in range(12):
        assert appliance.wait_until_settled(appliance.tell("critical"))
    appliance.close()
    ward.stop()
    heard = bytes(wire.passed)
    alert = ward.alerts[0][0]
    secrets = [
        alert.patient.pseudonym,
        alert.study.study_uid + '"',
        alert.findings[0].label,
        alert.findings[0].code.value,
        alert.id,
        "hemorrhage",
        "final",
    ]
    assert not [text for text in secrets if text.encode() in heard]
    payloads = [one for some in ward.payloads.values() for one in some]
    assert len(payloads) == 12
    assert len({len(one) for one in payloads}) == 1
    # From the device the topic went out in words once; then a number stood for it.
    topic = f"scanside/v1/{SITE}/{DEVICE}/alert/critical".encode()
    assert heard.count(topic) == 1 + 12  # once from the device, each time to the server
