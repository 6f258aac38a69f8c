"""Senders over TLS come in by their certificate; whoever may not is told of and keeps nobody."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import Authority, self_signed
from cryptography.x509.oid import ExtendedKeyUsageOID
from intake_parts import (
    ASSOCIATE_RJ,
    HOST,
    PATIENCE_S,
    Intake,
    RawSender,
    data_set_of,
    free_port,
    open_intake,
)
from tls_parts import dcmtk, needs_dcmtk, over_tls, wait_until_refused

from edge.intake.tls import Refusal
from tools.scanner import (
    Manner,
    Peer,
    RefusedError,
    Tls,
    UnreachableError,
    echo,
    head_ct_series,
    send,
)
from tools.scanner.cli import NO_PEER, OK, WRONG_INPUT, main
from tools.scanner.series import write_series

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(socket.socket|ssl):pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"),
]

# A ClientHello of TLS 1.1 (RFC 4346 section 7.4.1.2) that knows of no later version.
HELLO_OF_TLS_1_1 = (
    bytes.fromhex("16 0301 0031 01 00002d 0302")
    + bytes(32)
    + bytes.fromhex("00 0006 c013 002f 0035 01 00")
)
PROTOCOL_VERSION = 70  # the alert (RFC 8446 section 6.2)


@pytest.fixture
def hospital(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.fixture
def ours(hospital: Authority) -> dict[str, Any]:
    """``[dicom]`` for TLS beside the plain port."""
    cert, key = hospital.issue("scanside-1")
    return {"cert": cert, "key": key, "ca": hospital.file, "tls_port": free_port()}


@pytest.fixture
def intake(tmp_path: Path, ours: dict[str, Any]) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies", **ours) as opened:
        yield opened


@pytest.fixture
def scanner(hospital: Authority) -> Tls:
    return Tls(hospital.file, *hospital.issue("ct1.hospital"))


# Who comes in


def test_a_series_comes_in_over_tls_as_it_is(intake: Intake, scanner: Tls) -> None:
    series = head_ct_series(True, slices=6, seed=1)
    report = send(series, over_tls(intake), manner=Manner(tls=scanner))
    assert report.ok, report.failures
    kept = [event.receipt.instance.instance_uid for event in intake.events.kept]
    assert kept == [one.SOPInstanceUID for one in series]
    intake.wait_until_all_are_gone(1)
    assert intake.events.gone[0].orderly


def test_both_ports_serve_at_once_and_senders_are_told_apart(intake: Intake, scanner: Tls) -> None:
    assert send(head_ct_series(True, slices=2, seed=1), intake.peer).ok
    report = send(
        head_ct_series(True, slices=2, seed=2), over_tls(intake), manner=Manner(tls=scanner)
    )
    assert report.ok
    assert len({event.sender for event in intake.events.kept}) == 2


def test_a_scanner_that_signs_its_certificate_itself_comes_in_where_that_is_trusted(
    tmp_path: Path, ours: dict[str, Any], hospital: Authority
) -> None:
    cert, key = self_signed(tmp_path, "ct1")
    with open_intake(tmp_path / "studies", **ours) as intake:
        with pytest.raises(RefusedError):
            echo(over_tls(intake), tls=Tls(hospital.file, cert, key))
        ours["ca"].write_bytes(ours["ca"].read_bytes() + cert.read_bytes())
        assert echo(over_tls(intake), tls=Tls(hospital.file, cert, key)) > 0


def test_without_the_plain_port_there_is_tls_alone(
    tmp_path: Path, ours: dict[str, Any], scanner: Tls
) -> None:
    plain = free_port()
    with open_intake(tmp_path / "studies", **ours, port=plain, plain=False) as intake:
        assert echo(over_tls(intake), tls=scanner) > 0
        with pytest.raises(UnreachableError):
            echo(Peer("SCANSIDE", HOST, plain))


@needs_dcmtk
def test_dcmtk_sends_over_tls(intake: Intake, scanner: Tls, tmp_path: Path) -> None:
    files = write_series(head_ct_series(True, slices=4, seed=1), tmp_path / "scanner")
    port = intake.door.tls_port
    assert dcmtk("echoscu", port, tls=scanner).returncode == 0
    sent = dcmtk("storescu", port, "+sd", files[0].parent, tls=scanner)
    assert sent.returncode == 0, sent.stderr
    assert sorted(map(data_set_of, intake.instances)) == sorted(
        data_set_of(file.read_bytes()) for file in files
    )
    assert intake.door.counts.turned_away == 0


# Who does not


@needs_dcmtk
@pytest.mark.parametrize(
    ("sender", "refusal"),
    [
        ("stranger", Refusal.OTHER_AUTHORITY),
        ("old", Refusal.NOT_VALID_NOW),
        ("plain", Refusal.NO_TLS),
        ("distrustful", Refusal.DOES_NOT_TRUST_US),
    ],
)
def test_dcmtk_is_turned_away_and_the_reason_is_told(
    intake: Intake,
    hospital: Authority,
    tmp_path: Path,
    sender: str,
    refusal: Refusal,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = Authority(tmp_path / "elsewhere", "elsewhere")
    credentials = {
        "stranger": Tls(hospital.file, *other.issue("ct1.hospital")),
        "old": Tls(hospital.file, *hospital.issue("ct-old", hours=-1.0)),
        "plain": None,
        "distrustful": Tls(other.file, *hospital.issue("ct1.hospital")),
    }
    assert dcmtk("echoscu", intake.door.tls_port, tls=credentials[sender]).returncode != 0
    wait_until_refused(intake, refusal)
    assert intake.door.counts.turned_away == 1
    assert f"Turned a sender away ({HOST}): it {refusal.text}" in caplog.messages
    assert not any(record.exc_info for record in caplog.records)
    # And the next is served.
    good = Tls(hospital.file, *hospital.issue("ct2.hospital"))
    assert echo(over_tls(intake), tls=good) > 0


def test_a_sender_without_a_certificate_is_turned_away_and_learns_it(
    intake: Intake, hospital: Authority
) -> None:
    with pytest.raises(RefusedError, match="certificate required"):
        echo(over_tls(intake), tls=Tls(hospital.file))
    wait_until_refused(intake, Refusal.NO_CERTIFICATE)


def test_a_certificate_for_servers_alone_lets_nobody_in(
    intake: Intake, hospital: Authority
) -> None:
    files = hospital.issue("archive", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(RefusedError):
        echo(over_tls(intake), tls=Tls(hospital.file, *files))
    wait_until_refused(intake, Refusal.NOT_FOR_CLIENTS)


def test_tls_at_the_port_without_is_named_as_such(intake: Intake, scanner: Tls) -> None:
    with pytest.raises(UnreachableError, match=r"check that the port speaks TLS|TLS: "):
        echo(intake.peer, tls=scanner)
    wait_until_refused(intake, Refusal.TLS_ON_PLAIN_PORT)
    assert echo(intake.peer) > 0


def test_tls_1_1_is_refused(intake: Intake) -> None:
    with socket.create_connection((HOST, intake.door.tls_port), PATIENCE_S) as line:
        line.sendall(HELLO_OF_TLS_1_1)
        answer = line.recv(64)
    assert answer[0] == 0x15
    assert answer[6] == PROTOCOL_VERSION
    wait_until_refused(intake, Refusal.NO_COMMON_TLS)


def test_only_names_that_are_listed_may_send(
    tmp_path: Path, ours: dict[str, Any], hospital: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with open_intake(tmp_path / "studies", **ours, tls_peers=("CT1.hospital", "192.0.2.7")) as door:
        for name, address in (("ct1.hospital", HOST), ("ct7", "192.0.2.7")):
            assert echo(over_tls(door), tls=Tls(hospital.file, *hospital.issue(name, address))) > 0
        other = Tls(hospital.file, *hospital.issue("printer"))
        with pytest.raises(RefusedError, match="refused the association"):
            echo(over_tls(door), tls=other)
        wait_until_refused(door, Refusal.NOT_A_PEER)
        assert echo(door.peer) > 0  # the list speaks of certificates
    said = f"(certificate of 'printer', '{HOST}'): it {Refusal.NOT_A_PEER.text}"
    assert any(said in message for message in caplog.messages)


def test_ae_titles_are_asked_for_over_tls_too(
    tmp_path: Path, ours: dict[str, Any], scanner: Tls
) -> None:
    with open_intake(tmp_path / "studies", **ours, peers=("CT1",)) as intake:
        assert echo(over_tls(intake), tls=scanner, calling="CT1") > 0
        with pytest.raises(RefusedError, match="calling AE title 'CT2'"):
            echo(over_tls(intake), tls=scanner, calling="CT2")


# Bounds


def test_whoever_goes_before_saying_a_word_leaves_its_place_at_once(
    tmp_path: Path, ours: dict[str, Any], scanner: Tls
) -> None:
    with open_intake(tmp_path / "studies", **ours, max_associations=1) as intake:
        context = scanner.context()
        for port, wrap in ((intake.door.port, False), (intake.door.tls_port, True)):
            line = socket.create_connection((HOST, port), PATIENCE_S)
            if wrap:
                line = context.wrap_socket(line)
            line.close()
        intake.wait_until_all_are_gone(2)
        assert intake.wait(lambda: not intake.door.senders)
        assert echo(over_tls(intake), tls=scanner) > 0


def test_silent_senders_keep_nobody_and_the_oldest_make_way(
    tmp_path: Path, ours: dict[str, Any], scanner: Tls
) -> None:
    with open_intake(tmp_path / "studies", **ours, max_associations=3) as intake:
        silent = [
            socket.create_connection((HOST, intake.door.tls_port), PATIENCE_S) for _ in range(4)
        ]
        try:
            assert silent[0].recv(1) == b""  # cut off as the fourth came, long before its time
            assert echo(over_tls(intake), tls=scanner) > 0
            assert silent[1].recv(1) == b""
        finally:
            for line in silent:
                line.close()


def test_bytes_that_are_nothing_are_refused_and_the_next_is_served(
    intake: Intake, scanner: Tls
) -> None:
    random = np.random.default_rng(1)
    heads = [b"GET / HTTP/1.1\r\n\r\n", b"\x16", HELLO_OF_TLS_1_1[:-3], *[b"\x16\x03\x01"] * 20]
    for head in heads:
        with socket.create_connection((HOST, intake.door.tls_port), PATIENCE_S) as line:
            line.sendall(head + random.bytes(64))
            with suppress(OSError):  # it may have cut us off by then
                line.shutdown(socket.SHUT_WR)
    assert intake.wait(lambda: intake.door.counts.turned_away == len(heads))
    assert intake.wait(lambda: not intake.door.senders)
    assert echo(over_tls(intake), tls=scanner) > 0


def test_a_handshake_that_stops_halfway_is_cut_off_in_time(
    tmp_path: Path, ours: dict[str, Any]
) -> None:
    with (
        open_intake(tmp_path / "studies", **ours, network_timeout_s=0.2) as intake,
        socket.create_connection((HOST, intake.door.tls_port), PATIENCE_S) as line,
    ):
        line.sendall(HELLO_OF_TLS_1_1[:20])
        assert line.recv(1) == b""
        wait_until_refused(intake, Refusal.SILENT)


def test_closing_does_not_wait_for_a_handshake(tmp_path: Path, ours: dict[str, Any]) -> None:
    with open_intake(tmp_path / "studies", **ours) as intake:
        line = socket.create_connection((HOST, intake.door.tls_port), PATIENCE_S)
        line.sendall(HELLO_OF_TLS_1_1[:20])
        assert intake.wait(lambda: intake.door.senders == 1)
    assert line.recv(1) == b""
    line.close()


def test_one_sender_too_many_is_turned_away_over_either_port(
    tmp_path: Path, ours: dict[str, Any], scanner: Tls
) -> None:
    with (
        open_intake(tmp_path / "studies", **ours, max_associations=1) as intake,
        RawSender(intake.door.port) as first,
    ):
        assert first.kind != ASSOCIATE_RJ
        with pytest.raises(RefusedError, match="as many associations as it allows"):
            echo(over_tls(intake), tls=scanner)


# Certificates


def test_a_renewed_certificate_is_used_at_once(
    intake: Intake, ours: dict[str, Any], tmp_path: Path, scanner: Tls
) -> None:
    assert echo(over_tls(intake), tls=scanner) > 0
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "new hospital")
    for file, fresh in zip((ours["cert"], ours["key"]), new.issue("scanside-1"), strict=True):
        fresh.replace(file)
    new.file.replace(ours["ca"])
    again = Tls(ours["ca"], *new.issue("ct1.hospital"))
    assert echo(over_tls(intake), tls=again) > 0
    ours["cert"].write_text("half a file", encoding="utf-8")
    assert echo(over_tls(intake), tls=again) > 0  # with the certificate from before


# The simulator's command


def test_the_simulator_sends_over_tls(
    intake: Intake, scanner: Tls, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(over_tls(intake))
    files = [f"--ca={scanner.ca}", f"--cert={scanner.cert}", f"--key={scanner.key}"]
    assert main(["echo", "--to", where, *files]) == OK
    assert main(["phantom", "chest-xray", "--send", where, *files]) == OK
    assert "1 of 1 images stored" in capsys.readouterr().out
    assert main(["echo", "--to", where]) == NO_PEER
    assert "whether it wants TLS" in capsys.readouterr().err
    assert main(["echo", "--to", where, files[1], files[2]]) == WRONG_INPUT
    assert "--cert goes with --ca" in capsys.readouterr().err
    assert main(["echo", "--to", where, "--ca=/absent"]) == WRONG_INPUT
    assert "--ca /absent: No such file" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scanside")
