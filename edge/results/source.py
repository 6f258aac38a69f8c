"""Whose study it is, read from one of its images, for the objects that join it in the PACS.

The patient and the study have to stand in a report as they stand in the images, or the PACS files
it elsewhere. They are read with the bounded walk that intake uses and are nowhere else: not in the
journal, not in a log. Sources: DICOM PS3.3 C.7.1.1 (patient), C.7.2.1 (general study), C.7.2.2
(patient study).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

from pydicom.dataset import Dataset

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Limits
from edge.imaging.part10 import open_part10

_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_MODALITY = 0x00080060
_CHARACTER_SET = 0x00080005
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011

# Text goes as it was sent: an ID that is too long still is the patient's.
_TEXTS = {
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x00080050: "AccessionNumber",
    0x00080090: "ReferringPhysicianName",
    0x00081030: "StudyDescription",
    0x00200010: "StudyID",
}
# What has a form is left empty where it has another: a date that is none is refused by a PACS.
_FORMS = {
    0x00100030: ("PatientBirthDate", re.compile(r"[0-9]{8}")),
    0x00100040: ("PatientSex", re.compile(r"[MFO]")),
    0x00101010: ("PatientAge", re.compile(r"[0-9]{3}[DWMY]")),
    0x00080020: ("StudyDate", re.compile(r"[0-9]{8}")),
    0x00080030: (
        "StudyTime",
        re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", re.ASCII),
    ),
}
_OPTIONAL = frozenset({"IssuerOfPatientID", "StudyDescription", "PatientAge"})
_WANTED = frozenset(
    {_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _CHARACTER_SET, _STUDY_UID, _SERIES_UID, _FRAMES}
).union({_ROWS, _COLUMNS}, _TEXTS, _FORMS)

INHERITED = (*_TEXTS.values(), *(name for name, _ in _FORMS.values()))
"""Keywords of what an object takes over from an image."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One instance of the study, and what it says of patient and study.

    Parameters
    ----------
    study_uid, series_uid, instance_uid, sop_class_uid : str
    modality : str
        DICOM (0008,0060).
    frames : int
        1 but in a multi-frame instance.
    rows, columns : int
        Of a frame; 0 where there are no pixels.
    subject : tuple of (str, str)
        Attributes of patient and study, keyword and value; shown by no log or error.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    modality: str
    frames: int
    rows: int
    columns: int
    subject: tuple[tuple[str, str], ...] = field(repr=False)

    def as_dataset(self) -> Dataset:
        """Return what refers to it and what is inherited from it, as a data set."""
        dataset = Dataset()
        dataset.SOPClassUID = self.sop_class_uid
        dataset.SOPInstanceUID = self.instance_uid
        dataset.StudyInstanceUID = self.study_uid
        dataset.SeriesInstanceUID = self.series_uid
        dataset.Modality = self.modality
        if self.rows and self.columns:
            dataset.Rows, dataset.Columns = self.rows, self.columns
        for keyword, text in self.subject:
            setattr(dataset, keyword, text)
        return dataset


def read_source(data: bytes) -> SourceImage:
    """Read an instance that the store has kept.

    Parameters
    ----------
    data : bytes
        DICOM Part 10.

    Raises
    ------
    UnreadableInstance
        If it is not what intake took in; the text never holds a value of the data set.
    """
    attributes = Attributes.of(open_part10(data, limits=Limits(), wanted=_WANTED))
    frames = attributes.integer(_FRAMES)
    return SourceImage(
        study_uid=attributes.uid(_STUDY_UID, "Study Instance UID"),
        series_uid=attributes.uid(_SERIES_UID, "Series Instance UID"),
        instance_uid=attributes.uid(_SOP_INSTANCE, "SOP Instance UID"),
        sop_class_uid=attributes.uid(_SOP_CLASS, "SOP Class UID"),
        modality=attributes.code(_MODALITY),
        frames=1 if frames is None else max(1, frames),
        rows=attributes.short(_ROWS) or 0,
        columns=attributes.short(_COLUMNS) or 0,
        subject=_subject(attributes),
    )


def _subject(attributes: Attributes) -> tuple[tuple[str, str], ...]:
    # Only the first of several values: none of these may have more.
    found = {name: attributes.text(tag).split("\\")[0].strip() for tag, name in _TEXTS.items()}
    for tag, (name, form) in _FORMS.items():
        value = attributes.code(tag)
        found[name] = value if form.fullmatch(value) and _is_date(name, value) else ""
    return tuple((name, text) for name, text in found.items() if text or name not in _OPTIONAL)


def _is_date(name: str, value: str) -> bool:
    """Whether a value that is to be a date is in the calendar."""
    if not name.endswith("Date"):
        return True
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True
