"""Assemble DICOM instances: pixels in, valid CT, DX and MR data sets out.

Sources: DICOM PS3.3 A.3 (CT Image IOD), A.26 (Digital X-Ray), A.4 (MR Image), C.7 (patient,
study, series, frame of reference, equipment, image), C.8.2.1 (CT image), C.8.11 (DX), C.8.3.1
(MR image); types 1 and 2 of the modules those IODs call mandatory are all present.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

MANUFACTURER = "Scanside phantom"
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
"""Image Orientation (Patient): rows run to the patient's left, columns to the back."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who was scanned. Invented people only.

    Parameters
    ----------
    name : str
        Patient's Name, for example ``Phantom^Head 0001``.
    patient_id : str
        Patient ID.
    sex : str
        F, M or O.
    age : int
        Years.
    """

    name: str
    patient_id: str
    sex: str = "O"
    age: int = 60


@dataclass(frozen=True, slots=True)
class Exam:
    """What was scanned, and when.

    Parameters
    ----------
    body_part : str
        Body Part Examined, upper case (PS3.16 annex L).
    study, series : str
        Study and Series Description.
    when : datetime.datetime
        When the study began.
    """

    body_part: str
    study: str
    series: str
    when: datetime


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels are.

    Parameters
    ----------
    spacing_mm : float
        In-plane, both directions.
    thickness_mm : float
        Slice thickness.
    positions_mm : tuple of float
        z of each slice, foot to head.
    """

    spacing_mm: float
    thickness_mm: float
    positions_mm: tuple[float, ...]


def ct_series(
    hu: NDArray[np.int16],
    subject: Subject,
    exam: Exam,
    grid: Grid,
    *,
    instance_numbers: Sequence[int] | None = None,
    window: tuple[int, int] = (40, 80),
) -> list[FileDataset]:
    """Return one CT Image Storage instance per slice.

    Parameters
    ----------
    hu : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units, at least -1024.
    subject, exam, grid
        Who, what, where.
    instance_numbers : sequence of int, optional
        Instance Number of each slice; 1, 2, 3 ... when not given.
    window : (int, int)
        Window Center and Width in HU.

    Returns
    -------
    list of pydicom.dataset.FileDataset
        In the order of `hu`. Stored values are HU + 1024, 16 bits unsigned.
    """
    stored = np.clip(hu.astype(np.int32) + 1024, 0, 4095).astype(np.uint16)
    uids = _SeriesUids()
    numbers = list(instance_numbers or range(1, len(hu) + 1))
    series = []
    for index, number in enumerate(numbers):
        ds = _instance(CTImageStorage, "CT", subject, exam, uids=uids, number=number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        _place(ds, uids, grid, index, stored.shape[1:])
        _in_time(ds, exam.when + timedelta(milliseconds=500 * index))
        ds.AcquisitionNumber = 1
        ds.ImagesInAcquisition = len(numbers)
        _pixels(ds, stored[index], bits=12)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        ds.WindowCenter, ds.WindowWidth = window
        ds.KVP = 120
        ds.ExposureTime, ds.XRayTubeCurrent, ds.GantryDetectorTilt = 1000, 250, 0
        ds.ConvolutionKernel = "BRAIN"
        series.append(ds)
    return series


@dataclass(frozen=True, slots=True)
class Placed:
    """Slices that lie in any direction.

    Parameters
    ----------
    orientation : tuple of 6 float
        Image Orientation (Patient).
    positions : tuple of 3 float, each
        Image Position (Patient) of each slice, in mm.
    spacing_mm : (float, float)
        Distance of rows, then of columns.
    thickness_mm : float
        Distance of slices, which touch.
    """

    orientation: tuple[float, ...]
    positions: tuple[tuple[float, float, float], ...]
    spacing_mm: tuple[float, float]
    thickness_mm: float


def mr_volume(
    signal: NDArray[np.uint16],
    subject: Subject,
    exam: Exam,
    placed: Placed,
    window: tuple[int, int],
    *,
    flair: bool,
) -> list[FileDataset]:
    """Return one MR Image Storage instance per slice of a 3-D acquisition.

    Parameters
    ----------
    signal : ndarray of uint16, shape (slices, rows, columns)
        Signal, no unit.
    subject, exam, placed
        Who, what, where.
    window : (int, int)
        Window Center and Width.
    flair : bool
        Fluid-attenuated inversion recovery; otherwise a T1-weighted gradient echo.
    """
    uids = _SeriesUids()
    series = []
    for index, plane in enumerate(signal):
        ds = _instance(MRImageStorage, "MR", subject, exam, uids=uids, number=index + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uids.frame_of_reference, ""
        ds.PatientPosition = "HFS"
        ds.PixelSpacing, ds.SliceThickness = list(placed.spacing_mm), placed.thickness_mm
        ds.ImageOrientationPatient = [_ds(value) for value in placed.orientation]
        ds.ImagePositionPatient = [_ds(value) for value in placed.positions[index]]
        _in_time(ds, exam.when)
        ds.AcquisitionNumber, ds.ImagesInAcquisition = 1, len(signal)
        _pixels(ds, plane, bits=16)
        ds.WindowCenter, ds.WindowWidth = window
        ds.ScanOptions, ds.MRAcquisitionType = "", "3D"
        if flair:
            ds.ScanningSequence, ds.SequenceVariant = ["SE", "IR"], ["SK", "SP"]
            ds.RepetitionTime, ds.EchoTime, ds.InversionTime = 5000, 340, 1800
        else:
            ds.ScanningSequence, ds.SequenceVariant = ["GR", "IR"], ["SK", "SP", "MP"]
            ds.RepetitionTime, ds.EchoTime, ds.InversionTime = 2300, 3, 900
        ds.EchoTrainLength, ds.MagneticFieldStrength = 1, 3
        ds.SpacingBetweenSlices = placed.thickness_mm
        series.append(ds)
    return series


def mr_series(
    signal: NDArray[np.uint16], subject: Subject, exam: Exam, grid: Grid, window: tuple[int, int]
) -> list[FileDataset]:
    """Return one MR Image Storage instance per slice of a 2-D FLAIR at 1.5 T.

    Parameters
    ----------
    signal : ndarray of uint16, shape (slices, rows, columns)
        Signal, 0 to 4095, no unit.
    """
    uids = _SeriesUids()
    series = []
    for index, plane in enumerate(signal):
        ds = _instance(MRImageStorage, "MR", subject, exam, uids=uids, number=index + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        _place(ds, uids, grid, index, plane.shape)
        _in_time(ds, exam.when + timedelta(seconds=4 * index))
        ds.AcquisitionNumber = 1
        ds.ImagesInAcquisition = len(signal)
        _pixels(ds, plane, bits=12)
        ds.WindowCenter, ds.WindowWidth = window
        ds.ScanningSequence, ds.SequenceVariant = ["SE", "IR"], ["SK", "SP"]
        ds.ScanOptions, ds.MRAcquisitionType = "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.InversionTime = 9000, 120, 2500
        ds.EchoTrainLength, ds.MagneticFieldStrength = 16, 1.5
        ds.SpacingBetweenSlices = grid.thickness_mm
        series.append(ds)
    return series


def dx_image(
    pixels: NDArray[np.uint16],
    subject: Subject,
    exam: Exam,
    spacing_mm: float,
    window: tuple[int, int],
) -> FileDataset:
    """Return a frontal Digital X-Ray image, for presentation.

    Parameters
    ----------
    pixels : ndarray of uint16, shape (rows, columns)
        0 to 4095; more is whiter, so more tissue in the way of the X-rays.
    spacing_mm : float
        Imager Pixel Spacing.
    """
    ds = _instance(
        DigitalXRayImageStorageForPresentation,
        "DX",
        subject,
        exam,
        uids=_SeriesUids(),
        number=1,
    )
    _in_time(ds, exam.when)
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.AcquisitionNumber, ds.ImagesInAcquisition = 1, 1
    ds.PatientOrientation = ["L", "F"]
    ds.ViewPosition, ds.PositionerType = "PA", ""
    ds.ImageLaterality = "U"
    ds.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    view = _code("399348003", "SCT", "postero-anterior")
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]
    ds.AcquisitionContextSequence = []
    _pixels(ds, pixels, bits=12)
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = window
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.DetectorType = "SCINTILLATOR"
    ds.ImagerPixelSpacing = [spacing_mm, spacing_mm]
    ds.KVP, ds.DistanceSourceToDetector = 125, 1800
    return ds


def write_series(series: Iterable[FileDataset], folder: Path) -> list[Path]:
    """Write each instance as ``image-0001.dcm`` ... and return the files, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, ds in enumerate(series, start=1):
        path = folder / f"image-{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        written.append(path)
    return written


class _SeriesUids:
    """The identities that the instances of one series share."""

    def __init__(self) -> None:
        self.study: UID = generate_uid()
        self.series: UID = generate_uid()
        self.frame_of_reference: UID = generate_uid()


def _instance(
    sop_class: UID, modality: str, subject: Subject, exam: Exam, *, uids: _SeriesUids, number: int
) -> FileDataset:
    """Patient, study, series, equipment and SOP common modules."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID = subject.name, subject.patient_id
    ds.PatientBirthDate = f"{exam.when.year - subject.age}0101"
    ds.PatientSex, ds.PatientAge = subject.sex, f"{subject.age:03d}Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids.study, uids.series
    ds.StudyDate, ds.StudyTime = _date(exam.when), _time(exam.when)
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, ds.StudyTime
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.StudyID, ds.StudyDescription = "1", exam.study
    ds.SeriesNumber, ds.SeriesDescription = 1, exam.series
    ds.Modality, ds.BodyPartExamined, ds.ProtocolName = modality, exam.body_part, exam.series
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, "scanside-scanner"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "PHANTOM", "1"
    ds.InstanceNumber = number
    return ds


def _place(ds: Dataset, uids: _SeriesUids, grid: Grid, index: int, shape: tuple[int, ...]) -> None:
    """Frame of reference and image plane modules; the grid is centred on the z axis."""
    rows, columns = shape
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uids.frame_of_reference, "OM"
    ds.PatientPosition, ds.PatientOrientation = "HFS", ["L", "P"]
    ds.PixelSpacing = [grid.spacing_mm, grid.spacing_mm]
    ds.SliceThickness = grid.thickness_mm
    ds.ImageOrientationPatient = AXIAL
    z = round(grid.positions_mm[index], 3)
    # Position of the centre of the first pixel (PS3.3 C.7.6.2.1.1).
    ds.ImagePositionPatient = [
        round(-(columns - 1) / 2 * grid.spacing_mm, 4),
        round(-(rows - 1) / 2 * grid.spacing_mm, 4),
        z,
    ]
    ds.SliceLocation = z


def _in_time(ds: Dataset, when: datetime) -> None:
    ds.AcquisitionDate, ds.AcquisitionTime = _date(when), _time(when)
    ds.ContentDate, ds.ContentTime = _date(when), _time(when)


def _pixels(ds: Dataset, plane: NDArray[np.uint16], *, bits: int) -> None:
    """Image pixel module, unsigned in 16 bits."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = 0
    ds.PixelData = np.ascontiguousarray(plane, dtype="<u2").tobytes()
    ds["PixelData"].VR = "OW"


def _ds(value: float) -> float:
    """Return a number that fits a Decimal String, 16 characters (PS3.5 table 6.2-1)."""
    return float(f"{value:.8g}")


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _date(when: datetime) -> str:
    return when.strftime("%Y%m%d")


def _time(when: datetime) -> str:
    return when.strftime("%H%M%S.%f")
