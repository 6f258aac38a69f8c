"""Keys of the moment: what is put into or taken out of the key folder counts without a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge.keys import (
    CENTRAL_PUBLIC,
    KeyFileError,
    KeyRing,
    add_recipient,
    init_central,
    init_device,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_device(tmp_path / "device", device="ct-1", site="north")
    return tmp_path / "device"


def add(folder: Path, name: str) -> Path:
    """Add a new server; return the file that makes it a recipient."""
    init_central(folder.parent / name, name)
    kid = add_recipient(folder, folder.parent / name / CENTRAL_PUBLIC).kid
    return folder / "recipients" / f"{kid}.json"


def test_a_folder_that_has_not_changed_is_not_read_again(folder: Path) -> None:
    ring = KeyRing(folder)
    before = ring.current
    assert not ring.refresh()
    assert ring.current is before


def test_a_server_that_is_added_reads_from_then_on_and_one_removed_no_more(folder: Path) -> None:
    ring = KeyRing(folder)
    assert [key.owner for key in ring.current.readers] == ["ct-1"]
    file = add(folder, "ward")
    assert ring.refresh()
    assert [key.owner for key in ring.current.readers] == ["ward", "ct-1"]
    assert ring.current.readers_names == ("ward",)
    (central,) = ring.current.centrals.by_kid.values()
    file.unlink()
    assert ring.refresh()
    assert [key.owner for key in ring.current.readers] == ["ct-1"]
    assert ring.current.centrals.find(central.signing.kid) is None


def test_a_folder_that_cannot_be_used_is_said_once_and_the_keys_stay(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = add(folder, "ward")
    ring = KeyRing(folder)
    before = ring.current
    good = file.read_bytes()
    file.write_bytes(b"{")
    with caplog.at_level(logging.ERROR, "scanside.keys"):
        assert not ring.refresh()
        assert not ring.refresh()
    assert ring.current is before
    assert len(caplog.records) == 1
    file.write_bytes(good)
    assert ring.refresh()


def test_keys_of_another_device_are_not_taken_while_running(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = KeyRing(folder)
    init_device(folder.parent / "other", device="ct-1", site="north")
    for name in ("signing", "sealing", "storage", "pseudonym"):
        (folder.parent / "other" / f"{name}.jwk").replace(folder / f"{name}.jwk")
    (folder.parent / "other" / "device.public.json").replace(folder / "device.public.json")
    with caplog.at_level(logging.ERROR, "scanside.keys"):
        assert not ring.refresh()
    assert "Restart" in caplog.text


def test_more_servers_than_an_alert_is_sealed_for_are_refused(folder: Path) -> None:
    for number in range(15):
        add(folder, f"ward-{number}")
    KeyRing(folder)
    add(folder, "one-more")
    with pytest.raises(KeyFileError, match="16 servers"):
        KeyRing(folder)
