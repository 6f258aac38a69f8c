"""A model on a server, with the same model here for when the server cannot be had.

A study is never lost to somebody else's machine: what the server does not answer is run here, and
the server is left alone for a while, longer each time, so that not every slice waits for it. It is
asked for again like a new one, because after a silence another model may stand there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from engines.runtime.protocol import Array, Engine, EngineError, Precision, TensorSpec
from engines.runtime.tensors import check_feeds

log = logging.getLogger(__name__)

REST_S = 30.0
MOST_REST_S = 600.0


class FallbackEngine:
    """An engine elsewhere before one here. Call it from one thread at a time.

    Parameters
    ----------
    connect : callable
        Returns the engine elsewhere, fit to serve, or raises EngineError.
    here : Engine
        Closed with this one.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        connect: Callable[[], Engine],
        here: Engine,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._here = here
        self._clock = clock
        self._there: Engine | None = None
        self._rest = REST_S
        self._asked_again = 0.0
        self.why_not = ""
        """Why the engine elsewhere does not run it now; empty while it does."""
        self._reach()

    @property
    def _now(self) -> Engine:
        return self._there if self._there is not None else self._here

    @property
    def name(self) -> str:
        """What ran last, or would run now."""
        return self._now.name

    @property
    def precision(self) -> Precision:
        """What that computes in."""
        return self._now.precision

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `infer` takes."""
        return self._here.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `infer` gives."""
        return self._here.outputs

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model there or here; see `engines.runtime.protocol.Engine.infer`."""
        check_feeds(self.inputs, feeds)  # what the caller got wrong is not the server's fault
        if self._there is None and self._clock() >= self._asked_again:
            self._reach()
        if self._there is not None:
            try:
                results = self._there.infer(feeds)
            except EngineError as error:
                self._leave(error)
            else:
                self._rest = REST_S
                return results
        return self._here.infer(feeds)

    def warm_up(self) -> None:
        """Warm up the engine here too: it is the one that must not make anybody wait."""
        self._here.warm_up()
        if self._there is not None:
            self._there.warm_up()

    def close(self) -> None:
        """Free both; closing twice is harmless."""
        if self._there is not None:
            self._there.close()
            self._there = None
        self._here.close()
        self._asked_again = float("inf")

    def _reach(self) -> None:
        try:
            there = self._connect()
        except EngineError as error:
            self._leave(error)
            return
        given = {spec.name for spec in there.outputs}
        lacks = [spec.name for spec in self.outputs if spec.name not in given]
        self._there = there
        if lacks:
            self._leave(EngineError(f"The model there lacks output {lacks[0]!r}."))
            return
        self.why_not = ""
        log.info("A model is served by %s", there.name)

    def _leave(self, error: EngineError) -> None:
        if self._there is not None:
            self._there.close()
            self._there = None
        self.why_not = str(error)
        self._asked_again = self._clock() + self._rest
        log.warning("It runs here for the next %.0f s: %s", self._rest, error)
        self._rest = min(self._rest * 2, MOST_REST_S)
