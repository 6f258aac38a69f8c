"""Real brokers for the integration tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.broker import LocalBroker, find_mosquitto
from tools.postgres import LocalPostgres, find_postgres

BrokerMaker = Callable[..., LocalBroker]

_numbers = itertools.count()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[BrokerMaker]:
    """Start brokers with more lines of configuration; all end with the test."""
    running: list[LocalBroker] = []

    def make(*, program: str | None = "mosquitto", config: str = "") -> LocalBroker:
        if program == "mosquitto" and find_mosquitto() is None:
            pytest.skip("mosquitto is not installed: apt-get install mosquitto")
        folder = tmp_path / f"broker-{len(running)}"
        folder.mkdir()
        broker = LocalBroker(folder, program=program, config=config)
        running.append(broker)
        broker.start()
        return broker

    yield make
    for broker in running:
        broker.stop()


@pytest.fixture
def broker(make_broker: BrokerMaker) -> LocalBroker:
    """A mosquitto: `host`, `port`, `stop()`, `kill()`, `start()` on the same port."""
    return make_broker()


@pytest.fixture(params=["mosquitto", "iotcore"])
def any_broker(request: pytest.FixtureRequest, make_broker: BrokerMaker) -> LocalBroker:
    """Each of the two brokers that the demo can run on."""
    return make_broker(program=request.param)


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalPostgres]:
    """A PostgreSQL server, for the whole run: `database(name)` makes one and says where."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = LocalPostgres(durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new database is, of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "alerts.db")
    server: LocalPostgres = request.getfixturevalue("postgres")
    return server.database(f"test_{next(_numbers)}")
