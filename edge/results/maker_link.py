"""The daemon's end of the process that makes objects."""

from __future__ import annotations

from edge.child import Child, ChildError, ChildSlow, Problem
from edge.results.order import Order

_TIMEOUT_S = 120.0
_LARGEST = 16 << 20  # bytes; a report of 48 findings has 200 kB
_FAILED = "the process that makes objects failed on it"


class NotMade(RuntimeError):
    """An object cannot be made; the text says why, and holds nothing that a file said."""


class MakerLink:
    """One maker. All methods are called from one thread, the courier's."""

    def __init__(self) -> None:
        # Quiet: a traceback can hold who the patient is.
        self._child = Child("edge.results.maker", quiet=True)

    @property
    def pid(self) -> int | None:
        """The maker's process id, or None when there is none."""
        return self._child.pid

    def make(self, order: Order) -> bytes:
        """Return an object as DICOM Part 10.

        Raises
        ------
        NotMade
            If none of its images can be read, or the maker died or hung on it.
        """
        if self._child.died:  # while it had nothing to do: not of this order
            self._child.end()
        try:
            facts, made = self._child.ask(order, timeout_s=_TIMEOUT_S, largest=_LARGEST)
        except ChildSlow as error:
            raise NotMade("it took too long to make") from error
        except Problem as error:
            raise NotMade(str(error)) from error
        except ChildError as error:
            raise NotMade(_FAILED) from error
        if facts.get("bytes") != len(made):
            raise NotMade(_FAILED)
        return made

    def rest(self, idle_s: float) -> None:
        """End a maker that nothing was asked of for so long."""
        self._child.rest(idle_s)

    def end(self) -> None:
        """End the maker, if there is one."""
        self._child.end()
