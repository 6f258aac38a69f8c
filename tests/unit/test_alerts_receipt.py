"""Receipts: which server says that it has which alert, and that nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from edge.alerts.receipt import (
    MAX_ALERTS,
    RECEIPT,
    OpenedReceipt,
    Receipt,
    Standing,
    StoredAlert,
    make_receipt,
    open_receipt,
)
from edge.alerts.sealing import ALERT, body_digest
from edge.alerts.topics import receipt_topic
from edge.jose import envelope
from edge.jose.envelope import Refusal, SealError
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedCentral, TrustedCentrals


class Party:
    """Somebody with keys."""

    def __init__(self, name: str) -> None:
        sign, read = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("X25519")
        self.signing = SigningKey(sign.thumbprint(), sign)
        self.sealing = PrivateKey(read.thumbprint(), read)
        self.public = PublicKey(self.sealing.kid, name, OKPKey(read.public_key, read.public_key))
        verify = PublicKey(self.signing.kid, name, OKPKey(sign.public_key, sign.public_key))
        self.trusted = TrustedCentral(name, verify, self.public)


WARD, ARCHIVE, STRANGER, DEVICE, OTHER = map(Party, ("ward", "archive", "ward", "ct-1", "ct-2"))
TRUSTED = TrustedCentrals({one.signing.kid: one.trusted for one in (WARD, ARCHIVE)})
ALERT_ID = "0190f5c0-7b1a-7c3e-8f00-0123456789ab"
STORED = StoredAlert(7, ALERT_ID, body_digest(b"{}"), "2026-03-01T09:30:00.250Z", Standing.STORED)
RECEIPT_OF_7 = Receipt("ward", "north", "ct-1", (STORED,))


def made(receipt: Receipt = RECEIPT_OF_7, *, by: Party = WARD, to: Party = DEVICE) -> bytes:
    return make_receipt(receipt, signer=by.signing, device_key=to.public)


def opened(message: bytes, me: Party = DEVICE, device: str = "ct-1") -> OpenedReceipt:
    return open_receipt(message, me=me.sealing, site="north", device=device, trusted=TRUSTED)


def refusal(message: bytes, me: Party = DEVICE, device: str = "ct-1") -> Refusal:
    with pytest.raises(SealError) as caught:
        opened(message, me, device)
    return caught.value.reason


def signed(document: Any, *, by: Party = WARD, aud: Party = DEVICE, to: Party = DEVICE) -> bytes:
    """Sign any body, as a server gone wrong could."""
    body = envelope.dump(document)
    return envelope.wrap(RECEIPT.sign(body, {"aud": [aud.public.kid]}, by.signing), [to.public])


MESSAGE = made()
BODY: dict[str, Any] = json.loads(
    RECEIPT.verify(envelope.unwrap(MESSAGE, DEVICE.sealing).signed, WARD.trusted.signing)
)


def test_a_receipt_says_who_has_which_alert() -> None:
    assert opened(MESSAGE) == OpenedReceipt(RECEIPT_OF_7, WARD.signing.kid)
    assert receipt_topic("north", "ct-1") == "scanside/v1/north/ct-1/receipt"


def test_the_wire_shows_neither_the_alert_nor_the_server() -> None:
    assert not any(word in MESSAGE for word in (ALERT_ID.encode(), b"ward", b"north", b"stored"))


def test_one_receipt_settles_as_many_alerts_as_a_batch_holds() -> None:
    alerts = tuple(replace(STORED, sequence=number) for number in range(1, MAX_ALERTS + 1))
    assert opened(made(replace(RECEIPT_OF_7, alerts=alerts))).receipt.alerts == alerts


def test_a_repeated_alert_is_receipted_as_such() -> None:
    again = replace(STORED, status=Standing.REPEATED)
    assert opened(made(replace(RECEIPT_OF_7, alerts=(again,)))).receipt.alerts == (again,)


def test_a_server_that_is_not_trusted_settles_nothing() -> None:
    assert refusal(made(by=STRANGER)) is Refusal.UNKNOWN_SERVER


def test_a_trusted_server_cannot_speak_in_anothers_name() -> None:
    assert refusal(made(by=ARCHIVE)) is Refusal.MISMATCH


def test_a_receipt_for_another_device_is_refused() -> None:
    assert refusal(made(to=OTHER)) is Refusal.NOT_FOR_ME
    assert refusal(MESSAGE, device="ct-2") is Refusal.MISMATCH
    assert refusal(signed(BODY, aud=OTHER)) is Refusal.MISMATCH


def test_a_receipt_passed_on_by_its_reader_is_refused() -> None:
    inside = envelope.unwrap(MESSAGE, DEVICE.sealing).signed
    assert refusal(envelope.wrap(inside, [OTHER.public]), OTHER) is Refusal.MISMATCH


def test_a_signed_alert_is_no_receipt() -> None:
    claims = {"aud": [DEVICE.public.kid], "created": STORED.stored, "dev": "ct-1", "seq": 7}
    alert = ALERT.sign(envelope.dump(BODY), claims, WARD.signing)
    assert refusal(envelope.wrap(alert, [DEVICE.public])) is Refusal.MALFORMED


def test_a_forged_signature_is_refused() -> None:
    forged = RECEIPT.sign(
        envelope.dump(BODY),
        {"aud": [DEVICE.public.kid]},
        replace(STRANGER.signing, kid=WARD.signing.kid),
    )
    assert refusal(envelope.wrap(forged, [DEVICE.public])) is Refusal.BAD_SIGNATURE


def test_every_altered_byte_is_refused() -> None:
    for at in range(0, len(MESSAGE), 3):
        altered = MESSAGE[:at] + bytes([MESSAGE[at] ^ 1]) + MESSAGE[at + 1 :]
        with pytest.raises(SealError):
            opened(altered)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_refused(noise: bytes) -> None:
    assert refusal(noise) is Refusal.MALFORMED


def test_a_receipt_is_measured_before_it_is_read() -> None:
    assert refusal(b"{" * (envelope.MAX_MESSAGE + 1)) is Refusal.TOO_LARGE


ENTRY = BODY["alerts"][0]
ODD: dict[str, Any] = {
    "a list": [],
    "another version": {**BODY, "receipt": 2},
    "a member more": {**BODY, "more": 1},
    "a name that is none": {**BODY, "device": 7},
    "no alerts": {**BODY, "alerts": []},
    "too many alerts": {**BODY, "alerts": [ENTRY] * (MAX_ALERTS + 1)},
    "an alert that is text": {**BODY, "alerts": ["7"]},
    "a sequence that is true": {**BODY, "alerts": [{**ENTRY, "sequence": True}]},
    "a sequence beyond SQLite": {**BODY, "alerts": [{**ENTRY, "sequence": 1 << 63}]},
    "an id that is none": {**BODY, "alerts": [{**ENTRY, "alert_id": "7"}]},
    "a short digest": {**BODY, "alerts": [{**ENTRY, "digest": "AAAA"}]},
    "another status": {**BODY, "alerts": [{**ENTRY, "status": "lost"}]},
    "a time that is none": {**BODY, "alerts": [{**ENTRY, "stored": "yesterday"}]},
}


@pytest.mark.parametrize("document", ODD.values(), ids=ODD.keys())
def test_a_signed_body_of_another_shape_is_malformed(document: Any) -> None:
    assert refusal(signed(document)) is Refusal.MALFORMED


def test_nothing_is_made_that_a_device_would_refuse() -> None:
    with pytest.raises(ValueError, match="no such value"):
        made(replace(RECEIPT_OF_7, alerts=(replace(STORED, digest="short"),)))
    with pytest.raises(ValueError, match="not a receipt"):
        made(replace(RECEIPT_OF_7, alerts=()))
