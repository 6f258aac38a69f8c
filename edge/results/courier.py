"""The courier: from the journal to the PACS, in order, until the PACS has each object.

The journal is the only memory: what was under way when a connection or the power ended is still
there, and is sent again under the same UIDs. A PACS that is away is tried again after a pause that
grows; an object that it cannot take now waits by itself, and others pass.

Threads: the courier owns one. It alone makes objects and talks to the PACS. `start`, `wake`,
`forget` and `stop` may be called from any thread; nothing else waits for it.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO

from pydicom import dcmread

from edge.audit import DAEMON, Act, Audit
from edge.metrics import Metrics
from edge.results.desk import Content, ContentError
from edge.results.maker_link import MakerLink, NotMade
from edge.results.order import Order
from edge.results.pacs import Answer, Fate, Line, Pacs, PacsAway
from edge.store.documents import DocumentLine, Documents, DocumentsError
from edge.store.records import StoredStudy
from edge.store.study_key import SealBroken

log = logging.getLogger("scanside.results")

_LOOK_S = 1.0  # what a command asked for is seen after so long
_AFTER_S = 1.0  # the alert of the same decision leaves first
_IDLE_S = 60.0  # the maker rests after so long
_BACKOFF_S = (1.0, 60.0)  # a PACS that is away: first, longest pause
_MAKE_TRIES = 2
_FAREWELL_S = 3.0


@dataclass(frozen=True, slots=True)
class CourierState:
    """How the PACS was when it was last needed.

    Parameters
    ----------
    reason : str
        Why nothing can be sent now; empty when all is well.
    refused : bool
        Whether there is something that it would not have.
    """

    reason: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Made:
    """An object, and the line of the queue that it is of."""

    document: DocumentLine
    file: bytes = field(repr=False)


class Courier:
    """Sends what waits, for as long as it runs.

    Parameters
    ----------
    pacs : Pacs
    documents : Documents
        The queue.
    find_study : callable
        Returns a study by its number; raises LookupError when it is not here any more.
    audit : Audit
    metrics : Metrics
    on_state : callable
        Is told of every change, from the courier's thread; must not block.
    """

    def __init__(
        self,
        pacs: Pacs,
        documents: Documents,
        find_study: Callable[[int], StoredStudy],
        audit: Audit,
        metrics: Metrics,
        on_state: Callable[[CourierState], None] = lambda _: None,
    ) -> None:
        self._pacs = pacs
        self._documents = documents
        self._find_study = find_study
        self._audit = audit
        self._metrics = metrics
        self._on_state = on_state
        self._maker = MakerLink()
        self._bell = threading.Event()
        self._stopping = threading.Event()
        # A daemon thread: what the PACS has not answered is in the journal.
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._state = CourierState()
        self._lock = threading.Lock()  # guards _made
        self._made: _Made | None = None  # what was made last, while the PACS is away
        self._tries: dict[int, int] = {}  # how often each could not be made, since the start
        self._line: Line | None = None  # set by the courier's thread; `stop` cuts it

    @property
    def state(self) -> CourierState:
        """How the PACS was when it was last needed."""
        return self._state

    @property
    def maker_pid(self) -> int | None:
        """The process id of what makes objects, or None while it rests."""
        return self._maker.pid

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def held(self) -> int | None:
        """The study of the object that is held until the PACS is back; None: none is."""
        made = self._made
        return None if made is None else made.document.study_id

    def forget(self, study: int) -> None:
        """Let go of what was made of a study that was erased."""
        with self._lock:
            if self.held == study:
                self._made = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something new waits. Returns at once."""
        self._bell.set()

    def stop(self) -> None:
        """End the thread, and the maker. A PACS that is silent now is not waited for."""
        self._stopping.set()
        self._bell.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_FAREWELL_S)
            line = self._line
            if line is not None:
                line.cut()
                self._thread.join(timeout=_FAREWELL_S)
        self._maker.end()

    def _run(self) -> None:
        failures = 0
        with suppress(DocumentsError):  # the next look says so
            self._documents.catch_up()
            self._look_for_refused()
        while not self._stopping.is_set():
            try:
                self._send_all()
                failures = 0
            except PacsAway as error:
                failures += 1
                self._tell(str(error))
            except (DocumentsError, sqlite3.Error) as error:
                failures += 1
                log.warning("Results wait: %s", error)
            self._maker.rest(_IDLE_S)
            if failures:
                self._stopping.wait(backoff_s(failures, jitter=random.random()))  # noqa: S311
            elif self._bell.wait(_LOOK_S):
                self._bell.clear()
                self._stopping.wait(_AFTER_S)

    def _send_all(self) -> None:
        """Send what is due, on one association; raises `PacsAway` and `DocumentsError`."""
        if self._next_made() is None:
            if not self._stopping.is_set():
                self._tell("")
            return
        with self._pacs.association() as line:
            self._tell("")
            self._line = line
            try:
                while not self._stopping.is_set():
                    waiting = self._next_made()  # anew: it may have been erased meanwhile
                    if waiting is None:
                        return
                    answer = line.store(dcmread(BytesIO(waiting.file)))
                    self._note(waiting.document, answer)
                    if not line.is_open:
                        return
            finally:
                self._line = None

    def _note(self, document: DocumentLine, answer: Answer) -> None:
        if answer.fate is Fate.STORED:
            what = f"document:{document.id} study:{document.study_id}"
            with self._documents.together():
                self._documents.stored(document.id, answer.text)
                self._audit.note(Act(DAEMON, "result.sent", what, document.kind.value))
        elif answer.fate is Fate.NEVER:
            self._documents.refused(document.id, answer.text)
            log.warning("The PACS refuses object %d: %s", document.id, answer.text)
        else:
            self._documents.failed(document.id, answer.text)
            log.warning("Object %d is not in the PACS yet: %s", document.id, answer.text)
        self._metrics.results.labels(document.kind.value, answer.fate.value).inc()
        self._look_for_refused()

    def _next_made(self) -> _Made | None:
        """Return the next object that is due, made; one that cannot be made is noted as such."""
        while not self._stopping.is_set():
            document = self._documents.next()
            made = self._made
            if made is not None and document is not None and made.document.id == document.id:
                return made
            self._hold(None)
            if document is None:
                return None
            try:
                made = _Made(document, self._make(document))
            except NotMade as error:
                if self._stopping.is_set():
                    return None  # `stop` ended the maker; the next start makes it
                tries = self._tries[document.id] = self._tries.get(document.id, 0) + 1
                last = tries >= _MAKE_TRIES
                fate = Fate.NEVER if last else Fate.LATER
                self._note(document, Answer(fate, f"not made: {error}"))
                continue
            self._hold(made)
            now = self._documents.find(document.id)
            if now is not None and not now.erased:
                return made
            self._hold(None)  # erased while it was made: `forget` may have come before
        return None

    def _hold(self, made: _Made | None) -> None:
        """Keep what was made for the next try; it holds who the patient is."""
        with self._lock:
            self._made = made

    def _make(self, document: DocumentLine) -> bytes:
        try:
            study = self._find_study(document.study_id)
        except LookupError as error:
            raise NotMade("the study is not here any more") from error
        except SealBroken as error:
            raise NotMade("the study's key does not open") from error
        try:
            about = self._documents.opened(document.id, study.key)
        except SealBroken as error:
            raise NotMade("what it says does not open") from error
        if about is None:
            raise NotMade("what it says is not here any more")
        try:
            content = Content.from_json(about)
        except ContentError as error:
            raise NotMade(str(error)) from error
        here = {one.id: one.record for series in study.series for one in series.instances}
        records = {id_: here[id_] for id_ in content.report.instances if id_ in here}
        return self._maker.make(Order(document.kind, content, records, study.key.raw))

    def _tell(self, reason: str) -> None:
        """Say once that the PACS is away, or why it is now, or that it is back."""
        if reason == self._state.reason:
            return
        if reason:
            log.warning("Results wait: %s", reason)
        else:
            log.info("%s takes results", self._pacs)
        self._change(replace(self._state, reason=reason))

    def _look_for_refused(self) -> None:
        self._change(replace(self._state, refused=self._documents.standing().refused > 0))

    def _change(self, state: CourierState) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)


def backoff_s(failures: int, *, jitter: float) -> float:
    """Return how long to wait after so many failures in a row, in seconds.

    Doubles from 1 s to 60 s; `jitter`, 0 to 1, takes up to half of it away.
    """
    first, longest = _BACKOFF_S
    return min(longest, first * 2.0 ** min(failures - 1, 16)) * (1.0 - jitter / 2.0)
