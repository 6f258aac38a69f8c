"""An erasure on its way to the coordinator's thread, and its outcome on the way back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field

from edge.store.erasure import Erased, Hindrance

_ROUND_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class EraseAsked:
    """Asks for a study to be erased while nothing is done with it.

    Parameters
    ----------
    study : int
        Its number.
    erase : callable
        Does it.
    """

    study: int
    erase: Callable[[], Erased | Hindrance]
    _outcome: futures.Future[Erased | Hindrance] = field(default_factory=futures.Future)

    def refuse(self, why: Hindrance) -> None:
        """Answer that it cannot be now."""
        self._outcome.set_result(why)

    def do(self) -> None:
        """Do it; whoever asked is told what came of it, or of the journal's error."""
        try:
            self._outcome.set_result(self.erase())
        except sqlite3.Error as error:
            self._outcome.set_exception(error)

    def wait(self, running: Callable[[], bool]) -> Erased | Hindrance:
        """Return the outcome; busy when whoever was asked is no longer `running`."""
        while running():
            with suppress(futures.TimeoutError):
                return self._outcome.result(_ROUND_S)
        return Hindrance.BUSY
