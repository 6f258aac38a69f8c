"""Pixels in the units of their modality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import ct_data_set, ct_slice, describe, part10, radiograph
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from edge.imaging.pixels import Limits, Reason, Slice, UnreadableInstance, decode, voi

LIMITS = Limits()
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16


def only(data: bytes) -> Slice:
    (one,) = decode(data, limits=LIMITS)
    return one


def refusal_of(data: bytes, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(UnreadableInstance) as caught:
        decode(data, limits=limits)
    return caught.value.reason


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
)
def test_ct_pixels_are_hounsfield_units_in_every_lossless_syntax(syntax: str) -> None:
    one = only(ct_slice(stored=RAMP, position_mm=12.5, syntax=syntax))
    assert one.pixels.dtype == np.float32
    assert np.array_equal(one.pixels, RAMP.astype(np.float32) - 1024)
    assert one.position_mm == 12.5
    assert one.spacing == (0.5, 0.5)


def test_signed_values_and_a_slope_are_applied() -> None:
    stored = np.array([[-100, 0], [100, 500]], np.int16)
    one = only(ct_slice(stored=stored, RescaleSlope="2", RescaleIntercept="-10"))
    assert one.pixels.tolist() == [[-210, -10], [190, 990]]


def test_overlays_in_unused_bits_are_masked() -> None:
    stored = np.array([[0x1234 | 0xF000, 0x0234]], np.uint16)
    one = only(ct_slice(stored=stored, BitsStored=12, HighBit=11, RescaleIntercept="0"))
    assert one.pixels.tolist() == [[0x234, 0x234]]


def test_stored_bits_may_lie_high_and_be_signed() -> None:
    stored = np.array([[-5, 7]], np.int16) << 4
    one = only(ct_slice(stored=stored, BitsStored=12, HighBit=15, RescaleIntercept="0"))
    assert one.pixels.tolist() == [[-5, 7]]


def test_a_twelve_bit_signed_value_keeps_its_sign_whatever_is_above_it() -> None:
    stored = np.array([[0x0FFF, 0xF001]], np.uint16)
    one = only(
        ct_slice(
            stored=stored, BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept="0"
        )
    )
    assert one.pixels.tolist() == [[-1, 1]]


def test_padding_of_a_ct_is_darker_than_air() -> None:
    stored = np.array([[-2000, 1000], [0, 1024]], np.int16)
    one = only(ct_slice(stored=stored, PixelPaddingValue=-2000))
    assert one.pixels.tolist() == [[-1024, -24], [-1024, 0]]


def test_undeclared_padding_of_a_ct_is_no_darker_than_declared() -> None:
    stored = np.array([[-2000, 1000]], np.int16)
    assert only(ct_slice(stored=stored)).pixels.tolist() == [[-1024, -24]]


def test_a_range_of_padding_becomes_the_smallest_real_value_elsewhere() -> None:
    stored = np.array([[0, 3, 5, 900]], np.uint16)
    data = ct_slice(
        stored=stored,
        Modality="MR",
        RescaleIntercept=None,
        RescaleSlope=None,
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=3,
    )
    assert only(data).pixels.tolist() == [[5, 5, 5, 900]]


def test_a_ct_without_rescale_is_refused_rather_than_misread() -> None:
    assert refusal_of(ct_slice(RescaleIntercept=None)) is Reason.MISSING


def test_monochrome1_of_a_radiograph_is_turned_around() -> None:
    stored = np.array([[0, 100, 4095]], np.uint16)
    one = only(
        radiograph(
            stored=stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11
        )
    )
    assert one.pixels.tolist() == [[4095, 3995, 0]]
    assert one.mirror == 4095


def test_monochrome1_of_a_ct_stays_in_hounsfield_units() -> None:
    one = only(ct_slice(stored=RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(one.pixels, RAMP.astype(np.float32) - 1024)


def test_both_monochromes_of_one_radiograph_look_the_same() -> None:
    plain = radiograph(stored=RAMP, WindowCenter="2000", WindowWidth="1500")
    turned = radiograph(
        stored=65535 - RAMP,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=str(65535 - 2000 + 1),
        WindowWidth="1500",
    )
    assert np.allclose(voi(only(plain)), voi(only(turned)), atol=1e-4)


def test_a_modality_table_is_looked_up_and_holds_at_its_ends() -> None:
    item = Dataset()
    item.LUTDescriptor = [3, 10, 16]
    item["LUTDescriptor"].VR = "US"
    item.ModalityLUTType = "HU"
    item.LUTData = np.array([100, 200, 400], np.uint16).tobytes()
    item["LUTData"].VR = "OW"
    stored = np.array([[0, 10, 11, 12, 60000]], np.uint16)
    data = ct_slice(
        stored=stored,
        RescaleSlope=None,
        RescaleIntercept=None,
        ModalityLUTSequence=Sequence([item]),
    )
    assert only(data).pixels.tolist() == [[100, 100, 200, 400, 400]]


def test_each_frame_of_an_enhanced_image_has_its_own_place_and_rescale() -> None:
    stored = np.stack([np.full((4, 4), 1000, np.uint16)] * 2)
    data_set = ct_data_set(
        stored=stored, ImagePositionPatient=None, RescaleSlope=None, RescaleIntercept=None
    )
    frames = []
    for z, intercept in ((30.0, -1000), (35.0, -900)):
        frame, plane, rescale = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, z]
        frame.PlanePositionSequence = Sequence([plane])
        rescale.RescaleIntercept, rescale.RescaleSlope = str(intercept), "1"
        frame.PixelValueTransformationSequence = Sequence([rescale])
        frames.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = Sequence(frames)
    first, second = decode(part10(data_set), limits=LIMITS)
    assert (first.frame, first.position_mm, first.pixels[0, 0]) == (0, 30.0, 0)
    assert (second.frame, second.position_mm, second.pixels[0, 0]) == (1, 35.0, 100)


def colour(stored: NDArray[Any], photometric: str, planar: int = 0) -> bytes:
    data_set = ct_data_set(
        Modality="OT",
        RescaleSlope=None,
        RescaleIntercept=None,
        PhotometricInterpretation=photometric,
    )
    describe(data_set, stored.reshape(stored.shape[0], -1))
    data_set.SamplesPerPixel, data_set.PlanarConfiguration = 3, planar
    data_set.Rows, data_set.Columns = 2, 2
    return part10(data_set)


def test_colour_becomes_luminance() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 10, 10]]], np.uint8)
    expected = [[76.245, 149.685], [29.07, 10.0]]
    assert np.allclose(only(colour(rgb, "RGB")).pixels, expected, atol=0.01)
    planes = np.moveaxis(rgb, -1, 0).reshape(3, 4)
    assert np.allclose(only(colour(planes, "RGB", planar=1)).pixels, expected, atol=0.01)
    assert only(colour(rgb, "YBR_FULL")).pixels.tolist() == [[255, 0], [0, 10]]


def test_bytes_in_words_are_swapped_in_big_endian() -> None:
    data_set = ct_data_set(Modality="OT", RescaleSlope=None, RescaleIntercept=None)
    describe(data_set, np.array([[1, 2, 3]], np.uint8))
    data_set.PixelData = bytes([2, 1, 0, 3])
    data_set["PixelData"].VR = "OW"
    data = part10(data_set, syntax=ExplicitVRBigEndian)
    assert only(data).pixels.tolist() == [[1, 2, 3]]


def test_float_pixels_are_taken_and_what_is_no_number_is_floor() -> None:
    data_set = ct_data_set(
        Modality="MR",
        stored=np.zeros((1, 3), np.uint16),
        PixelData=None,
        RescaleSlope=None,
        RescaleIntercept=None,
    )
    data_set.FloatPixelData = np.array([np.nan, 0.5, -2.5], np.float32).tobytes()
    assert only(part10(data_set)).pixels.tolist() == [[-2.5, 0.5, -2.5]]


def test_one_bit_pixels_of_several_frames_are_unpacked() -> None:
    data_set = ct_data_set(Modality="OT", RescaleSlope=None, RescaleIntercept=None)
    data_set.Rows, data_set.Columns, data_set.NumberOfFrames = 1, 3, 2
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 1, 1, 0
    data_set.PixelData = bytes([0b00110101, 0])
    data_set["PixelData"].VR = "OB"
    first, second = decode(part10(data_set), limits=LIMITS)
    assert first.pixels.tolist() == [[1, 0, 1]]
    assert second.pixels.tolist() == [[0, 1, 1]]


def compressed(frames: list[bytes], *, syntax: str, table: bool = True, **changes: Any) -> bytes:
    data_set = ct_data_set(stored=RAMP, **changes)
    data_set.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=table)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return part10(data_set, syntax=syntax)


def rle_frame() -> bytes:
    from pydicom.encaps import generate_frames  # noqa: PLC0415

    data_set = ct_data_set(stored=RAMP)
    part10(data_set, syntax=RLELossless)
    return next(generate_frames(data_set.PixelData, number_of_frames=1))


def test_fragments_are_put_together_by_the_offset_table() -> None:
    data = compressed([rle_frame()] * 3, syntax=RLELossless, NumberOfFrames=3)
    slices = decode(data, limits=LIMITS)
    assert len(slices) == 3
    assert all(np.array_equal(one.pixels, RAMP.astype(np.float32) - 1024) for one in slices)


JPEG_HEAD = bytes.fromhex("ffd8 ffc3000b10001000100101 1100 ffc40014 0001") + b"\0" * 17


@pytest.mark.parametrize(
    "source",
    [
        b"\0" * 8,
        b"\xff\xd8" * 4,
        JPEG_HEAD,
        JPEG_HEAD.replace(b"\xff\xc4", b"\x12\xc4") + b"\xff\xda\x00\x08" + b"\0" * 6 + b"\xff\xd9",
        JPEG_HEAD + b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00no end",
    ],
    ids=["zeros", "starts only", "no scan", "broken chain", "no end"],
)
def test_a_jpeg_with_a_damaged_head_never_reaches_the_decoder(source: bytes) -> None:
    data = compressed([source], syntax="1.2.840.10008.1.2.4.70")
    with pytest.raises(UnreadableInstance, match=r"head|end") as caught:
        decode(data, limits=LIMITS)
    assert caught.value.reason is Reason.UNDECODABLE


def test_fragments_that_do_not_make_up_the_frames_are_refused() -> None:
    data = compressed([rle_frame()] * 3, syntax=RLELossless, NumberOfFrames=4)
    assert refusal_of(data) is Reason.PIXELS_SHORT


def test_a_codestream_larger_than_the_header_is_refused_before_it_is_decoded() -> None:
    bomb = b"\xff\xd8\xff\xf7\x00\x0b\x10\xff\xff\xff\xff\x01\x01\x11\x00"
    bomb += b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\0" * 20 + b"\xff\xd9"
    assert refusal_of(compressed([bomb], syntax=JPEGLSLossless)) is Reason.MALFORMED
    size = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + (b"\0\1\0\0" * 2 + b"\0" * 8) * 2 + b"\0\1\0\0"
    data = compressed([size], syntax="1.2.840.10008.1.2.4.90")
    assert refusal_of(data) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.102", "video"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.3", "unknown"),
    ],
)
def test_an_unsupported_syntax_is_named(syntax: str, name: str) -> None:
    with pytest.raises(UnreadableInstance, match=name) as caught:
        decode(_as(syntax), limits=LIMITS)
    assert caught.value.reason is Reason.UNSUPPORTED


def _as(syntax: str) -> bytes:
    data = compressed([b"\0" * 8], syntax=JPEGLSLossless)
    old, new = (_element(uid) for uid in (JPEGLSLossless, syntax))
    assert old in data
    return data.replace(old, new, 1)


def _element(uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"UI" + len(value).to_bytes(2, "little") + value


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(max_samples=100), "samples"),
        (Limits(max_columns=8), "pixels"),
        (Limits(max_bytes=500), "bytes"),
    ],
)
def test_bounds_hold_before_anything_is_allocated(limits: Limits, what: str) -> None:
    with pytest.raises(UnreadableInstance, match=what) as caught:
        decode(ct_slice(), limits=limits)
    assert caught.value.reason is Reason.TOO_LARGE


def test_an_instance_without_pixels_is_called_so() -> None:
    assert refusal_of(ct_slice(PixelData=None)) is Reason.NO_PIXELS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BitsStored": 20}, Reason.MALFORMED),
        ({"HighBit": 16}, Reason.MALFORMED),
        ({"BitsAllocated": 12}, Reason.UNSUPPORTED),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.UNSUPPORTED),
    ],
)
def test_an_impossible_description_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert refusal_of(ct_slice(**changes)) is reason
