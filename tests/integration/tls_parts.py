"""Senders over TLS: DCMTK's, and how the door said that it turned one away."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from intake_parts import HOST, Intake

from edge.intake.tls import Refusal
from tools.dcmtk import find_dcmtk, needed
from tools.scanner import Peer, Tls

needs_dcmtk = pytest.mark.skipif(find_dcmtk("storescu") is None, reason="no DCMTK")


def over_tls(intake: Intake) -> Peer:
    return Peer("SCANSIDE", HOST, intake.door.tls_port)


def wait_until_refused(intake: Intake, refusal: Refusal, times: int = 1) -> None:
    """Wait for a refusal that is counted after the sender has its answer."""
    assert intake.wait(lambda: intake.door.counts.tls_refused[refusal] >= times), (
        intake.door.counts.tls_refused
    )


def dcmtk(
    program: str, port: int, *arguments: str | Path, tls: Tls | None
) -> subprocess.CompletedProcess[str]:
    """Run a sender of DCMTK; without a certificate of its own it is anonymous."""
    how: list[str | Path] = []
    if tls is not None and tls.cert is not None and tls.key is not None:
        how = ["+tls", tls.key, tls.cert, "+cf", tls.ca]
    elif tls is not None:
        how = ["+tla", "+cf", tls.ca]
    return subprocess.run(
        [
            needed(program),
            *map(str, how),
            "-aec",
            "SCANSIDE",
            HOST,
            str(port),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
