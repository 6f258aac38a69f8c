"""The board: what every open console shows, kept in memory and told to all of them at once.

Coordinator, herald and publisher tell it what happened, from their threads. Each open page has a
`Listener` that remembers which cards it has not shown yet: a set, so that a slow browser is
behind but never costs memory, and a hundred slices are one new card.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edge.alerts.message import Alert
from edge.analysis.news import Arrived
from edge.console.cards import Acknowledged, Card, Delivery

MOST = 200  # cards; the oldest that presses nobody leaves


@dataclass(frozen=True, slots=True)
class Health:
    """How the appliance is, in what concerns who looks at the board.

    Parameters
    ----------
    broker : bool
        Whether alerts can leave.
    engines_ready : bool
        Whether the models are loaded, as far as they can be.
    engines_failed : str
        The models that could not.
    drill_at : float
        When a test alarm was made lately, seconds since the epoch; 0 when none was.
    drill : Delivery or None
        How far it has come.
    pacs_away : bool
        Whether results wait because the PACS does not take any.
    pacs_refused : bool
        Whether there are results that it would not have.
    """

    broker: bool = False
    engines_ready: bool = False
    engines_failed: str = ""
    drill_at: float = 0.0
    drill: Delivery | None = None
    pacs_away: bool = False
    pacs_refused: bool = False


@dataclass(slots=True, eq=False)
class Listener:
    """One open page. `ready` and `hurry` belong to the console's event loop."""

    ready: asyncio.Event
    hurry: asyncio.Event
    changed: set[int] = field(default_factory=set)
    pressing: bool = True  # whether the list of what presses is to be shown anew
    health: bool = True
    over: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What a page has not shown yet."""

    cards: tuple[Card, ...]
    gone: tuple[int, ...]
    pressing: tuple[Card, ...] | None
    health: Health | None
    over: bool


class Board:
    """The cards of the latest studies. Any thread may call it.

    Parameters
    ----------
    escalate_after_s : float
        How long a flag may press unacknowledged.
    on_escalated : callable
        Called with a card, from the thread that calls `escalate`.
    """

    def __init__(
        self,
        *,
        escalate_after_s: float,
        on_escalated: Callable[[Card], None],
    ) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._cards: dict[int, Card] = {}
        self._health = Health()
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waking = False
        self._hurry = False
        self._escalate_after_s = escalate_after_s
        self._on_escalated = on_escalated

    def serve_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say in which event loop the listeners live."""
        with self._lock:
            self._loop = loop

    def fill(self, cards: Iterable[Card]) -> None:
        """Take in what the journal knows from before; what was told since is newer and stays."""
        with self._lock:
            for card in cards:
                if card.study not in self._cards:
                    self._put(card)

    # What happened

    def arrived(self, arrived: Arrived) -> None:
        """An image came, or its study was taken up again."""
        with self._lock:
            card = self._cards.get(arrived.study)
            if card is None:
                self._make_room()
            self._put(Card(arrived) if card is None else replace(card, arrived=arrived))

    def told(self, study: int, alert: Alert) -> None:
        """An alert was made."""
        with self._lock:
            card = self._cards.get(study)
            if card is not None:
                self._put(card.told(alert, time.time()), hurry=True)

    def delivered(self, deliveries: Mapping[int, Delivery]) -> None:
        """Alerts, by sequence, came further on their way."""
        with self._lock:
            for card in list(self._cards.values()):
                if card.alert is None:
                    continue
                delivery = deliveries.get(card.alert.sequence, card.delivery)
                if delivery is not card.delivery:
                    self._put(replace(card, delivery=delivery))

    def acknowledge(self, study: int, sequence: int, by: Acknowledged) -> bool:
        """Somebody saw the flags that alert `sequence` tells of; return whether it still stands."""
        with self._lock:
            card = self._cards.get(study)
            if card is None or card.alert is None or card.alert.sequence != sequence:
                return False
            self._put(card.acknowledge(by), hurry=True)
            return True

    def erased(self, study: int) -> None:
        """A study was erased: its card says so, and nothing else."""
        with self._lock:
            card = self._cards.get(study)
            if card is not None:
                self._put(card.erase())

    def feels(self, **changes: Any) -> None:
        """The appliance is like this now; `changes` are fields of `Health`."""
        with self._lock:
            health = replace(self._health, **changes)
            if health == self._health:
                return
            self._health = health
            for listener in self._listeners:
                listener.health = True
            self._wake()

    def escalate(self, now: float) -> float | None:
        """Mark what pressed for too long; return in how many seconds the next is due, or None."""
        due: list[Card] = []
        waits: list[float] = []
        with self._lock:
            for card in list(self._cards.values()):
                if not card.pressing or card.escalated:
                    continue
                left = card.made + self._escalate_after_s - now
                if left > 0:
                    waits.append(left)
                    continue
                card = replace(card, escalated=True)  # noqa: PLW2901
                self._put(card, hurry=True)
                due.append(card)
        for card in due:
            self._on_escalated(card)
        return min(waits, default=None)

    # What is shown

    @property
    def health(self) -> Health:
        """How the appliance is."""
        with self._lock:
            return self._health

    def cards(self) -> list[Card]:
        """Return the cards as they stand: what presses first, then the latest."""
        with self._lock:
            return sorted(self._cards.values(), key=lambda card: card.place)

    def card(self, study: int) -> Card | None:
        """Return one card, or None when it is not on the board."""
        with self._lock:
            return self._cards.get(study)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Be told of changes; called in the event loop. At first everything is a change."""
        listener = Listener(asyncio.Event(), asyncio.Event())
        listener.ready.set()
        listener.hurry.set()
        with self._lock:
            listener.changed.update(self._cards)
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def take(self, listener: Listener) -> Changes:
        """Return what a page has not shown yet, and count it as shown."""
        with self._lock:
            listener.ready.clear()
            listener.hurry.clear()
            changed, listener.changed = listener.changed, set()
            cards = [self._cards[study] for study in changed if study in self._cards]
            pressing = None
            if listener.pressing:
                pressing = tuple(sorted(self._pressing(), key=lambda card: card.place))
            health = self._health if listener.health else None
            listener.pressing = listener.health = False
            return Changes(
                cards=tuple(sorted(cards, key=lambda card: card.place)),
                gone=tuple(study for study in changed if study not in self._cards),
                pressing=pressing,
                health=health,
                over=listener.over,
            )

    def close(self) -> None:
        """End every stream; called in the event loop."""
        with self._lock:
            for listener in self._listeners:
                listener.over = True
                listener.ready.set()
                listener.hurry.set()

    # Under the lock

    def _pressing(self) -> list[Card]:
        return [card for card in self._cards.values() if card.pressing]

    def _put(self, card: Card, *, hurry: bool = False) -> None:
        before = self._cards.get(card.study)
        self._cards[card.study] = card
        presses = card.pressing or (before is not None and before.pressing)
        for listener in self._listeners:
            listener.changed.add(card.study)
            listener.pressing |= presses and (before is None or _presses_otherwise(before, card))
        self._wake(hurry=hurry)

    def _make_room(self) -> None:
        if len(self._cards) < MOST:
            return
        calm = [card for card in self._cards.values() if not card.pressing]
        oldest = min(calm or self._cards.values(), key=lambda card: card.arrived.first_byte)
        del self._cards[oldest.study]
        for listener in self._listeners:
            listener.changed.add(oldest.study)

    def _wake(self, *, hurry: bool = False) -> None:
        """Have the event loop tell the listeners, once however much happens until then."""
        self._hurry |= hurry
        if self._waking or self._loop is None or self._loop.is_closed():
            return
        self._waking = True
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            self._waking = False
            hurry, self._hurry = self._hurry, False
            for listener in self._listeners:
                listener.ready.set()
                if hurry:
                    listener.hurry.set()


def _presses_otherwise(before: Card, now: Card) -> bool:
    facts = [(card.pressing, card.escalated, card.flags) for card in (before, now)]
    return facts[0] != facts[1]
