"""Handing on: a webhook, a FHIR server, a file. Whoever is away is told when he is back."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from central_parts import Post, Receiver, http_server, make_lone_device, record_of
from delivery_parts import Device
from fhir.resources.R4B.bundle import Bundle

from tools.central import overview
from tools.central.database import Database, open_database
from tools.central.hand_on import Courier, Target
from tools.central.hand_on.courier import pause_s
from tools.central.hand_on.fhir import FhirTarget, bundle, checked_bundle
from tools.central.hand_on.lines import LinesTarget
from tools.central.hand_on.queue import HandOnQueue, bring_back
from tools.central.hand_on.webhook import WebhookTarget, signature
from tools.central.silence import Condition, Kind
from tools.central.store import AlertStore

SECRET = "shared with the receiver"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_lone_device(tmp_path / "device")


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with closing(open_database(place)) as one:
        yield one


@contextmanager
def serving(place: str, target: Target, give_up_s: float = 3600.0) -> Iterator[Courier]:
    aside: list[str] = []
    courier = Courier(
        open_database(place), target, holder="me", give_up_s=give_up_s, on_set_aside=aside.append
    )
    courier.start()
    try:
        yield courier
    finally:
        courier.stop()


def waiting(database: Database) -> dict[str, tuple[int, int]]:
    return overview.hand_on_backlog(database)


def is_signed(post: Post) -> bool:
    said = post.headers["Scanside-Signature"]
    return said == signature(SECRET.encode(), post.headers["Scanside-Time"], post.body)


def test_a_webhook_gets_each_alert_signed_and_with_a_name_that_stays(
    place: str, database: Database, device: Device
) -> None:
    records = [record_of(device, number) for number in range(1, 6)]
    with http_server(Receiver()) as receiver:
        target = WebhookTarget(f"http://127.0.0.1:{receiver.port}/alerts?x=1", SECRET)
        with serving(place, target) as courier:
            AlertStore(database, targets=("webhook",)).keep(records)
            courier.wake()
            assert receiver.wait_for(lambda: len(receiver.posts) == 5)
    assert [post.headers["Scanside-Id"] for post in receiver.posts] == [
        one.alert_id for one in records
    ]
    assert all(map(is_signed, receiver.posts))
    assert {post.path for post in receiver.posts} == {"/alerts?x=1"}
    first = json.loads(receiver.posts[0].body)
    assert first["alert"]["findings"][0]["label"] == "Intracranial hemorrhage"
    assert waiting(database) == {}


def test_a_webhook_that_fails_is_tried_again_and_gets_the_same_alert(
    place: str, database: Database, device: Device
) -> None:
    with http_server(Receiver(answers=[503, 302])) as receiver:
        target = WebhookTarget(f"http://127.0.0.1:{receiver.port}/", SECRET)
        with serving(place, target) as courier:
            AlertStore(database, targets=("webhook",)).keep([record_of(device, 1)])
            courier.wake()
            assert receiver.wait_for(lambda: len(receiver.posts) == 3, 60.0)
    assert len({post.headers["Scanside-Id"] for post in receiver.posts}) == 1
    assert waiting(database) == {}


def test_what_waits_survives_a_restart_and_a_receiver_that_was_away(
    place: str, database: Database, device: Device
) -> None:
    away = Receiver()
    with http_server(away):
        pass  # the port is known now, and nobody listens on it
    target = WebhookTarget(f"http://127.0.0.1:{away.port}/", SECRET)
    AlertStore(database, targets=("webhook",)).keep([record_of(device, 1)])
    with serving(place, target):
        pass  # it stops only after it has tried
    assert waiting(database) == {"webhook": (1, 0)}
    with http_server(away), serving(place, target):
        assert away.wait_for(lambda: len(away.posts) == 1, 60.0)
    assert waiting(database) == {}


def test_what_is_never_taken_is_set_aside_said_and_brought_back_by_a_person(
    place: str, database: Database, device: Device
) -> None:
    with http_server(Receiver(answers=[500])) as receiver:
        target = WebhookTarget(f"http://127.0.0.1:{receiver.port}/", SECRET)
        AlertStore(database, targets=("webhook",)).keep([record_of(device, 1)])
        with serving(place, target, give_up_s=0.0):
            assert receiver.wait_for(lambda: len(receiver.posts) == 1)
        assert waiting(database) == {"webhook": (0, 1)}
        overview.note_set_aside(database, "webhook", ["webhook", "lines"])
        (event,) = overview.events(database, 10, lasting=True)
        assert event.kind == "set aside"
        assert bring_back(database) == 1
        overview.end_set_aside(database)
        with serving(place, target):
            assert receiver.wait_for(lambda: len(receiver.posts) == 2)
    assert waiting(database) == {"lines": (1, 0)}
    assert overview.events(database, 10, lasting=True) == []


def test_two_processes_do_not_hand_on_the_same(database: Database, device: Device) -> None:
    records = [record_of(device, number) for number in range(1, 21)]
    AlertStore(database, targets=("webhook",)).keep(records)
    queue = HandOnQueue(database, "webhook", "one")
    first, second = queue.claim(12), HandOnQueue(database, "webhook", "two").claim(12)
    numbers = [one.item.number for one in (*first, *second)]
    assert len(numbers) == len(set(numbers)) == 20


def test_an_event_is_handed_on_when_it_begins_and_when_it_is_over(
    place: str, database: Database
) -> None:
    silent = Condition(Kind.SILENT, "north", "ct-1", "offline for 20 min")
    with http_server(Receiver()) as receiver:
        target = WebhookTarget(f"http://127.0.0.1:{receiver.port}/", SECRET)
        with serving(place, target) as courier:
            for lasting in ([silent], [silent], []):
                overview.note_conditions(database, lasting, ["webhook"])
            courier.wake()
            assert receiver.wait_for(lambda: len(receiver.posts) == 2)
    events = [json.loads(post.body)["event"] for post in receiver.posts]
    assert [event["kind"] for event in events] == ["silent", "silent"]
    assert [event["device"] for event in events] == ["ct-1", "ct-1"]


def test_a_fhir_server_gets_a_report_and_an_observation_for_each_finding(
    place: str, database: Database, device: Device
) -> None:
    with http_server(Receiver(body=b"")) as receiver:
        target = FhirTarget(f"http://127.0.0.1:{receiver.port}/fhir", "a token")
        with serving(place, target) as courier:
            AlertStore(database, targets=("fhir",)).keep([record_of(device, 1, "critical")])
            courier.wake()
            assert receiver.wait_for(lambda: len(receiver.posts) == 1, 60.0)
    (post,) = receiver.posts
    assert post.path == "/fhir"
    assert post.headers["Authorization"] == "Bearer a token"
    assert post.headers["Content-Type"] == "application/fhir+json"
    report, observation = (one.resource for one in Bundle.model_validate_json(post.body).entry)
    assert report.get_resource_type() == "DiagnosticReport"
    assert report.status == "preliminary"  # nobody has confirmed it
    assert "not a diagnosis" in report.conclusion
    assert report.imagingStudy[0].identifier.value == "urn:oid:1.2.3.1"
    coding = observation.code.coding[0]
    assert (coding.system, coding.code) == ("http://snomed.info/sct", "1386000")
    assert float(observation.valueQuantity.value) == 0.93
    assert observation.interpretation[0].coding[0].code == "POS"
    assert waiting(database) == {}


def test_a_fhir_server_that_refuses_a_part_has_not_taken_it(
    place: str, database: Database, device: Device
) -> None:
    refused = {"entry": [{"response": {"status": "422 Unprocessable"}}]}
    with http_server(Receiver(body=json.dumps(refused).encode())) as receiver:
        target = FhirTarget(f"http://127.0.0.1:{receiver.port}/", None)
        AlertStore(database, targets=("fhir",)).keep([record_of(device, 1)])
        with serving(place, target):
            assert receiver.wait_for(lambda: len(receiver.posts) >= 1, 60.0)
    assert waiting(database) == {"fhir": (1, 0)}


def body_of(device: Device, **changes: Any) -> dict[str, Any]:
    return {**json.loads(device.alert(1, "urgent").to_json()), **changes}


def test_an_alert_that_was_taken_back_is_told_as_an_error(device: Device) -> None:
    report, observation = (
        one["resource"]
        for one in checked_bundle(body_of(device, status="retracted", supersedes="x"))["entry"]
    )
    assert (report["status"], observation["status"]) == ("entered-in-error", "entered-in-error")


def test_a_finding_that_is_not_flagged_is_not_told_as_absent(device: Device) -> None:
    body = body_of(device)
    body["findings"][0] |= {"flagged": False}
    interpretation = bundle(body)["entry"][1]["resource"]["interpretation"][0]
    assert "coding" not in interpretation
    assert "not a statement that it is absent" in interpretation["text"]


def test_a_study_that_was_not_analysed_is_told_as_that(device: Device) -> None:
    body = body_of(device, outcome="not_analysed", findings=[], reasons=["no model"])
    (entry,) = checked_bundle(body)["entry"]
    assert entry["resource"]["conclusion"].startswith("not analysed: no model.")
    assert "result" not in entry["resource"]


@pytest.mark.parametrize(
    ("acquired", "told"),
    [
        ("2026-03-01T09:30:00", "2026-03-01"),
        ("2026-03-01T09:30:00+01:00", "2026-03-01T09:30:00+01:00"),
        (None, None),
    ],
)
def test_a_time_without_a_zone_is_told_as_a_day(
    device: Device, acquired: str | None, told: str | None
) -> None:
    body = body_of(device)
    body["study"]["acquired"] = acquired
    report = checked_bundle(body)["entry"][0]["resource"]
    assert report.get("effectiveDateTime") == told


def test_the_same_alert_is_created_once_however_often_it_is_sent(device: Device) -> None:
    body = body_of(device)
    names = [one["request"]["ifNoneExist"] for one in bundle(body)["entry"]]
    assert names == [one["request"]["ifNoneExist"] for one in bundle(body)["entry"]]
    assert len(set(names)) == 2


def test_a_file_gets_each_alert_once_also_after_a_crash_between_file_and_queue(
    tmp_path: Path, device: Device
) -> None:
    place, file = str(tmp_path / "alerts.db"), tmp_path / "alerts.jsonl"
    with closing(open_database(place)) as database:
        store = AlertStore(database, targets=("lines",))
        store.keep([record_of(device, number) for number in range(1, 6)])
        queue = HandOnQueue(database, "lines", "me")
        LinesTarget(file).give([one.item for one in queue.claim(3)])
        with file.open("ab") as torn:  # a line that the power cut short
            torn.write(b'{"received": "2026')
        # The crash: nothing has left the queue.
        with serving(place, LinesTarget(file)):
            pass
        assert waiting(database) == {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["sequence"] for one in lines] == [1, 2, 3, 4, 5]
    assert list(lines[0]) == [
        *("received", "device", "site", "sequence", "kid", "created", "alert", "problem")
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pauses_grow_to_ten_minutes_and_no_further() -> None:
    assert [pause_s(number, jitter=0.0) for number in (0, 1, 2, 9, 10, 500)] == [
        *(1.0, 2.0, 4.0, 512.0, 600.0, 600.0)
    ]
    assert pause_s(3, jitter=1.0) == 4.0
