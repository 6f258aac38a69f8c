"""A central server as a whole: the subscriber, and around it whoever else has work to do.

Threads: the subscriber works in the thread that calls `run`; each target of hand-ons has a
courier, the dead man's switch has one, the figures have one. Each has its own connection to the
database, so none waits for another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from edge.audit import Act, Audit
from edge.config import ConfigError
from edge.keys import CentralKeys, TrustedDevices
from edge.store.journal import Journal
from tools.broker import LocalBroker
from tools.central import overview
from tools.central.database import Database, DatabaseError, open_database
from tools.central.figures import Figures, serve
from tools.central.hand_on import Courier, Target
from tools.central.hand_on.fhir import FhirTarget
from tools.central.hand_on.lines import LinesTarget
from tools.central.hand_on.webhook import WebhookTarget
from tools.central.rules import Rules
from tools.central.settings import CentralSettings, first_line, is_postgresql
from tools.central.silence import Limits, judge
from tools.central.store import AlertStore, DeviceState
from tools.central.subscriber import WHO, Counts, Received, Subscriber
from tools.central.trust import TrustWatch

_ROUND_S = 5.0

log = logging.getLogger("scanside.central")


class Server:
    """Receives until `stop`, which any thread or signal handler may call.

    Parameters
    ----------
    settings : CentralSettings
    on_alert, on_state, on_turn : callable
        See `Subscriber`.
    rules : Rules
    client_id : str or None
        None: from the server's name.
    broker : Path or None
        Folder of a broker that runs and ends with us.

    Raises
    ------
    KeyFileError, ConfigError, DatabaseError
        When it cannot start.
    """

    def __init__(
        self,
        settings: CentralSettings,
        *,
        on_alert: Callable[[Received], None],
        on_state: Callable[[DeviceState], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        rules: Rules,
        client_id: str | None = None,
        broker: Path | None = None,
    ) -> None:
        keys = CentralKeys.load(settings.site.keys)
        self.name = keys.name
        self._settings = settings
        self._broker = None if broker is None else _broker(broker, settings)
        targets = _targets(settings)
        self._event_targets = [one.name for one in targets if one.takes_events]
        with ExitStack() as undo:
            opened = undo.enter_context(closing(self._open()))
            client_id = client_id or f"central-{keys.name}"
            store = AlertStore(opened, owner=client_id, targets=[one.name for one in targets])
            self.kept = store.count()
            self._journal = undo.enter_context(closing(Journal(settings.store.audit)))
            audit = Audit(self._journal, lambda: keys.signing)
            trust = TrustWatch(settings.site.keys)
            self._subscriber = Subscriber(
                settings.broker_settings(client_id),
                keys,
                trust,
                store,
                on_alert=self._woken(on_alert),
                on_state=on_state,
                on_turn=on_turn,
                rules=rules,
                audit=audit,
            )
            undo.callback(self._subscriber.close)
            give_up_s = settings.hand_on.give_up_h * 3600
            self._couriers = [
                Courier(
                    undo.enter_context(closing(self._open())),
                    target,
                    holder=client_id,
                    give_up_s=give_up_s,
                    on_set_aside=self._set_aside,
                )
                for target in targets
            ]
            self._switch = undo.enter_context(closing(self._open()))
            self._trust = TrustWatch(settings.site.keys)  # the switch's own: one thread each
            self._stop_figures = self._serve_figures(undo)
            audit.note(Act(WHO, "central.started"))
            undo.pop_all()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_silence, name="silence", daemon=True)

    @property
    def counts(self) -> Counts:
        """What was received since the start."""
        return self._subscriber.counts

    def run(self) -> None:
        """Receive until `stop`; runs once."""
        if self._broker is not None:
            self._broker.start()
        try:
            for courier in self._couriers:
                courier.start()
            self._watch.start()
            self._subscriber.run()
        finally:
            self._stopping.set()
            self._watch.join()
            for courier in self._couriers:
                courier.stop()
            self._stop_figures()
            self._switch.close()
            self._journal.close()
            if self._broker is not None:
                self._broker.stop()

    def stop(self) -> None:
        """End `run` soon."""
        self._subscriber.stop()

    def _open(self) -> Database:
        store = self._settings.store
        if not is_postgresql(store.database):
            return open_database(store.database)
        file = store.password_file
        password = None if file is None else first_line(file, "PostgreSQL's password")
        ca = None if store.ca is None else str(store.ca)
        return open_database(store.database, password=password, ca=ca)

    def _woken(self, on_alert: Callable[[Received], None]) -> Callable[[Received], None]:
        def told(received: Received) -> None:
            for courier in self._couriers:
                courier.wake()
            on_alert(received)

        return told

    def _set_aside(self, target: str) -> None:
        """Called by a courier: through a connection of its own, for it is another thread."""
        log.error("%s: an alert was set aside; see: scanside-central events", target)
        with closing(self._open()) as database:
            overview.note_set_aside(database, target, self._event_targets)

    def _serve_figures(self, undo: ExitStack) -> Callable[[], None]:
        metrics = self._settings.metrics
        if metrics.port is None:
            return lambda: None
        database = undo.enter_context(closing(self._open()))
        trust = TrustWatch(self._settings.site.keys)

        def trusted() -> TrustedDevices:
            trust.refresh()
            return trust.current.devices

        figures = Figures(database, self._subscriber.counts, trusted)
        try:
            stop = serve(figures, metrics.host, metrics.port)
        except OSError as error:
            msg = f"[metrics] port = {metrics.port}: {error.strerror}. Choose another port."
            raise ConfigError(msg) from error

        def stop_all() -> None:
            stop()
            database.close()

        return stop_all

    def _watch_silence(self) -> None:
        watch = self._settings.watch
        drill_h = watch.drill_every_h
        limits = Limits(
            silent_s=watch.silent_after_min * 60,
            gap_s=watch.gap_after_min * 60,
            drill_s=None if drill_h is None else drill_h * 3600,
        )
        began = time.time()
        while not self._stopping.wait(min(_ROUND_S, limits.silent_s / 2)):
            self._trust.refresh()
            try:
                self._look(limits, began)
            except DatabaseError as error:
                log.warning("the dead man's switch cannot look: %s", error)

    def _look(self, limits: Limits, began: float) -> None:
        rows = overview.devices(self._switch, self._trust.current.devices)
        lasting = judge(
            (row.facts for row in rows if row.believed),
            limits,
            now=time.time(),
            watching_since=began,
            deaf_since=self._subscriber.deaf_since,
        )
        changed = overview.note_conditions(self._switch, lasting, self._event_targets)
        for row in changed:
            who = f"{row.site}/{row.device}" if row.device else "central"
            log.warning("%s: %s, %s", who, row.kind, "over" if row.ended else row.said)
        if changed:
            for courier in self._couriers:
                courier.wake()


def _broker(folder: Path, settings: CentralSettings) -> LocalBroker:
    return LocalBroker(
        folder,
        port=settings.broker.port,
        program="mosquitto",
        file=folder / "mosquitto.conf",
    )


def _targets(settings: CentralSettings) -> list[Target]:
    hand_on = settings.hand_on
    targets: list[Target] = []
    if hand_on.lines is not None:
        targets.append(LinesTarget(hand_on.lines))
    if hand_on.webhook is not None and hand_on.webhook_secret_file is not None:
        secret = first_line(hand_on.webhook_secret_file, "the webhook's secret")
        targets.append(WebhookTarget(hand_on.webhook, secret))
    if hand_on.fhir is not None:
        file = hand_on.fhir_token_file
        token = None if file is None else first_line(file, "the FHIR server's token")
        targets.append(FhirTarget(hand_on.fhir, token))
    return targets
