"""A scanner whose certificate was taken back sends nothing, and what it has open is ended."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from certificates import Authority
from intake_parts import (
    ASSOCIATE_AC,
    HOST,
    PATIENCE_S,
    Intake,
    association_request,
    free_port,
    open_intake,
)
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
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
    stolen = Tls(hospital.file, *hospital.issue("ct-stolen"))
    good = Tls(hospital.file, *hospital.issue("ct-good"))
    assert stolen.cert is not None
    told: list[tuple[str, str]] = []
    with _guarded(tmp_path, hospital, lambda *who: told.append(who)) as intake:
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


def test_an_association_that_is_open_when_its_certificate_is_taken_back_is_aborted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scanside")
    hospital = Authority(tmp_path, "hospital")
    stolen = Tls(hospital.file, *hospital.issue("ct-stolen"))
    good = Tls(hospital.file, *hospital.issue("ct-good"))
    assert stolen.cert is not None
    first, second = head_ct_series(True, slices=2, seed=1)
    told: list[tuple[str, str]] = []
    with _guarded(tmp_path, hospital, lambda *who: told.append(who)) as intake:
        thief, scanner = (_associate(intake, one) for one in (stolen, good))
        assert thief.send_c_store(first).Status == 0
        hospital.revoke(stolen.cert)  # nobody connects, and nobody asks
        assert intake.wait(lambda: thief.is_aborted)
        wait_until_refused(intake, Refusal.REVOKED)
        assert scanner.send_c_store(second).Status == 0
        intake.wait_until_all_are_gone(1)
        scanner.release()
        assert [event.orderly for event in intake.events.gone] == [False, True]
        assert len(intake.instances) == 2  # what came before counts
    ((whose, address),) = told
    assert whose.startswith("certificate CN=ct-stolen, serial ")
    assert address == HOST
    assert sum(Refusal.REVOKED.text in message for message in caplog.messages) == 1


@pytest.mark.parametrize("says", ["nothing", "who it is"])
def test_a_sender_that_was_taken_back_and_hangs_is_cut_off(tmp_path: Path, says: str) -> None:
    hospital = Authority(tmp_path, "hospital")
    stolen = Tls(hospital.file, *hospital.issue("ct-stolen"))
    assert stolen.cert is not None
    with _guarded(tmp_path, hospital) as intake:
        plain = socket.create_connection((HOST, intake.door.tls_port), timeout=PATIENCE_S)
        with stolen.context().wrap_socket(plain, server_hostname=HOST) as line:
            if says != "nothing":
                line.sendall(association_request([(CTImageStorage, ExplicitVRLittleEndian)], "CT1"))
                assert line.recv(1)[0] == ASSOCIATE_AC
            assert intake.wait(lambda: intake.door.senders == 1)
            hospital.revoke(stolen.cert)
            while line.recv(4096):  # an A-ABORT where there is something to abort, and the end
                pass
            assert intake.wait(lambda: intake.door.senders == 0)


def _associate(intake: Intake, tls: Tls) -> Association:
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    line = ae.associate(HOST, intake.door.tls_port, tls_args=(tls.context(), HOST))
    assert line.is_established
    return line


def _guarded(
    folder: Path, hospital: Authority, on_revoked: Callable[[str, str], None] = lambda *_: None
) -> AbstractContextManager[Intake]:
    """Open a door that heeds the hospital's list, which names nobody yet."""
    cert, key = hospital.issue("scanside-1")
    return open_intake(
        folder / "studies",
        cert=cert,
        key=key,
        ca=hospital.file,
        tls_port=free_port(),
        crl=hospital.revoke(),
        on_revoked=on_revoked,
    )
