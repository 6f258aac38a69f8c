"""The daemon's end of the console's decoder."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field

from edge.child import Child, ChildDied, ChildError, ChildSlow, Problem
from edge.store.spool import Record

log = logging.getLogger("scanside.console")

_TIMEOUT_S = 30.0
_LARGEST_ANSWER = 64 << 20  # bytes


class Undecodable(RuntimeError):
    """A frame cannot be shown; the text says why, and holds nothing that a file said."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame to decode: where its instance is, the study's key, and which frame."""

    record: Record
    key: bytes = field(repr=False)
    frame: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame for the browser: its facts as JSON (`frames.FrameFacts`) and its packed pixels."""

    facts: str
    packed: bytes


class DecoderLink:
    """One decoder. Threads may share it: they are served one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards it: one question at a time
        self._child = Child("edge.console.decoder")

    @property
    def pid(self) -> int | None:
        """The decoder's process id, or None when there is none."""
        with self._lock:
            return self._child.pid

    def warm(self) -> None:
        """Start the decoder if there is none; it loads its libraries while nobody waits."""
        with self._lock:
            self._child.start()

    def decode(self, wanted: Wanted) -> Decoded:
        """Return a frame.

        Raises
        ------
        Undecodable
            If its pixels cannot be read, or the decoder died or hung on them.
        """
        try:
            with self._lock:
                facts, packed = self._child.ask(
                    wanted, timeout_s=_TIMEOUT_S, largest=_LARGEST_ANSWER
                )
        except ChildSlow as error:
            raise Undecodable("it took too long to decode") from error
        except Problem as error:
            raise Undecodable(str(error)) from error
        except ChildError as error:
            if isinstance(error, ChildDied):
                log.warning("The console's decoder died on an image")
            raise Undecodable("the decoder failed on it") from error
        return Decoded(json.dumps(facts, separators=(",", ":")), packed)

    def rest(self, idle_s: float) -> bool:
        """End a decoder that nobody asked for so long; return whether it was ended.

        An idle appliance needs its memory for other things.
        """
        with self._lock:
            return self._child.rest(idle_s)

    def close(self) -> None:
        """End the decoder."""
        with self._lock:
            self._child.end()
