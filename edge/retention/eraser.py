"""Carries out orders: decides with what the console and the analysis know, and takes it down."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from edge.audit import Act, Audit
from edge.store.erasure import Erased, Erasures, Hindrance, Order
from edge.store.studies import Store

log = logging.getLogger("scanside.retention")

ERASED = "study.erased"
_COMPACT_AFTER_S = 86400.0

Erase = Callable[[], "Erased | Hindrance"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who else has to do with studies.

    Parameters
    ----------
    alone : callable
        Is given a study's number and what erases it; runs that while nobody analyses the study or
        compares another with it, or says why it did not.
    pressing : callable
        Whether a study has a flag that nobody acknowledged.
    forget : callable
        Is told which study was erased: what is still known of it in memory is let go.
    """

    alone: Callable[[int, Erase], Erased | Hindrance]
    pressing: Callable[[int], bool]
    forget: Callable[[int], None]


class Eraser:
    """Erases studies, one after the other, in the thread that calls it.

    Parameters
    ----------
    store : Store
    audit : Audit
        Of the store's journal: an erasure and its entry are one transaction.
    around : Surroundings
    """

    def __init__(self, store: Store, audit: Audit, around: Surroundings) -> None:
        self._store = store
        self._erasures = Erasures(store.journal)
        self._audit = audit
        self._around = around
        self.tidying = False  # read by other threads

    def carry_out(self) -> int:
        """Answer the orders that wait; return how many studies were erased."""
        waiting = self._erasures.waiting()
        done = sum(self._answer(order) for order in waiting)
        if waiting:
            self.tidy()
        return done

    def _answer(self, order: Order) -> bool:
        outcome = self.erase(order)
        if isinstance(outcome, Erased):
            return True
        with self._store.journal.transaction():
            self._erasures.refuse(order, outcome)
            study = f"study:{order.study_id}"
            self._audit.note(Act(order.who, ERASED, study, f"refused: {outcome.name.lower()}"))
        return False

    def erase(self, order: Order) -> Erased | Hindrance:
        """Erase one study, if nothing stands in the way. Its files go when it is tidied up."""
        pressing = self._around.pressing(order.study_id)
        outcome = self._around.alone(
            order.study_id, lambda: self._store.erase(order, self._note, pressing=pressing)
        )
        if isinstance(outcome, Erased):
            self._around.forget(order.study_id)
            log.info("Erased study %d", order.study_id)
        return outcome

    def _note(self, erased: Erased) -> None:
        order = erased.order
        study = f"study:{order.study_id}"
        for sequence in erased.withdrawn:
            self._audit.note(Act(order.who, "alert.withdrawn", f"alert:{sequence} {study}"))
        self._audit.note(Act(order.who, ERASED, study, f"done: {order.reason}"))

    def tidy(self) -> None:
        """Remove what is left of erased studies: log, files, unused parts of the journal.

        Also what a crash left. What cannot be done now is tried again at the next time.
        """
        left = self._erasures.left_behind()
        self.tidying = True
        try:
            if left:
                self._store.journal.fold()  # it is the log that still has the keys
            for number, token in left:
                self._store.remove_files(token)
                self._erasures.files_removed(number)
            self._erasures.compact(longest_s=_COMPACT_AFTER_S)
        except (OSError, sqlite3.OperationalError) as error:
            log.warning("What is left of erased studies cannot be removed yet: %s", error)
        finally:
            self.tidying = False
