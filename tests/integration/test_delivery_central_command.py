"""`scanside-central` as one runs it: a process with a file, a terminal and signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_parts import Central, Device, MemoryOutbox, make_central, make_device, publisher

from edge.keys import CENTRAL_PUBLIC, DEVICE_PUBLIC, add_recipient, init_device
from tools.broker import LocalBroker

COMMAND = [sys.executable, "-c", "import sys, tools.central.cli as c; sys.exit(c.main())"]


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return make_central(tmp_path / "central")


@pytest.fixture
def device(tmp_path: Path, central: Central) -> Device:
    return make_device(tmp_path / "device", central)


@pytest.fixture
def arguments(any_broker: LocalBroker, central: Central, tmp_path: Path) -> list[str]:
    where = f"{any_broker.host}:{any_broker.port}"
    out = str(tmp_path / "alerts.jsonl")
    return [*COMMAND, "run", "--keys", str(central.folder), "--broker", where, "--out", out]


@pytest.fixture
def outbox(any_broker: LocalBroker, device: Device) -> Iterator[MemoryOutbox]:
    box = MemoryOutbox()
    sender = publisher(any_broker, box, device)
    sender.start()
    yield box
    sender.stop()


def test_json_lines_come_out_and_a_restart_prints_no_alert_twice(
    arguments: list[str], outbox: MemoryOutbox, device: Device, tmp_path: Path
) -> None:
    for first, ending in ((1, signal.SIGTERM), (11, signal.SIGINT)):
        process = subprocess.Popen(
            [*arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        while b"connected" not in process.stderr.readline():
            pass
        outbox.add(*(device.entry(number) for number in range(first, first + 10)))
        publish_again(outbox)
        lines = [json.loads(process.stdout.readline()) for _ in range(10)]
        assert [one["sequence"] for one in lines] == list(range(first, first + 10))
        process.send_signal(ending)
        rest, said = process.communicate(timeout=20)
        assert rest == b""
        assert b"accepted 10, repeats dropped 0, refused: 0" in said
        assert process.returncode == 0
    stored = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in stored] == list(range(1, 21))
    assert (tmp_path / "alerts.jsonl").stat().st_mode & 0o777 == 0o600


def publish_again(outbox: MemoryOutbox) -> None:
    """The publisher looks by itself each second; nothing here hurries it."""
    assert outbox.wait_for(lambda: not outbox.rows)


def test_a_server_killed_at_any_moment_keeps_each_alert_once(
    arguments: list[str], outbox: MemoryOutbox, device: Device, tmp_path: Path
) -> None:
    first = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert first.stderr is not None
    while b"connected" not in first.stderr.readline():
        pass
    first.kill()  # the broker holds its session from here on
    first.communicate()
    for run_number, lines in enumerate((1, 7, 17, 40)):
        outbox.add(*(device.entry(50 * run_number + number) for number in range(1, 51)))
        process = subprocess.Popen([*arguments, "--json"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
        process.communicate()
    outbox.add(device.entry(201, "routine"))
    publish_again(outbox)
    last = subprocess.Popen([*arguments, "--json"], stdout=subprocess.PIPE)
    assert last.stdout is not None
    while json.loads(last.stdout.readline())["sequence"] != 201:
        pass
    last.terminate()
    last.communicate(timeout=20)
    stored = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert sorted(one["sequence"] for one in stored) == list(range(1, 202))


def test_a_person_reads_one_line_an_alert(
    arguments: list[str], outbox: MemoryOutbox, device: Device
) -> None:
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    while "connected" not in process.stdout.readline():
        pass
    outbox.add(device.entry(1, "critical"))
    line = ""
    while "#1" not in line:
        line = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=20)
    for word in ("north/ct-1", "CRITICAL", "FLAGGED", "Intracranial hemorrhage 93%", "final"):
        assert word in line


def test_systemd_hears_that_it_is_ready_alive_and_stopping(
    arguments: list[str], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "200000",
        }
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        process.terminate()
        while manager.recv(100) != b"STOPPING=1":
            pass
        assert process.wait(20) == 0


def test_keys_are_made_trusted_and_listed(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = run("keys", "init", str(keys), "--name", "ward")
    assert (made.returncode, CENTRAL_PUBLIC in made.stdout) == (0, True)
    one = init_device(tmp_path / "device", device="ct-1", site="north")
    add_recipient(tmp_path / "device", keys / CENTRAL_PUBLIC)
    trusted = run("keys", "trust", str(keys), str(tmp_path / "device" / DEVICE_PUBLIC))
    assert trusted.returncode == 0
    assert one.signing.kid in trusted.stdout
    listed = run("keys", "list", str(keys)).stdout
    assert "ward" in listed
    assert f"trusts ct-1 of north, key {one.signing.kid}" in listed


def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    run("keys", "init", str(keys))
    again = run("keys", "init", str(keys))
    assert again.returncode == 1
    assert again.stderr.startswith("scanside-central: ")
    assert "never overwritten" in again.stderr
    (keys / "sealing.jwk").chmod(0o644)
    loose = run("run", "--keys", str(keys), "--broker", "localhost:1")
    assert loose.returncode == 1
    assert "chmod 600" in loose.stderr
    wrong = run("run", "--keys", str(keys), "--broker", "localhost:mqtt")
    assert wrong.returncode == 2
    assert "HOST:PORT" in wrong.stderr
    assert "Traceback" not in again.stderr + loose.stderr + wrong.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
