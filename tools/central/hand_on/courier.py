"""A courier: takes what is due to one target, in a thread of its own, and comes back for the rest.

What is not taken is tried again after a pause that grows to ten minutes, and set aside when the
site's limit is over; nothing is ever dropped.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence

from tools.central.database import Database, DatabaseError
from tools.central.hand_on.item import HandOnError, Target
from tools.central.hand_on.queue import HandOnQueue, Waiting

_FIRST_S, _LONGEST_S = 1.0, 600.0
_LAST_S = 5.0  # for what is still due when we are told to stop
_LOOK_S = 2.0  # for what other processes wrote, and what is due again

log = logging.getLogger("scanside.central")


def pause_s(attempts: int, *, jitter: float) -> float:
    """Return how long to wait after so many tries: doubling from 1 s to 10 minutes.

    `jitter`, 0 to 1, takes up to half of it away.
    """
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempts, 16)) * (1.0 - jitter / 2.0)


class Courier:
    """Serves one target. `start`, `wake` and `stop` may be called from any thread.

    Parameters
    ----------
    database : Database
        The courier's own connection; `stop` closes it.
    target : Target
    holder : str
        See `HandOnQueue`.
    give_up_s : float
        How long an item is tried.
    on_set_aside : callable
        Called with the target's name when one is set aside.
    """

    def __init__(
        self,
        database: Database,
        target: Target,
        *,
        holder: str,
        give_up_s: float,
        on_set_aside: Callable[[str], None],
    ) -> None:
        self._database = database
        self._queue = HandOnQueue(database, target.name, holder)
        self._target = target
        self._give_up_s = give_up_s
        self._on_set_aside = on_set_aside
        self._due = threading.Event()
        self._stopping = False
        self._complaint = ""
        self._last = math.inf  # monotonic seconds
        self._thread = threading.Thread(target=self._run, name=target.name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something new is due."""
        self._due.set()

    def stop(self) -> None:
        """Finish what is in hand, and end."""
        self._stopping = True
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._database.close()

    def _run(self) -> None:
        self._try(self._queue.take_back)
        while not self._stopping:
            self._due.clear()
            self._try(self._rounds)
            self._due.wait(_LOOK_S)
        # What came in the last moment: a stop leaves nothing behind that can still be taken.
        self._last = time.monotonic() + _LAST_S
        self._try(self._rounds)

    def _rounds(self) -> None:
        while time.monotonic() < self._last and self._round():
            pass

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except DatabaseError as error:
            self._complain(str(error))

    def _round(self) -> bool:
        """Hand on what is due; return whether there may be more."""
        waiting = self._queue.claim(self._target.at_once)
        if not waiting:
            return False
        try:
            self._target.give([one.item for one in waiting])
        except HandOnError as error:
            self._put_off(waiting, str(error))
            return False
        self._queue.done(waiting)
        self._complaint = ""
        return True

    def _put_off(self, waiting: Sequence[Waiting], trouble: str) -> None:
        self._complain(trouble)
        for one in waiting:
            if time.time() - one.first > self._give_up_s:
                self._queue.set_aside(one, trouble)
                self._on_set_aside(self._target.name)
            else:
                jitter = random.random()  # noqa: S311 - no secret
                self._queue.again(one, pause_s(one.attempts, jitter=jitter), trouble)

    def _complain(self, trouble: str) -> None:
        """An hour without the other side is one line in the log."""
        if trouble != self._complaint:
            log.warning("%s: not handed on, will be tried again: %s", self._target.name, trouble)
        self._complaint = trouble
