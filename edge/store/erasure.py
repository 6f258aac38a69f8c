"""Erasure: a study's key is destroyed; all that it opens, and all that names the patient, goes too.

Whoever wants a study erased leaves an order in the journal; the one process that has the folder
carries it out. What is in the journal goes in one transaction, so that a power cut leaves the study
whole or gone; the files follow, and what a crash left of them is removed at the next start.

What stays, so that nothing looks as if it had never been: the study's number and when it came, its
alerts' numbers, urgencies and receipts, who ordered it and why. Counts belong to no study.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from edge.store.erased_series import Fingerprint, remember
from edge.store.journal import Journal, StudyState

# Each table of the journal is in one of these; a test holds them against the schema.
EMPTIED = frozenset(
    {
        "commitments",
        "documents",
        "feedback",
        "heatmaps",
        "instances",
        "outbox",
        "performed_series",
        "procedure_steps",
        "results",
        "series",
        "studies",
    }
)
KEPT = frozenset(
    {
        "audit",  # numbers alone
        "audit_head",
        "certificates",  # of staff
        "device_key",  # a key of no study
        "erased_series",  # keyed digests, for a month
        "erasures",
        "receipts",  # who had which alert, by its number
        "score_counts",  # of no study
        "verdict_counts",
    }
)

OWN = "daemon"  # who orders what nobody asked for; as in the audit

# Alerts that are not settled, words that the broker has not taken, images: of one study.
_UNDELIVERED = (
    "SELECT sequence FROM outbox WHERE study_id = :study AND settled IS NULL AND lapsed IS NULL"
)
_UNSENT = (
    "SELECT number FROM feedback WHERE study_id = :study AND published IS NULL AND sealed != x''"
)
# Objects that the PACS does not have yet; what it will not have waits for nobody.
_UNFILED = "SELECT id FROM documents WHERE study_id = :study AND stored IS NULL AND refused IS NULL"
_INSTANCES = (
    "SELECT instances.id FROM instances JOIN series ON series.id = series_id"
    " WHERE study_id = :study"
)
_STEPS = (
    "DELETE FROM heatmaps WHERE study_id = :study",
    "UPDATE procedure_steps SET uid = 'erased:' || id WHERE id IN (SELECT step_id"
    " FROM performed_series JOIN series USING (series_uid) WHERE study_id = :study)",
    # What such a step names and never came is of this study, too, for all that is known.
    "DELETE FROM performed_series WHERE step_id IN (SELECT step_id FROM performed_series"
    " JOIN series USING (series_uid) WHERE study_id = :study)"
    " AND series_uid NOT IN (SELECT series_uid FROM series WHERE study_id != :study)",
    # A storage commitment that still waits for its report names images by their UIDs.
    "UPDATE commitments SET named = '[]', transaction_uid = '', given_up = :now"
    " WHERE reported IS NULL AND given_up IS NULL AND EXISTS (SELECT 1 FROM json_each(named)"
    " JOIN instances ON instance_uid = json_extract(value, '$[1]')"
    " JOIN series ON series.id = series_id WHERE study_id = :study)",
    "DELETE FROM instances WHERE series_id IN (SELECT id FROM series WHERE study_id = :study)",
    "DELETE FROM series WHERE study_id = :study",
    "DELETE FROM results WHERE study_id = :study",
    # Opened by the device's own key, not the study's. The numbers stay: a sequence has no gap.
    "UPDATE outbox SET sealed = x'', digest = NULL,"
    " lapsed = CASE WHEN settled IS NULL THEN COALESCE(lapsed, :now) ELSE lapsed END"
    " WHERE study_id = :study",
    "UPDATE feedback SET word = x'', sealed = x'' WHERE study_id = :study",
    # That the PACS has objects of it stays: they are there still.
    "UPDATE documents SET about = x'',"
    " answer = CASE WHEN stored IS NOT NULL THEN answer WHEN had IS NULL"
    " THEN 'erased before it was sent' ELSE 'sent once; erased before it was sent again' END,"
    " refused = CASE WHEN had IS NULL THEN COALESCE(refused, :now) END,"
    " stored = had WHERE study_id = :study",
    "UPDATE studies SET wrapped_key = x'', identity = x'', pseudonym = '',"
    " study_uid = 'erased:' || id, state = 'erased' WHERE id = :study",
)


class Hindrance(str, Enum):
    """Why a study is not erased, in words for who ordered it."""

    UNKNOWN = "there is no such study"
    ERASED = "it is erased already"
    BUSY = "it is still coming in or being analysed; ask again when it is decided"
    COMPARED = "another study is being compared with it; ask again when that is decided"
    UNDELIVERED = (
        "central has not had all that was said of it; --undelivered erases it all the same, and "
        "central will miss those numbers"
    )
    UNFILED = (
        "the PACS has not had all that is sent of it (scanside results list); --undelivered erases "
        "it all the same"
    )
    UNACKNOWLEDGED = (
        "nobody acknowledged its flag; do so on the console, or --unacknowledged erases it all the "
        "same"
    )


@dataclass(frozen=True, slots=True)
class Order:
    """That a study be erased.

    Parameters
    ----------
    study_id : int
    who : str
        As the audit names who acts.
    reason : str
        Without patient data: it is kept.
    undelivered : bool
        Also if central has not had every alert and every physician's word of it, or the PACS
        every object.
    unacknowledged : bool
        Also if nobody acknowledged its flag.
    number : int or None
        In the journal; None: the appliance's own, which was not written down before.
    """

    study_id: int
    who: str
    reason: str
    undelivered: bool = False
    unacknowledged: bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ErasureFacts:
    """What bears on whether a study may be erased.

    Parameters
    ----------
    state : StudyState or None
        None: there is no such study.
    instances : int
        How many images there are. A study whose first was never stored waits for nothing.
    undelivered : tuple of int
        Its alerts that are not settled, by number.
    unsent : int
        Physicians' words on it that the broker has not taken.
    unfiled : int
        Objects of it that the PACS does not have yet.
    pressing : bool
        Whether it has a flag that nobody acknowledged.
    """

    state: StudyState | None
    instances: int = 0
    undelivered: tuple[int, ...] = ()
    unsent: int = 0
    unfiled: int = 0
    pressing: bool = False


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of an order: the study is gone. `withdrawn`: alerts that central never had."""

    order: Order
    withdrawn: tuple[int, ...] = ()


def hindrance(facts: ErasureFacts, order: Order) -> Hindrance | None:
    """Return why a study is not erased, or None where nothing speaks against it."""
    if facts.state is None:
        return Hindrance.UNKNOWN
    if facts.state is StudyState.ERASED:
        return Hindrance.ERASED
    if facts.state is StudyState.RECEIVING and facts.instances:
        return Hindrance.BUSY
    if facts.pressing and not order.unacknowledged:
        return Hindrance.UNACKNOWLEDGED
    if (facts.undelivered or facts.unsent) and not order.undelivered:
        return Hindrance.UNDELIVERED
    if facts.unfiled and not order.undelivered:
        return Hindrance.UNFILED
    return None


def erase(
    write: sqlite3.Connection, order: Order, fingerprint: Fingerprint, *, pressing: bool
) -> Erased | Hindrance:
    """Destroy a study's key and empty the journal of it, within a transaction.

    Parameters
    ----------
    write : sqlite3.Connection
        In a transaction.
    order : Order
    fingerprint : callable
        `Store.fingerprint`: the study's series are known again by it.
    pressing : bool
        Whether the study has a flag that nobody acknowledged.
    """
    facts = _facts(write, order.study_id, pressing=pressing)
    reason = hindrance(facts, order)
    if reason is not None:
        return reason
    now = time.time()
    remember(write, order.study_id, fingerprint, now)
    for step in _STEPS:
        write.execute(step, {"study": order.study_id, "now": now})
    if order.number is None:
        write.execute(
            "INSERT INTO erasures (study_id, who, reason, undelivered, unacknowledged, asked,"
            " answered) VALUES (?,?,?,?,?,?,?)",
            (*_columns(order), now, now),
        )
    else:
        write.execute("UPDATE erasures SET answered = ? WHERE id = ?", (now, order.number))
    return Erased(order, facts.undelivered)


def _facts(read: sqlite3.Connection, study_id: int, *, pressing: bool) -> ErasureFacts:
    one = {"study": study_id}
    row = read.execute("SELECT state FROM studies WHERE id = :study", one).fetchone()
    undelivered, unsent, unfiled, instances = (
        tuple(found[0] for found in read.execute(query, one).fetchall())
        for query in (_UNDELIVERED, _UNSENT, _UNFILED, _INSTANCES)
    )
    return ErasureFacts(
        state=None if row is None else StudyState(row["state"]),
        instances=len(instances),
        undelivered=undelivered,
        unsent=len(unsent),
        unfiled=len(unfiled),
        pressing=pressing,
    )


def _columns(order: Order) -> tuple[int, str, str, bool, bool]:
    return order.study_id, order.who, order.reason, order.undelivered, order.unacknowledged


class Erasures:
    """The orders in the journal, and how far each has come; threads and processes may share it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def place(self, orders: Iterable[Order]) -> list[int]:
        """Keep orders for whoever has the folder; return their numbers."""
        now = time.time()
        with self._journal.transaction() as write:
            return [
                write.execute(
                    "INSERT INTO erasures (study_id, who, reason, undelivered, unacknowledged,"
                    " asked) VALUES (?,?,?,?,?,?) RETURNING id",
                    (*_columns(order), now),
                ).fetchone()["id"]
                for order in orders
            ]

    def facts(self, study_id: int, *, pressing: bool) -> ErasureFacts:
        """Return what bears on whether a study may be erased at the moment."""
        with self._journal.reading() as read:
            return _facts(read, study_id, pressing=pressing)

    def waiting(self) -> list[Order]:
        """Return the orders that nobody has answered, the first first."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT * FROM erasures WHERE answered IS NULL ORDER BY id"
            ).fetchall()
        return [
            Order(
                row["study_id"],
                row["who"],
                row["reason"],
                bool(row["undelivered"]),
                bool(row["unacknowledged"]),
                row["id"],
            )
            for row in rows
        ]

    def refuse(self, order: Order, why: Hindrance) -> None:
        """Answer an order with why it is not carried out."""
        with self._journal.transaction() as write:
            write.execute(
                "UPDATE erasures SET answered = ?, refused = ? WHERE id = ?",
                (time.time(), why.value, order.number),
            )

    def answers(self, numbers: Iterable[int]) -> Mapping[int, str | None]:
        """Return those of some orders that are answered: why not, or None where it was done.

        Done is what is gone from the disk, too.
        """
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT id, refused FROM erasures WHERE id IN (SELECT value FROM json_each(?))"
                " AND (refused IS NOT NULL OR removed IS NOT NULL)",
                (json.dumps(list(numbers)),),
            ).fetchall()
        return {row["id"]: row["refused"] for row in rows}

    def left_behind(self) -> list[tuple[int, str]]:
        """Return erasures whose files may still be there: number, and the study's token."""
        with self._journal.reading() as read:
            rows = read.execute(
                "SELECT erasures.id, token FROM erasures JOIN studies ON studies.id = study_id"
                " WHERE answered IS NOT NULL AND refused IS NULL AND compacted IS NULL"
                " AND removed IS NULL"
            ).fetchall()
        return [(row["id"], row["token"]) for row in rows]

    def files_removed(self, number: int) -> None:
        """Note that the files of an erasure are gone."""
        with self._journal.transaction() as write:
            write.execute("UPDATE erasures SET removed = ? WHERE id = ?", (time.time(), number))

    def compact(self, *, longest_s: float) -> None:
        """Have the journal written anew where that is due: at once after what a person ordered.

        What the appliance erased by itself waits until the first of it is `longest_s` old: while a
        large journal is written, nothing is stored for seconds.

        Raises
        ------
        sqlite3.OperationalError
            If there is no room for it now.
        """
        now = time.time()
        with self._journal.reading() as read:
            row = read.execute(
                "SELECT TOTAL(who != :own) AS ordered, MIN(answered) AS first,"
                " json_group_array(id) AS numbers FROM erasures"
                " WHERE answered IS NOT NULL AND refused IS NULL AND compacted IS NULL",
                {"own": OWN},
            ).fetchone()
        if row["first"] is None or not (row["ordered"] or now - row["first"] > longest_s):
            return
        self._journal.compact()
        with self._journal.transaction() as write:
            write.execute(
                # By number: after a clock was put back, time would leave some out.
                "UPDATE erasures SET compacted = :now"
                " WHERE id IN (SELECT value FROM json_each(:numbers))",
                {"now": now, "numbers": row["numbers"]},
            )
