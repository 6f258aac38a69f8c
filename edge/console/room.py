"""The console as a room of the daemon: opened, told what happens, closed."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from edge.alerts.publisher import PublisherState
from edge.analysis.models import EnginesState
from edge.audit import DAEMON, Act, Audit
from edge.config import Config, ConfigError
from edge.console.accounts import Accounts
from edge.console.acknowledgements import Acknowledgements
from edge.console.application import application
from edge.console.board import Board
from edge.console.cards import Card, Delivery
from edge.console.certificate import (
    Certificate,
    own_certificate,
    own_folder,
    read_certificate,
)
from edge.console.database import ConsoleDatabase
from edge.console.desk import Desk
from edge.console.gone import Gone
from edge.console.history import UNACKNOWLEDGED, History
from edge.console.keeping import Keeping
from edge.console.oidc import OidcLogin
from edge.console.pages import Pages
from edge.console.pictures import Pictures
from edge.console.progress import Progress
from edge.console.sessions import Sessions
from edge.console.training import Training, read_material
from edge.console.verdicts import Verdicts
from edge.http_server import HttpServer
from edge.keys import KeyRing
from edge.metrics import Metrics
from edge.store.certificates import CertificateStore
from edge.store.feedback import FeedbackStore
from edge.store.heatmaps import heatmaps
from edge.store.studies import Store
from engines import ModelPackage

log = logging.getLogger("scanside.console")

_AT_START = 60  # studies that the board knows from before
_ROUND_S = 1.0
_REQUESTS = 256  # at the same time
_DECODER_IDLE_S = 900.0


class ConsoleRoom:
    """Everything of the console that lives as long as the daemon.

    Parameters
    ----------
    config : Config
    ring : KeyRing
        The keys of the moment: they open the device's own alerts, seal and sign.
    store : Store
        Is read; what people do and say is written to its journal.
    packages : sequence of ModelPackage
        Whose cards are shown.
    audit : Audit
    metrics : Metrics
    wake : callable
        Called when there is a message to send; must not block.

    Raises
    ------
    ConsoleDatabaseError, CertificateError, CourseError
        If the accounts, the configured certificate or the training cannot be read.
    """

    def __init__(
        self,
        config: Config,
        ring: KeyRing,
        store: Store,
        packages: Sequence[ModelPackage],
        audit: Audit,
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self._settings = config.console
        keys = ring.current.own
        material = read_material(config.console.course, config.console.cases)
        self._audit = audit
        self._metrics = metrics
        self._certificate = certificate_of(config)
        self._database = ConsoleDatabase(config.storage.folder)
        acknowledgements = Acknowledgements(self._database)
        self._history = History(store.journal, lambda: ring.current.own, acknowledgements)
        self.board = Board(
            escalate_after_s=self._settings.escalate_after_s, on_escalated=self._on_escalated
        )
        self._gone = Gone()
        self._pictures = Pictures(
            store, lambda study: heatmaps(store.journal, keys.storage, study), self._gone
        )
        self._pages = Pages(self._gone)
        self._watch: asyncio.Task[None] | None = None
        desk = Desk(
            device=keys.device,
            site=keys.site,
            settings=self._settings,
            accounts=Accounts(self._database),
            sessions=Sessions(
                self._database,
                longest_s=self._settings.session_hours * 3600,
                idle_s=self._settings.idle_minutes * 60,
            ),
            board=self.board,
            history=self._history,
            acknowledgements=acknowledgements,
            audit=audit,
            training=Training(
                *material,
                Progress(self._database),
                CertificateStore(store.journal),
                keys=lambda: ring.current.own,
                audit=audit,
                required=config.console.require_certificate,
            ),
            verdicts=Verdicts(
                FeedbackStore(store.journal, keys.storage),
                audit,
                keys=lambda: ring.current.own,
                recipients=lambda: ring.current.readers,
                wake=wake,
            ),
            metrics=metrics,
            pictures=self._pictures,
            packages=packages,
            oidc=oidc_of(config),
            metrics_token=_secret(self._settings.metrics_token_file, "[console] metrics_token"),
            keeping=Keeping(store.journal, config.storage, lambda: ring.current.own, self._history),
            pages=self._pages,
        )
        self._server = HttpServer(
            application(desk),
            name="console",
            host=self._settings.host,
            port=self._settings.port,
            tls=self._certificate,
            requests=_REQUESTS,
            on_start=self._on_start,
            on_stop=self._on_stop,
        )

    def open(self) -> None:
        """Show what the journal knows, then listen; raises `OSError` if the port is taken."""
        self.board.fill(self._history.cards(_AT_START))
        self._server.start()
        scheme = "http" if self._certificate is None else "https"
        name = host_name(self._settings.name)
        log.info("Console: %s://%s:%d/", scheme, name, self._server.port)
        if self._certificate is not None:
            log.info(
                "Its certificate has the SHA-256 fingerprint %s", self._certificate.fingerprint
            )

    def close(self) -> None:
        """End the pages' streams, stop serving, close the accounts."""
        self._server.stop()
        self._pictures.close()
        self._database.close()

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._server.running

    def _on_start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.board.serve_in(loop)
        self._watch = loop.create_task(self._keep_watch())

    def _on_stop(self) -> None:
        self.board.close()
        if self._watch is not None:
            self._watch.cancel()

    async def _keep_watch(self) -> None:
        await asyncio.to_thread(self._pages.warm)
        while True:
            await asyncio.to_thread(self._look_round)
            await asyncio.sleep(_ROUND_S)

    def _look_round(self) -> None:
        """Do what nobody tells the console of: one look at the journal for all pages."""
        self.board.escalate(time.time())
        waiting = [card for card in self.board.cards() if card.delivery is not Delivery.RECEIVED]
        self.board.delivered(self._history.deliveries(waiting))
        drill_at, drill = self._history.drill(time.time())
        self.board.feels(drill_at=drill_at, drill=drill)
        self._pictures.rest(_DECODER_IDLE_S)

    def feels(self, broker: PublisherState, engines: EnginesState) -> None:
        """Show how the appliance is."""
        self.board.feels(
            broker=broker.connected,
            engines_ready=engines.ready,
            engines_failed=", ".join(engines.failed),
        )

    def pressing(self, study: int) -> bool:
        """Return whether a study has a flag that nobody acknowledged."""
        return self._history.pressing(study)

    def forget(self, study: int) -> None:
        """A study was erased: show that, and let go of its images and cards."""
        self._gone.add(study)
        self.board.erased(study)
        self._pictures.forget(study)
        self._pages.forget(study)

    def _on_escalated(self, card: Card) -> None:
        log.warning("Nobody acknowledged the flag of study %d in time", card.study)
        self._metrics.unacknowledged.inc()
        self._audit.note(Act(DAEMON, UNACKNOWLEDGED, f"study:{card.study}"))


def certificate_of(config: Config) -> Certificate | None:
    """Return the console's certificate, made if need be; None when it serves without TLS.

    Raises
    ------
    CertificateError
        If the configured one cannot be used.
    """
    settings = config.console
    if not settings.tls:
        return None
    if settings.cert is not None and settings.key is not None:
        return read_certificate(settings.cert, settings.key)
    return own_certificate(
        own_folder(config), host_name(settings.name), now=datetime.now(timezone.utc)
    )


def oidc_of(config: Config) -> OidcLogin | None:
    """Return the hospital's log-in, or None where none is configured.

    Raises
    ------
    ConfigError
        If the file with the client's secret cannot be read.
    """
    settings = config.oidc
    if settings.issuer is None:
        return None
    return OidcLogin(settings, _secret(settings.client_secret_file, "[oidc] client_secret"))


def _secret(file: Path | None, key: str) -> str | None:
    """Return the secret that a file holds; None when none is configured."""
    if file is None:
        return None
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: cannot be read.\n  {key}_file names a text file that the daemon may read."
        ) from error
    if not secret:
        raise ConfigError(f"{file}: is empty.\n  {key}_file names a file that holds the secret.")
    return secret


def host_name(configured: str | None) -> str:
    """Return the name by which browsers reach this machine."""
    return configured or socket.gethostname()
