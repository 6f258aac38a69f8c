"""Finds the study to compare with, and compares: the last one before this that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from edge.alerts.decision import StudyDecision
from edge.alerts.message import Progression
from edge.alerts.policy import Told
from edge.history.progression import Prior, measured_change, progression
from edge.store.priors import KeptPrior
from edge.timestamps import scanner_moment


def since(
    decision: StudyDecision, first_byte: float, priors: Sequence[KeptPrior]
) -> Progression | None:
    """Return what changed since the latest earlier study that can be compared.

    What is flagged anew comes first; then what a model that compares two studies measured; then
    what else can be said of a model's earlier figures.

    Parameters
    ----------
    decision : StudyDecision
        What is said now.
    first_byte : float
        When this study came, seconds since the epoch; for scanners that do not date their images.
    priors : sequence of KeptPrior
        The patient's other studies, in any order.
    """
    compared = measured_change(decision)
    found = _since_then(decision, first_byte, priors)
    if compared is not None and (found is None or found.change != "new"):
        return compared
    return found


def _since_then(
    decision: StudyDecision, first_byte: float, priors: Sequence[KeptPrior]
) -> Progression | None:
    dated = [one.acquired for one in decision.series if one.acquired]
    acquired = _moment(min(dated, default=""), first_byte)
    earlier = [
        Prior(one.study_uid, moment, Told.from_json(one.told).values)
        for one in priors
        if (moment := _moment(one.acquired, one.first_byte)) <= acquired
    ]
    for prior in sorted(earlier, key=lambda one: one.acquired, reverse=True):
        found = progression(decision, acquired, prior)
        if found is not None:
            return found
    return None


def _moment(acquired: str, first_byte: float) -> datetime:
    """Return when a study was made; of one that does not say, when it came."""
    return scanner_moment(acquired) or datetime.fromtimestamp(first_byte, timezone.utc)
