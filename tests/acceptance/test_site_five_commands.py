"""The five commands of docs/delivery.md, run as they stand there, bring up a site."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.broker import find_mosquitto, free_port
from tools.site import configured_toml

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="needs mosquitto")


def five_commands() -> list[str]:
    text = (ROOT / "docs" / "delivery.md").read_text("utf-8")
    (block,) = re.findall(r"```sh five-commands\n(.*?)```", text, re.DOTALL)
    return str(block).strip().splitlines()


class Shell:
    """A person at a terminal: one command after the other, the last ones stay in front."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.running: list[subprocess.Popen[str]] = []
        place = Path(sys.executable).parent
        self.environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shlex.split(line.replace("8883", str(self.port))),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def leave_running(self, line: str, until: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            shlex.split(line.replace("8883", str(self.port))),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        said = ""
        while until not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        return process


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    one = Shell(tmp_path, free_port())
    yield one
    for process in reversed(one.running):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture
def configured(shell: Shell) -> Shell:
    changes: dict[str, dict[str, object]] = {
        "device": {"name": "ct-1", "site": "north"},
        "storage": {"folder": "studies", "keys": "keys"},
        "dicom": {"host": "127.0.0.1", "port": free_port()},
        "broker": {"host": "localhost", "port": shell.port},
        "console": {"enabled": False},
    }
    (shell.folder / "config.toml").write_text(configured_toml(changes), "utf-8")
    return shell


def test_five_commands_bring_up_broker_device_and_server_with_mutual_tls(
    configured: Shell,
) -> None:
    shell = configured
    *before, central, device = five_commands()
    assert len(before) == 3
    for line in before:
        done = shell.run(line)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    shell.leave_running(central, "subscribed")
    shell.leave_running(device, "connected to the broker")
    drill = shell.run("scanside drill --config config.toml --json")
    assert drill.returncode == 0, drill.stdout + drill.stderr
    listed = json.loads(shell.run("scanside-central devices site --json").stdout)
    (one,) = listed
    assert (one["site"], one["device"], one["online"], one["alerts"]) == ("north", "ct-1", True, 1)
    assert one["last_drill"] is not None
    shown = shell.run("scanside-central alerts site --json")
    (alert,) = json.loads(shown.stdout)
    assert (alert["device"], alert["urgency"]) == ("ct-1", "drill")

    revoked = shell.run("scanside-central revoke site ct-1")
    assert "The broker has read its rules again." in revoked.stdout
    deadline = time.monotonic() + PATIENCE_S
    while "revoked" not in shell.run("scanside-central devices site").stdout:
        assert time.monotonic() < deadline
    again = shell.run("scanside drill --config config.toml --timeout 5")
    assert again.returncode == 1
