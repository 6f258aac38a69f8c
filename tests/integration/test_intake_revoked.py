"""A scanner whose certificate was taken back sends nothing, from the next connection on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from certificates import Authority
from intake_parts import HOST, free_port, open_intake
from tls_parts import dcmtk, needs_dcmtk, wait_until_refused

from edge.intake.tls import Refusal
from tools.scanner import Tls, head_ct_series
from tools.scanner.series import write_series


@needs_dcmtk
def test_dcmtk_with_a_certificate_that_was_taken_back_is_turned_away_and_its_subject_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scanside")
    hospital = Authority(tmp_path, "hospital")
    cert, key = hospital.issue("scanside-1")
    stolen = Tls(hospital.file, *hospital.issue("ct-stolen"))
    good = Tls(hospital.file, *hospital.issue("ct-good"))
    assert stolen.cert is not None
    told: list[tuple[str, str]] = []
    with open_intake(
        tmp_path / "studies",
        cert=cert,
        key=key,
        ca=hospital.file,
        tls_port=free_port(),
        crl=hospital.revoke(),
        on_revoked=lambda *who: told.append(who),
    ) as intake:
        port = intake.door.tls_port
        assert dcmtk("echoscu", port, tls=stolen).returncode == 0
        # A list that names it counts from the next sender on; nothing is started anew.
        hospital.revoke(stolen.cert)
        files = write_series(head_ct_series(True, slices=2, seed=1), tmp_path / "scanner")
        assert dcmtk("echoscu", port, tls=stolen).returncode != 0
        assert dcmtk("storescu", port, "+sd", files[0].parent, tls=stolen).returncode != 0
        wait_until_refused(intake, Refusal.REVOKED, 2)
        assert intake.instances == []
        assert dcmtk("echoscu", port, tls=good).returncode == 0
        # A broken list does not let it in again, nor does one that is late.
        for content in ("half a file", hospital.revoke(stolen.cert, days=-1).read_text("ascii")):
            (tmp_path / "hospital.crl.pem").write_text(content, encoding="ascii")
            assert dcmtk("echoscu", port, tls=stolen).returncode != 0
        assert dcmtk("echoscu", port, tls=good).returncode == 0
        revocation = intake.door.revocation
        assert revocation is not None
        assert revocation.problem == ""
    assert {address for _, address in told} == {HOST}
    assert all(whose.startswith("certificate CN=ct-stolen, serial ") for whose, _ in told)
    assert len(told) == 4
    assert any(
        message.startswith("Turned a sender away (certificate CN=ct-stolen, serial ")
        and message.endswith(Refusal.REVOKED.text)
        for message in caplog.messages
    )
    assert any("The list from before counts on" in one for one in caplog.messages)
    assert any("should have been replaced by" in one for one in caplog.messages)
