"""What is kept, until when, and who wants it erased, as an administrator's pages use it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edge.config import Storage
from edge.console.accounts import User
from edge.console.cards import Card
from edge.console.history import History
from edge.keys import DeviceKeys, pseudonym
from edge.retention.reason import names_patient
from edge.store.ages import ages
from edge.store.erasure import OWN, ErasureFacts, Erasures, Hindrance, Order, hindrance
from edge.store.journal import Journal
from edge.store.keeping import (
    Held,
    OrderLine,
    Rule,
    Until,
    Usage,
    held,
    kept_until,
    latest_orders,
    oldest,
    orders,
    overdue,
    since,
    usage,
)
from edge.store.lookup import studies_of
from edge.store.study_key import SealBroken

_PATIENCE_S = 5.0
_ROUND_S = 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """What the studies take, and what is left.

    Parameters
    ----------
    used : Usage
    since : float or None
        When the first of them came, seconds since the epoch; None: there is none.
    free, reserve : int
        Bytes on the disk, of which `reserve` stay free of images.
    overdue : int
        Studies that would have gone by their age, but for what holds them.
    """

    used: Usage
    since: float | None
    free: int
    reserve: int
    overdue: int


@dataclass(frozen=True, slots=True)
class Doomed:
    """A study that somebody or the rule wants to go.

    Parameters
    ----------
    held : Held
    card : Card or None
        None: damaged on the disk, so that nobody can say more of it.
    facts : ErasureFacts
    """

    held: Held
    card: Card | None
    facts: ErasureFacts

    @property
    def hindrance(self) -> Hindrance | None:
        """Why it does not go by itself, as far as is known."""
        return hindrance(self.facts, Order(self.held.study_id, OWN, ""))

    @property
    def owed(self) -> bool:
        """Whether central or the PACS has not had all of it."""
        return bool(self.facts.undelivered or self.facts.unsent or self.facts.unfiled)


class Keeping:
    """Threads may share it.

    Parameters
    ----------
    journal : Journal
        In which orders are left for the thread that erases.
    storage : Storage
        ``[storage]`` of the configuration.
    keys : callable
        Returns the device's keys of the moment.
    history : History
    """

    def __init__(
        self,
        journal: Journal,
        storage: Storage,
        keys: Callable[[], DeviceKeys],
        history: History,
    ) -> None:
        self._journal = journal
        self._storage = storage
        self._keys = keys
        self._history = history
        self._erasures = Erasures(journal)
        self.rule = Rule.of(storage)

    def room(self, now: float) -> Room:
        """Return what the studies take; `now` is seconds since the epoch."""
        come = ages(self._journal, now)
        return Room(
            usage(self._journal),
            since(come),
            shutil.disk_usage(self._storage.folder).free,
            self._storage.reserve_mb * 1_000_000,
            overdue(come, self.rule, now),
        )

    def until(self, now: float) -> Mapping[int, Until]:
        """Return until when each study is kept because of its age, by number."""
        return kept_until(ages(self._journal, now), self.rule)

    def oldest(self, limit: int) -> list[Doomed]:
        """Return the studies that came first: the rule takes them first."""
        return [self._doomed(one) for one in oldest(self._journal, limit)]

    def doomed(self, studies: Sequence[int]) -> list[Doomed]:
        """Return those of some studies that are here."""
        return [self._doomed(one) for one in held(self._journal, studies)]

    def _doomed(self, one: Held) -> Doomed:
        card = None
        with suppress(SealBroken):  # it can be erased all the same
            card = self._history.card(one.study_id)
        pressing = card is None or card.pressing  # nobody can see whether it has a flag
        return Doomed(one, card, self._erasures.facts(one.study_id, pressing=pressing))

    def same_patient(self, study: int) -> list[int]:
        """Return the studies of a study's patient that are here, with itself.

        Only itself when it does not say whose it is: such studies are of many patients.
        """
        (one,) = held(self._journal, [study]) or (None,)
        if one is None or not self._identity(study).get("patient_id"):
            return [study]
        return studies_of(self._journal, one.pseudonym)

    def of_patient(self, patient_id: str, issuer: str) -> list[int]:
        """Return the studies of a patient that are here; an ID of blanks is nobody's."""
        if not patient_id.strip():
            return []
        whose = pseudonym(self._keys().pseudonym, issuer, patient_id)
        return studies_of(self._journal, whose)

    def names_patient(self, reason: str, studies: Sequence[int]) -> bool:
        """Return whether a reason names the patient of one of some studies."""
        return any(names_patient(reason, self._identity(study)) for study in studies)

    def _identity(self, study: int) -> dict[str, str]:
        try:
            return self._history.identity(study)
        except SealBroken:  # nobody can read whose it is
            return {}

    def order(
        self,
        user: User,
        studies: Sequence[int],
        reason: str,
        *,
        undelivered: bool,
        unacknowledged: bool,
    ) -> list[int]:
        """Leave orders to erase some studies; return their numbers, which follow each other.

        Raises
        ------
        sqlite3.OperationalError
            If the journal takes none now.
        """
        return self._erasures.place(
            Order(study, user.actor, reason, undelivered, unacknowledged) for study in studies
        )

    def wait(self, numbers: Sequence[int]) -> None:
        """Wait for a moment until some orders are answered: mostly they are at once."""
        pause, until = threading.Event(), time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and len(self._erasures.answers(numbers)) < len(numbers):
            pause.wait(_ROUND_S)

    def orders(self, numbers: Sequence[int]) -> list[OrderLine]:
        """Return some orders, as far as they have come."""
        return orders(self._journal, numbers)

    def latest_orders(self, limit: int) -> list[OrderLine]:
        """Return the latest orders, the appliance's own among them, the newest first."""
        return latest_orders(self._journal, limit)
