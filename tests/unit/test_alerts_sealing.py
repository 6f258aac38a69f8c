"""Sealing: who can read an alert, who can have written it, and that nothing else passes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe, jws
from joserfc.jwk import OKPKey

from edge.alerts import sealing
from edge.alerts.message import MAX_BODY
from edge.alerts.sealing import (
    MAX_MESSAGE,
    MAX_RECIPIENTS,
    Opened,
    Refusal,
    SealError,
    open_sealed,
    seal,
)
from edge.jose import envelope as envelopes
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedDevice, TrustedDevices

CREATED = "2026-03-01T09:30:00.250Z"
NOW = datetime(2026, 3, 1, 9, 30, 1, tzinfo=timezone.utc)


class Party:
    """Somebody with keys."""

    def __init__(self, name: str) -> None:
        sign, read = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("X25519")
        self.name = name
        self.signing = SigningKey(sign.thumbprint(), sign)
        self.sealing = PrivateKey(read.thumbprint(), read)
        self.public = PublicKey(self.sealing.kid, name, OKPKey(read.public_key, read.public_key))
        self.trusted = TrustedDevice(
            name,
            "north",
            PublicKey(self.signing.kid, name, OKPKey(sign.public_key, sign.public_key)),
            self.public,
        )


DEVICE, OTHER_DEVICE = Party("ct-1"), Party("ct-2")
CENTRAL, CONSOLE, STRANGER = Party("central"), Party("console"), Party("stranger")
TRUSTED = TrustedDevices({one.signing.kid: one.trusted for one in (DEVICE, OTHER_DEVICE)})
BODY = json.dumps(
    {"device": "ct-1", "sequence": 7, "created": CREATED, "site": "north", "finding": "SECRET"}
).encode()


def sealed_by(
    signer: SigningKey = DEVICE.signing, to: Sequence[Party] = (CENTRAL, CONSOLE)
) -> bytes:
    return seal(
        BODY,
        signer=signer,
        device="ct-1",
        sequence=7,
        created=CREATED,
        recipients=[one.public for one in to],
    )


MESSAGE = sealed_by()


def opened(
    message: bytes,
    me: Party = CENTRAL,
    *,
    trusted: TrustedDevices = TRUSTED,
    now: datetime = NOW,
    max_age: timedelta | None = None,
) -> Opened:
    return open_sealed(message, me=me.sealing, trusted=trusted, now=now, max_age=max_age)


def refusal(message: bytes, me: Party = CENTRAL, **more: Any) -> Refusal:
    with pytest.raises(SealError) as caught:
        opened(message, me, **more)
    return caught.value.reason


def sign(header: dict[str, Any], body: bytes = BODY, key: SigningKey = DEVICE.signing) -> bytes:
    """Sign with a header of one's own choosing, as a forger with a trusted key could."""
    known = sealing.ALERT.registry.header_registry
    registry = jws.JWSRegistry(known, ["Ed25519"], strict_check_header=False)
    return jws.serialize_compact(header, body, key.jwk, registry=registry).encode()


def wrap(signed: bytes, to: Sequence[Party] = (CENTRAL, CONSOLE)) -> bytes:
    """Encrypt something signed, as anyone with the public keys could."""
    envelope = jwe.GeneralJSONEncryption(dict(envelopes._HEADER), signed)
    for one in to:
        envelope.add_recipient({"kid": one.public.kid}, one.public.jwk)
    return envelopes.dump(jwe.encrypt_json(envelope, None, registry=envelopes._registry()))


def header(**changes: Any) -> dict[str, Any]:
    return {
        "alg": "Ed25519",
        "kid": DEVICE.signing.kid,
        "typ": "scanside-alert+jws",
        "cty": "json",
        "crit": ["aud", "created", "dev", "seq"],
        "aud": [CENTRAL.public.kid, CONSOLE.public.kid],
        "created": CREATED,
        "dev": "ct-1",
        "seq": 7,
    } | changes


def signed_part(message: bytes, me: Party) -> bytes:
    """Open the envelope alone, as a recipient can."""
    return envelopes.unwrap(message, me.sealing).signed


@pytest.mark.parametrize("me", [CENTRAL, CONSOLE], ids=["central", "console"])
def test_every_recipient_reads_the_same_body(me: Party) -> None:
    assert opened(MESSAGE, me) == Opened(BODY, "ct-1", "north", 7, CREATED, DEVICE.signing.kid)


def test_the_envelope_shows_nothing_of_the_alert() -> None:
    document = json.loads(MESSAGE)
    clear = [base64.urlsafe_b64decode(document["protected"] + "=="), MESSAGE]
    for text in clear:
        assert not any(word in text for word in (b"SECRET", b"ct-1", b"north", b"2026", b"seq"))
    assert json.loads(clear[0]).keys() == {"alg", "enc", "typ", "cty"}


def test_the_same_alert_sealed_twice_shares_no_key_and_no_ciphertext() -> None:
    first, second = json.loads(MESSAGE), json.loads(sealed_by())
    assert first["ciphertext"] != second["ciphertext"]
    assert first["iv"] != second["iv"]
    keys = {entry["header"]["epk"]["x"] for one in (first, second) for entry in one["recipients"]}
    assert len(keys) == 4


def test_every_altered_byte_is_refused_or_touches_another_recipients_key_alone() -> None:
    """What is wrapped for the console is not central's to judge; the alert stays the same."""
    document = json.loads(MESSAGE)
    theirs = json.dumps(document["recipients"][1], sort_keys=True, separators=(",", ":")).encode()
    start = MESSAGE.index(theirs)
    passed = []
    for at, byte in enumerate(MESSAGE):
        altered = MESSAGE[:at] + bytes([byte ^ 1]) + MESSAGE[at + 1 :]
        try:
            got = opened(altered)
        except SealError:
            continue
        passed.append(at)
        assert got.body == BODY
    assert all(start <= at < start + len(theirs) for at in passed)


@settings(max_examples=150)
@given(st.data())
def test_cut_doubled_and_replaced_bytes_are_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(MESSAGE) - 1))
    until = data.draw(st.integers(at + 1, len(MESSAGE)))
    middle = data.draw(
        st.one_of(st.just(b""), st.binary(max_size=8), st.just(MESSAGE[at:until] * 2))
    )
    altered = MESSAGE[:at] + middle + MESSAGE[until:]
    if altered == MESSAGE:
        return
    try:
        assert opened(altered).body == BODY  # another recipient's key, see above
    except SealError:
        return
    assert json.loads(altered)["recipients"][0] == json.loads(MESSAGE)["recipients"][0]


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)))
def test_any_bytes_at_all_are_refused_in_order(noise: bytes) -> None:
    assert refusal(noise) is Refusal.MALFORMED


@pytest.mark.parametrize("name", ["iv", "ciphertext", "tag"])
def test_an_altered_part_of_the_envelope_is_malformed(name: str) -> None:
    document = json.loads(MESSAGE)
    first = "B" if document[name][0] == "A" else "A"
    document[name] = first + document[name][1:]
    assert refusal(envelopes.dump(document)) is Refusal.MALFORMED


OUTER: dict[str, Any] = {
    "deep nesting": b"[" * 100_000,
    "a list": b"[]",
    "no recipients": {"recipients": []},
    "recipients that are none": {"recipients": [1]},
    "an unprotected header": {"unprotected": {"zip": "DEF"}},
    "aad": {"aad": "AAAA"},
    "numbers for text": {"iv": 1},
    "other algorithms": {"protected": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0"},
}


@pytest.mark.parametrize("change", OUTER.values(), ids=OUTER.keys())
def test_an_envelope_of_another_shape_is_malformed(change: Any) -> None:
    message = change
    if isinstance(change, dict):
        message = envelopes.dump({**json.loads(MESSAGE), **change})
    assert refusal(message) is Refusal.MALFORMED


def test_an_ephemeral_key_of_low_order_is_malformed() -> None:
    document = json.loads(MESSAGE)
    document["recipients"][0]["header"]["epk"]["x"] = "A" * 43  # the point 0: RFC 7748 section 6.1
    assert refusal(envelopes.dump(document)) is Refusal.MALFORMED


def test_a_message_is_measured_before_it_is_read() -> None:
    assert refusal(b"{" * (MAX_MESSAGE + 1)) is Refusal.TOO_LARGE


def test_who_is_not_a_recipient_cannot_open_it() -> None:
    assert refusal(MESSAGE, STRANGER) is Refusal.NOT_FOR_ME


def test_an_entry_relabelled_for_somebody_else_does_not_open() -> None:
    document = json.loads(MESSAGE)
    document["recipients"][0]["header"]["kid"] = STRANGER.public.kid
    assert refusal(envelopes.dump(document), STRANGER) is Refusal.MALFORMED


def test_a_device_that_is_not_trusted_is_refused() -> None:
    assert refusal(MESSAGE, trusted=TrustedDevices({})) is Refusal.UNKNOWN_DEVICE


def test_a_body_changed_after_signing_is_refused() -> None:
    start, _, signature = sign(header()).split(b".")
    body = base64.urlsafe_b64encode(BODY.replace(b"SECRET", b"NORMAL")).rstrip(b"=")
    assert refusal(wrap(b".".join((start, body, signature)))) is Refusal.BAD_SIGNATURE


def test_a_signature_by_another_trusted_device_is_refused() -> None:
    """With its own kid it names another device; with the first one's kid it does not fit."""
    own = sign(header(kid=OTHER_DEVICE.signing.kid), key=OTHER_DEVICE.signing)
    assert refusal(wrap(own)) is Refusal.MISMATCH
    borrowed = sign(header(), key=OTHER_DEVICE.signing)
    assert refusal(wrap(borrowed)) is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize(
    "change", [{"seq": 8}, {"created": "2026-03-01T09:30:00.251Z"}, {"dev": "ct-2"}]
)
def test_a_signature_that_says_something_else_than_the_body_is_refused(
    change: dict[str, Any],
) -> None:
    assert refusal(wrap(sign(header(**change)))) is Refusal.MISMATCH


def test_a_body_that_names_another_site_is_refused() -> None:
    assert refusal(wrap(sign(header(), BODY.replace(b"north", b"south")))) is Refusal.MISMATCH


def test_a_recipient_cannot_pass_a_signed_alert_on_as_if_the_device_had_written() -> None:
    signed = signed_part(MESSAGE, CENTRAL)
    assert refusal(wrap(signed, [STRANGER]), STRANGER) is Refusal.MISMATCH
    assert refusal(wrap(signed, [CENTRAL, CONSOLE, STRANGER]), STRANGER) is Refusal.MISMATCH
    assert refusal(wrap(signed, [CONSOLE]), CONSOLE) is Refusal.MISMATCH


INNER: dict[str, dict[str, Any]] = {
    "the signature of a receipt": {"typ": "scanside-receipt+jws"},
    "another content": {"cty": "xml"},
    "nothing critical": {"crit": []},
    "sequence 0": {"seq": 0},
    "a sequence that is true": {"seq": True},
    "an audience that is text": {"aud": "everybody"},
    "no key": {"kid": 7},
    "an unknown member": {"jku": "https://example.org/keys"},
}


@pytest.mark.parametrize("change", INNER.values(), ids=INNER.keys())
def test_a_signature_of_another_kind_is_malformed(change: dict[str, Any]) -> None:
    # Not through the library, which would not sign some of these.
    head = base64.urlsafe_b64encode(json.dumps(header(**change)).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(BODY).rstrip(b"=")
    raw = DEVICE.signing.jwk.private_key.sign(head + b"." + body)  # type: ignore[union-attr]
    signature = base64.urlsafe_b64encode(raw).rstrip(b"=")
    assert refusal(wrap(b".".join((head, body, signature)))) is Refusal.MALFORMED


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA"])
def test_no_other_algorithm_is_taken(alg: str) -> None:
    head = base64.urlsafe_b64encode(json.dumps(header(alg=alg)).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(BODY).rstrip(b"=")
    assert refusal(wrap(head + b"." + body + b".")) is Refusal.MALFORMED


@pytest.mark.parametrize("inside", [b"", b"..", b"not signed at all", BODY])
def test_what_is_encrypted_but_not_signed_is_malformed(inside: bytes) -> None:
    assert refusal(wrap(inside)) is Refusal.MALFORMED


def test_age_counts_only_where_a_limit_is_set() -> None:
    later = NOW + timedelta(days=8)
    assert opened(MESSAGE, now=later).sequence == 7
    assert opened(MESSAGE, now=later, max_age=timedelta(days=9)).sequence == 7
    assert refusal(MESSAGE, now=later, max_age=timedelta(days=7)) is Refusal.STALE


def test_the_future_is_refused_beyond_what_clocks_differ() -> None:
    day = timedelta(days=1)
    assert opened(MESSAGE, now=NOW - timedelta(minutes=9), max_age=day).sequence == 7
    assert refusal(MESSAGE, now=NOW - timedelta(minutes=11), max_age=day) is Refusal.STALE


def test_an_error_repeats_nothing_of_the_message() -> None:
    with pytest.raises(SealError) as caught:
        opened(wrap(sign(header(dev="Doe^Jane"))))
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"device": "ct-2"},
        {"sequence": 8},
        {"created": "2026-03-01T09:30:00.251Z"},
        {"recipients": []},
        {"recipients": [CENTRAL.public, CENTRAL.public]},
        {"recipients": [Party(str(n)).public for n in range(MAX_RECIPIENTS + 1)]},
    ],
    ids=["device", "sequence", "created", "nobody", "twice", "too many"],
)
def test_nothing_is_sealed_that_a_receiver_would_refuse(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {
        "signer": DEVICE.signing,
        "device": "ct-1",
        "sequence": 7,
        "created": CREATED,
        "recipients": [CENTRAL.public],
    }
    with pytest.raises(ValueError, match=r"recipients|body"):
        seal(BODY, **{**arguments, **change})


def test_sixteen_recipients_can_all_read_it() -> None:
    parties = [Party(str(number)) for number in range(MAX_RECIPIENTS)]
    message = sealed_by(to=parties)
    assert all(opened(message, one).body == BODY for one in parties)


def longer(by: int) -> bytes:
    document = json.loads(BODY)
    return json.dumps({**document, "finding": "x" * by}).encode()


def test_what_is_sealed_has_one_of_few_lengths() -> None:
    lengths = set()
    for by in range(0, 60_000, 500):
        message = seal(
            longer(by),
            signer=DEVICE.signing,
            device="ct-1",
            sequence=7,
            created=CREATED,
            recipients=[CENTRAL.public],
        )
        lengths.add(len(message))
        assert opened(message).body == longer(by)
    assert len(lengths) <= len(envelopes.BUCKETS)


def test_the_longest_alert_for_the_most_recipients_is_taken() -> None:
    body = longer(MAX_BODY - len(longer(0)))
    assert len(body) == MAX_BODY
    parties = [Party(str(number)) for number in range(MAX_RECIPIENTS)]
    message = seal(
        body,
        signer=DEVICE.signing,
        device="ct-1",
        sequence=7,
        created=CREATED,
        recipients=[one.public for one in parties],
    )
    assert len(message) <= MAX_MESSAGE
    assert opened(message, parties[-1]).body == body


def test_a_message_that_was_not_filled_up_is_still_opened() -> None:
    """One that an earlier version left in an outbox."""
    assert opened(wrap(sign(header()))).body == BODY
