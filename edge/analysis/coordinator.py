"""The one thread that knows what every study is waiting for.

Intake, worker and clock tell it what happened; it judges completeness, hands slices to the
worker as they come, decides, and writes result and alert in one transaction. No lock is
needed: nobody else touches what it knows.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.alerts.decision import StudyDecision, decide
from edge.alerts.policy import Step, Told, next_alert
from edge.analysis.completeness import Evidence, judge
from edge.analysis.deaths import is_given_up
from edge.analysis.erasing import EraseAsked
from edge.analysis.examiner import Examiner
from edge.analysis.herald import Herald
from edge.analysis.messages import Close, Loaded, Look, Looked, Reply
from edge.analysis.models import EnginesState, Models
from edge.analysis.news import Arrived, arrived
from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.routing import SeriesAbout
from edge.analysis.testimony import Testimony
from edge.analysis.volume_desk import VolumeDesk
from edge.analysis.volume_messages import VolumeLooked
from edge.analysis.worker_link import Replied, WorkerGone, WorkerLink
from edge.config import Analysis
from edge.intake.events import CommitmentAsked, Heard, InstanceKept, SenderGone, StepEnded
from edge.store.erasure import Erased, Hindrance
from edge.store.heatmaps import keep_heatmaps
from edge.store.journal import StudyState
from edge.store.records import Kept, StoredInstance
from edge.store.steps import Steps
from edge.store.studies import Store
from edge.store.study_key import SealBroken

log = logging.getLogger("scanside.analysis")

_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class _Stop:
    """Asks the coordinator's thread to end."""


Event = Heard | Replied | VolumeLooked | WorkerGone | EraseAsked | _Stop


class Coordinator:
    """Turns stored instances into decided studies.

    Parameters
    ----------
    settings : Analysis
        ``[analysis]`` of the configuration.
    store : Store
        Where the studies are.
    models : Models
        Who may look.
    herald : Herald
        Writes results and alerts.
    on_arrived : callable
        Is told how far a study has come, from the coordinator's thread; must not block.
    """

    def __init__(
        self,
        settings: Analysis,
        store: Store,
        models: Models,
        herald: Herald,
        on_arrived: Callable[[Arrived], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._herald = herald
        self._on_arrived = on_arrived
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._link = WorkerLink(
            self._events.put,
            slice_timeout_s=settings.slice_timeout_s,
            load_timeout_s=settings.load_timeout_s,
        )
        self._volumes = VolumeDesk(self._events.put, timeout_s=settings.volume_timeout_s)
        self._examiner = Examiner(store, models, self._link, self._volumes)
        self._testimony = Testimony(Steps(store.journal, store.fingerprint))
        self._studies: dict[int, StudyInProgress] = {}
        self._thread = threading.Thread(target=self._run, name="coordinator")
        self.alive_at = time.monotonic()  # when the thread last came round

    @property
    def tell(self) -> Callable[[Heard], None]:
        """What intake calls; never blocks."""
        return self._events.put

    def start(self) -> None:
        """Start the worker and the thread, and take up what a crash left unfinished."""
        self._thread.start()

    def stop(self) -> None:
        """End thread and worker. What is unfinished is taken up at the next start."""
        self._events.put(_Stop())
        self._thread.join()

    def alone(self, study: int, erase: Callable[[], Erased | Hindrance]) -> Erased | Hindrance:
        """Erase a study while nothing is done with it; return what came of it.

        Parameters
        ----------
        study : int
            Its number.
        erase : callable
            Runs in the coordinator's thread, and so never beside a decision or a comparison. What
            it raises is raised here.
        """
        asked = EraseAsked(study, erase)
        self._events.put(asked)
        return asked.wait(self._thread.is_alive)

    @property
    def engines(self) -> EnginesState:
        """How far the engines are."""
        return self._models.state

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def _run(self) -> None:
        self._start_worker()
        for study_id in self._store.unfinished():
            self._take_up(study_id)
        next_tick = time.monotonic()
        try:
            while True:
                try:
                    event = self._events.get(timeout=max(0.0, next_tick - time.monotonic()))
                except queue.Empty:
                    event = None
                if isinstance(event, _Stop):
                    break
                if event is not None:
                    self._handle(event)
                if time.monotonic() >= next_tick:
                    self._tick()
                    next_tick = time.monotonic() + _TICK_S
        finally:
            self._volumes.stop()
            self._link.stop()

    def _handle(self, event: Event) -> None:
        if isinstance(event, InstanceKept):
            self._on_instance(event)
        elif isinstance(event, SenderGone):
            for study in list(self._studies.values()):
                for series in study.series.values():
                    series.sender_gone(event.sender, orderly=event.orderly)
                self._judge(study)
        elif isinstance(event, (CommitmentAsked, StepEnded)):
            self._on_said(event)
        elif isinstance(event, VolumeLooked):
            self._on_volume(event)
        elif isinstance(event, Replied):
            if event.generation == self._link.generation:
                self._link.answered()
                self._on_reply(event.reply)
        elif isinstance(event, EraseAsked):
            self._on_erase(event)
        elif isinstance(event, WorkerGone) and event.generation == self._link.generation:
            self._on_worker_gone()

    def _tick(self) -> None:
        for study in list(self._studies.values()):
            self._judge(study)
        self._link.end_what_hangs()
        new = self._models.changed()
        if new and self._link.pid is None:
            self._start_worker()
        else:
            self._link.ask(*new)
        self.alive_at = time.monotonic()

    def _on_instance(self, event: InstanceKept) -> None:
        receipt = event.receipt
        study = self._studies.get(receipt.study_id)
        if study is None:
            if receipt.kept is Kept.REPEATED:
                return  # all of it was known and decided
            study = self._take_up(receipt.study_id)
            if study is None:
                return
        elif receipt.kept is not Kept.REPEATED:
            self._add(study, receipt.series_id, event, receipt.instance)
        series = study.series.get(receipt.series_id)
        if series is not None:
            series.brought_by(event.sender)
            self._on_arrived(arrived(study))
            self._judge(study)

    def _on_said(self, said: CommitmentAsked | StepEnded) -> None:
        for study_id in said.reopened if isinstance(said, StepEnded) else ():
            if study_id not in self._studies:
                self._take_up(study_id)
        for study in self._testimony.hear(said, list(self._studies.values())):
            self._judge(study)

    def _add(
        self, study: StudyInProgress, series_id: int, event: InstanceKept, new: StoredInstance
    ) -> None:
        series = study.series.get(series_id)
        about = SeriesAbout.from_json(event.about)
        if series is None:
            series = SeriesInProgress(series_id, event.series_uid, about)
            self._testimony.recall(series)
            study.series[series_id] = series
        if new.id in series.instances:
            return  # it was read from the store before its event came
        study.last_byte = new.received
        study.tail_inference_ms = 0.0
        if series.evidence is not None:
            self._reopen(study, series)
        if new.set_aside is None and not series.images:
            series.about = about
            self._examiner.route(study, series)
        series.add(new)
        self._examiner.look(study, series, new)

    def _reopen(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """More came for a series that was judged complete: look at it again from the start."""
        log.info("More images came for a series that was judged complete")
        series.evidence = None
        series.reopened += 1
        self._examiner.start_over(study, series)

    def _take_up(self, study_id: int) -> StudyInProgress | None:
        """Bring a study in from the store, as after a restart; None if it is not looked at."""
        try:
            stored = self._store.study(study_id)
            study = StudyInProgress.of(stored, self._store.last_result(stored))
        except LookupError:  # erased since: it was quarantined, and waited for nothing
            return None
        except SealBroken:
            log.error("Study %d is damaged on the disk, and is not analysed", study_id)
            self._store.study_state(study_id, StudyState.QUARANTINED, 0)
            return None
        if stored.state is StudyState.QUARANTINED:
            return None
        self._studies[study.id] = study
        for one in stored.series:
            if not one.instances:
                continue
            series = SeriesInProgress.of(one)
            self._testimony.recall(series)
            study.series[one.id] = series
            self._examiner.route(study, series)
            for instance in one.instances:
                series.add(instance)
                self._examiner.look(study, series, instance)
            if one.evidence is not None:
                series.evidence = Evidence(one.evidence)
                self._examiner.close(study, series)
        if study.series:
            self._on_arrived(arrived(study))
        return study

    def _judge(self, study: StudyInProgress) -> None:
        now = time.monotonic()
        for series in study.series.values():
            if series.evidence is None:
                self._judge_series(study, series, now)
        if study.complete:
            self._conclude(study)

    def _judge_series(self, study: StudyInProgress, series: SeriesInProgress, now: float) -> None:
        evidence = judge(series.facts(now), last_resort_s=self._settings.last_resort_s)
        if evidence is None:
            return
        series.evidence = evidence
        self._store.series_closed(series.id, evidence.value, len(series.instances))
        self._examiner.close(study, series)

    def _conclude(self, study: StudyInProgress) -> None:
        del self._studies[study.id]
        self._end(study, StudyState.DECIDED)

    def _end(self, study: StudyInProgress, state: StudyState) -> None:
        decision = decide([one.result() for one in study.series.values()], complete=True)
        step = next_alert(decision, study.told)
        if step is None:
            self._store.study_state(study.id, state, study.instances)
        else:
            self._say(study, decision, step, state)

    def _start_worker(self) -> None:
        self._link.start()
        self._link.ask(*self._models.first())

    def _on_reply(self, reply: Reply) -> None:
        if isinstance(reply, Loaded):
            self._models.loaded(reply)
            self._note_failures()
            return
        found = self._find(reply.series)
        if found is None:
            return
        study, series = found
        keep_heatmaps(self._store.journal, study.key, study.id, series.heard(reply))
        study.tail_inference_ms += reply.inference_ms
        if isinstance(reply, Looked):
            if reply.scores:
                self._foretell(study)
        else:
            self._go_on(study)

    def _on_volume(self, looked: VolumeLooked) -> None:
        found = self._find(looked.job.series)
        reading = None if found is None else found[1].heard_volume(looked)
        if found is None or reading is None:
            return
        study, _ = found
        keep_heatmaps(self._store.journal, study.key, study.id, looked.maps)
        self._models.ran(reading.package, looked)
        study.tail_inference_ms += looked.inference_ms
        self._go_on(study)

    def _go_on(self, study: StudyInProgress) -> None:
        if study.complete:
            self._conclude(study)
        else:
            self._foretell(study)

    def _foretell(self, study: StudyInProgress) -> None:
        """Send a provisional alert as soon as what was seen is conclusive."""
        decision = decide([one.result() for one in study.series.values()], complete=False)
        step = next_alert(decision, study.told)
        if step is not None:
            study.told = self._say(study, decision, step, StudyState.RECEIVING)

    def _note_failures(self) -> None:
        """Tell the studies at hand which models cannot look after all."""
        for study in list(self._studies.values()):
            for series in study.series.values():
                self._examiner.note_failures(study, series)
            self._judge(study)

    def _on_worker_gone(self) -> None:
        culprit = self._link.at
        if isinstance(culprit, (Look, Close)):
            image = culprit.instance if isinstance(culprit, Look) else None
            deaths = self._store.worker_died(culprit.study, image)
            log.warning("The worker died on study %d: %s", culprit.study, deaths)
            if is_given_up(deaths):
                self._quarantine(culprit.study)
        else:
            self._models.died(culprit)
        if self._models.gone:
            self._link.stop()
            self._note_failures()
            return
        self._start_worker()
        for study in self._studies.values():
            for series in study.series.values():
                self._examiner.after_worker(study, series)

    def _quarantine(self, study_id: int) -> None:
        study = self._studies.pop(study_id, None)
        if study is None:
            return
        study.quarantine()
        self._on_arrived(arrived(study, quarantined=True))
        self._end(study, StudyState.QUARANTINED)

    def _say(
        self, study: StudyInProgress, decision: StudyDecision, step: Step, state: StudyState
    ) -> Told:
        priors = self._store.priors(study.id) if study.identity.get("patient_id") else ()
        return self._herald.tell(study, decision, step, state, self._models.engines, priors)

    def _on_erase(self, asked: EraseAsked) -> None:
        if asked.study in self._studies:
            asked.refuse(Hindrance.BUSY)
        elif any(study.compares_with(asked.study) for study in self._studies.values()):
            asked.refuse(Hindrance.COMPARED)
        else:
            asked.do()

    def _find(self, series_id: int) -> tuple[StudyInProgress, SeriesInProgress] | None:
        for study in self._studies.values():
            if series_id in study.series:
                return study, study.series[series_id]
        return None
