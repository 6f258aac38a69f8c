"""The web door: DICOMweb Store Transaction (STOW-RS, PS3.18 section 10.5) on a port of its own.

Whoever shows the token may send. An instance is answered as stored only after it is encrypted, on
the disk and in the journal; one at a time of each request is in memory, never in a file.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from edge.config import ConfigError, Web
from edge.http_server import HttpServer
from edge.imaging.header import Limits, UnreadableInstance, read_header
from edge.intake.bounds import InboundBudget, OverLimit
from edge.intake.events import Heard, SenderGone
from edge.intake.stow import (
    MEDIA_TYPE,
    BadRequest,
    Failed,
    Part,
    PartReader,
    Stored,
    boundary_of,
    response,
)
from edge.intake.taking import Came, NoPixels, StudyDamaged, Taker
from edge.store.records import Kept
from edge.store.spool import OutOfSpace

log = logging.getLogger("scanside.intake")

# PS3.18 table I.2-2, as C-STORE has them (PS3.4 table B.2-1).
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110  # PS3.7 annex C

_SHORTEST_TOKEN = 16
_FIRST_SENDER = 1 << 40  # associations count from 1, a watched folder's batches from -1
_AGAIN_S = 60
_CLOSE = {"Connection": "close"}  # answered before the end of the request: the rest is not read


@dataclass(frozen=True, slots=True)
class _Files:
    cert: Path
    key: Path


@dataclass(slots=True)
class WebCounts:
    """What came in since the start. Written by the server's thread."""

    stored: int = 0
    repeated: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Answer:
    """What became of the parts of one request so far."""

    stored: list[Stored] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class WebDoor:
    """A STOW-RS server in front of the store.

    Parameters
    ----------
    settings : Web
        ``[web]`` of the configuration, enabled.
    taker : Taker
        Takes instances in.
    limits : Limits
        What may be read at all.
    budget : InboundBudget
        Memory for instances on their way to disk, all senders together.
    timeout_s : float
        A sender silent for so long is cut off.
    tell : callable
        Is told when a request has ended.

    Raises
    ------
    ConfigError
        If the token cannot be used.
    """

    def __init__(
        self,
        settings: Web,
        taker: Taker,
        limits: Limits,
        budget: InboundBudget,
        timeout_s: float,
        tell: Callable[[Heard], None],
    ) -> None:
        self._settings = settings
        self._taker = taker
        self._limits = limits
        self._budget = budget
        self._timeout_s = timeout_s
        self._tell = tell
        self._token = read_token(settings.token_file)
        self._last_sender = _FIRST_SENDER
        self.counts = WebCounts()
        tls = None
        if settings.tls and settings.cert is not None and settings.key is not None:
            tls = _Files(settings.cert, settings.key)
        routes = [
            Route("/studies", self._store, methods=["POST"]),
            Route("/studies/{study}", self._store, methods=["POST"]),
        ]
        self._server = HttpServer(
            Starlette(routes=routes),
            name="web-door",
            host=settings.host,
            port=settings.port,
            tls=tls,
            requests=settings.max_requests,
            on_start=lambda _: None,
            on_stop=lambda: None,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._server.running

    def open(self) -> None:
        """Start listening; raises `OSError` if the port is taken."""
        self._server.start()

    def close(self) -> None:
        """Stop listening; what has no answer by then will be sent again."""
        self._server.stop()

    async def _store(self, request: Request) -> Response:
        shown = request.headers.get("authorization", "")
        if not secrets.compare_digest(shown.encode(), f"Bearer {self._token}".encode()):
            log.warning("Turned a sender over HTTP away: its token is not the one of [web]")
            return PlainTextResponse(
                "Show the token.\n", 401, headers={"WWW-Authenticate": "Bearer", **_CLOSE}
            )
        self._last_sender += 1
        sender, answer, whole = self._last_sender, _Answer(), False
        try:
            await self._read(request, sender, answer)
            whole = True
        except BadRequest as error:
            # What was stored until then stays; to send it again is harmless.
            return PlainTextResponse(f"{error}\n", error.status, headers=_CLOSE)
        except OverLimit:
            return _come_again("No memory for another instance now.")
        except asyncio.TimeoutError:
            return PlainTextResponse("The request did not go on.\n", 408, headers=_CLOSE)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            self._tell(SenderGone(sender, orderly=whole))
        return _response(answer)

    async def _read(self, request: Request, sender: int, answer: _Answer) -> None:
        """Read a request and store its parts as they come."""
        held = _Held(self._budget)
        reader = PartReader(
            boundary_of(request.headers.get("content-type", "")),
            max_part=self._limits.max_bytes,
            hold=held.more,
        )
        study = str(request.path_params.get("study", ""))
        began = time.time()
        try:
            patient = Request(request.scope, self._in_time(request.receive))
            async for chunk in patient.stream():
                for part in reader.feed(chunk):
                    came = Came(sender, began, time.time())
                    outcome = await run_in_threadpool(self._take, part, study, came)
                    self._note(outcome, answer)
                    held.more(-len(part.data or b""))
                    began = time.time()
            reader.close()
        finally:
            held.give_back()

    def _in_time(self, receive: Receive) -> Receive:
        """Return what receives as `receive` does, but waits no longer than a sender may pause."""

        async def in_time() -> Message:
            return await asyncio.wait_for(receive(), self._timeout_s)

        return in_time

    def _take(self, part: Part, study: str, came: Came) -> tuple[Kept, Stored] | Failed:
        """Store one part; runs in a thread of its own."""
        if part.data is None:
            return _refused(CANNOT_UNDERSTAND, "larger than [dicom] max_instance_mb")
        if part.media_type != "application/dicom":
            return _refused(CANNOT_UNDERSTAND, "a part that is not application/dicom")
        try:
            header, identity = read_header(part.data, limits=self._limits)
        except UnreadableInstance as error:
            return _refused(CANNOT_UNDERSTAND, str(error))
        named = Stored(header.sop_class_uid, header.instance_uid)
        if study and header.study_uid != study:
            return _refused(DOES_NOT_MATCH, "an instance of another study", named)
        try:
            return self._taker.take(part.data, header, identity, came), named
        except NoPixels as error:
            return _refused(DOES_NOT_MATCH, str(error), named)
        except StudyDamaged as error:
            return _refused(PROCESSING_FAILURE, str(error), named)
        except OutOfSpace as error:
            return _refused(OUT_OF_RESOURCES, str(error), named)

    def _note(self, outcome: tuple[Kept, Stored] | Failed, answer: _Answer) -> None:
        if isinstance(outcome, Failed):
            self.counts.refused += 1
            answer.failed.append(outcome)
            return
        kept, named = outcome
        answer.stored.append(named)
        if kept is Kept.REPEATED:
            self.counts.repeated += 1
        else:
            self.counts.stored += 1


@dataclass(slots=True)
class _Held:
    """What one request holds of the budget."""

    budget: InboundBudget
    amount: int = 0

    def more(self, amount: int) -> None:
        """Hold more, or less; raises `OverLimit` when there is no more."""
        if amount > 0:
            if not self.amount and not self.budget.wait_for_room(0):
                raise OverLimit("All senders together hold more than half of [dicom] inbound_mb.")
            self.budget.take(amount)
        else:
            self.budget.give_back(-amount)
        self.amount += amount

    def give_back(self) -> None:
        """Hold nothing more."""
        self.budget.give_back(self.amount)
        self.amount = 0


def read_token(file: Path | None) -> str:
    """Return the token that senders show.

    Raises
    ------
    ConfigError
        If it cannot be read or is short.
    """
    try:
        token = "" if file is None else file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: cannot be read.\n  [web] token_file names a text file that the daemon may "
            "read."
        ) from error
    if len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"{file}: holds no token of {_SHORTEST_TOKEN} characters or more.\n"
            "  Make one with: openssl rand -hex 32"
        )
    return token


def _refused(reason: int, what: str, named: Stored | None = None) -> Failed:
    log.warning("Refused an instance over HTTP with 0x%04X: %s", reason, what)
    return Failed(reason) if named is None else Failed(reason, named.sop_class, named.instance)


def _response(answer: _Answer) -> Response:
    """Return the answer: 200 all, 202 some, 409 none stored (PS3.18 table 10.5.3-1)."""
    full = [one for one in answer.failed if one.reason == OUT_OF_RESOURCES]
    status = 200 if not answer.failed else 202 if answer.stored else 503 if full else 409
    headers = {"Retry-After": str(_AGAIN_S)} if status == 503 else None
    return JSONResponse(
        response(answer.stored, answer.failed), status, media_type=MEDIA_TYPE, headers=headers
    )


def _come_again(text: str) -> Response:
    return PlainTextResponse(f"{text}\n", 503, headers={"Retry-After": str(_AGAIN_S), **_CLOSE})
