"""What devices say of themselves: retained, in clear, and signed by nobody.

It is shown and decides nothing. Whoever may publish there can write anything, so that what is no
state is passed over without a word.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

from edge.alerts.connection import Message
from edge.alerts.topics import InvalidTopicError, parse_state_topic
from edge.timestamps import parse_rfc3339, rfc3339
from tools.central.store import AlertStore, DeviceState

MAX_STATE = 4096  # bytes; ours has 120
_MAX_BACKLOG = 1 << 62  # no disk holds as many, and a database counts to twice as many


class StateBoard:
    """The last state of each device. Used by one thread."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._states: dict[tuple[str, str], DeviceState] = {}

    def take(self, message: Message) -> DeviceState | None:
        """Keep a state; return it when a person wants to know of it.

        Raises
        ------
        StoreError
            When it cannot be kept now.
        """
        state = read_state(message.topic, message.payload)
        if state is None:
            return None
        known = self._states.get((state.site, state.device))
        if known == state:
            return None
        self._store.note_state(state, rfc3339(datetime.fromtimestamp(message.at, timezone.utc)))
        self._states[state.site, state.device] = state
        # That fewer alerts are to come than a moment ago is no news.
        if known is not None and replace(known, backlog=state.backlog) == state:
            return None
        return state


def read_state(topic: str, payload: bytes) -> DeviceState | None:
    """Return what a message says of a device; None when it is no state."""
    if len(payload) > MAX_STATE:
        return None
    try:
        site, device = parse_state_topic(topic)
        said = json.loads(payload)
    except (InvalidTopicError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("state") not in ("online", "offline"):
        return None
    return DeviceState(
        site,
        device,
        online=said["state"] == "online",
        since=_moment(said.get("since")),
        backlog=_count(said.get("backlog")),
    )


def _moment(said: object) -> str:
    try:
        parse_rfc3339(str(said))
    except ValueError:
        return ""
    return str(said)


def _count(said: object) -> int | None:
    good = type(said) is int and 0 <= said < _MAX_BACKLOG  # a bool is an int, too
    return said if good else None  # type: ignore[return-value] # told apart above
