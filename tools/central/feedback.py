"""Physicians' words on findings: opened, kept once, listed beside the alerts they are about.

No receipt is sent: the device holds a word until the broker has it, and the broker until the
word is in the database here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from edge.alerts.connection import Message
from edge.alerts.topics import InvalidTopicError, parse_feedback_topic
from edge.feedback.message import Feedback, open_feedback
from edge.jose.envelope import Refusal, SealError
from edge.timestamps import rfc3339
from tools.central.database import Database, DatabaseError
from tools.central.database.dialect import insert
from tools.central.own_keys import OwnKeys
from tools.central.store import StoreError
from tools.central.trust import TrustWatch

_COLUMNS = (
    "kid",
    "sequence",
    "created",
    "site",
    "device",
    "stored",
    "alert_id",
    "verdict",
    "body",
)


@dataclass(frozen=True)
class FeedbackRow:
    """One word, as listed."""

    id: int
    stored: str
    site: str
    device: str
    finding: str
    model: str
    flagged: bool
    verdict: str
    who: str
    role: str
    note: str
    alert_id: str


class FeedbackTray:
    """Takes feedback from the broker. One thread uses it.

    Parameters
    ----------
    database : Database
    own : OwnKeys
    trust : TrustWatch
        Looked at anew when an unknown device writes.
    max_age : timedelta or None
        See `edge.alerts.sealing.open_sealed`.
    """

    def __init__(
        self, database: Database, own: OwnKeys, trust: TrustWatch, max_age: timedelta | None
    ) -> None:
        self._database = database
        self._own = own
        self._trust = trust
        self._max_age = max_age

    def take(self, message: Message) -> bool:
        """Keep a message if its topic says that it is feedback; return whether it does.

        Raises
        ------
        SealError
            When it is refused.
        StoreError
            When the database does not take it now.
        """
        try:
            topic = parse_feedback_topic(message.topic)
        except InvalidTopicError:
            return False
        feedback, kid = self._open(message.payload)
        if (feedback.site, feedback.device) != topic:
            raise SealError(Refusal.MISMATCH, "feedback came on another device's topic")
        came = rfc3339(datetime.fromtimestamp(message.at, timezone.utc))
        try:
            keep(self._database, feedback, kid, came)
        except DatabaseError as error:
            raise StoreError(str(error)) from error
        return True

    def _open(self, payload: bytes) -> tuple[Feedback, str]:
        try:
            return self._open_once(payload)
        except SealError as error:
            if error.reason is not Refusal.UNKNOWN_DEVICE or not self._trust.look_now():
                raise
        return self._open_once(payload)

    def _open_once(self, payload: bytes) -> tuple[Feedback, str]:
        return open_feedback(
            payload,
            me=self._own.current.opening,
            trusted=self._trust.current.devices,
            now=datetime.now(timezone.utc),
            max_age=self._max_age,
        )


def keep(database: Database, feedback: Feedback, kid: str, came: str) -> None:
    """Keep a word, once: a repeat changes nothing."""
    row = (
        kid,
        feedback.sequence,
        feedback.created,
        feedback.site,
        feedback.device,
        came,
        feedback.alert,
        feedback.verdict,
        json.dumps(asdict(feedback), ensure_ascii=False, sort_keys=True),
    )
    with database.transaction() as write:
        insert(write, "feedback", _COLUMNS, [row], "ON CONFLICT DO NOTHING")


def latest(database: Database, limit: int) -> list[FeedbackRow]:
    """Return the latest words, newest first."""
    with database.transaction() as read:
        rows = read.run("SELECT id, stored, body FROM feedback ORDER BY id DESC LIMIT ?", (limit,))
    return [_row(number, stored, json.loads(body)) for number, stored, body in rows]


def _row(number: int, stored: str, body: dict[str, Any]) -> FeedbackRow:
    finding = body["finding"]
    return FeedbackRow(
        id=number,
        stored=stored,
        site=body["site"],
        device=body["device"],
        finding=finding["label"],
        model=f"{finding['model']} {finding['version']}",
        flagged=finding["flagged"],
        verdict=body["verdict"],
        who=body["who"],
        role=body["role"],
        note=body["note"],
        alert_id=body["alert"],
    )
