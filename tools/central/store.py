"""Keeping alerts: each once, with its receipt and whoever else is to be told, in one transaction.

Several processes may keep alerts of the same devices in one database. What a transaction needs to
know of a device it locks, in the order of the names, so that two processes take turns and never
wait for each other in a circle.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace

from tools.central.database import Database, DatabaseError, Statements
from tools.central.database.dialect import RetryError, Row, insert, marks
from tools.central.records import Count, Held, Kept, Placed, Record, Standing, place

_TRIES = 5

_COUNT = tuple(one.name for one in fields(Count) if one.name != "changed")
_ALERT = (
    "lineage",
    "run",
    "sequence",
    "kid",
    "site",
    "device",
    "alert_id",
    "digest",
    "created",
    "stored",
    "urgency",
    "problem",
    "body",
)


@dataclass(frozen=True)
class DeviceState:
    """What a device, or the broker in its name, says of itself. It is not signed."""

    site: str
    device: str
    online: bool
    since: str
    backlog: int | None


class StoreError(RuntimeError):
    """Alerts cannot be kept now. The text says why; nothing unwritten was acknowledged."""


class AlertStore:
    """Keeps alerts. One thread at a time may use it.

    Parameters
    ----------
    database : Database
    owner : str
        This process, by a name that stays the same: it sends the receipts that it wrote.
    targets : sequence of str
        Who is to be told of each new alert; see `tools.central.hand_on`.
    """

    def __init__(
        self, database: Database, *, owner: str = "central", targets: Sequence[str] = ()
    ) -> None:
        self.database = database
        self.owner = owner
        self._targets = targets
        # By signing key. A succession is written before the new key is believed by anybody, so
        # what was read once stays right.
        self._lineages: dict[str, str] = {}

    def keep(self, records: Sequence[Record]) -> list[Kept]:
        """Keep what is new, write a receipt for each, and say what each was.

        Raises
        ------
        StoreError
            When the database does not take it. Then nothing of it was kept.
        """
        for _ in range(_TRIES):
            with suppress(RetryError), self._transaction() as write:
                return self._keep(write, self._with_lineage(write, records))
        msg = f"the database was too busy, {_TRIES} times over"
        raise StoreError(msg)

    def succeed(self, old_kid: str, new_kid: str) -> None:
        """Note that a device counts on with a new key; raises as `keep` does."""
        with self._transaction() as write:
            lineage = self._lineage_of(write, [old_kid])[old_kid]
            insert(
                write,
                "lineages",
                ("kid", "lineage"),
                [(new_kid, lineage)],
                "ON CONFLICT DO NOTHING",
            )

    def note_state(self, state: DeviceState, heard: str) -> None:
        """Note what a device says of itself; raises as `keep` does.

        Parameters
        ----------
        state : DeviceState
        heard : str
            When it came, RFC 3339. A retained message may be old: what counts for being heard is
            that a device says it is online.
        """
        row = (state.site, state.device, int(state.online), state.since, state.backlog, heard)
        then = (
            "ON CONFLICT (site, device) DO UPDATE SET online = excluded.online,"
            " since = excluded.since, backlog = excluded.backlog,"
            " heard = CASE WHEN excluded.online = 1 THEN excluded.heard ELSE devices.heard END"
        )
        columns = ("site", "device", "online", "since", "backlog", "heard")
        with self._transaction() as write:
            insert(write, "devices", columns, [row], then)

    def count(self) -> int:
        """Return how many alerts are kept."""
        with self._transaction() as read:
            ((count,),) = read.run("SELECT COUNT(*) FROM alerts")
        return int(count)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def _with_lineage(self, read: Statements, records: Sequence[Record]) -> list[Record]:
        kids = {one.kid for one in records}
        unknown = sorted(kids - self._lineages.keys())
        if unknown:
            self._lineages |= self._lineage_of(read, unknown)
        return [replace(one, lineage=self._lineages[one.kid]) for one in records]

    def _lineage_of(self, read: Statements, kids: Sequence[str]) -> dict[str, str]:
        """Return the first key of the chain that each key belongs to."""
        sql = f"SELECT kid, lineage FROM lineages WHERE kid IN ({marks(kids)})"  # noqa: S608
        found = {str(kid): str(lineage) for kid, lineage in read.run(sql, kids)}
        return {kid: found.get(kid, kid) for kid in kids}

    @contextmanager
    def _transaction(self) -> Iterator[Statements]:
        try:
            with self.database.transaction() as write:
                yield write
        except RetryError:
            raise
        except DatabaseError as error:
            raise StoreError(str(error)) from error

    def _keep(self, write: Statements, records: Sequence[Record]) -> list[Kept]:
        counts = self._lock_counts(write, records)
        held = _held(write, records)
        kept: list[Kept] = []
        new: list[tuple[Record, Placed]] = []
        for record in records:
            runs = counts[record.lineage]
            same = held[record.lineage]
            placed = place(record, runs, same)
            stored = placed.stored or record.received
            if placed.standing is not Standing.REPEAT:
                if placed.standing is Standing.RESTARTED:
                    runs.append(_new_run(record, placed.run, runs[-1].latest))
                runs[placed.run].take(record)
                same[placed.run, record.sequence] = (record.digest, record.received)
                new.append((record, placed))
            missing = sum(run.missing for run in runs)
            kept.append(Kept(placed.standing, stored, missing))
        self._write_alerts(write, new)
        _write_counts(write, (run for runs in counts.values() for run in runs if run.changed))
        _write_devices(write, records)
        self._write_receipts(write, records, kept)
        return kept

    def _lock_counts(self, write: Statements, records: Sequence[Record]) -> dict[str, list[Count]]:
        """Return the runs of every lineage at hand, oldest first; others wait for us there."""
        firsts = {one.lineage: one for one in reversed(records)}
        names = sorted(firsts)
        rows = [_row_of(_new_run(firsts[name], 0, "")) for name in names]
        insert(write, "counts", _COUNT, rows, "ON CONFLICT DO NOTHING")
        found = write.run(
            f"SELECT {','.join(_COUNT)} FROM counts WHERE lineage IN ({marks(names)})"  # noqa: S608
            f" ORDER BY lineage, run {self.database.dialect.locked}",
            names,
        )
        counts: dict[str, list[Count]] = defaultdict(list)
        for row in found:
            counts[row[0]].append(Count(*row))
        return counts

    def _write_alerts(self, write: Statements, new: Sequence[tuple[Record, Placed]]) -> None:
        if not new:
            return
        rows = [
            (
                one.lineage,
                placed.run,
                one.sequence,
                one.kid,
                one.site,
                one.device,
                one.alert_id,
                one.digest,
                one.created,
                one.received,
                one.urgency,
                one.problem,
                one.body,
            )
            for one, placed in new
        ]
        ids = insert(write, "alerts", _ALERT, rows, "RETURNING id")
        if not self._targets:
            return
        now = time.time()
        queue = [(target, number, 0, now, now, "") for (number,) in ids for target in self._targets]
        columns = ("target", "alert", "attempts", "due", "first", "trouble")
        insert(write, "hand_ons", columns, queue)

    def _write_receipts(
        self, write: Statements, records: Sequence[Record], kept: Sequence[Kept]
    ) -> None:
        now = time.time()
        rows: list[Row] = [
            (
                self.owner,
                one.site,
                one.device,
                one.kid,
                one.sequence,
                one.alert_id,
                one.digest,
                what.stored,
                "repeated" if what.standing is Standing.REPEAT else "stored",
                now,
            )
            for one, what in zip(records, kept, strict=True)
            if one.alert_id
        ]
        columns = ("owner", "site", "device", "kid", "sequence", "alert_id", "digest", "stored")
        if rows:
            insert(write, "receipts", (*columns, "status", "made"), rows)


def _held(
    write: Statements, records: Sequence[Record]
) -> dict[str, dict[tuple[int, int], tuple[str, str]]]:
    """Return what is stored under the numbers at hand, by lineage."""
    wanted = sorted({(one.lineage, one.sequence) for one in records})
    pairs = ",".join(["(?, CAST(? AS BIGINT))"] * len(wanted))
    rows = write.run(
        f"SELECT lineage, run, sequence, digest, stored FROM alerts"  # noqa: S608
        f" WHERE (lineage, sequence) IN (VALUES {pairs})",
        [value for pair in wanted for value in pair],
    )
    held: dict[str, Held] = defaultdict(dict)
    for lineage, run, sequence, digest, stored in rows:
        held[lineage][run, sequence] = (digest, stored)
    return held


def _new_run(record: Record, run: int, after: str) -> Count:
    return Count(record.lineage, run, after, "", 0, 0, 0, None, record.site, record.device)


def _row_of(count: Count) -> Row:
    return [getattr(count, name) for name in _COUNT]


def _write_counts(write: Statements, changed: Iterable[Count]) -> None:
    rows = [_row_of(one) for one in changed]
    if rows:
        insert(
            write,
            "counts",
            _COUNT,
            rows,
            "ON CONFLICT (lineage, run) DO UPDATE SET latest = excluded.latest,"
            " lowest = excluded.lowest, highest = excluded.highest, held = excluded.held,"
            " gap_since = excluded.gap_since",
        )


def _write_devices(write: Statements, records: Sequence[Record]) -> None:
    """Note when each device was last heard."""
    heard: dict[tuple[str, str], list[str | None]] = {}
    for one in sorted(records, key=lambda record: record.received):
        said = heard.setdefault((one.site, one.device), ["", None, None])
        said[0] = one.received
        said[2 if one.urgency == "drill" else 1] = one.received
    rows = [(site, device, "", *said) for (site, device), said in sorted(heard.items())]
    insert(
        write,
        "devices",
        ("site", "device", "since", "heard", "last_alert", "last_drill"),
        rows,
        "ON CONFLICT (site, device) DO UPDATE SET heard = excluded.heard,"
        " last_alert = COALESCE(excluded.last_alert, devices.last_alert),"
        " last_drill = COALESCE(excluded.last_drill, devices.last_drill)",
    )
