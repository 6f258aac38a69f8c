"""What stands in the database, for people, for metrics and for the dead man's switch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from edge.alerts.chance import chance
from edge.keys import TrustedDevices
from edge.timestamps import parse_rfc3339, rfc3339
from tools.central.database import Database, Statements
from tools.central.database.dialect import Row, insert
from tools.central.hand_on.queue import backlog
from tools.central.silence import Condition, DeviceFacts

_DEVICES = (
    "SELECT devices.site, devices.device, online, since, backlog, heard, last_alert, last_drill,"
    " COALESCE(SUM(held), 0), COALESCE(SUM(CASE WHEN held > 0 THEN highest - lowest + 1 - held"
    " ELSE 0 END), 0), MIN(gap_since) FROM devices LEFT JOIN counts"
    " ON counts.site = devices.site AND counts.device = devices.device"
    " GROUP BY devices.site, devices.device, online, since, backlog, heard, last_alert, last_drill"
    " ORDER BY devices.site, devices.device"
)


@dataclass(frozen=True)
class DeviceRow:
    """One device as central sees it. Moments are RFC 3339; None: never.

    `online` is None when it never said; `missing` counts alerts between others.
    """

    site: str
    device: str
    online: bool | None
    since: str
    backlog: int | None
    heard: str | None
    last_alert: str | None
    last_drill: str | None
    alerts: int
    missing: int
    gap_since: str | None
    believed: bool

    @property
    def facts(self) -> DeviceFacts:
        """What the dead man's switch wants to know."""
        return DeviceFacts(
            self.site,
            self.device,
            bool(self.online),
            _seconds(self.heard),
            _seconds(self.last_drill),
            _seconds(self.gap_since),
            self.missing,
        )


@dataclass(frozen=True)
class AlertRow:
    """One alert, as listed."""

    id: int
    stored: str
    site: str
    device: str
    sequence: int
    urgency: str
    status: str
    outcome: str
    finding: str
    problem: str


@dataclass(frozen=True)
class EventRow:
    """Something central had to say."""

    id: int
    moment: str
    kind: str
    site: str
    device: str
    said: str
    ended: str | None


def devices(database: Database, trusted: TrustedDevices) -> list[DeviceRow]:
    """Return every device that was heard or is believed, by name."""
    believed = {(one.site, one.device) for one in trusted.by_kid.values()}
    with database.transaction() as read:
        found = read.run(_DEVICES)
    rows = {(row[0], row[1]): _device(row, believed) for row in found}
    for site, device in believed - rows.keys():
        never = (site, device, None, "", None, None, None, None, 0, 0, None)
        rows[site, device] = _device(never, believed)
    return [rows[name] for name in sorted(rows)]


def alerts(database: Database, limit: int) -> list[AlertRow]:
    """Return the latest alerts, newest first."""
    with database.transaction() as read:
        rows = read.run(
            "SELECT id, stored, site, device, sequence, urgency, problem, body FROM alerts"
            " ORDER BY id DESC LIMIT ?",
            (limit,),
        )
    return [_alert(*row) for row in rows]


def alert_body(database: Database, number: int) -> dict[str, Any] | None:
    """Return one alert as it was signed; None when there is none of that number."""
    with database.transaction() as read:
        rows = read.run("SELECT body FROM alerts WHERE id = ?", (number,))
    return json.loads(rows[0][0]) if rows else None


def events(database: Database, limit: int, *, lasting: bool = False) -> list[EventRow]:
    """Return the latest events, newest first; `lasting`: only those that are not over."""
    only = "WHERE ended IS NULL" if lasting else ""
    with database.transaction() as read:
        rows = read.run(
            "SELECT id, moment, kind, site, device, said, ended FROM events"  # noqa: S608
            f" {only} ORDER BY id DESC LIMIT ?",
            (limit,),
        )
    return [EventRow(*row) for row in rows]


def hand_on_backlog(database: Database) -> dict[str, tuple[int, int]]:
    """Return for each target how many wait, and how many were set aside."""
    with database.transaction() as read:
        return backlog(read)


def note_conditions(
    database: Database, lasting: Sequence[Condition], targets: Sequence[str]
) -> list[EventRow]:
    """Open an event for what lasts, and end those that are over; return what changed.

    Several processes may do so at once: an event is opened once. Whoever is told of events is told
    of both moments.
    """
    now = datetime.now(timezone.utc)
    moment = rfc3339(now)
    wanted = {(one.kind.value, one.site, one.device): one for one in lasting}
    with database.transaction() as write:
        open_rows = [
            EventRow(*row)
            for row in write.run(
                "SELECT id, moment, kind, site, device, said, ended FROM events WHERE ended IS NULL"
                " AND kind <> 'set aside'"
            )
        ]
        over = [one for one in open_rows if (one.kind, one.site, one.device) not in wanted]
        known = {(one.kind, one.site, one.device) for one in open_rows}
        changed = [
            row
            for name, one in wanted.items()
            if name not in known
            for row in _opened(write, moment, one.kind.value, one.site, one.device, one.said)
        ]
        changed += [row for one in over for row in _ended(write, one.id, moment)]
        _hand_on(write, changed, targets, now.timestamp())
    return changed


def note_set_aside(database: Database, target: str, targets: Sequence[str]) -> None:
    """Say that an alert could not be handed on to a target within the site's limit."""
    now = datetime.now(timezone.utc)
    with database.transaction() as write:
        said = f"{target} has not taken alerts; see: scanside-central retry"
        rows = _opened(write, rfc3339(now), "set aside", "", target, said)
        _hand_on(write, rows, [one for one in targets if one != target], now.timestamp())


def end_set_aside(database: Database) -> None:
    """Say that what was set aside is tried again."""
    with database.transaction() as write:
        write.run(
            "UPDATE events SET ended = ? WHERE kind = 'set aside' AND ended IS NULL",
            (rfc3339(datetime.now(timezone.utc)),),
        )


def _device(row: Row, believed: Collection[tuple[str, str]]) -> DeviceRow:
    site, device, online, since, backlog, heard, alert, drill, held, missing, gap_since = row
    return DeviceRow(
        site=site,
        device=device,
        online=None if online is None else bool(online),
        since=since,
        backlog=backlog,
        heard=heard,
        last_alert=alert,
        last_drill=drill,
        alerts=int(held),
        missing=int(missing),
        gap_since=gap_since,
        believed=(site, device) in believed,
    )


def _opened(write: Statements, *values: str) -> list[EventRow]:
    columns = ("moment", "kind", "site", "device", "said")
    then = "ON CONFLICT DO NOTHING RETURNING id, moment, kind, site, device, said, ended"
    return [EventRow(*row) for row in insert(write, "events", columns, [values], then)]


def _ended(write: Statements, number: int, moment: str) -> list[EventRow]:
    rows = write.run(
        "UPDATE events SET ended = ? WHERE id = ? AND ended IS NULL"
        " RETURNING id, moment, kind, site, device, said, ended",
        (moment, number),
    )
    return [EventRow(*row) for row in rows]


def _hand_on(
    write: Statements, rows: Iterable[EventRow], targets: Sequence[str], now: float
) -> None:
    queue = [(target, row.id, 0, now, now, "") for row in rows for target in targets]
    if queue:
        columns = ("target", "event", "attempts", "due", "first", "trouble")
        insert(write, "hand_ons", columns, queue)


def _alert(
    number: int,
    stored: str,
    site: str,
    device: str,
    sequence: int,
    urgency: str,
    problem: str,
    body: str,
) -> AlertRow:
    said = json.loads(body)
    findings = said.get("findings") or []
    status, outcome, label = str(said.get("status", "")), str(said.get("outcome", "")), ""
    if findings and not problem.startswith("outside"):
        top = max(findings, key=lambda one: (one["flagged"], one["probability"]))
        label = f"{top['label']} {chance(top['probability'])}"
    return AlertRow(
        number, stored, site, device, sequence, urgency, status, outcome, label, problem
    )


def _seconds(moment: str | None) -> float | None:
    return parse_rfc3339(moment).timestamp() if moment else None
