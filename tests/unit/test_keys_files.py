"""Keys: made once, readable by their owner alone, and never shown."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alerts.rotation import rotate
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    DeviceKeys,
    KeyFileError,
    add_recipient,
    init_central,
    init_device,
    load_recipients,
    load_trusted,
    pseudonym,
    trust_device,
)
from edge.keys.tls import write_request
from edge.names import InvalidNameError

PRIVATE = ("signing.jwk", "sealing.jwk", "storage.jwk", "pseudonym.jwk")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    init_device(tmp_path / "device", device="ct-1", site="north")
    return tmp_path / "device"


@pytest.fixture
def central(tmp_path: Path) -> Path:
    init_central(tmp_path / "central", "ward")
    return tmp_path / "central"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_files_are_their_owners_alone(device: Path) -> None:
    assert mode(device) == 0o700
    assert {name: mode(device / name) for name in PRIVATE} == dict.fromkeys(PRIVATE, 0o600)


def test_a_loose_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        init_device(tmp_path / "device", device="ct-1", site="north")
    finally:
        os.umask(before)
    test_private_files_are_their_owners_alone(tmp_path / "device")


def test_keys_load_as_they_were_made(tmp_path: Path) -> None:
    made = init_device(tmp_path / "device", device="ct-1", site="north")
    loaded = DeviceKeys.load(tmp_path / "device")
    assert loaded == made
    assert len(loaded.storage) == len(loaded.pseudonym) == 32
    assert loaded.storage != loaded.pseudonym
    assert loaded.signing.jwk.as_dict(private=True) == made.signing.jwk.as_dict(private=True)


def test_two_devices_share_no_key(tmp_path: Path) -> None:
    one = init_device(tmp_path / "one", device="ct-1", site="north")
    two = init_device(tmp_path / "two", device="ct-1", site="north")
    assert one.signing.kid != two.signing.kid
    assert one.sealing.kid != two.sealing.kid
    assert one.storage != two.storage


def test_keys_are_never_overwritten(device: Path) -> None:
    before = {file.name: file.read_bytes() for file in device.iterdir() if file.is_file()}
    with pytest.raises(KeyFileError, match="never overwritten"):
        init_device(device, device="ct-1", site="north")
    assert {file.name: file.read_bytes() for file in device.iterdir() if file.is_file()} == before


def test_an_empty_folder_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir(mode=0o755)
    init_device(tmp_path / "device", device="ct-1", site="north")
    assert mode(tmp_path / "device") == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["device"]


def test_nothing_is_left_behind_when_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError, match="site"):
        init_device(tmp_path / "device", device="ct-1", site="north/wing")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("others", [0o640, 0o604, 0o660])
def test_a_private_file_that_others_may_read_is_refused_with_the_command_that_mends_it(
    device: Path, name: str, others: int
) -> None:
    (device / name).chmod(others)
    with pytest.raises(KeyFileError, match=f"chmod 600 {device / name}"):
        DeviceKeys.load(device)


def test_a_folder_that_others_may_enter_is_refused(device: Path, central: Path) -> None:
    for folder, load in ((device, DeviceKeys.load), (central, CentralKeys.load)):
        folder.chmod(0o750)
        with pytest.raises(KeyFileError, match=f"chmod 700 {folder}"):
            load(folder)


@pytest.mark.parametrize("name", [*PRIVATE, DEVICE_PUBLIC])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00\xff", b"[" * 9999, b'{"kty":"OKP"}'])
def test_a_missing_or_damaged_file_is_named(device: Path, name: str, content: bytes | None) -> None:
    (device / name).unlink()
    if content is not None:
        (device / name).write_bytes(content)
        (device / name).chmod(0o600)
    with pytest.raises(KeyFileError, match=name):
        DeviceKeys.load(device)


def test_a_key_from_another_backup_is_noticed(device: Path, tmp_path: Path) -> None:
    init_device(tmp_path / "other", device="ct-1", site="north")
    (tmp_path / "other" / "signing.jwk").replace(device / "signing.jwk")
    with pytest.raises(KeyFileError, match="one backup"):
        DeviceKeys.load(device)


def test_a_short_secret_is_refused(device: Path) -> None:
    (device / "storage.jwk").write_text('{"kty":"oct","k":"AAAAAAA"}')
    with pytest.raises(KeyFileError, match="32 are needed"):
        DeviceKeys.load(device)


def test_no_secret_is_shown(device: Path, central: Path) -> None:
    keys, server = DeviceKeys.load(device), CentralKeys.load(central)
    shown = "".join(map(repr, (keys, server, keys.console, keys.trust_in_itself)))
    for folder in (device, central):
        for file in folder.glob("*.jwk"):
            document = json.loads(file.read_text())
            assert document.get("d", document.get("k")) not in shown
    assert repr(keys.storage) not in shown
    assert repr(keys.pseudonym) not in shown
    assert keys.signing.kid in shown


def test_public_files_hold_no_secret(device: Path, central: Path) -> None:
    for file in (device / DEVICE_PUBLIC, central / CENTRAL_PUBLIC):
        document = json.loads(file.read_text())
        assert not any({"d", "k"} & key.keys() for key in document["keys"])


def test_device_and_central_learn_of_each_other(device: Path, central: Path) -> None:
    keys, server = DeviceKeys.load(device), CentralKeys.load(central)
    assert add_recipient(device, central / CENTRAL_PUBLIC).kid == server.sealing.kid
    assert [one.owner for one in load_recipients(device)] == ["ward"]
    trusted = trust_device(central, device / DEVICE_PUBLIC)
    assert (trusted.device, trusted.site) == ("ct-1", "north")
    assert load_trusted(central).find(keys.signing.kid) == trusted
    assert load_trusted(central).find("another") is None


def test_the_same_server_added_twice_is_one_recipient(device: Path, central: Path) -> None:
    add_recipient(device, central / CENTRAL_PUBLIC)
    add_recipient(device, central / CENTRAL_PUBLIC)
    assert len(load_recipients(device)) == 1
    assert len(list((device / "recipients").iterdir())) == 1


def test_recipients_come_in_the_order_of_their_names(device: Path, tmp_path: Path) -> None:
    for name in ("ward", "archive", "night"):
        init_central(tmp_path / name, name)
        add_recipient(device, tmp_path / name / CENTRAL_PUBLIC)
    assert [one.owner for one in load_recipients(device)] == ["archive", "night", "ward"]


def test_a_device_can_read_its_own_alerts(device: Path) -> None:
    keys = DeviceKeys.load(device)
    assert keys.console.kid == keys.sealing.kid
    assert not keys.console.jwk.is_private
    own = keys.trust_in_itself.find(keys.signing.kid)
    assert own is not None
    assert not own.key.jwk.is_private


def test_the_wrong_public_file_is_refused(device: Path, central: Path) -> None:
    with pytest.raises(KeyFileError, match=r"central\.public\.json"):
        add_recipient(device, device / DEVICE_PUBLIC)
    with pytest.raises(KeyFileError, match=r"device\.public\.json"):
        trust_device(central, central / CENTRAL_PUBLIC)
    with pytest.raises(KeyFileError, match="does not exist"):
        add_recipient(device, central / "absent.json")


def test_a_private_key_in_a_public_file_is_refused(device: Path, central: Path) -> None:
    document = json.loads((central / CENTRAL_PUBLIC).read_text())
    document["keys"][1] = json.loads((central / "sealing.jwk").read_text())
    (central / CENTRAL_PUBLIC).write_text(json.dumps(document))
    with pytest.raises(KeyFileError, match="private"):
        add_recipient(device, central / CENTRAL_PUBLIC)


def test_keys_on_another_curve_are_refused(device: Path, central: Path) -> None:
    document = json.loads((central / CENTRAL_PUBLIC).read_text())
    document["keys"].reverse()
    (central / CENTRAL_PUBLIC).write_text(json.dumps(document))
    with pytest.raises(KeyFileError, match="Ed25519"):
        add_recipient(device, central / CENTRAL_PUBLIC)


def test_a_pseudonym_is_the_same_for_the_same_patient_and_key_alone() -> None:
    key, other = b"k" * 32, b"o" * 32
    assert pseudonym(key, "hospital", "P-1") == pseudonym(key, " hospital ", "P-1 ")
    different = {
        pseudonym(key, "hospital", "P-1"),
        pseudonym(other, "hospital", "P-1"),
        pseudonym(key, "hospital", "P-2"),
        pseudonym(key, "clinic", "P-1"),
        pseudonym(key, "hospitalP", "-1"),
        pseudonym(key, "hospital:P", "1"),
        pseudonym(key, "", "hospitalP-1"),
    }
    assert len(different) == 7


@given(st.text(), st.text())
def test_a_pseudonym_has_26_characters_of_base32(issuer: str, patient_id: str) -> None:
    text = pseudonym(b"k" * 32, issuer, patient_id)
    assert len(text) == 26
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_what_root_writes_into_the_folder_belongs_to_the_services_user(
    device: Path, central: Path
) -> None:
    for path in (device, *device.rglob("*")):
        os.chown(path, 54321, 54321)
    rotate(device, "device", timedelta(days=1))
    add_recipient(device, central / CENTRAL_PUBLIC)
    write_request(device, "ct-1", new_key=True)
    assert {path.stat().st_uid for path in device.rglob("*")} == {54321}
