"""Application entities as a configuration names them."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest

from edge.config.peers import Address, Peer, address_of, peer_of


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("CT1", Peer("CT1")),
        ("CT 1", Peer("CT 1")),
        ("CT1@10.0.0.5", Peer("CT1", ip_network("10.0.0.5"))),
        ("CT1@10.0.1.7/24", Peer("CT1", ip_network("10.0.1.0/24"))),
        ("A-LONG-TITLE-16C@fe80::1", Peer("A-LONG-TITLE-16C", ip_network("fe80::1"))),
        ("CT1@ward", Peer("CT1@ward")),  # a title may hold an @
    ],
)
def test_a_peer_is_a_title_with_or_without_an_address(text: str, peer: Peer) -> None:
    assert peer_of(text) == peer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither an AE title"),
        (" ", "neither an AE title"),
        ("@10.0.0.5", "neither an AE title"),
        ("A-LONG-TITLE-OF-17", "neither an AE title"),
        ("A-LONG-TITLE-OF-17@10.0.0.5", "neither an AE title"),
        ("CT\\1", "neither an AE title"),
        ("CTé", "neither an AE title"),
        ("CT1@10.0.0.256", "10.0.0.256 is no address or network"),
        ("CT1@10.0.0.0/33", "10.0.0.0/33 is no address or network"),
    ],
)
def test_what_is_no_peer_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        peer_of(text)


def test_a_peer_is_known_by_its_address_in_either_notation() -> None:
    peer = peer_of("CT1@10.0.1.0/24")
    assert peer.is_at("10.0.1.77")
    assert peer.is_at("::ffff:10.0.1.77")
    assert not peer.is_at("10.0.2.1")
    assert not peer.is_at("fe80::1")
    assert peer_of("CT1").is_at("fe80::1")


def test_an_address_has_title_host_and_port() -> None:
    assert address_of("CT 1@[fe80::1]:104") == Address("CT 1", "fe80::1", 104)
    assert str(address_of("CT1@scanner.north:11112")) == "CT1@scanner.north:11112"
    for text in ("CT1", "CT1@host", "CT1@host:0", "CT1@host:65536", "@host:104", "CT1@fe80::1:104"):
        with pytest.raises(ValueError, match="is not AE@host:port"):
            address_of(text)
