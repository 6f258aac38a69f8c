"""Has volumes looked at, one after the other, each by a process of its own."""

from __future__ import annotations

import logging
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.reading import Reading
from edge.analysis.volume_messages import VolumeJob, VolumeLooked
from edge.store.records import StoredStudy
from engines import EngineStore

log = logging.getLogger("scanside.volumes")

FAILED = "analysis failed twice on this series"
TOO_LONG = "analysis took longer than [analysis] volume_timeout_s allows"
_TRIES = 2
_ROUND_S = 0.2


def volume_job(
    study: StudyInProgress,
    series: SeriesInProgress,
    reading: Reading,
    stored: StoredStudy,
    *,
    threads: int,
    engines: EngineStore | None,
) -> VolumeJob:
    """Return the job of looking at a complete series as a volume."""
    images = (one for one in stored.one(series.id).instances if not (one.set_aside or one.conflict))
    return VolumeJob(
        study=study.id,
        series=series.id,
        revision=series.reopened,
        package=reading.package.path,
        modality=series.about.modality,
        images=tuple((one.id, one.record) for one in images),
        key=study.key.raw,
        threads=threads,
        engines=engines,
        prior=reading.prior,
    )


class VolumeDesk:
    """A thread that has one volume at a time looked at. `ask` and `stop` may be called from others.

    Parameters
    ----------
    tell : callable
        Is told `VolumeLooked`, from the desk's thread; must not block.
    timeout_s : float
        A process that takes longer is ended.
    """

    def __init__(self, tell: Callable[[VolumeLooked], None], *, timeout_s: float) -> None:
        self._tell = tell
        self._timeout_s = timeout_s
        self._jobs: queue.SimpleQueue[VolumeJob | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, job: VolumeJob) -> None:
        """Queue a job; the thread starts with the first."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="volumes")
            self._thread.start()
        self._jobs.put(job)

    def stop(self) -> None:
        """End the process at work and the thread; jobs that wait are forgotten."""
        self._stopping.set()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopping.is_set():
            answer = self._look(job)
            if answer is not None:
                if answer.note:
                    log.error("%s: %s", job.package.name, answer.note)
                self._tell(answer)

    def _look(self, job: VolumeJob) -> VolumeLooked | None:
        """Return what came of a job; None when the desk is to stop."""
        for number in range(1, _TRIES + 1):
            answer = self._try(job)
            if answer is not None or self._stopping.is_set():
                return answer
            log.warning("The process at a volume died (%d of %d)", number, _TRIES)
        return VolumeLooked(job, (), FAILED)

    def _try(self, job: VolumeJob) -> VolumeLooked | None:
        """Return what a process answers; None when it dies, or is to stop, before it does."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge.analysis.volume_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        try:
            with Connection(ours.detach()) as connection, suppress(EOFError, OSError):
                connection.send(job)
                return self._wait(connection, job)
            return None
        finally:
            process.kill()
            process.wait()

    def _wait(self, connection: Connection, job: VolumeJob) -> VolumeLooked | None:
        rounds = max(1, round(self._timeout_s / _ROUND_S))
        for _ in range(rounds):
            if connection.poll(_ROUND_S):
                answer: VolumeLooked = connection.recv()
                return answer
            if self._stopping.is_set():
                return None
        log.warning("A volume took longer than %.0f s", self._timeout_s)
        return VolumeLooked(job, (), TOO_LONG)
