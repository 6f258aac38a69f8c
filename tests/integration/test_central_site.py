"""A site from its own authority: who is let in at a real broker, to do what, until when."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings, TlsSettings
from edge.alerts.connection import Connection, Session
from edge.alerts.topics import alert_topic, receipt_topic
from edge.keys import init_device, load_trusted
from tools.broker import LocalBroker, find_mosquitto, free_port
from tools.central import cli
from tools.central.authority import Authority, Role, make_request
from tools.central.site_folder import NewSite, SiteFolder, enrol, make_site, revoke, tell_broker

PATIENCE_S = 20.0

pytestmark = [
    pytest.mark.skipif(find_mosquitto() is None, reason="needs mosquitto"),
    # paho lets go of the socket of a failed handshake without closing it; the interpreter does.
    pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"),
]


@dataclass
class Site:
    """A site's folder and its broker, running."""

    folder: SiteFolder
    broker: LocalBroker
    devices: Path

    def new_device(self, name: str) -> tuple[Path, Path]:
        """Return public file and request of a device that made its own keys."""
        place = self.devices / name
        init_device(place, device=name, site="north")
        request, key = make_request(name)
        (place / "device.csr.pem").write_bytes(request.public_bytes(Encoding.PEM))
        (place / "tls.key").write_text(key)
        return place / "device.public.json", place / "device.csr.pem"

    def as_device(self, name: str) -> BrokerSettings:
        handed = self.folder.handed_to(name)
        files = TlsSettings(
            handed / "ca.pem", handed / "device.pem", self.devices / name / "tls.key"
        )
        return BrokerSettings(self.broker.host, self.broker.port, f"device-{name}", tls=files)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    new = NewSite("north", "ward", "127.0.0.1", free_port())
    folder = make_site(tmp_path / "site", new)
    broker = LocalBroker(tmp_path, port=new.port, file=folder.broker / "mosquitto.conf")
    one = Site(folder, broker, tmp_path / "devices")
    one.devices.mkdir()
    enrol(folder, *one.new_device("ct-1"))
    broker.start()
    yield one
    broker.stop()


class Line:
    """A connection to the broker, that says what the broker answers."""

    def __init__(self, settings: BrokerSettings) -> None:
        self.bell = Bell()
        self.connection = Connection(settings, Session())
        try:
            self.connection.open(self.bell, lambda: False)
        except BrokerError:
            self.bell.close()
            raise

    def publish(self, topic: str) -> str | None:
        """Return why the broker refused it; None when it did not."""
        self.connection.publish(topic, b"sealed")
        while not self.connection.acknowledged:
            self.connection.turn(PATIENCE_S, self.bell)
        return self.connection.acknowledged.popleft().failure

    def close(self) -> None:
        self.connection.close(self.bell, 2.0)
        self.bell.close()


def why_not(settings: BrokerSettings) -> str:
    """Return why the broker does not let us in; empty when it does."""
    try:
        line = Line(settings)
        refusal = line.publish("scanside/v1/north/ct-1/state")
        line.close()
    except BrokerError as error:
        return str(error)
    return refusal or ""


def test_a_device_writes_below_its_own_name_and_nowhere_else(site: Site) -> None:
    line = Line(site.as_device("ct-1"))
    assert line.publish(alert_topic("north", "ct-1", "critical")) is None
    for topic in (
        alert_topic("north", "ct-2", "critical"),
        alert_topic("south", "ct-1", "critical"),
        receipt_topic("north", "ct-1"),
        "$SYS/broker",
        "anything",
    ):
        assert line.publish(topic) == "Not authorized"
    line.close()


def test_who_has_no_certificate_of_this_site_is_not_let_in(site: Site, tmp_path: Path) -> None:
    good = site.as_device("ct-1")
    assert why_not(good) == ""
    assert good.tls is not None
    without = BrokerSettings(good.host, good.port, "x", tls=TlsSettings(good.tls.ca))
    assert why_not(without)
    request, key = make_request("ct-1")
    stranger = Authority.make(tmp_path / "stranger", "north")
    forged = stranger.sign(request, "ct-1", Role.DEVICE).public_bytes(Encoding.PEM)
    (tmp_path / "forged.pem").write_bytes(forged)
    (tmp_path / "forged.key").write_text(key)
    files = TlsSettings(good.tls.ca, tmp_path / "forged.pem", tmp_path / "forged.key")
    assert why_not(BrokerSettings(good.host, good.port, "x", tls=files))


def test_an_expired_certificate_is_refused(site: Site, tmp_path: Path) -> None:
    authority = Authority.load(site.folder.path / "authority")
    request, key = make_request("ct-1")
    old = authority.sign(request, "ct-1", Role.DEVICE, days=0)
    (tmp_path / "old.pem").write_bytes(old.public_bytes(Encoding.PEM))
    (tmp_path / "old.key").write_text(key)
    good = site.as_device("ct-1")
    assert good.tls is not None
    files = TlsSettings(good.tls.ca, tmp_path / "old.pem", tmp_path / "old.key")
    assert why_not(BrokerSettings(good.host, good.port, "x", tls=files))


def test_a_revoked_device_is_turned_away_at_once_also_when_it_is_connected(site: Site) -> None:
    line = Line(site.as_device("ct-1"))
    topic = alert_topic("north", "ct-1", "urgent")
    assert line.publish(topic) is None
    revoke(site.folder, "ct-1")
    assert tell_broker(site.folder)
    # mosquitto reads its files between two messages; the next but few is refused.
    answers = (line.publish(topic) for _ in range(2000))
    assert "Not authorized" in answers
    line.close()
    assert load_trusted(site.folder.keys).by_kid == {}
    assert why_not(site.as_device("ct-1"))


def test_a_device_enrolled_while_the_broker_runs_is_let_in(site: Site) -> None:
    device = enrol(site.folder, *site.new_device("mr-1"))
    assert tell_broker(site.folder)
    line = Line(site.as_device(device.device))
    answers = (line.publish(alert_topic("north", "mr-1", "routine")) for _ in range(2000))
    assert None in answers
    line.close()


def test_what_a_device_is_handed_holds_no_secret(site: Site) -> None:
    for file in site.folder.handed_to("ct-1").iterdir():
        assert "PRIVATE" not in file.read_text()
        assert '"d"' not in file.read_text()
    for name in ("authority/ca.key", "tls/central.key", "broker/broker.key", "keys/sealing.jwk"):
        assert stat.S_IMODE((site.folder.path / name).stat().st_mode) == 0o600


def test_two_devices_whose_files_are_mixed_up_are_not_enrolled(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    public, _ = site.new_device("mr-1")
    _, request = site.new_device("mr-2")
    assert cli.main(["enrol", str(site.folder.path), str(public), str(request)]) == 1
    assert "mixed up" in capsys.readouterr().err
    assert len(load_trusted(site.folder.keys).by_kid) == 1


def test_a_device_of_another_site_is_not_enrolled(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    init_device(site.devices / "far", device="ct-9", site="south")
    public = site.devices / "far" / "device.public.json"
    assert cli.main(["enrol", str(site.folder.path), str(public)]) == 1
    assert "is of site 'south'" in capsys.readouterr().err


def test_a_request_that_was_altered_is_not_signed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    public, request = site.new_device("mr-1")
    whole = x509.load_pem_x509_csr(request.read_bytes())
    raw = bytearray(whole.public_bytes(Encoding.DER))
    raw[-1] ^= 1  # in the signature
    altered = x509.load_der_x509_csr(bytes(raw)).public_bytes(Encoding.PEM)
    request.write_bytes(altered)
    assert cli.main(["enrol", str(site.folder.path), str(public), str(request)]) == 1
    assert "altered" in capsys.readouterr().err


def test_a_site_on_the_hospitals_own_authority_makes_none(tmp_path: Path) -> None:
    hospital = Authority.make(tmp_path / "hospital", "hospital")
    files: dict[str, tuple[Path, Path]] = {}
    for name, role in (("ward", Role.CENTRAL), ("broker", Role.BROKER), ("ct-1", Role.DEVICE)):
        request, key = make_request(name)
        signed = hospital.sign(request, name, role, hosts=["127.0.0.1"])
        (tmp_path / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        (tmp_path / f"{name}.key").write_text(key)
        files[name] = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    ca = str(tmp_path / "hospital" / "ca.pem")
    port = free_port()
    made = ["init", str(tmp_path / "site"), "--site", "north", "--name", "ward"]
    made += ["--broker", f"127.0.0.1:{port}", "--cert", ca, *map(str, files["ward"])]
    assert cli.main([*made, "--broker-cert", ca, *map(str, files["broker"])]) == 0
    folder = SiteFolder(tmp_path / "site")
    assert not (folder.path / "authority").exists()
    init_device(tmp_path / "device", device="ct-1", site="north")
    enrol(folder, tmp_path / "device" / "device.public.json", None)
    broker = LocalBroker(tmp_path, port=port, file=folder.broker / "mosquitto.conf")
    broker.start()
    tls = TlsSettings(folder.handed_to("ct-1") / "ca.pem", *files["ct-1"])
    line = Line(BrokerSettings("127.0.0.1", port, "device-ct-1", tls=tls))
    assert line.publish(alert_topic("north", "ct-1", "urgent")) is None
    line.close()
    broker.stop()


def test_a_site_is_never_made_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["init", str(tmp_path / "site"), "--site", "north", "--broker", "localhost"]
    assert cli.main(command) == 0
    assert cli.main(command) == 1
    assert "not empty" in capsys.readouterr().err
