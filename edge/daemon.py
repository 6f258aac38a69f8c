"""The daemon: puts the rooms together, starts them in order, watches them, stops them in order.

Stopping is not special: everything acknowledged is on the disk, so a stop is a tidy crash.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from edge.alerts.broker import broker_settings
from edge.alerts.drill import DrillSchedule, send_drill
from edge.alerts.follow_up import FollowUps
from edge.alerts.letters import Post
from edge.alerts.message import Alert
from edge.alerts.publisher import Publisher, PublisherState
from edge.alerts.reception import ReceiptRules, Reception
from edge.alerts.topics import feedback_topic
from edge.analysis.coordinator import Coordinator
from edge.analysis.herald import Herald
from edge.analysis.messages import EngineName
from edge.analysis.models import Models
from edge.analysis.news import Arrived
from edge.audit import DAEMON, Act, Audit, count_entries
from edge.config import Config
from edge.console.room import ConsoleRoom
from edge.intake.doors import DoorError, Doors
from edge.intake.revoked import SeldomAudited
from edge.intake.tls import Refusal
from edge.keys import KeyRing, pseudonym
from edge.metrics import Metrics, Standing
from edge.packages import Shelf
from edge.results.courier import CourierState
from edge.results.room import ResultsRoom
from edge.retention.eraser import Eraser, Surroundings
from edge.retention.keeper import Keeper
from edge.service import ALIVE, READY, STOPPING, notify, watchdog_interval_s
from edge.store.commitments import count_commitments
from edge.store.documents import SWITCHED_OFF, Documents
from edge.store.feedback import FeedbackStore
from edge.store.heatmaps import heatmaps
from edge.store.keeping import Rule, usage
from edge.store.lookup import count_studies
from edge.store.outbox import Outbox, as_outbox_error
from edge.store.settling import Settlements
from edge.store.studies import Store
from engines import ModelPackage

log = logging.getLogger("scanside")

_ROUND_S = 0.1
_STALLED_S = 30.0


class DaemonError(RuntimeError):
    """The daemon cannot start or go on; the text says why and what to do."""


class Daemon:
    """One appliance, running.

    Parameters
    ----------
    config : Config
        Validated.

    Raises
    ------
    ConfigError, KeyFileError, PackageError, JournalError
        If keys, packages or journal are not in order.
    """

    def __init__(self, config: Config) -> None:
        ring = KeyRing(config.storage.keys)
        keys = ring.current.own
        config.check_names(keys.device, keys.site)
        self._config = config
        self._ring = ring
        self._stopping = threading.Event()
        self._broker = PublisherState(False, "not connected yet", 0, 0, 0)
        # All that can be refused, before anything is opened.
        shelf = Shelf.of(config)
        self._packages = shelf.packages()
        self._store = Store(
            config.storage.folder,
            device_key=keys.storage,
            reserve_bytes=config.storage.reserve_mb * 1_000_000,
        )
        outbox = Outbox(self._store.journal)
        self._outbox = outbox
        self._audit = Audit(self._store.journal, lambda: ring.current.own.signing)
        self.metrics = Metrics(CollectorRegistry())
        self.metrics.watch(self._standing)
        self._console = (
            ConsoleRoom(
                config,
                ring,
                self._store,
                self._packages,
                self._audit,
                self.metrics,
                self._wake_publisher,
            )
            if config.console.enabled
            else None
        )
        alerts = config.alerts
        rules = ReceiptRules(alerts.receipts, alerts.receipts_from, alerts.escalate_after_s)
        self._settlements = Settlements(self._store.journal)
        drills = DrillSchedule(outbox, alerts.drill_every_h * 3600.0, self._send_drill)
        self._rules = rules
        self._publisher = Publisher(
            broker_settings(config.broker, f"scanside-{keys.device}", config.storage.keys),
            outbox,
            device=keys.device,
            site=keys.site,
            on_state=self._on_broker,
            version=version("scanside"),
            incoming=Reception(
                ring,
                rules,
                self._settlements,
                audit=self._audit,
                metrics=self.metrics,
                drill=drills.look,
            ),
            metrics=self.metrics,
            post=Post(
                FeedbackStore(self._store.journal, keys.storage),
                feedback_topic(keys.site, keys.device),
            ),
        )
        self._documents = Documents(self._store.journal)
        self._results = (
            ResultsRoom(
                config,
                self._documents,
                self._store.study,
                self._audit,
                self.metrics,
                self._on_pacs,
                partial(heatmaps, self._store.journal, keys.storage),
            )
            if config.results.enabled
            else None
        )
        if self._results is None:
            self._documents.give_up(SWITCHED_OFF)
        herald = Herald(
            ring,
            outbox,
            with_identity=alerts.identity,
            rules=rules,
            wake=self._publisher.wake,
            audit=self._audit,
            metrics=self.metrics,
            on_told=self._on_told,
            follow_ups=FollowUps.read(alerts.follow_up),
            results=None if self._results is None else self._results.desk,
        )
        models = Models(self._packages, config.analysis.threads, shelf, self._note_engine)
        self._coordinator = Coordinator(
            config.analysis, self._store, models, herald, self._on_arrived
        )
        around = Surroundings(self._coordinator.alone, self._pressing, self._forget)
        self._keeper = Keeper(
            Eraser(self._store, self._audit, around),
            self._store.journal,
            Rule.of(config.storage),
            self.metrics,
        )
        whose = partial(pseudonym, keys.pseudonym)
        self._doors = Doors(
            config,
            self._store,
            whose,
            self._coordinator.tell,
            SeldomAudited(self._audit),
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises
        ------
        DaemonError
            If the DICOM port is taken, or a room stopped by itself.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        with self._rooms():
            self._announce()
            self._audit.note(Act(DAEMON, "daemon.started", outcome=version("scanside")))
            notify(READY)
            self._watch()
            notify(STOPPING)
            self._audit.note(Act(DAEMON, "daemon.stopped"))
            log.info("Stopping. Since the start: %s", self._doors.counts)

    @contextmanager
    def _rooms(self) -> Iterator[None]:
        """Start every room, from the innermost; on the way out each is closed whatever happens."""
        with ExitStack() as rooms:
            rooms.callback(self._store.close)
            if self._console is not None:
                self._open_console(self._console)
                rooms.callback(self._console.close)
            self._publisher.start()
            rooms.callback(self._publisher.stop)
            if self._results is not None:
                self._results.start()
                rooms.callback(self._results.stop)
            self._coordinator.start()
            rooms.callback(self._coordinator.stop)
            self._keeper.start()
            rooms.callback(self._keeper.stop)
            self._open_doors()
            rooms.callback(self._doors.close)
            yield

    def _open_doors(self) -> None:
        try:
            self._doors.open()
        except DoorError as error:
            raise DaemonError(str(error)) from error

    def _open_console(self, console: ConsoleRoom) -> None:
        settings = self._config.console
        try:
            console.open()
        except OSError as error:
            raise DaemonError(
                f"The console cannot listen on {settings.host}:{settings.port}: "
                f"{error.strerror}.\n  Another program may use the port: choose another [console] "
                "port, or switch it off with enabled = false."
            ) from error

    def _announce(self) -> None:
        self._doors.announce()
        if self._results is not None:
            log.info("Results go to the PACS %s", self._results.pacs)
        names = ", ".join(f"{one.name} {one.version}" for one in self._packages)
        log.info("Models: %s", names or "none; studies are told of as not analysed")
        if not self._ring.current.centrals.by_kid:
            log.warning(
                "No central server can read the alerts: add one with `scanside keys add-recipient`"
            )

    def _watch(self) -> None:
        """Keep the service manager informed, and end when a room did."""
        interval = watchdog_interval_s()
        next_sign = time.monotonic()
        engines_told = self._coordinator.engines
        told = ""
        while not self._stopping.wait(_ROUND_S):
            if (engines := self._coordinator.engines) != engines_told:
                engines_told = engines
                self._tell_health()
            # One line says both, for systemd keeps the last alone.
            if (status := self._status()) != told:
                notify(f"STATUS={status}")
                told = status
            if not self._coordinator.running:
                raise DaemonError("The analysis stopped by itself; its log line is above.")
            if not self._keeper.running:
                raise DaemonError("The erasing stopped by itself; its log line is above.")
            if not self._doors.running:
                raise DaemonError("The intake stopped by itself; its log line is above.")
            if self._results is not None and not self._results.running:
                raise DaemonError("The sending to the PACS stopped by itself; see the log above.")
            # While a large journal is written anew, the analysis waits for it.
            waits = time.monotonic() - self._coordinator.alive_at > _STALLED_S
            stalled = waits and not self._keeper.tidying
            if interval is not None and not stalled and time.monotonic() >= next_sign:
                notify(ALIVE)
                next_sign = time.monotonic() + interval

    def _status(self) -> str:
        """Return the line that `systemctl status` shows."""
        broker = "connected" if self._broker.connected else self._broker.reason
        return f"{self._coordinator.engines}; broker {broker}"

    def _standing(self) -> Standing:
        """Return what the rooms know, for a scrape of the metrics."""
        counts, revocation = self._doors.counts, self._doors.revocation
        backlog = self._settlements.backlog()
        journal = self._store.journal
        documents = self._documents.standing()
        return Standing(
            instances=self._doors.instances,
            turned_away=counts.turned_away,
            senders=self._doors.senders,
            commitments=count_commitments(journal),
            tls_refused={one.value: counts.tls_refused[one] for one in Refusal},
            revocation=None if revocation is None else revocation.figures,
            engines=self._coordinator.engines.counts,
            studies=count_studies(journal),
            waiting=self._outbox.waiting(),
            unsettled=backlog.unsettled,
            oldest_unsettled_s=time.time() - backlog.oldest if backlog.oldest else 0.0,
            escalated=backlog.escalated,
            results=documents.counts,
            oldest_result_s=time.time() - documents.oldest if documents.oldest else 0.0,
            audit_entries=count_entries(journal),
            disk_free_bytes=shutil.disk_usage(self._config.storage.folder).free,
            studies_bytes=usage(journal).bytes,
        )

    def _wake_publisher(self) -> None:
        self._publisher.wake()

    def _note_engine(self, package: ModelPackage, engine: EngineName) -> None:
        """Write into the audit which engine began to serve a package."""
        what = f"model:{package.name} {package.version} {package.digest[:12]}"
        self._audit.note(Act(DAEMON, "model.serves", what, " ".join(engine)))

    def _on_broker(self, state: PublisherState) -> None:
        self.metrics.broker_connected.set(state.connected)
        self._broker = state
        self._tell_health()

    def _on_pacs(self, state: CourierState) -> None:
        if self._console is not None:
            self._console.board.feels(pacs_away=bool(state.reason), pacs_refused=state.refused)

    def _tell_health(self) -> None:
        if self._console is not None:
            self._console.feels(self._broker, self._coordinator.engines)

    def _on_arrived(self, arrived: Arrived) -> None:
        if self._console is not None:
            self._console.board.arrived(arrived)

    def _pressing(self, study: int) -> bool:
        # Without a console nobody can acknowledge, and nothing waits for it.
        return self._console is not None and self._console.pressing(study)

    def _forget(self, study: int) -> None:
        if self._results is not None:
            self._results.forget(study)
        if self._console is not None:
            self._console.forget(study)

    def _send_drill(self) -> None:
        with as_outbox_error():
            send_drill(self._outbox, self._audit, self._ring.current, self._rules, DAEMON)

    def _on_told(self, study: int, alert: Alert) -> None:
        if self._results is not None:
            self._results.wake()
        if self._console is not None:
            self._console.board.told(study, alert)
