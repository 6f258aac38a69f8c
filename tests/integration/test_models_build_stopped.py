"""Ctrl-C at a terminal while `scanside models build` has TensorRT for RTX at work."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config import default_toml

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed (pip install tensorrt-rtx-cu13)",
)
_LIMIT_S = 120
_CTRL_C = b"\x03"
# A session's leader that opens a terminal without having one gets it as its own.
_ON_TERMINAL = 'exec "$@" <"$0" >"$0" 2>&1'


def read_until(terminal: int, process: subprocess.Popen[bytes], awaited: bytes | None) -> bytes:
    """Return what came up to and with `awaited`; with None, all until the program is gone."""
    said = b""
    deadline = time.monotonic() + _LIMIT_S
    while awaited is None or awaited not in said:
        assert time.monotonic() < deadline, f"waited for {awaited!r} and saw {said!r}"
        gone = process.poll() is not None
        if select.select([terminal], [], [], 0 if gone else 0.2)[0]:
            said += os.read(terminal, 1 << 16)
        elif gone:
            assert awaited is None, f"it ended before {awaited!r}: {said!r}"
            break
    return said


def of_session(leader: int) -> list[str]:
    """Return the processes that live in a session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text(encoding="utf-8").rpartition(")")
        except OSError:  # it has just ended
            continue
        if int(rest.split()[3]) == leader:
            found.append(name)
    return found


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever runs the tests in the background may ignore Ctrl-C; a terminal's user does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_during_a_build_ends_it_all_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    config = tmp_path / "config.toml"
    ours = default_toml().replace("/var/lib/scanside", str(tmp_path / "studies"))
    config.write_text(ours.replace("/etc/scanside", str(tmp_path / "keys")), encoding="utf-8")
    ours_side, its_side = pty.openpty()
    build = [sys.executable, "-m", "edge.cli", "models", "build", "head-ct-hemorrhage"]
    process = subprocess.Popen(
        ["sh", "-c", _ON_TERMINAL, os.ttyname(its_side), *build, "--config", str(config)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "160",
            "TMPDIR": str(tmp_path / "temporary"),
        },
    )
    try:
        read_until(ours_side, process, b"Building engine")  # the builder's own first phase
        os.write(ours_side, _CTRL_C)
        said = read_until(ours_side, process, None).decode()
        assert process.wait(timeout=_LIMIT_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours_side)
        os.close(its_side)
    assert "stopped. Nothing half-made is kept" in said
    assert "Traceback" not in said
    assert of_session(process.pid) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    left = [file for file in (tmp_path / "studies").rglob("*") if file.is_file()]
    assert not [file for file in left if "partial" in file.name or file.suffix == ".new"]
    engines = [file for file in left if file.suffix == ".engine"]
    assert engines  # FP32 in ONNX Runtime came before, and stays
    for engine in engines:
        proof = json.loads(engine.with_suffix(".json").read_text(encoding="utf-8"))
        assert proof["sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()
