"""From the bytes of a message to a record, or to the reason why it is refused."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from edge.alerts.connection import Message
from edge.alerts.message import Alert, MessageError
from edge.alerts.sealing import Opened, body_digest, open_sealed
from edge.alerts.topics import AlertTopic
from edge.jose.envelope import Refusal, SealError
from edge.keys import CentralKeys, TrustedDevices
from edge.timestamps import rfc3339
from tools.central.records import Record
from tools.central.trust import Trust, TrustWatch

MAX_SEQUENCE = (1 << 63) - 1  # a database and a receipt count no further

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True)
class Candidate:
    """An authentic alert that is not stored yet.

    `alert` is None when the signed body is outside this version's schema: it is better kept as
    it is than lost for want of an update here, and `record.problem` says so.
    """

    record: Record
    alert: Alert | None
    message: Message


def open_alert(
    message: Message,
    topic: AlertTopic,
    keys: CentralKeys,
    trust: TrustWatch,
    max_age: timedelta | None,
) -> Candidate:
    """Decrypt, verify and read one message.

    Parameters
    ----------
    message : Message
    topic : AlertTopic
        What its topic says. It is in clear and counts for nothing: it is compared.
    keys : CentralKeys
    trust : TrustWatch
        Looked at anew when an unknown device writes: it may have been enrolled just now.
    max_age : timedelta or None
        See `edge.alerts.sealing.open_sealed`.

    Raises
    ------
    SealError
    """
    try:
        opened = _open(message.payload, keys, trust.current.devices, max_age)
    except SealError as error:
        if error.reason is not Refusal.UNKNOWN_DEVICE:
            raise
        if not trust.look_now():
            _say_if_revoked(message.payload, keys, trust.current)
            raise
        opened = _open(message.payload, keys, trust.current.devices, max_age)
    if opened.sequence > MAX_SEQUENCE:
        raise SealError(Refusal.MALFORMED, "a sequence that no device counts to")
    return _read(message, topic, opened)


def _open(
    sealed: bytes, keys: CentralKeys, trusted: TrustedDevices, max_age: timedelta | None
) -> Opened:
    now = datetime.now(timezone.utc)
    return open_sealed(sealed, me=keys.opening, trusted=trusted, now=now, max_age=max_age)


def _say_if_revoked(sealed: bytes, keys: CentralKeys, trust: Trust) -> None:
    """Raise `SealError` with the better reason when a device that was revoked has signed it."""
    try:
        gone = _open(sealed, keys, trust.revoked, None)
    except SealError:
        return  # signed by nobody we ever knew
    text = f"signed by {gone.device}, which is believed no longer"
    raise SealError(Refusal.REVOKED, text)


def _read(message: Message, topic: AlertTopic, opened: Opened) -> Candidate:
    alert, problem = None, ""
    try:
        alert = Alert.from_json(opened.body)
    except MessageError as error:
        problem = f"outside the schema of this version: {error}"
    urgency = alert.urgency if alert else topic.urgency
    named = (opened.site, opened.device, urgency)
    if not problem and (topic.site, topic.device, topic.urgency) != named:
        problem = "came on another topic than its own"
    record = Record(
        received=rfc3339(datetime.fromtimestamp(message.at, timezone.utc)),
        device=opened.device,
        site=opened.site,
        sequence=opened.sequence,
        kid=opened.kid,
        lineage=opened.kid,
        created=opened.created,
        alert_id=alert.id if alert else _alert_id(opened.body),
        urgency=urgency,
        digest=body_digest(opened.body),
        body=opened.body.decode("utf-8"),
        problem=problem,
    )
    return Candidate(record, alert, message)


def _alert_id(body: bytes) -> str:
    """Return the id that a body outside the schema names; empty when that is no id."""
    said = json.loads(body).get("id")
    return said if isinstance(said, str) and _ID.fullmatch(said) else ""
