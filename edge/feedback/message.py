"""The feedback message: what a central server learns of a physician's word on a finding.

`feedback.schema.json` is the same in the language of JSON Schema. The message is sealed as an
alert is, with a type of its own (`FEEDBACK`), so that neither passes for the other; its sequence
counts feedback alone, from 1 without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from edge.alerts.schema import MessageError, Schema, read_schema
from edge.alerts.sealing import CLOCK_SKEW
from edge.jose.envelope import Refusal, SealError, audience_of, dump, parse, unwrap, wrap
from edge.jose.signature import Statement
from edge.keys import PrivateKey, PublicKey, SigningKey, TrustedDevices
from edge.timestamps import parse_rfc3339

SCHEMA_VERSION = 1
MAX_NOTE = 1000  # characters

FEEDBACK = Statement("scanside-feedback+jws", {"aud": list, "created": str, "dev": str, "seq": int})


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding that was judged, as the alert told of it. `code` is ``SCHEME:VALUE``."""

    code: str
    label: str
    series_uid: str
    flagged: bool
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """A physician's word on a finding.

    Parameters
    ----------
    sequence : int
        Of the device's feedback, from 1, no gaps.
    device, site : str
    created : str
        RFC 3339, UTC.
    alert : str
        The `id` of the alert that told of the finding.
    study_uid : str
    finding : Finding
    verdict : str
        agree, disagree or unsure.
    note : str
        Empty where none was written.
    who, role : str
        The account's name and role.
    """

    sequence: int
    device: str
    site: str
    created: str
    alert: str
    study_uid: str
    finding: Finding
    verdict: str
    note: str
    who: str
    role: str


def seal_feedback(
    feedback: Feedback, *, signer: SigningKey, recipients: Sequence[PublicKey]
) -> bytes:
    """Sign a message and encrypt it for its recipients.

    Raises
    ------
    MessageError
        If a value is outside the schema; the text repeats none.
    ValueError
        If the recipients are none, too many or repeated, or the message is too large.
    """
    document = {"feedback": SCHEMA_VERSION, **asdict(feedback)}
    feedback_schema().check(document)
    claims = {
        "aud": audience_of(recipients),
        "created": feedback.created,
        "dev": feedback.device,
        "seq": feedback.sequence,
    }
    return wrap(FEEDBACK.sign(dump(document), claims, signer), recipients)


def open_feedback(
    message: bytes,
    *,
    me: PrivateKey | Sequence[PrivateKey],
    trusted: TrustedDevices,
    now: datetime,
    max_age: timedelta | None = None,
) -> tuple[Feedback, str]:
    """Decrypt and verify a message. Repeats are the receiver's to drop, by key and sequence.

    Returns
    -------
    tuple of Feedback and str
        What was said, and the thumbprint of the key that signed it.

    Raises
    ------
    SealError
        And nothing else, whatever the bytes.
    """
    inside = unwrap(message, me)
    header = FEEDBACK.read_header(inside.signed)
    sender = trusted.find(header["kid"])
    if sender is None:
        raise SealError(Refusal.UNKNOWN_DEVICE, "signed with a key that is not trusted here")
    document = parse(FEEDBACK.verify(inside.signed, sender.key))
    try:
        feedback_schema().check(document)
        created = parse_rfc3339(document["created"])
    except (MessageError, ValueError) as error:
        raise SealError(Refusal.MALFORMED, str(error)) from error
    if header["aud"] != inside.audience:
        raise SealError(Refusal.MISMATCH, "it was signed for other recipients")
    said = (document["device"], document["sequence"], document["created"], document["site"])
    if said != (header["dev"], header["seq"], header["created"], sender.site):
        raise SealError(Refusal.MISMATCH, "the body names another origin than the signature")
    if document["device"] != sender.device:
        raise SealError(Refusal.MISMATCH, "the signature names another device than its key")
    if max_age is not None and not -CLOCK_SKEW <= now - created <= max_age:
        raise SealError(Refusal.STALE, "created too long ago, or in the future")
    document.pop("feedback")
    feedback = Feedback(**{**document, "finding": Finding(**document["finding"])})
    return feedback, sender.key.kid


def feedback_schema() -> Schema:
    """Return `feedback.schema.json`."""
    return read_schema("edge.feedback", "feedback.schema.json")
