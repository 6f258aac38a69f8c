"""What an alert is made of: who, which images, what was found, how it changed, and when.

The names and bounds of the fields are those of `alert.schema.json`; `edge.alerts.message` puts them
together, and is where others import them from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept (DICOM PS3.3 section 8): scheme ``SCT``, ``RADLEX``, value, meaning."""

    scheme: str
    value: str
    meaning: str

    @property
    def key(self) -> str:
        """As `engines.Code.key`; who reads alerts needs no engines."""
        return f"{self.scheme}:{self.value}"


@dataclass(frozen=True)
class Identity:
    """Who the patient is. Only if configured, and only ever inside the seal.

    Parameters
    ----------
    patient_id, issuer, name, birth_date, sex, accession : str
        DICOM (0010,0020), (0010,0021), (0010,0010), (0010,0030), (0010,0040),
        (0008,0050); empty where unknown.
    """

    patient_id: str
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession: str = ""


@dataclass(frozen=True)
class Patient:
    """The patient by keyed pseudonym (`edge.keys.pseudonym`); identity where configured."""

    pseudonym: str
    identity: Identity | None = None


@dataclass(frozen=True)
class SeriesRef:
    """One series of the study.

    Parameters
    ----------
    series_uid, modality, body_part : str
        DICOM (0020,000E), (0008,0060), (0018,0015); body part empty where unknown.
    instances : int
        Instances durably received when the alert was decided.
    analysed : bool
        Whether a model looked at it.
    completed_by : str or None
        The evidence that closed it; None while it is open.
    reason : str or None
        Why it was not analysed; None when it was.
    """

    series_uid: str
    modality: str
    body_part: str
    instances: int
    analysed: bool
    completed_by: str | None
    reason: str | None


@dataclass(frozen=True)
class StudyRef:
    """The study: its UID, its series, and when it was acquired if the scanner said.

    `acquired` is ISO 8601, with a zone only where the scanner gave one.
    """

    study_uid: str
    series: tuple[SeriesRef, ...]
    acquired: str | None


@dataclass(frozen=True)
class Location:
    """Where a finding is: words, and patient coordinates (mm, LPS; PS3.3 C.7.6.2.1.1)."""

    text: str
    position_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class FindingResult:
    """One coded statement with a probability.

    Parameters
    ----------
    code, label : Code, str
        What was looked for, coded and in words.
    probability, threshold : float
        Calibrated, 0 to 1; flagged from the threshold on.
    flagged, abstained : bool
        Abstained: inside the band where the model says nothing either way.
    series_uid, key_image_uid : str
        The series, and the SOP Instance UID that carries most of it (None if none does).
    location : Location or None
    model : str
        The `ModelRef.name` that said so.
    """

    code: Code
    label: str
    probability: float
    threshold: float
    flagged: bool
    abstained: bool
    series_uid: str
    key_image_uid: str | None
    location: Location | None
    model: str


@dataclass(frozen=True)
class Measurement:
    """How large one thing is, in millilitres; flagged below or above what its package says."""

    code: Code
    label: str
    value: float
    flag_below: float | None
    flag_above: float | None
    flagged: bool
    series_uid: str
    model: str
    unit: str = "ml"


@dataclass(frozen=True)
class ModelRef:
    """Which model ran, exactly: digest is the SHA-256 of its ONNX file, in hex."""

    name: str
    version: str
    digest: str
    precision: str
    engine: str


@dataclass(frozen=True)
class QualityFlag:
    """One measured doubt about the images themselves, with a text for the technician."""

    name: str
    value: float | None
    unit: str
    text: str


@dataclass(frozen=True)
class Progression:
    """Change since an earlier study of the same patient.

    `change` is one of new, larger, smaller, unchanged, resolved; `value` in `unit`.
    """

    prior_study_uid: str
    interval_days: float
    change: str
    value: float | None
    unit: str
    text: str


@dataclass(frozen=True)
class FollowUp:
    """A suggested next look, and the guideline it comes from."""

    within_days: int
    text: str
    source: str

    @property
    def words(self) -> str:
        """What, and until when."""
        days = self.within_days
        when = "The same day" if not days else f"Within {days} day{'s' if days > 1 else ''}"
        return f"{when}: {self.text}"


@dataclass(frozen=True)
class Timing:
    """The way of the images, RFC 3339; None where it has not happened or has no meaning.

    A provisional alert has no last byte yet; a drill has no bytes at all.
    `inference_ms` is the engine's share, summed over the slices; `tail_inference_ms` is what
    of it came after the last byte.
    """

    first_byte: str | None
    last_byte: str | None
    decided: str
    sealed: str
    inference_ms: float
    tail_inference_ms: float = 0.0


@dataclass(frozen=True)
class AuditHead:
    """How far the device's audit had come: so many entries, the SHA-256 (hex) of the last."""

    entries: int
    digest: str
