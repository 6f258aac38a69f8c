"""DICOM instances made up for tests. No patient in them is or was anybody."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

STUDY = "1.2.826.0.1.3680043.10.1"
SERIES = "1.2.826.0.1.3680043.10.1.1"
AXIAL = [1, 0, 0, 0, 1, 0]

_SYNTAX = b"1.2.840.10008.1.2.1\0"
META = b"\0" * 128 + b"DICM" + b"\2\0\x10\0UI" + struct.pack("<H", len(_SYNTAX)) + _SYNTAX
"""A preamble and the smallest file meta there is; the data set follows in explicit VR."""


def ct_data_set(
    *,
    position_mm: float = 0.0,
    number: int = 1,
    stored: NDArray[Any] | None = None,
    study: str = STUDY,
    series: str = SERIES,
    **changes: Any,
) -> Dataset:
    """Return one axial head CT slice as a data set.

    `stored` holds the stored values, HU + 1024 by the default rescale; int16 is signed. `changes`
    are DICOM keywords with their values; None takes the attribute away.
    """
    if stored is None:
        stored = np.full((16, 16), 1024, dtype=np.uint16)
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = CTImageStorage
    data_set.SOPInstanceUID = f"{series}.{number}"
    data_set.StudyDate = "20240501"
    data_set.StudyTime = "101500"
    data_set.AcquisitionDate = "20240501"
    data_set.AcquisitionTime = "101530.250000"
    data_set.AccessionNumber = "ACC1"
    data_set.Modality = "CT"
    data_set.StudyDescription = "Head without contrast"
    data_set.SeriesDescription = "5 mm brain"
    data_set.PatientName = "Nobody^Test"
    data_set.PatientID = "TEST-1"
    data_set.PatientBirthDate = "19640501"
    data_set.PatientSex = "O"
    data_set.BodyPartExamined = "HEAD"
    data_set.SliceThickness = "5"
    data_set.StudyInstanceUID = study
    data_set.SeriesInstanceUID = series
    data_set.InstanceNumber = number
    data_set.ImagePositionPatient = [-125, -125, position_mm]
    data_set.ImageOrientationPatient = AXIAL
    data_set.PixelSpacing = [0.5, 0.5]
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    describe(data_set, stored)
    data_set.RescaleIntercept = "-1024"
    data_set.RescaleSlope = "1"
    for keyword, value in changes.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    return data_set


def describe(data_set: Dataset, stored: NDArray[Any]) -> None:
    """Put stored values, (rows, columns) or (frames, rows, columns), into a data set."""
    bits = stored.dtype.itemsize * 8
    data_set.Rows, data_set.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        data_set.NumberOfFrames = stored.shape[0]
    data_set.BitsAllocated = bits
    data_set.BitsStored = bits
    data_set.HighBit = bits - 1
    data_set.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    raw = stored.tobytes()
    data_set.PixelData = raw + b"\0" * (len(raw) % 2)
    data_set["PixelData"].VR = "OB" if bits == 8 else "OW"


def part10(data_set: Dataset, *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a data set as a DICOM file; its pixels are compressed if `syntax` says RLE or JPEG-LS.

    Pixel data that is encapsulated already stays as it is; other is little-endian.
    """
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    if UID(syntax).is_encapsulated and not data_set.PixelData.startswith(b"\xfe\xff\x00\xe0"):
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        # Not GDCM's encoder of RLE: it ends the process on aarch64. Here it is decoded by our own.
        plugin = "pydicom" if syntax == RLELossless else ""
        data_set.compress(UID(syntax), generate_instance_uid=False, encoding_plugin=plugin)
    data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", CTImageStorage)
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", "1.2.3")
    if syntax == ExplicitVRBigEndian and data_set.get("BitsAllocated") == 16:
        data_set.PixelData = np.frombuffer(data_set.PixelData, "<u2").astype(">u2").tobytes()
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()


def ct_slice(*, syntax: str = ExplicitVRLittleEndian, **what: Any) -> bytes:
    """Return one axial head CT slice as a DICOM file; see `ct_data_set`."""
    return part10(ct_data_set(**what), syntax=syntax)


def radiograph(*, stored: NDArray[Any] | None = None, **changes: Any) -> bytes:
    """Return one digital chest radiograph as a DICOM file; see `ct_data_set`."""
    described = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ImageType": ["DERIVED", "PRIMARY"],
        "ViewPosition": "PA",
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "RescaleIntercept": None,
        "RescaleSlope": None,
    }
    return ct_slice(stored=stored, **{**described, **changes})


def with_values(data_set: Dataset, values: dict[str, bytes]) -> bytes:
    """Return a DICOM file in which the named attributes hold these bytes, legal or not.

    pydicom would refuse or repair them, so that the file is put together here.
    """
    places = {int(Tag(keyword)): value for keyword, value in values.items()}
    body = {int(one.tag): _encoded(one) for one in data_set if int(one.tag) not in places}
    for tag, value in places.items():
        head = struct.pack(
            "<HH2sH", tag >> 16, tag & 0xFFFF, dictionary_VR(tag).encode(), len(value)
        )
        body[tag] = head + value
    return META + b"".join(body[tag] for tag in sorted(body))


def _encoded(element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, ["utf_8"])
    return bytes(buffer.getvalue())
