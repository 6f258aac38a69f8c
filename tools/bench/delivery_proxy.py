"""A TCP proxy with faults, in this process: what a hospital's network does on a bad day.

It stands between a device or a server and the broker. TCP keeps the order within a connection;
what can come in another order is what goes over different connections, so each direction of
each connection is delayed by itself.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from enum import Enum

from tools.broker import HOST

_CHUNK = 16 * 1024  # bytes
_DELAY_S = 0.3
_HALF_OPEN_S = 3.0


class Fault(Enum):
    """What can be done to the connections of the moment."""

    CUT = "cut"  # both ends see a reset
    DELAY = "delay"  # each direction is held for a time of its own
    HALF_OPEN = "half-open"  # nothing passes and nobody is told; then it is cut


class FaultyProxy:
    """Forwards to a port of this machine. `inflict` may be called from any thread.

    Parameters
    ----------
    target : int
        The broker's port.
    seed : int
    """

    def __init__(self, target: int, seed: int) -> None:
        self.port = 0
        self._target = target
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._lines: set[_Line] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Cut every connection and listen no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def inflict(self, fault: Fault) -> None:
        """Do something to every connection of the moment."""
        self._loop.call_soon_threadsafe(self._inflict, fault)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, HOST, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for line in list(self._lines):
            line.cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _inflict(self, fault: Fault) -> None:
        for line in list(self._lines):
            if fault is Fault.CUT:
                line.cut()
            elif fault is Fault.DELAY:
                line.hold([self._rng.uniform(0, _DELAY_S) for _ in line.held_until])
            else:
                line.hold([_HALF_OPEN_S * 2 for _ in line.held_until])
                self._loop.call_later(_HALF_OPEN_S, line.cut)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()  # no broker: the client sees what it would see without us
            return
        line = _Line(self._loop.time, (writer, far_writer))
        self._lines.add(line)
        ways: tuple[Coroutine[None, None, None], ...] = (
            line.pump(reader, far_writer, 0),
            line.pump(far_reader, writer, 1),
        )
        await asyncio.gather(*ways)
        self._lines.discard(line)


class _Line:
    """One connection through the proxy: two directions."""

    def __init__(
        self, clock: Callable[[], float], ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        self._clock = clock
        self._ends = ends
        self.held_until = [0.0, 0.0]

    def hold(self, seconds: list[float]) -> None:
        now = self._clock()
        self.held_until = [now + one for one in seconds]

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                while (wait := self.held_until[way] - self._clock()) > 0:
                    await asyncio.sleep(min(wait, 0.05))
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # one end is gone, and so is the other in a moment
        self.cut()
