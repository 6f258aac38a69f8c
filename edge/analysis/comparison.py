"""Which earlier series of the patient a two-study model compares a new one with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge.analysis.routing import SeriesAbout, named
from edge.store.records import StoredStudy
from edge.store.spool import Record
from edge.store.studies import Store
from edge.timestamps import scanner_moment
from engines import PriorSpec

NO_PRIOR = "No earlier study to compare with."
COMPARED_ALONE = "Compared with an earlier study; nothing else was looked for."


@dataclass(frozen=True, slots=True)
class PriorSeries:
    """An earlier series to compare with.

    Parameters
    ----------
    study : int
        Its study's number.
    study_uid : str
    acquired : str
        ISO 8601.
    days : float
        Before the study that is compared.
    images : tuple of Record
        Where its bytes are.
    key : bytes
        Its study's.
    """

    study: int
    study_uid: str
    acquired: str
    days: float
    images: tuple[Record, ...]
    key: bytes = field(repr=False)


class Earlier:
    """What there is to compare one series with, looked up when a model asks.

    Parameters
    ----------
    store : Store
    study_id : int
        Of the series' study.
    about : SeriesAbout
        Of the series.
    """

    def __init__(self, store: Store, study_id: int, about: SeriesAbout) -> None:
        self._store = store
        self._study_id = study_id
        self._about = about
        self._found: dict[PriorSpec, PriorSeries | None] = {}

    def comparable(self, spec: PriorSpec) -> bool:
        """Return whether there is an earlier series as a two-study model wants it; it is kept."""
        found = find_prior(self._store.others(self._study_id), self._about, spec)
        self._found[spec] = found
        return found is not None

    def prior(self, spec: PriorSpec | None) -> PriorSeries | None:
        """Return what was found for a two-study model; None for any other."""
        return None if spec is None else self._found.get(spec)

    @property
    def missed(self) -> bool:
        """Whether a two-study model asked, and none got an earlier series."""
        return bool(self._found) and not any(self._found.values())


def find_prior(
    others: Iterable[StoredStudy], about: SeriesAbout, spec: PriorSpec
) -> PriorSeries | None:
    """Return the newest earlier series that may be compared, or None.

    A series that does not say when it was made has no place in time: neither it, nor anything with
    it, is compared.

    Parameters
    ----------
    others : iterable of StoredStudy
        The patient's other studies.
    about : SeriesAbout
        Of the series at hand.
    spec : PriorSpec
        What the model asks for.
    """
    now = scanner_moment(about.acquired or "")
    if now is None:
        return None
    found: list[PriorSeries] = []
    for study in others:
        for series in study.series:
            known = SeriesAbout.from_json(series.about)
            then = scanner_moment(known.acquired or "")
            if then is None or series.evidence is None or known.modality != about.modality:
                continue
            days = (now - then).total_seconds() / 86400
            if days < spec.least_days or not named(known, spec):
                continue
            images = (
                one.record for one in series.instances if one.set_aside is None and not one.conflict
            )
            found.append(
                PriorSeries(
                    study.id,
                    study.study_uid,
                    known.acquired or "",
                    days,
                    tuple(images),
                    study.key.raw,
                )
            )
    return min(found, key=lambda one: one.days, default=None)
