"""What the coordinator tells whoever looks on: a study as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.analysis.progress import SeriesInProgress, StudyInProgress


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known of a study, whatever was said of it.

    Parameters
    ----------
    study : int
        Its number in the journal.
    pseudonym : str
    name : str
        The patient's, as DICOM writes it (PS3.5 section 6.2.1); empty where unknown.
    modality, body_part : str
        Of the first series that is looked at.
    first_byte, last_byte : float
        Seconds since the epoch.
    series, images : int
    expected : int or None
        Images to come in all, if the scanner said.
    quarantined : bool
    """

    study: int
    pseudonym: str
    name: str = field(repr=False)
    modality: str
    body_part: str
    first_byte: float
    last_byte: float
    series: int
    images: int
    expected: int | None
    quarantined: bool

    @classmethod
    def nothing(cls, study: int, first_byte: float, last_byte: float) -> Arrived:
        """Return what is known of a study that was erased: when it came."""
        return cls(study, "", "", "", "", first_byte, last_byte, 0, 0, None, False)


def arrived(study: StudyInProgress, *, quarantined: bool = False) -> Arrived:
    """Return how far a study has come; it has one series at least."""
    series = list(study.series.values())
    shown = next((one for one in series if one.images), series[0])
    return Arrived(
        study=study.id,
        pseudonym=study.pseudonym,
        name=study.identity.get("name", ""),
        modality=shown.about.modality,
        body_part=shown.about.body_part,
        first_byte=study.first_byte,
        last_byte=study.last_byte,
        series=len(series),
        images=study.instances,
        expected=_expected(series),
        quarantined=quarantined,
    )


def _expected(series: list[SeriesInProgress]) -> int | None:
    counts = [one.announced_images for one in series]
    return None if None in counts else sum(count or 0 for count in counts)
