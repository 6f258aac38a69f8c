"""New keys: believed when a believed key has named them, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.alerts import rotation
from edge.alerts.rotation import KEYS, Peer, follow, keys_message, rotate
from edge.alerts.sealing import open_sealed, seal
from edge.jose.envelope import Refusal, SealError, dump
from edge.keys import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    DeviceKeys,
    KeyFileError,
    KeyRing,
    add_recipient,
    init_central,
    init_device,
    load_centrals,
    load_recipients,
    load_trusted,
    trust_device,
)
from edge.keys import own as own_keys
from edge.keys.peers import succeed

DAY = timedelta(days=1)
CREATED = "2026-03-01T09:30:00.250Z"
NOW = datetime(2026, 3, 1, 9, 30, 1, tzinfo=timezone.utc)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    init_device(tmp_path / "device", device="ct-1", site="north")
    return tmp_path / "device"


@pytest.fixture
def central(tmp_path: Path, device: Path) -> Path:
    """A server; it and the device believe each other."""
    init_central(tmp_path / "central", "ward")
    trust_device(tmp_path / "central", device / DEVICE_PUBLIC)
    add_recipient(device, tmp_path / "central" / CENTRAL_PUBLIC)
    return tmp_path / "central"


def finder(central: Path) -> Callable[[str], Peer | None]:
    trusted = load_trusted(central)

    def find(kid: str) -> Peer | None:
        found = trusted.find(kid)
        return None if found is None else Peer("device", found.device, found.site, found.key)

    return find


def message_of(device: Path) -> bytes:
    message = keys_message(DeviceKeys.load(device).former)
    assert message is not None
    return message


def learn(central: Path, message: bytes) -> int:
    """Take over what a message leads to, as a server does; return how many keys were new."""
    found = follow(message, finder(central))
    for new in found:
        succeed(central, "device", new.peer.key.kid, new.document, new.until)
    return len(found)


def sealed_now(device: Path) -> bytes:
    keys = DeviceKeys.load(device)
    body = {"device": "ct-1", "sequence": 7, "created": CREATED, "site": "north"}
    return seal(
        json.dumps(body).encode(),
        signer=keys.signing,
        device="ct-1",
        sequence=7,
        created=CREATED,
        recipients=[*load_recipients(device), keys.console],
    )


def opens(central: Path, message: bytes) -> bool:
    keys = CentralKeys.load(central)
    opened = open_sealed(
        message, me=keys.opening, trusted=load_trusted(central), now=NOW, max_age=None
    )
    return opened.sequence == 7


def refusal(message: bytes, find: Callable[[str], Peer | None]) -> Refusal:
    with pytest.raises(SealError) as caught:
        follow(message, find)
    return caught.value.reason


def test_new_keys_replace_the_old_and_everything_else_stays(device: Path, central: Path) -> None:
    before = DeviceKeys.load(device)
    rotate(device, "device", DAY)
    after = DeviceKeys.load(device)
    assert after.signing.kid != before.signing.kid
    assert after.sealing.kid != before.sealing.kid
    assert (after.storage, after.pseudonym) == (before.storage, before.pseudonym)
    assert [one.signing.kid for one in after.former] == [before.signing.kid]
    assert [key.owner for key in load_recipients(device)] == ["ward"]


def test_a_device_reads_what_was_sealed_under_its_former_keys(device: Path, central: Path) -> None:
    earlier = sealed_now(device)
    rotate(device, "device", DAY)
    keys = DeviceKeys.load(device)
    trusted = keys.trust_in_itself
    assert open_sealed(earlier, me=keys.opening, trusted=trusted, now=NOW, max_age=None)


def test_a_server_follows_the_device_and_opens_old_and_new(device: Path, central: Path) -> None:
    earlier = sealed_now(device)
    rotate(device, "device", DAY)
    with pytest.raises(SealError, match="unknown device"):
        opens(central, sealed_now(device))
    assert learn(central, message_of(device)) == 1
    assert opens(central, sealed_now(device))
    assert opens(central, earlier)
    assert learn(central, message_of(device)) == 0


def test_a_server_that_slept_through_three_rotations_follows_them_all(
    device: Path, central: Path
) -> None:
    for _ in range(3):
        rotate(device, "device", DAY)
    assert learn(central, message_of(device)) == 3
    assert opens(central, sealed_now(device))
    latest = [one for one in load_trusted(central).by_kid.values() if one.until is None]
    assert [one.key.kid for one in latest] == [DeviceKeys.load(device).signing.kid]


def test_a_server_that_came_later_skips_what_was_before_its_time(
    device: Path, tmp_path: Path
) -> None:
    rotate(device, "device", DAY)
    init_central(tmp_path / "later", "later")
    trust_device(tmp_path / "later", device / DEVICE_PUBLIC)
    assert learn(tmp_path / "later", message_of(device)) == 0
    rotate(device, "device", DAY)
    assert learn(tmp_path / "later", message_of(device)) == 1


def test_the_old_key_is_nobodys_after_the_overlap(device: Path, central: Path) -> None:
    earlier = sealed_now(device)
    rotate(device, "device", timedelta(seconds=-1))
    learn(central, message_of(device))
    assert opens(central, sealed_now(device))
    with pytest.raises(SealError, match="unknown device"):
        opens(central, earlier)
    # The message stays at the broker; that its first link is of nobody now is no refusal.
    assert learn(central, message_of(device)) == 0


def test_a_servers_new_keys_are_sealed_for_and_its_old_receipts_count(
    device: Path, central: Path
) -> None:
    earlier = sealed_now(device)
    rotate(central, "central", DAY)
    keys = CentralKeys.load(central)
    trusted = load_centrals(device)
    message = keys_message(keys.former)
    assert message is not None

    def find(kid: str) -> Peer | None:
        found = trusted.find(kid)
        return None if found is None else Peer("central", found.name, "", found.signing)

    (new,) = follow(message, find)
    succeed(device, "central", new.peer.key.kid, new.document, new.until)
    ring = KeyRing(device)
    assert [key.kid for key in ring.current.centrals.readers] == [keys.sealing.kid]
    assert ring.current.centrals.find(keys.former[0].signing.kid) is not None
    assert ring.current.readers_names == ("ward",)
    assert opens(central, sealed_now(device))
    assert opens(central, earlier)  # sealed for the key that it had


def link(device: Path, **changes: Any) -> dict[str, Any]:
    """What a statement of the device says, changed."""
    public = json.loads((device / DEVICE_PUBLIC).read_text())
    return {"keys": 1, "public": public, "until": CREATED} | changes


def chain(device: Path, *bodies: Any) -> bytes:
    """Signed with the device's own key, as one who stole it could."""
    signer = DeviceKeys.load(device).signing
    links = [KEYS.sign(dump(body), {"created": CREATED}, signer).decode() for body in bodies]
    return dump({"keys": 1, "chain": links})


def test_a_key_that_is_not_believed_names_nobody(
    device: Path, central: Path, tmp_path: Path
) -> None:
    init_device(tmp_path / "stranger", device="ct-1", site="north")
    rotate(tmp_path / "stranger", "device", DAY)
    assert refusal(message_of(tmp_path / "stranger"), finder(central)) is Refusal.UNKNOWN_DEVICE


def test_a_stolen_key_cannot_name_a_successor_for_another_device(
    device: Path, central: Path, tmp_path: Path
) -> None:
    init_device(tmp_path / "other", device="ct-2", site="north")
    forged = chain(device, link(tmp_path / "other"))
    assert refusal(forged, finder(central)) is Refusal.MISMATCH


def test_a_link_that_does_not_follow_is_refused(
    device: Path, central: Path, tmp_path: Path
) -> None:
    rotate(device, "device", DAY)
    rotate(device, "device", DAY)
    init_device(tmp_path / "stranger", device="ct-1", site="north")
    rotate(tmp_path / "stranger", "device", DAY)
    ours = json.loads(message_of(device))["chain"]
    theirs = json.loads(message_of(tmp_path / "stranger"))["chain"]
    mixed = dump({"keys": 1, "chain": [*ours, *theirs]})
    assert refusal(mixed, finder(central)) is Refusal.MISMATCH


def test_an_altered_link_is_refused(device: Path, central: Path) -> None:
    rotate(device, "device", DAY)
    (ours,) = json.loads(message_of(device))["chain"]
    head, body, signature = ours.split(".")
    other = ("A" if signature[5] != "A" else "B").join((signature[:5], signature[6:]))
    forged = dump({"keys": 1, "chain": [f"{head}.{body}.{other}"]})
    assert refusal(forged, finder(central)) is Refusal.BAD_SIGNATURE


ODD: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "no chain": b'{"keys":1,"chain":[]}',
    "another version": b'{"keys":2,"chain":["a.b.c"]}',
    "numbers": b'{"keys":1,"chain":[1]}',
    "no signature": b'{"keys":1,"chain":["abc"]}',
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
def test_garbage_is_malformed(message: bytes) -> None:
    assert refusal(message, lambda _: None) is Refusal.MALFORMED


def test_a_message_is_measured_before_it_is_read() -> None:
    message = b"{" * (rotation.MAX_MESSAGE + 1)
    assert refusal(message, lambda _: None) is Refusal.TOO_LARGE


@pytest.mark.parametrize(
    "change",
    [{"more": 1}, {"until": "tomorrow"}, {"until": 7}, {"public": []}, {"public": {"keys": 7}}],
)
def test_a_signed_statement_of_another_shape_is_malformed(
    device: Path, central: Path, change: dict[str, Any]
) -> None:
    assert refusal(chain(device, link(device, **change)), finder(central)) is Refusal.MALFORMED


def test_nothing_but_a_public_file_comes_into_the_key_folder(device: Path, central: Path) -> None:
    public = json.loads((device / DEVICE_PUBLIC).read_text())
    for more in ({"until": CREATED}, {"note": "x"}):
        message = chain(device, link(device, public={**public, **more}))
        assert refusal(message, finder(central)) is Refusal.MALFORMED


@pytest.mark.parametrize("step", range(1, 9))
def test_whenever_the_power_goes_the_folder_holds_the_old_keys_or_the_new(
    device: Path, central: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write, rename and sync of the rotation is the last one in turn."""
    before = DeviceKeys.load(device)
    left = [step]

    def cut(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(5, "power cut")
            return real(*arguments)

        return act

    for name in ("write_new", "keep_former", "replace_json", "sync_folder"):
        monkeypatch.setattr(own_keys, name, cut(getattr(own_keys, name)))
    monkeypatch.setattr(Path, "replace", cut(Path.replace))
    with suppress(OSError, KeyFileError):
        rotate(device, "device", DAY)
    monkeypatch.undo()
    after = DeviceKeys.load(device)
    assert after.storage == before.storage
    if after.signing.kid == before.signing.kid:
        assert keys_message(after.former) is None
    else:
        assert learn(central, message_of(device)) == 1
        assert opens(central, sealed_now(device))
    rotate(device, "device", DAY)
    learn(central, message_of(device))
    assert opens(central, sealed_now(device))
    assert DeviceKeys.load(device).signing.kid not in {before.signing.kid, after.signing.kid}
