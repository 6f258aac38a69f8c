"""Addresses and answers are explained to the person who typed them."""

from __future__ import annotations

import pytest

from tools.scanner import Peer, PeerError, explain_status
from tools.scanner.cli import main
from tools.scanner.peer import explain_rejection, is_stored


def test_a_peer_is_an_ae_title_at_a_host_and_port() -> None:
    assert Peer.parse("SCANSIDE@127.0.0.1:11112") == Peer("SCANSIDE", "127.0.0.1", 11112)
    assert Peer.parse("PACS@pacs.hospital.example:104").host == "pacs.hospital.example"
    assert str(Peer.parse("A B@[::1]:104")) == "A B@[::1]:104"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("127.0.0.1:104", "has no '@'"),
        ("PACS@host", "no host and port"),
        ("PACS@:104", "no host and port"),
        ("PACS@host:dicom", "'dicom' is not a number from 1 to 65535"),
        ("PACS@host:0", "not a number from 1 to 65535"),
        ("PACS@host:70000", "not a number from 1 to 65535"),
        ("@host:104", "AE title is empty"),
        ("ATITLETHATISTOOLONG@host:104", "DICOM allows 16"),
        ("A\\B@host:104", "no backslash"),
        ("PÄCS@host:104", "printable ASCII only"),
        ("PACS@::1:104", "in brackets"),
    ],
)
def test_a_peer_that_cannot_be_read_is_explained(text: str, says: str) -> None:
    with pytest.raises(PeerError, match=says):
        Peer.parse(text)


def test_the_command_line_says_how_a_peer_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["echo", "--to", "nonsense"])
    assert stopped.value.code == 2
    assert "write AE@host:port, for example" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "words", "stored"),
    [
        (0x0000, "stored", True),
        (0xB000, "stored, with some values changed", True),
        (0xB007, "does not match", True),
        (0xA700, "out of resources", False),
        (0xA9AB, "does not match its SOP class", False),
        (0xC123, "cannot understand", False),
        (0x0124, "not authorised", False),
        (0xFE00, "failed", False),
    ],
)
def test_a_status_is_put_into_words(status: int, words: str, stored: bool) -> None:
    assert words in explain_status(status)
    assert is_stored(status) is stored


def test_a_rejection_names_the_title_to_mend() -> None:
    peer = Peer("PACS", "host", 104)
    assert "calling AE title 'CT1'" in explain_rejection(peer, "CT1", 1, 3)
    assert "answer to the AE title 'PACS'" in explain_rejection(peer, "CT1", 1, 7)
    assert "try again later" in explain_rejection(peer, "CT1", 3, 1)
    assert "check the AE titles" in explain_rejection(peer, "CT1", 1, 1)
