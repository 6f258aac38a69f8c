"""A central server as a whole: figures, silence that is an alarm, shared work, and the audit."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from central_parts import Receiver, http_server
from delivery_parts import (
    Central,
    Device,
    MemoryOutbox,
    States,
    Watched,
    make_central,
    make_device,
    publisher,
)
from test_delivery_once import send

from edge.alerts.sealing import seal
from edge.alerts.topics import alert_topic
from edge.config import Broker, ConfigError
from edge.jose.envelope import Refusal
from edge.keys import load_recipients
from edge.store.journal import Journal
from tools.broker import LocalBroker, free_port
from tools.central import cli, overview
from tools.central.database import open_database
from tools.central.rules import Rules
from tools.central.server import Server
from tools.central.settings import (
    CentralSettings,
    HandOn,
    Metrics,
    Site,
    Store,
    Watch,
    read_settings,
    settings_toml,
)
from tools.central.site_folder import NewSite, make_site
from tools.central.store import AlertStore
from tools.central.subscriber import Received
from tools.postgres import LocalPostgres

PATIENCE_S = 60.0
Starter = Callable[..., "Running"]


class Running(Watched):
    """A server in a thread, and what it has received."""

    def __init__(self, settings: CentralSettings, *, share: str | None = None, name: str) -> None:
        super().__init__()
        self.alerts: list[Received] = []
        self.turns = 0
        self.server = Server(
            settings,
            on_alert=self._on_alert,
            on_turn=self._on_turn,
            rules=Rules(share=share),
            client_id=name,
        )
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def _on_alert(self, received: Received) -> None:
        with self.changed:
            self.alerts.append(received)
            self.changed.notify_all()

    def _on_turn(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def is_receiving(self) -> bool:
        return self.server._subscriber.deaf_since is None

    def stop(self) -> None:
        self.server.stop()
        self.thread.join()


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return make_central(tmp_path / "central")


@pytest.fixture
def device(tmp_path: Path, central: Central) -> Device:
    return make_device(tmp_path / "device", central)


@pytest.fixture
def settings(broker: LocalBroker, central: Central, tmp_path: Path) -> CentralSettings:
    return CentralSettings(
        site=Site(keys=central.folder),
        broker=Broker(host=broker.host, port=broker.port, tls=False),
        store=Store(database=str(tmp_path / "alerts.db"), audit=tmp_path / "audit.db"),
    )


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start servers; all end with the test."""
    running: list[Running] = []

    def starting(
        settings: CentralSettings, *, share: str | None = None, name: str = "central"
    ) -> Running:
        running.append(Running(settings, share=share, name=name))
        assert running[-1].wait_for(running[-1].is_receiving, PATIENCE_S)
        return running[-1]

    yield starting
    for one in running:
        one.stop()


def test_a_device_that_falls_silent_is_an_alarm_that_the_webhook_gets(
    settings: CentralSettings,
    broker: LocalBroker,
    device: Device,
    start: Starter,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("shared\n")
    with http_server(Receiver()) as receiver:
        watchful = settings.model_copy(
            update={
                "watch": Watch(silent_after_min=0.02),
                "hand_on": HandOn(
                    webhook=f"http://127.0.0.1:{receiver.port}/", webhook_secret_file=secret
                ),
            }
        )
        start(watchful)

        def kinds(device_name: str) -> list[tuple[str, bool]]:
            events = [json.loads(post.body).get("event") for post in receiver.posts]
            mine = [one for one in events if one and one["device"] == device_name]
            return [(one["kind"], one["ended"] is not None) for one in mine]

        # It was never heard: that is silence, too.
        assert receiver.wait_for(lambda: ("silent", False) in kinds("ct-1"), PATIENCE_S)
        states = States()
        sender = publisher(broker, MemoryOutbox(), device, states)
        sender.start()
        assert receiver.wait_for(lambda: ("silent", True) in kinds("ct-1"), PATIENCE_S)
        sender.stop()
        twice = [("silent", False), ("silent", True), ("silent", False)]
        assert receiver.wait_for(lambda: kinds("ct-1") == twice, PATIENCE_S)
    with closing(open_database(settings.store.database)) as database:
        (lasting,) = overview.events(database, 10, lasting=True)
    assert (lasting.kind, lasting.device) == ("silent", "ct-1")


def test_a_missed_drill_is_an_alarm_at_central(
    settings: CentralSettings, device: Device, start: Starter, broker: LocalBroker
) -> None:
    often = settings.model_copy(update={"watch": Watch(drill_every_h=0.0005)})
    start(often)
    with closing(open_database(settings.store.database)) as database:
        look = Watched()

        def lasting() -> list[str]:
            return [one.kind for one in overview.events(database, 10, lasting=True)]

        while "drill missed" not in lasting():
            look.wait_for(lambda: False, 0.1)


def test_figures_say_how_it_is_and_nothing_of_a_patient(
    settings: CentralSettings, broker: LocalBroker, device: Device, start: Starter
) -> None:
    port = free_port()
    running = start(settings.model_copy(update={"metrics": Metrics(port=port)}))
    good = device.entry(1).sealed
    topic = alert_topic("north", "ct-1", "urgent")
    send(broker, (topic, good), (topic, good), (topic, b"{}"), (topic, device.entry(4).sealed))
    assert running.wait_for(lambda: len(running.alerts) == 2, PATIENCE_S)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    for line in (
        'scanside_central_alerts_total{standing="new"} 2.0',
        'scanside_central_alerts_total{standing="repeat"} 1.0',
        'scanside_central_refused_total{reason="malformed"} 1.0',
        "scanside_central_missing 2.0",
        "scanside_central_database 1.0",
    ):
        assert line in text
    assert "1.2.3" not in text
    assert "ct-1" not in text


def test_processes_of_a_group_share_the_alerts_and_each_is_stored_once(
    settings: CentralSettings,
    broker: LocalBroker,
    device: Device,
    start: Starter,
    postgres: LocalPostgres,
) -> None:
    store = settings.store.model_copy(update={"database": postgres.database("shared")})
    shared = settings.model_copy(update={"store": store})
    first, second = (start(shared, share="ward", name=f"central-{number}") for number in (1, 2))
    outbox = MemoryOutbox()
    outbox.add(*(device.entry(number) for number in range(1, 61)))
    sender = publisher(broker, outbox, device)
    sender.start()
    both = Watched()
    while len(first.alerts) + len(second.alerts) < 60:
        both.wait_for(lambda: False, 0.05)
    sender.stop()
    got = [[one.record.sequence for one in running.alerts] for running in (first, second)]
    assert all(got)
    assert sorted(got[0] + got[1]) == list(range(1, 61))
    with closing(open_database(store.database)) as database:
        assert AlertStore(database).count() == 60


def test_what_is_refused_stands_in_an_audit_that_shows_every_change(
    settings: CentralSettings,
    broker: LocalBroker,
    device: Device,
    start: Starter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = start(settings)
    topic = alert_topic("north", "ct-1", "urgent")
    send(broker, (topic, b"{}"), (topic, device.entry(1).sealed))
    assert running.wait_for(lambda: len(running.alerts) == 1, PATIENCE_S)
    running.stop()
    values = {
        "site": {"keys": str(settings.site.keys)},
        "store": {"database": settings.store.database, "audit": str(settings.store.audit)},
    }
    (tmp_path / "central.toml").write_text(settings_toml(values))  # type: ignore[arg-type]
    assert cli.main(["audit", str(tmp_path), "--verify"]) == 0
    assert cli.main(["audit", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr().out
    assert "alert.refused" in said
    assert "malformed, 1 so far" in said
    with closing(Journal(settings.store.audit)) as journal, journal.transaction() as write:
        named = write.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (trigger,) in named:  # whoever has the file can take its own locks away
            write.execute(f"DROP TRIGGER {trigger}")
        write.execute("UPDATE audit SET outcome = 'done' WHERE what = 'alert.refused'")
    assert cli.main(["audit", str(tmp_path), "--verify"]) == 1
    assert "NOT as written" in capsys.readouterr().out


def test_a_device_that_signs_what_no_database_holds_does_not_stop_the_server(
    settings: CentralSettings,
    broker: LocalBroker,
    device: Device,
    start: Starter,
    postgres: LocalPostgres,
) -> None:
    store = settings.store.model_copy(update={"database": postgres.database("odd")})
    running = start(settings.model_copy(update={"store": store}))
    topic = alert_topic("north", "ct-1", "urgent")
    odd = [odd_alert(device, 1 << 63), odd_alert(device, 10**400), odd_alert(device, 3, id="\0")]
    state = b'{"state": "online", "since": "\\u0000", "backlog": 1e400}'
    send(broker, ("scanside/v1/north/ct-1/state", state), *((topic, one) for one in odd))
    send(broker, (topic, device.entry(4).sealed))
    assert running.wait_for(lambda: len(running.alerts) == 2, PATIENCE_S)
    assert [one.record.sequence for one in running.alerts] == [3, 4]
    assert running.alerts[0].record.problem.startswith("outside the schema")
    assert running.server.counts.refused == {Refusal.MALFORMED: 2}


def odd_alert(device: Device, sequence: int, **more: object) -> bytes:
    """Return what a device with strange software could sign: no alert, and out of bounds."""
    created = "2026-03-01T09:30:00.250Z"
    names = {"device": device.keys.device, "site": device.keys.site}
    return seal(
        json.dumps({**names, "sequence": sequence, "created": created, **more}).encode(),
        signer=device.keys.signing,
        device=device.keys.device,
        sequence=sequence,
        created=created,
        recipients=load_recipients(device.folder),
    )


def test_a_port_that_is_taken_is_named(settings: CentralSettings, broker: LocalBroker) -> None:
    taken = settings.model_copy(update={"metrics": Metrics(port=broker.port)})
    with pytest.raises(ConfigError, match=f"port = {broker.port}"):
        Server(taken, on_alert=lambda _: None, rules=Rules())


def test_settings_that_init_writes_are_read_back_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    folder = make_site(tmp_path / "site", NewSite("north", "ward", "broker.example", 8883))
    settings = folder.settings
    assert (settings.site.name, settings.broker.host) == ("north", "broker.example")
    assert settings.store.database == str(folder.path / "alerts.db")
    assert settings.hand_on.webhook is None
    file = folder.path / "central.toml"
    for wrong, words in (
        ('[hand_on]\nwebhook = "https://x"\n', "webhook needs webhook_secret_file"),
        ("[watch]\nsilent_after_min = 0\n", "silent_after_min"),
        ('[store]\ndatabase = "postgresql://no-user/x"\n', "database"),
        ("[nothing]\nx = 1\n", "nothing"),
        ("[site\n", "not TOML"),
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=words):
            read_settings(file)


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "nowhere"], ["devices", "nowhere"], ["enrol", "nowhere", "x"]],
)
def test_a_mistake_is_said_without_a_stack_trace(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([one.replace("nowhere", str(tmp_path / "no")) for one in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("scanside-central: ")
    assert "Traceback" not in said
