"""A key image with its heatmap as a Secondary Capture, which every viewer shows.

Source: DICOM PS3.3 A.8.1 (Secondary Capture IOD), C.8.6 (SC equipment and image), C.7.6.1 (general
image). It is derived from the key image and says so; it has no plane and no spacing, for nobody is
to measure in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from edge.alerts.chance import chance
from edge.alerts.message import NOTICE
from edge.results.framing import character_set, inherit
from edge.results.identity import (
    MANUFACTURER,
    SERIES_DESCRIPTION,
    Device,
    ObjectNames,
    content_moment,
)
from edge.results.report import FindingLine, ModelLine, Report
from edge.results.source import SourceImage

_SERIES_NUMBER = 9903
_PROCESSED = Code("121322", "DCM", "Source of image processing operation")  # PS3.16 CID 7202


def words_of(report: Report, line: FindingLine) -> tuple[str, ...]:
    """Return what is burned into the picture: nothing in it is of the patient."""
    model = _model(report, line)
    place = f", {line.place}" if line.place else ""
    return (
        f"{MANUFACTURER} machine reading, UNVERIFIED, {report.decided[:16].replace('T', ' ')} UTC",
        f"{line.label}{place}: {chance(line.probability)}, flagged from {line.threshold:.0%} on, "
        f"by {model.name} {model.version}",
        "Colour: what speaks for it, not where it ends. Not for measuring.",
        NOTICE,
    )


def secondary_capture(
    report: Report,
    line: FindingLine,
    names: ObjectNames,
    device: Device,
    source: SourceImage,
    pixels: NDArray[np.uint8],
    orientation: tuple[str, str] | None,
) -> Dataset:
    """Return a picture as a DICOM object.

    Parameters
    ----------
    report : Report
    line : FindingLine
        What it shows; with an image.
    names : ObjectNames
    device : Device
    source : SourceImage
        The key image.
    pixels : uint8 (rows, columns, 3)
        RGB.
    orientation : (str, str) or None
        The patient's side at the right and at the bottom; None where it is not known.
    """
    moment = content_moment(report.decided)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    needed = character_set(report, source)
    if needed is not None:
        made.SpecificCharacterSet = needed
    inherit(made, source.as_dataset())
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, names.instance_uid
    made.StudyInstanceUID, made.SeriesInstanceUID = source.study_uid, names.series_uid
    made.SeriesNumber, made.InstanceNumber = _SERIES_NUMBER, names.number
    made.Modality, made.ConversionType, made.Laterality = "OT", "WSD", ""
    made.SeriesDescription = SERIES_DESCRIPTION
    made.Manufacturer = made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions, made.DeviceSerialNumber = device.software, device.name
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "NO"  # none that says who the patient is
    made.PatientOrientation = "" if orientation is None else list(orientation)
    made.DerivationDescription = f"Heatmap of {line.model} over the image"
    made.SourceImageSequence = [_reference(source, line)]
    made.ImageComments = NOTICE
    _date(made, moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f"))
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"
    made.PlanarConfiguration = made.PixelRepresentation = 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    data = pixels.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    return made


def _date(made: Dataset, day: str, time: str) -> None:
    """Write the moment of the decision, whenever it is made."""
    made.SeriesDate = made.ContentDate = made.InstanceCreationDate = day
    made.SeriesTime = made.ContentTime = made.InstanceCreationTime = time
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = day, time


def _reference(source: SourceImage, line: FindingLine) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class_uid
    reference.ReferencedSOPInstanceUID = source.instance_uid
    if source.frames > 1 and line.image is not None:
        reference.ReferencedFrameNumber = line.image.frame + 1
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = _PROCESSED.value, "DCM"
    purpose.CodeMeaning = _PROCESSED.meaning
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference


def _model(report: Report, line: FindingLine) -> ModelLine:
    return next(one for one in report.models if one.name == line.model)
