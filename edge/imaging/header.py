"""What an instance says of itself, read without touching its pixels.

The intake reads every header before it answers the sender, so this must be quick and must hold
against bytes of any kind: `edge.imaging.part10` walks them within bounds, and nothing here loads
a decoder. `Header` holds nothing that identifies a patient besides UIDs; `Identity` holds the
rest, apart, and does not show it. Sources: DICOM PS3.3 C.7 (patient, study, series, image plane,
image pixel), C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.description import WANTED as DESCRIPTION
from edge.imaging.description import describe_pixels
from edge.imaging.groups import PIXEL_MEASURES, frame_scopes
from edge.imaging.groups import WANTED as GROUPS
from edge.imaging.moments import acquired_at, age_years
from edge.imaging.part10 import open_part10
from edge.imaging.plane import WANTED as PLANE
from edge.imaging.plane import orientation_of, pixel_spacing_of, position_of

__all__ = ["Header", "Identity", "Limits", "Reason", "UnreadableInstance", "read_header"]

_CHARACTER_SET = 0x00080005
_IMAGE_TYPE = 0x00080008
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_ACCESSION = 0x00080050
_MODALITY = 0x00080060
_STUDY_DESCRIPTION = 0x00081030
_SERIES_DESCRIPTION = 0x0008103E
_PATIENT_NAME = 0x00100010
_PATIENT_ID = 0x00100020
_ISSUER = 0x00100021
_BIRTH_DATE = 0x00100030
_SEX = 0x00100040
_AGE = 0x00101010
_BODY_PART = 0x00180015
_SLICE_THICKNESS = 0x00180050
_SPACING_BETWEEN = 0x00180088
_PROTOCOL = 0x00181030
_VIEW_POSITION = 0x00185101
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_ACQUISITION_NUMBER = 0x00200012
_INSTANCE_NUMBER = 0x00200013
_LATERALITY = 0x00200060
_IMAGE_LATERALITY = 0x00200062
_IMAGES_IN_ACQUISITION = 0x00201002
_STUDY_INSTANCES = 0x00201208
_SERIES_INSTANCES = 0x00201209
_RESCALE_TYPE = 0x00281054
_LOSSY = 0x00282110

_ACQUISITION_MOMENT = 0x0008002A
# Date and time of acquisition, then of the series, then of the study.
_MOMENTS = ((0x00080022, 0x00080032), (0x00080021, 0x00080031), (0x00080020, 0x00080030))
_TIME_ZONE = 0x00080201

_WANTED = frozenset(
    value
    for name, value in list(globals().items())
    if name.startswith("_") and name.isupper() and isinstance(value, int)
).union(DESCRIPTION, GROUPS, PLANE, *_MOMENTS)


@dataclass(frozen=True, slots=True)
class Header:
    """What routing, assembly and ordering need to know of one instance.

    Parameters
    ----------
    study_uid, series_uid, instance_uid, sop_class_uid, transfer_syntax_uid : str
        UIDs, valid by PS3.5 9 but for leading zeros.
    modality, body_part : str
        Upper-cased; "" if absent.
    descriptions : tuple of str
        Study Description, Series Description and Protocol Name, those that are there.
    image_type : tuple of str
        Image Type (0008,0008), upper-cased.
    instance_number, acquisition_number : int or None
        As sent; None if absent or invalid.
    position : tuple of 3 float, or None
        Image Position (Patient) in mm; of the first frame in a multi-frame instance.
    orientation : tuple of 6 float, or None
        Direction cosines of a row and of a column; None unless both are usable directions.
    pixel_spacing : tuple of 2 float, or None
        Distance of rows, then of columns, in mm, both above zero.
    slice_thickness_mm, spacing_between_slices_mm : float or None
    rows, columns, frames : int
        Of the pixel data; 0, 0 and 1 where an instance has none.
    images_in_acquisition, series_instances, study_instances : int or None
        (0020,1002), (0020,1209), (0020,1208), where the sender announces them.
    patient_age_years : float or None
        Patient's Age, else from the birth date and the study date.
    acquired : str
        ISO 8601 date or date and time, with the zone if the sender gives it; "" if unknown.
    has_pixels : bool
        Whether Pixel Data, Float Pixel Data or Double Float Pixel Data is present.
    lossy : bool
        Lossy Image Compression (0028,2110) is "01".
    rescale_type : str
        Unit of the rescaled pixels (0028,1054), upper-cased; "" if the sender leaves it open.
    view_position, laterality : str
        "" if absent.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    body_part: str
    descriptions: tuple[str, ...]
    image_type: tuple[str, ...]
    instance_number: int | None
    acquisition_number: int | None
    position: tuple[float, float, float] | None
    orientation: tuple[float, float, float, float, float, float] | None
    pixel_spacing: tuple[float, float] | None
    slice_thickness_mm: float | None
    spacing_between_slices_mm: float | None
    rows: int
    columns: int
    frames: int
    images_in_acquisition: int | None
    series_instances: int | None
    study_instances: int | None
    patient_age_years: float | None
    acquired: str
    has_pixels: bool
    lossy: bool
    rescale_type: str
    view_position: str
    laterality: str


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Who the patient is. Kept apart from `Header`, and shown by no log or error.

    Parameters
    ----------
    patient_id, issuer, name, birth_date, sex, accession : str
        As sent, decoded; "" if absent. The name keeps its component groups (PS3.5 6.2.1.1).
    """

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    accession: str

    def __repr__(self) -> str:
        return "Identity(withheld)"


def read_header(data: bytes | BinaryIO, *, limits: Limits) -> tuple[Header, Identity]:
    """Read what a DICOM Part 10 instance says of itself.

    Parameters
    ----------
    data : bytes or BinaryIO
        Preamble, file meta and data set.
    limits : Limits
        What may be read at all.

    Returns
    -------
    Header
        Nothing in it identifies a patient besides UIDs.
    Identity
        The patient.

    Raises
    ------
    UnreadableInstance
        If it is not DICOM, is cut short, breaks the rules of encoding, lacks a UID or has an
        illegal one, is over a limit, or has fewer pixels than its description says. The text
        never holds a value of the data set.
    """
    part10 = open_part10(data, limits=limits, wanted=_WANTED)
    attributes = Attributes.of(part10)
    instance_uid = attributes.uid(_SOP_INSTANCE, "SOP Instance UID")
    sop_class_uid = attributes.uid(_SOP_CLASS, "SOP Class UID")
    study_uid = attributes.uid(_STUDY_UID, "Study Instance UID")
    series_uid = attributes.uid(_SERIES_UID, "Series Instance UID")
    pixels = describe_pixels(attributes, part10.syntax, limits)
    first_frame = next(frame_scopes(attributes))
    birth_date = attributes.text(_BIRTH_DATE)
    moments = [(attributes.code(date), attributes.code(time)) for date, time in _MOMENTS]
    described = (_STUDY_DESCRIPTION, _SERIES_DESCRIPTION, _PROTOCOL)
    header = Header(
        study_uid=study_uid,
        series_uid=series_uid,
        instance_uid=instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=part10.syntax,
        modality=attributes.code(_MODALITY),
        body_part=attributes.code(_BODY_PART),
        descriptions=tuple(text for tag in described if (text := attributes.text(tag))),
        image_type=attributes.codes(_IMAGE_TYPE),
        instance_number=attributes.integer(_INSTANCE_NUMBER),
        acquisition_number=attributes.integer(_ACQUISITION_NUMBER),
        position=position_of(first_frame),
        orientation=orientation_of(first_frame),
        pixel_spacing=pixel_spacing_of(first_frame),
        slice_thickness_mm=first_frame.number(PIXEL_MEASURES, _SLICE_THICKNESS),
        spacing_between_slices_mm=first_frame.number(PIXEL_MEASURES, _SPACING_BETWEEN),
        rows=pixels.rows if pixels else 0,
        columns=pixels.columns if pixels else 0,
        frames=pixels.frames if pixels else 1,
        images_in_acquisition=_count(attributes, _IMAGES_IN_ACQUISITION),
        series_instances=_count(attributes, _SERIES_INSTANCES),
        study_instances=_count(attributes, _STUDY_INSTANCES),
        patient_age_years=age_years(attributes.code(_AGE), birth_date, moments[-1][0]),
        acquired=acquired_at(
            attributes.code(_ACQUISITION_MOMENT), moments, attributes.code(_TIME_ZONE)
        ),
        has_pixels=pixels is not None,
        lossy=attributes.code(_LOSSY) == "01",
        rescale_type=attributes.code(_RESCALE_TYPE),
        view_position=attributes.code(_VIEW_POSITION),
        laterality=attributes.code(_IMAGE_LATERALITY) or attributes.code(_LATERALITY),
    )
    return header, Identity(
        patient_id=attributes.text(_PATIENT_ID),
        issuer=attributes.text(_ISSUER),
        name=attributes.text(_PATIENT_NAME),
        birth_date=birth_date,
        sex=attributes.text(_SEX),
        accession=attributes.text(_ACCESSION),
    )


def _count(attributes: Attributes, tag: int) -> int | None:
    """Return an announced number of images; zero and less announce nothing."""
    value = attributes.integer(tag)
    return value if value is not None and value > 0 else None
