"""Which images of a series are not for analysis.

Scouts, reformats and screen saves travel in the same series and studies as the slices. They are
set aside, with a reason people can read, and never fail the series. Sources: DICOM PS3.3
C.7.6.1.1.2 (Image Type), C.8.2.1 (CT image), PS3.4 B.5 (storage SOP classes).

The rule for Image Type. Value 1 says whether pixel values are ORIGINAL or DERIVED, value 2
whether the image was made by the examination (PRIMARY) or after it (SECONDARY). ORIGINAL pixels
are kept whatever value 2 says: a second reconstruction is often called SECONDARY. DERIVED\\PRIMARY
is kept: it is what digital X-ray sends for presentation and what compression leaves behind.
DERIVED\\SECONDARY is set aside, except where Lossy Image Compression (0028,2110) explains it: then
a system on the way compressed an image and followed the standard in calling it derived. Words that
name a reformat, a projection or a map settle it in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edge.imaging.geometry import slice_normal
from edge.imaging.header import Header


class Why(Enum):
    """Why an image is set aside; the value is safe as a metric's label."""

    NOT_AN_IMAGE = "not-an-image"
    NOT_ACQUIRED = "not-acquired"
    LOCALIZER = "localizer"
    SCREEN_SAVE = "screen-save"
    REFORMAT = "reformat"
    DERIVED = "derived"
    ORIENTATION = "orientation"
    NOT_HOUNSFIELD = "not-hounsfield"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A decision not to analyse one image.

    Parameters
    ----------
    why : Why
        The kind of image.
    text : str
        A sentence for the console; holds no value of the data set.
    """

    why: Why
    text: str


# Image Type values beyond the second, as vendors write them.
_LOCALIZERS = frozenset(
    {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SCANOGRAM", "SURVIEW", "SCANOSCOPE"}
)
_SCREENS = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "SCREENSHOT", "SCREEN SHOT", "DOSE_INFO"}
    | {"DOSE INFO", "DOSE REPORT", "DOSE", "PROTOCOL", "PATIENT PROTOCOL", "GRAPH", "TABLE"}
)
_REFORMATS = frozenset(
    {"MPR", "REFORMATTED", "CURVED_MPR", "CPR", "CSA MPR", "MIP", "MINIP", "MAX_IP", "MIN_IP"}
    | {"PROJECTION IMAGE", "AVERAGE", "VRT", "VOLUME_RENDER", "SSD", "3D", "VOLREN"}
    | {"CBF", "CBV", "MTT", "TTP", "TMAX", "PERFUSION", "SUBTRACTION", "FUSED", "CT_SOM5 MPR"}
)

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Classes that carry pixel data that no scanner acquired.
_NOT_ACQUIRED = frozenset(
    {
        _SECONDARY_CAPTURE,
        f"{_SECONDARY_CAPTURE}.1",
        f"{_SECONDARY_CAPTURE}.2",
        f"{_SECONDARY_CAPTURE}.3",
        f"{_SECONDARY_CAPTURE}.4",
        "1.2.840.10008.5.1.4.1.1.30",  # parametric map
        "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
        "1.2.840.10008.5.1.4.1.1.11.8",  # variable modality LUT presentation state
    }
)
# Rescale Type (PS3.3 C.11.1.1.2) of plain CT; the others are maps: atomic number, density, iodine.
_HOUNSFIELD = frozenset({"", "HU", "HU_MOD", "US"})
# More than sixty degrees off the patient's long axis. A gantry tilts by thirty at the most.
_LEAST_AXIAL = 0.5


def set_aside(header: Header) -> SetAside | None:
    """Return why an image is not for analysis, or None if it is.

    The caller keeps the image, does not count it as failed, and shows that it was not analysed.
    """
    return next((SetAside(why, text) for why, text, holds in _RULES if holds(header)), None)


def _words(header: Header) -> frozenset[str]:
    return frozenset(header.image_type[2:])


def _is_reformat(header: Header) -> bool:
    return "DERIVED" in header.image_type[:2] and bool(_words(header) & _REFORMATS)


def _is_derived(header: Header) -> bool:
    return header.image_type[:2] == ("DERIVED", "SECONDARY") and not header.lossy


def _is_a_map(header: Header) -> bool:
    return header.modality == "CT" and header.rescale_type not in _HOUNSFIELD


def _is_not_axial(header: Header) -> bool:
    if header.modality != "CT" or header.orientation is None:
        return False
    return abs(slice_normal(header.orientation)[2]) < _LEAST_AXIAL


# The first that holds is the reason. Screens come before classes: a dose table is often sent as a
# secondary capture, and people know it by the former name.
_RULES: tuple[tuple[Why, str, Callable[[Header], bool]], ...] = (
    (
        Why.NOT_AN_IMAGE,
        "It holds no image: a report, a state or a document.",
        lambda header: not header.has_pixels,
    ),
    (
        Why.SCREEN_SAVE,
        "It is a picture of a screen or a dose table.",
        lambda header: bool(_words(header) & _SCREENS),
    ),
    (
        Why.NOT_ACQUIRED,
        "It was computed or captured, not acquired.",
        lambda header: header.sop_class_uid in _NOT_ACQUIRED,
    ),
    (
        Why.LOCALIZER,
        "It is a localizer, taken to plan the scan.",
        lambda header: bool(_words(header) & _LOCALIZERS),
    ),
    (Why.REFORMAT, "It is a reformat, a projection or a map of other images.", _is_reformat),
    (Why.DERIVED, "It was made from other images after the examination.", _is_derived),
    (Why.NOT_HOUNSFIELD, "It is a CT map whose values are not Hounsfield units.", _is_a_map),
    (Why.ORIENTATION, "It is a CT image that is not an axial slice.", _is_not_axial),
)
