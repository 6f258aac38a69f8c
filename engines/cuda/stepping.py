"""When is a run recorded as a CUDA graph, and when is the record used?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

Shapes = tuple[tuple[int, ...], ...]


class Step(Enum):
    """How a run goes."""

    PLAIN = "plain"
    RECORD = "record"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known when a run begins.

    Parameters
    ----------
    allowed : bool
        False where the engine cannot be recorded, or does so itself.
    shapes : tuple or None
        Shapes of the inputs of the last run.
    recorded : bool
        Whether there is a graph for those shapes.
    """

    allowed: bool
    shapes: Shapes | None = None
    recorded: bool = False

    def step(self, shapes: Shapes) -> Step:
        """Say how to run `shapes`.

        The first run of a shape is plain: TensorRT then does what it does once for a shape, which
        must not be recorded. The second is recorded, so that a shape that comes once costs nothing.
        """
        if not self.allowed or shapes != self.shapes:
            return Step.PLAIN
        return Step.REPLAY if self.recorded else Step.RECORD

    def after(self, shapes: Shapes, *, recorded: bool) -> Recording:
        """Return what is known after a run of `shapes`."""
        return replace(self, shapes=shapes, recorded=recorded)

    def refused(self) -> Recording:
        """Return what is known after this engine could not be recorded."""
        return replace(self, allowed=False, recorded=False)
