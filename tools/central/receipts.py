"""Receipts on their way out: read from where the alerts were kept, sent, and then forgotten.

A receipt was written in the transaction that kept its alert. It leaves the database when the broker
has taken it. What is sent twice settles nothing twice.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edge.alerts.receipt import MAX_ALERTS, Receipt, Standing, StoredAlert, make_receipt
from edge.alerts.topics import receipt_topic
from edge.keys import PublicKey
from tools.central.database import Database, DatabaseError
from tools.central.database.dialect import Row, marks
from tools.central.own_keys import OwnKeys
from tools.central.store import StoreError
from tools.central.trust import Trust

_AT_ONCE = 512
_LEFT_BEHIND_S = 60.0  # a process that has not sent its receipts for so long will not


@dataclass(frozen=True)
class Parcel:
    """A sealed receipt: for which rows, on which topic; empty when there is nobody to answer."""

    rows: tuple[int, ...]
    topic: str
    payload: bytes


class ReceiptDesk:
    """Makes parcels of the receipts that wait. One thread uses it.

    Parameters
    ----------
    database : Database
    owner : str
        As `AlertStore` has it.
    own : OwnKeys
    """

    def __init__(self, database: Database, owner: str, own: OwnKeys) -> None:
        self._database = database
        self._owner = owner
        self._own = own
        self._handed_out = 0  # the last row that is in a parcel
        self._adopted = 0.0

    def start_over(self) -> None:
        """Begin with the oldest again: with a connection ends what is known of its messages."""
        self._handed_out = 0

    def parcels(self, limit: int, trust: Trust) -> list[Parcel]:
        """Return at most so many parcels that are not under way yet, oldest first.

        Raises
        ------
        StoreError
            When the database cannot be read.
        """
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self._rows(limit):
            groups[row[1], row[2]].append(row)
        return [
            self._parcel(site, device, rows[at : at + MAX_ALERTS], trust.answers_to(site, device))
            for (site, device), rows in groups.items()
            for at in range(0, len(rows), MAX_ALERTS)
        ]

    def sent(self, rows: Collection[int]) -> None:
        """Forget receipts that the broker has taken; raises as `parcels` does."""
        numbers = sorted(rows)
        if not numbers:
            return
        try:
            with self._database.transaction() as write:
                for start in range(0, len(numbers), _AT_ONCE):
                    some = numbers[start : start + _AT_ONCE]
                    write.run(f"DELETE FROM receipts WHERE id IN ({marks(some)})", some)  # noqa: S608
        except DatabaseError as error:
            raise StoreError(str(error)) from error

    def adopt(self) -> bool:
        """Take over, once a minute, the receipts of a process that is gone; raises likewise.

        Returns
        -------
        bool
            Whether there were any.
        """
        now = time.time()
        if now - self._adopted < _LEFT_BEHIND_S:
            return False
        self._adopted = now
        try:
            with self._database.transaction() as write:
                taken = write.run(
                    "UPDATE receipts SET owner = ? WHERE owner <> ? AND made < ? RETURNING id",
                    (self._owner, self._owner, now - _LEFT_BEHIND_S),
                )
        except DatabaseError as error:
            raise StoreError(str(error)) from error
        if taken:
            self._handed_out = 0
        return bool(taken)

    def _rows(self, limit: int) -> list[Row]:
        """Return the next rows, so few that they fit into `limit` parcels."""
        if limit <= 0:
            return []
        try:
            with self._database.transaction() as read:
                rows = read.run(
                    "SELECT id, site, device, sequence, alert_id, digest, stored, status"
                    " FROM receipts WHERE owner = ? AND id > ? ORDER BY id LIMIT ?",
                    (self._owner, self._handed_out, _AT_ONCE),
                )
        except DatabaseError as error:
            raise StoreError(str(error)) from error
        fitting: list[Row] = []
        sizes: Counter[tuple[str, str]] = Counter()
        parcels = 0
        for row in rows:
            origin = (row[1], row[2])
            parcels += sizes[origin] % MAX_ALERTS == 0  # the row begins another parcel
            if parcels > limit:
                break
            sizes[origin] += 1
            fitting.append(row)
            self._handed_out = row[0]
        return fitting

    def _parcel(self, site: str, device: str, rows: Sequence[Row], key: PublicKey | None) -> Parcel:
        numbers = tuple(row[0] for row in rows)
        if key is None:  # revoked meanwhile: nobody to answer
            return Parcel(numbers, "", b"")
        alerts = tuple(
            StoredAlert(sequence, alert_id, digest, stored, Standing(status))
            for *_, sequence, alert_id, digest, stored, status in rows
        )
        receipt = Receipt(self._own.current.name, site, device, alerts)
        payload = make_receipt(receipt, signer=self._own.current.signing, device_key=key)
        return Parcel(numbers, receipt_topic(site, device), payload)
