"""Has series looked at: slices by the worker as they come, volumes by processes of their own.

The coordinator says what came and when a series is complete; whom to ask about it is known here.
"""

from __future__ import annotations

from edge.analysis.comparison import Earlier
from edge.analysis.deaths import LEFT_OUT, is_left_out
from edge.analysis.messages import Close, Look
from edge.analysis.models import Models
from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.analysis.reading import Reading
from edge.analysis.routing import most_urgent
from edge.analysis.volume_desk import VolumeDesk, volume_job
from edge.analysis.worker_link import WorkerLink
from edge.store.records import StoredInstance
from edge.store.studies import Store


class Examiner:
    """Asks the models about series. Lives in the coordinator's thread.

    Parameters
    ----------
    store : Store
        Where the studies are.
    models : Models
        Who may look.
    link : WorkerLink
        Looks at slices.
    desk : VolumeDesk
        Has volumes looked at.
    """

    def __init__(self, store: Store, models: Models, link: WorkerLink, desk: VolumeDesk) -> None:
        self._store = store
        self._models = models
        self._link = link
        self._desk = desk

    def route(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Choose who looks at a series."""
        earlier = Earlier(self._store, study.id, series.about)
        packages = self._models.choose(series.about, earlier.comparable)
        series.readings = tuple(
            Reading(one, earlier.prior(one.prior), self._models.failure(one)) for one in packages
        )
        series.without_prior = earlier.missed

    def look(
        self, study: StudyInProgress, series: SeriesInProgress, instance: StoredInstance
    ) -> None:
        """Have an instance looked at, if it is an image and there is who looks at slices."""
        if instance.set_aside is not None or instance.conflict:
            return
        reading = series.of_slices
        if reading is None or reading.failure is not None:
            return
        if is_left_out(instance):
            series.left_out.add(instance.id)
            reading.unreadable[instance.id] = LEFT_OUT
            return
        self._link.ask(
            Look(
                study=study.id,
                series=series.id,
                instance=instance.id,
                package=reading.package.name,
                modality=series.about.modality,
                record=instance.record,
                key=study.key.raw,
                order=float(instance.id),
            ),
            urgency=most_urgent(reading.package),
        )

    def close(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Have what is left of a complete series looked at, if there is who looks."""
        for reading in series.readings:
            self._close(study, series, reading)

    def _close(self, study: StudyInProgress, series: SeriesInProgress, reading: Reading) -> None:
        if not series.images or reading.failure is not None:
            reading.finished = True
        elif reading.is_volume:
            stored = self._store.study(study.id)
            self._desk.ask(
                volume_job(
                    study,
                    series,
                    reading,
                    stored,
                    threads=self._models.threads,
                    engines=self._models.store,
                )
            )
        else:
            closing = Close(study.id, series.id, series.reopened)
            self._link.ask(closing, urgency=most_urgent(reading.package))

    def start_over(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Have a series looked at from the start: more came after it was judged complete."""
        for reading in series.readings:
            reading.start_over()
        self._look_again(study, series)

    def after_worker(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Ask a fresh worker what the one before it did not come to answer."""
        reading = series.of_slices
        if reading is None or reading.finished:
            return
        reading.start_over()
        self._look_again(study, series)
        if series.evidence is not None:
            self._close(study, series, reading)

    def note_failures(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Note which models of a series cannot look after all, or can again."""
        for reading in series.readings:
            before, reading.failure = reading.failure, self._models.failure(reading.package)
            if reading.failure is not None:
                reading.finished = series.evidence is not None
            elif before is not None and series.evidence is None:
                reading.start_over()  # an engine that can was activated
                self._look_again(study, series)

    def _look_again(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Ask for all that is known of a series once more, from the store."""
        for instance in self._store.study(study.id).one(series.id).instances:
            if instance.id in series.instances:
                self.look(study, series, instance)
