"""What changed since an earlier study of the same patient. Pure.

The same model in the same version must have looked both times: two models, or two versions of one,
differ for reasons of their own. A probability is no measure of size, so that of a finding it is
said whether it is new, gone or still there; a volume has grown or shrunk where it changed by more
than segmentations of an unchanged brain differ from scan to scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from edge.alerts.chance import chance
from edge.alerts.decision import SeriesVolume, StudyDecision, Value, key_of
from edge.alerts.message import Progression
from edge.alerts.topics import URGENCIES

_UNCHANGED = 0.1  # of the earlier volume
_UNCHANGED_ML = 0.5
_THRESHOLD = "The bounds are of the threshold alone; a physician compares the images."
_NOISE = "Not clear of what two scans of one brain differ by."
_RANK = ("new", "larger", "smaller", "resolved", "unchanged")


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of the patient.

    Parameters
    ----------
    study_uid : str
    acquired : datetime
        When it was made.
    values : mapping
        What was said of it; see `edge.alerts.decision.values_of`.
    """

    study_uid: str
    acquired: datetime
    values: Mapping[str, Value]


def progression(
    decision: StudyDecision, acquired: datetime, prior: Prior | None
) -> Progression | None:
    """Return the change that matters most, or None where nothing can be compared.

    Parameters
    ----------
    decision : StudyDecision
        What is said now.
    acquired : datetime
        When this study was made; as aware of its zone, or not, as the prior's is.
    prior : Prior or None
        The last study before it.
    """
    if prior is None:
        return None
    days = (acquired - prior.acquired).total_seconds() / 86400
    if days < 0:
        return None
    found: list[tuple[int, int, Progression]] = []
    for model in (one for series in decision.series for one in series.models):
        for said in model.stated:
            before = prior.values.get(key_of(model.package, said.spec.code))
            if before is None:
                continue
            change, text = _compared(said.spec.label, before, said.value, said.unit)
            one = Progression(
                prior_study_uid=prior.study_uid,
                interval_days=round(days, 3),
                change=change,
                value=round(said.value.value - before.value, 6),
                unit=said.unit,
                text=text,
            )
            found.append((URGENCIES.index(said.spec.urgency), _RANK.index(change), one))
    return min(found, key=lambda item: item[:2])[2] if found else None


def measured_change(decision: StudyDecision) -> Progression | None:
    """Return what a model that compares two studies measured, or None where none did.

    The first of its findings is what grew, the others what shrank. It is called a change where the
    lower bound is above what two scans of one brain differ by.
    """
    for model in (one for series in decision.series for one in series.models):
        if model.compared is None or not model.volumes:
            continue
        most = max(model.volumes, key=lambda one: _bounds(one)[0])
        clear = _bounds(most)[0] > _UNCHANGED_ML
        figures = "; ".join(
            f"{one.spec.label}: {one.ml:.1f} ml ({_bounds(one)[0]:.1f} to {_bounds(one)[1]:.1f})"
            for one in model.volumes
        )
        return Progression(
            prior_study_uid=model.compared.study_uid,
            interval_days=round(model.compared.days, 3),
            change=("larger" if most is model.volumes[0] else "smaller") if clear else "unchanged",
            value=round(most.ml, 6),
            unit="ml",
            text=f"{figures}. {_THRESHOLD if clear else _NOISE}",
        )
    return None


def _bounds(volume: SeriesVolume) -> tuple[float, float]:
    return volume.bounds_ml or (volume.ml, volume.ml)


def _compared(label: str, before: Value, now: Value, unit: str) -> tuple[str, str]:
    """Return the change in one word, and in a sentence."""
    if unit == "ml":
        figures = f"{label}: {before.value:.1f} ml then, {now.value:.1f} ml now"
        if abs(now.value - before.value) <= max(_UNCHANGED * before.value, _UNCHANGED_ML):
            return "unchanged", f"{figures}; within what two scans of one brain differ by."
        return ("larger" if now.value > before.value else "smaller"), f"{figures}."
    figures = f"{label}: probability {chance(before.value)} then, {chance(now.value)} now"
    if now.flagged and not before.flagged:
        return "new", f"{figures}; flagged now and not then."
    if before.flagged and not now.flagged:
        return "resolved", f"{figures}; flagged then and not now."
    state = "flagged" if now.flagged else "not flagged"
    return "unchanged", f"{figures}; {state} both times. A probability is no measure of size."
