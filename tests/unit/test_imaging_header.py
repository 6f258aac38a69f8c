"""What an instance says of itself."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from builders import SERIES, STUDY, ct_data_set, ct_slice, part10, radiograph, with_values
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from edge.imaging.header import Header, Limits, Reason, UnreadableInstance, read_header

LIMITS = Limits()


def header_of(data: bytes) -> Header:
    return read_header(data, limits=LIMITS)[0]


def refusal_of(data: bytes, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(UnreadableInstance) as caught:
        read_header(data, limits=limits)
    return caught.value.reason


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_the_header_says_the_same_in_every_native_syntax(syntax: str) -> None:
    header = header_of(
        ct_slice(position_mm=12.5, number=7, syntax=syntax, ImagesInAcquisition="40")
    )
    assert header.transfer_syntax_uid == syntax
    assert (header.study_uid, header.series_uid) == (STUDY, SERIES)
    assert header.instance_uid == f"{SERIES}.7"
    assert (header.modality, header.body_part) == ("CT", "HEAD")
    assert header.descriptions == ("Head without contrast", "5 mm brain")
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert header.position == (-125.0, -125.0, 12.5)
    assert header.orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert header.pixel_spacing == (0.5, 0.5)
    assert header.slice_thickness_mm == 5.0
    assert (header.rows, header.columns, header.frames) == (16, 16, 1)
    assert (header.instance_number, header.images_in_acquisition) == (7, 40)
    assert header.acquired == "2024-05-01T10:15:30.250000"
    assert header.patient_age_years == pytest.approx(60, abs=0.01)
    assert header.has_pixels


def test_a_stream_is_read_like_bytes() -> None:
    data = ct_slice()
    assert read_header(BytesIO(data), limits=LIMITS) == read_header(data, limits=LIMITS)


def test_identity_is_kept_apart_and_is_not_shown() -> None:
    header, identity = read_header(ct_slice(IssuerOfPatientID="WARD"), limits=LIMITS)
    assert (identity.name, identity.patient_id) == ("Nobody^Test", "TEST-1")
    assert (identity.issuer, identity.accession) == ("WARD", "ACC1")
    assert (identity.birth_date, identity.sex) == ("19640501", "O")
    for secret in ("Nobody", "TEST-1", "19640501", "ACC1", "WARD"):
        assert secret not in repr(identity)
        assert secret not in repr(header)


def test_a_radiograph_has_a_view_and_no_plane() -> None:
    header = header_of(radiograph(ImageLaterality="L", ImagerPixelSpacing=[0.15, 0.15]))
    assert (header.view_position, header.laterality) == ("PA", "L")
    assert header.position is None
    assert header.orientation is None


def test_numbers_that_are_none_are_absent_and_not_fatal() -> None:
    header = header_of(
        with_values(
            ct_data_set(),
            {
                "SliceThickness": b"thick ",
                "InstanceNumber": b"",
                "ImagePositionPatient": b"0\\nan\\0 ",
                "ImageOrientationPatient": b"1\\0\\0\\2\\0\\0 ",
                "PixelSpacing": b"0.5 ",
                "ImagesInAcquisition": b"-3",
                "PatientAge": b"old ",
                "NumberOfFrames": b"1A",
                "AcquisitionTime": b"99:99 ",
            },
        )
    )
    assert header.slice_thickness_mm is None
    assert header.instance_number is None
    assert header.position is None
    assert header.orientation is None
    assert header.pixel_spacing is None
    assert header.images_in_acquisition is None
    assert header.patient_age_years == pytest.approx(60, abs=0.01)
    assert header.frames == 1
    assert header.acquired == "2024-05-01"


def test_an_enhanced_image_has_the_plane_of_its_first_frame() -> None:
    data_set = ct_data_set(stored=np.zeros((2, 4, 4), np.uint16), ImagePositionPatient=None)
    frames = []
    for z in (30.0, 35.0):
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, z]
        frame.PlanePositionSequence = Sequence([plane])
        frames.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = Sequence(frames)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = [0.7, 0.7]
    measures.SliceThickness = 2.5
    shared.PixelMeasuresSequence = Sequence([measures])
    data_set.SharedFunctionalGroupsSequence = Sequence([shared])
    header = header_of(part10(data_set))
    assert header.frames == 2
    assert header.position == (0.0, 0.0, 30.0)
    assert header.pixel_spacing == (0.7, 0.7)
    assert header.slice_thickness_mm == 2.5


def test_an_instance_without_pixels_says_so() -> None:
    header = header_of(ct_slice(PixelData=None))
    assert not header.has_pixels
    assert (header.rows, header.columns, header.frames) == (0, 0, 1)


def test_float_pixels_are_pixels() -> None:
    data_set = ct_data_set(PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    data_set.FloatPixelData = np.zeros(256, np.float32).tobytes()
    data_set.BitsAllocated = 32
    assert header_of(part10(data_set)).has_pixels


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
def test_a_missing_uid_is_refused_by_name(keyword: str) -> None:
    with pytest.raises(UnreadableInstance, match=r"\(00[02]") as caught:
        read_header(with_values(ct_data_set(), {keyword: b""}), limits=LIMITS)
    assert caught.value.reason is Reason.MISSING


@pytest.mark.parametrize(
    "uid", [b"1.2.../../etc", b"1.2.x ", b"1..2", b".1", b"1." + b"2" * 63, "1.٢".encode(), b"7"]
)
def test_an_illegal_uid_is_refused_and_not_repeated(uid: bytes) -> None:
    with pytest.raises(UnreadableInstance) as caught:
        read_header(with_values(ct_data_set(), {"SeriesInstanceUID": uid}), limits=LIMITS)
    assert caught.value.reason is Reason.BAD_UID
    assert caught.value.what.startswith("Series Instance UID (0020,000E) is ")


def test_pixel_data_shorter_than_described_is_refused() -> None:
    assert refusal_of(ct_slice(Rows=17)) is Reason.PIXELS_SHORT
    assert refusal_of(ct_slice(NumberOfFrames=2)) is Reason.PIXELS_SHORT
    assert refusal_of(ct_slice()[:-2]) is Reason.PIXELS_SHORT


def test_a_file_that_ends_early_is_truncated() -> None:
    data = ct_slice()
    assert refusal_of(data[:400]) is Reason.TRUNCATED
    spare = ct_slice(PixelData=b"\0" * 1024)
    assert refusal_of(spare[:-100]) is Reason.TRUNCATED


def test_bounds_on_the_extent_hold_before_anything_is_decoded() -> None:
    assert refusal_of(ct_slice(), Limits(max_rows=8)) is Reason.TOO_LARGE
    assert refusal_of(ct_slice(NumberOfFrames=9999)) is Reason.TOO_LARGE
    assert refusal_of(ct_slice(), Limits(max_bytes=100)) is Reason.TOO_LARGE


def test_a_deflated_bomb_is_stopped_at_the_limit() -> None:
    bomb = ct_slice(syntax=DeflatedExplicitVRLittleEndian, stored=np.zeros((2000, 2000), np.uint16))
    assert len(bomb) < 20_000
    assert refusal_of(bomb, Limits(max_bytes=1_000_000)) is Reason.TOO_LARGE


def test_the_daemon_reads_headers_without_loading_a_decoder() -> None:
    program = (
        "import sys, edge.imaging.header, edge.imaging.screen, edge.imaging.geometry\n"
        "assert not {'cv2', 'gdcm', 'openjpeg', 'jpeg_ls', 'rle'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
