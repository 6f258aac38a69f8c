"""What scanners say of a series beside sending it: commitments they ask for, steps they perform.

It is heard when it is said, and recalled from the journal when a series begins, for a scanner may
say it first.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.analysis.progress import SeriesInProgress, StudyInProgress
from edge.intake.events import CommitmentAsked, StepEnded
from edge.store.steps import Steps


class Testimony:
    """What is said of the series in progress.

    Parameters
    ----------
    steps : Steps
        The journal's side.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def recall(self, series: SeriesInProgress) -> None:
        """Give a series what steps have said of it."""
        performance = self._steps.of_series(series.series_uid)
        if performance is not None:
            series.performed_by(performance)

    def hear(
        self, event: CommitmentAsked | StepEnded, studies: Iterable[StudyInProgress]
    ) -> list[StudyInProgress]:
        """Give what was said to the series that it is of; return their studies."""
        touched = []
        for study in studies:
            named = [one for one in study.series.values() if _names(event, one)]
            for series in named:
                if isinstance(event, CommitmentAsked):
                    series.committed = event.covered[series.id]
                else:
                    self.recall(series)
            if named:
                touched.append(study)
        return touched


def _names(event: CommitmentAsked | StepEnded, series: SeriesInProgress) -> bool:
    if isinstance(event, CommitmentAsked):
        return series.id in event.covered
    return series.series_uid in event.series
