"""The files for DICOM over TLS: what is wrong with one is said before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.config import Dicom
from edge.intake.tls import Credentials, DicomTlsError, is_peer, names_in


@pytest.fixture
def ours(tmp_path: Path) -> dict[str, Any]:
    hospital = Authority(tmp_path, "hospital")
    cert, key = hospital.issue("scanside-1")
    return {"cert": cert, "key": key, "ca": hospital.file, "tls_port": 2762}


def test_files_that_fit_are_described(ours: dict[str, Any]) -> None:
    credentials = Credentials(Dicom(**ours))
    assert (credentials.certificate.name, credentials.authority.name) == ("scanside-1", "hospital")


def test_a_name_in_a_certificate_is_common_dns_or_an_address_in_any_case() -> None:
    names = names_in(
        {
            "subject": ((("organizationName", "North"),), (("commonName", "CT 1"),)),
            "subjectAltName": (
                ("DNS", "ct1.north"),
                ("IP Address", "192.0.2.7"),
                ("email", "it@north"),
            ),
        }
    )
    assert names == ("CT 1", "ct1.north", "192.0.2.7")
    assert is_peer(names, ())
    assert is_peer(names, ("mr1", "CT1.NORTH"))
    assert not is_peer(names, ("North", "it@north"))
    assert not is_peer((), ("ct1.north",))


def break_cert(ours: dict[str, Any]) -> None:
    ours["cert"].write_text("not a certificate", encoding="utf-8")


def lose_ca(ours: dict[str, Any]) -> None:
    ours["ca"].unlink()


def exchange_key(ours: dict[str, Any]) -> None:
    ours["key"].write_bytes(Authority(ours["key"].parent, "x").issue("y")[1].read_bytes())


def break_key(ours: dict[str, Any]) -> None:
    ours["key"].write_text("not a key", encoding="utf-8")


def take_a_clients_certificate(ours: dict[str, Any]) -> None:
    client = Authority(ours["key"].parent, "x").issue("y", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    for name, file in zip(("cert", "key"), client, strict=True):
        file.replace(ours[name])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (break_cert, r"\[dicom\] cert: .* is not a certificate in PEM"),
        (lose_ca, r"\[dicom\] ca: .* cannot be read: No such file"),
        (exchange_key, r"\[dicom\] key: .*key values mismatch"),
        (take_a_clients_certificate, r"\[dicom\] cert: .* is not for TLS servers"),
        (break_key, r"\[dicom\] key: .*It must be the key of"),
    ],
)
def test_files_that_cannot_be_used_are_named_before_anything_starts(
    ours: dict[str, Any], harm: Callable[[dict[str, Any]], None], said: str
) -> None:
    harm(ours)
    with pytest.raises(DicomTlsError, match=said.replace(".*", "(.|\n)*")):
        Credentials(Dicom(**ours))


@pytest.mark.parametrize("left", [None, ""])
def test_an_authority_that_is_away_when_we_call_is_named(
    ours: dict[str, Any], left: str | None
) -> None:
    credentials = Credentials(Dicom(**ours))
    ours["ca"].unlink()
    if left is not None:
        ours["ca"].write_text(left, encoding="ascii")
    with pytest.raises(DicomTlsError, match=r"\[dicom\] ca: "):
        credentials.client_context()
