"""TLS to the broker: with certificates on both sides, and refused where one is not right."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from delivery_parts import PATIENCE_S, Central, MemoryOutbox, States, make_central, make_device

from edge.alerts.publisher import BrokerSettings, Publisher, TlsSettings
from tools.broker import LocalBroker

BrokerMaker = Callable[..., LocalBroker]

# paho lets go of the socket of a failed handshake without closing it; the interpreter does.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")

_PATH = "/usr/bin:/usr/sbin:/bin"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.fixture
def tls_broker(make_broker: BrokerMaker, authority: Authority) -> LocalBroker:
    """A mosquitto that asks for certificates from the authority."""
    cert, key = authority.issue("broker")
    return make_broker(
        config=f"cafile {authority.file}\ncertfile {cert}\nkeyfile {key}\n"
        "require_certificate true\ntls_version tlsv1.2\n"
    )


@pytest.fixture
def settings(tls_broker: LocalBroker, authority: Authority) -> BrokerSettings:
    tls = TlsSettings(authority.file, *authority.issue("device"))
    return BrokerSettings(tls_broker.host, tls_broker.port, "device-ct-1", tls=tls)


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    one = make_central(tmp_path / "central")
    yield one
    one.stop()


def try_to_connect(settings: BrokerSettings) -> str:
    """Return why a publisher with these settings does not connect; empty when it does."""
    states = States()
    one = Publisher(settings, MemoryOutbox(), device="ct-1", site="north", on_state=states)
    one.start()
    assert states.wait_for(lambda: bool(states.said))
    reason = states.said[0].reason
    one.stop()
    return reason


def test_alerts_pass_through_tls_in_both_directions(
    tls_broker: LocalBroker, settings: BrokerSettings, central: Central, tmp_path: Path
) -> None:
    device = make_device(tmp_path / "device", central)
    central.start(tls_broker, replace(settings, client_id="central-test"))
    assert central.subscriber is not None
    assert central.subscriber.wait_until_subscribed(PATIENCE_S)
    outbox = MemoryOutbox()
    outbox.add(*(device.entry(number) for number in range(1, 51)))
    sender = Publisher(settings, outbox, device="ct-1", site="north", on_state=States())
    sender.start()
    assert central.wait_for_alerts(50)
    assert outbox.wait_for(lambda: not outbox.rows)
    sender.stop()
    assert central.sequences() == list(range(1, 51))


@UNCLOSED
def test_a_broker_with_somebody_elses_certificate_is_refused(
    settings: BrokerSettings, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    assert settings.tls is not None
    reason = try_to_connect(replace(settings, tls=replace(settings.tls, ca=other.file)))
    assert "TLS" in reason
    assert "certificate" in reason


@UNCLOSED
def test_a_broker_under_another_address_than_its_certificates_is_refused(
    make_broker: BrokerMaker, authority: Authority
) -> None:
    cert, key = authority.issue("elsewhere", "192.0.2.1")
    broker = make_broker(config=f"certfile {cert}\nkeyfile {key}\n")
    tls = TlsSettings(authority.file)
    reason = try_to_connect(BrokerSettings(broker.host, broker.port, "device-ct-1", tls=tls))
    assert "192.0.2.1" in reason or "IP address mismatch" in reason


@UNCLOSED
def test_a_broker_with_an_expired_certificate_is_refused(
    make_broker: BrokerMaker, authority: Authority
) -> None:
    cert, key = authority.issue("old", hours=-1.0)
    broker = make_broker(config=f"certfile {cert}\nkeyfile {key}\n")
    tls = TlsSettings(authority.file)
    reason = try_to_connect(BrokerSettings(broker.host, broker.port, "device-ct-1", tls=tls))
    assert "expired" in reason


def test_a_device_with_an_expired_certificate_is_not_let_in(
    settings: BrokerSettings, authority: Authority
) -> None:
    tls = TlsSettings(authority.file, *authority.issue("device-old", hours=-1.0))
    assert try_to_connect(replace(settings, tls=tls))


def test_a_device_without_a_certificate_is_not_let_in(settings: BrokerSettings) -> None:
    assert settings.tls is not None
    assert try_to_connect(replace(settings, tls=TlsSettings(settings.tls.ca)))


def test_a_missing_ca_file_is_said(settings: BrokerSettings, tmp_path: Path) -> None:
    reason = try_to_connect(replace(settings, tls=TlsSettings(tmp_path / "absent.pem")))
    assert "TLS: cannot use ca" in reason


def test_a_password_lets_in_and_a_wrong_one_does_not(
    make_broker: BrokerMaker, tmp_path: Path
) -> None:
    tool = shutil.which("mosquitto_passwd", path=_PATH)
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed: apt-get install mosquitto")
    accounts, secret = tmp_path / "accounts", tmp_path / "password"
    accounts.touch(0o600)
    subprocess.run([tool, "-b", str(accounts), "ct-1", "the password"], check=True)
    accounts.chmod(0o644)
    # The last word counts; the first, for brokers without accounts, allows everyone.
    broker = make_broker(config=f"allow_anonymous false\npassword_file {accounts}\n")
    with_password = BrokerSettings(
        broker.host, broker.port, "device-ct-1", username="ct-1", password_file=secret
    )
    secret.write_text("the password\n")
    assert try_to_connect(with_password) == ""
    secret.write_text("another\n")
    assert "the broker refused us" in try_to_connect(with_password)
    assert "the broker refused us" in try_to_connect(replace(with_password, username=None))
    secret.unlink()
    assert "password_file" in try_to_connect(with_password)
