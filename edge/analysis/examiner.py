"""Has series looked at: slices by the worker as they come, volumes by processes of their own.

The coordinator says what came and when a series is complete; whom to ask about it is known here.
"""

from __future__ import annotations

from edge.analysis.comparison import Earlier
from edge.analysis.messages import Close, Look
from edge.analysis.models import Models
from edge.analysis.progress import SeriesInProgress, StudyInProgress
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
        series.earlier = Earlier(self._store, study.id, series.about)
        series.package = self._models.choose(series.about, series.earlier.comparable)
        series.failure = self._models.failure(series.package)

    def look(
        self, study: StudyInProgress, series: SeriesInProgress, instance: StoredInstance
    ) -> None:
        """Have an instance looked at, if it is an image and there is who looks at slices."""
        if instance.set_aside is not None or instance.conflict:
            return
        if series.package is None or series.failure is not None or series.is_volume:
            return
        self._link.ask(
            Look(
                study=study.id,
                series=series.id,
                instance=instance.id,
                package=series.package.name,
                modality=series.about.modality,
                record=instance.record,
                key=study.key.raw,
                order=float(instance.id),
            )
        )

    def look_again(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Ask for all that is known of a series once more, from the store."""
        series.start_over()
        for instance in self._store.study(study.id).one(series.id).instances:
            if instance.id in series.instances:
                self.look(study, series, instance)

    def close(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Have the last slices of a complete series looked at, if there is who looks."""
        if series.can_be_looked_at and series.is_volume:
            job = volume_job(study, series, self._store.study(study.id), self._models.load())
            self._desk.ask(job)
        elif series.can_be_looked_at:
            self._link.ask(Close(study.id, series.id, series.reopened))
        else:
            series.finished = True

    def note_failure(self, study: StudyInProgress, series: SeriesInProgress) -> None:
        """Note that the model of a series cannot look after all, or can again."""
        before, series.failure = series.failure, self._models.failure(series.package)
        if series.failure is not None:
            series.finished = series.evidence is not None
        elif before is not None and series.evidence is None:
            self.look_again(study, series)  # an engine that can was activated
