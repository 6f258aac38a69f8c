"""Real files: the conformance images of DICOM's compression group, and the odd ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from edge.imaging.header import Limits, Reason, UnreadableInstance, read_header
from edge.imaging.pixels import Slice, decode, voi

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom"
CONFORMANCE = sorted((SHARED / "wg04").glob("*.dcm"))
ODD = sorted((SHARED / "odd").glob("*.dcm"))
LIMITS = Limits()

pytestmark = pytest.mark.skipif(not CONFORMANCE, reason=f"no DICOM files in {SHARED}")


def decoded(name: str) -> Slice:
    return decode((SHARED / name).read_bytes(), limits=LIMITS)[0]


@pytest.mark.parametrize("path", CONFORMANCE, ids=lambda path: path.stem)
def test_every_conformance_image_decodes(path: Path) -> None:
    data = path.read_bytes()
    header, _ = read_header(data, limits=LIMITS)
    (one,) = decode(data, limits=LIMITS)
    assert one.pixels.shape == (header.rows, header.columns)
    assert np.isfinite(one.pixels).all()
    bright = voi(one)
    assert bright.min() >= 0
    assert bright.max() <= 1


@pytest.mark.parametrize("image", ["CT1", "CT2", "MR1", "MR3", "RG3"])
def test_lossless_syntaxes_of_one_image_agree_to_the_pixel(image: str) -> None:
    reference = decoded(f"wg04/{image}_RLE.dcm").pixels
    for syntax in ("J2KR", "JLSL", "JPLL"):
        assert np.array_equal(decoded(f"wg04/{image}_{syntax}.dcm").pixels, reference), syntax


@pytest.mark.parametrize("image", ["CT1", "CT2", "MR1", "MR3", "RG3"])
def test_near_lossless_stays_near(image: str) -> None:
    near = decoded(f"wg04/{image}_JLSN.dcm").pixels
    assert np.abs(near - decoded(f"wg04/{image}_RLE.dcm").pixels).max() <= 4


@pytest.mark.parametrize("read", [read_header, decode])
@pytest.mark.parametrize("path", ODD, ids=lambda path: path.stem)
def test_every_odd_file_is_read_or_refused(read: Callable[..., object], path: Path) -> None:
    with suppress(UnreadableInstance):
        read(path.read_bytes(), limits=LIMITS)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated", Reason.PIXELS_SHORT),
        ("emri_small_jpeg_2k_lossless_too_short", Reason.TRUNCATED),
        ("no_meta", Reason.NOT_DICOM),
        ("meta_missing_tsyntax", Reason.MISSING),
        ("bad_sequence", Reason.BAD_UID),
    ],
)
def test_a_damaged_file_is_refused_for_what_is_wrong_with_it(name: str, reason: Reason) -> None:
    with pytest.raises(UnreadableInstance) as caught:
        read_header((SHARED / "odd" / f"{name}.dcm").read_bytes(), limits=LIMITS)
    assert caught.value.reason is reason


def test_byte_order_and_padding_do_not_change_an_image() -> None:
    little = decoded("odd/MR_small.dcm").pixels
    assert np.array_equal(decoded("odd/MR_small_bigendian.dcm").pixels, little)
    assert np.array_equal(decoded("odd/MR_small_padded.dcm").pixels, little)


def test_an_enhanced_image_is_the_same_compressed() -> None:
    plain = decode((SHARED / "odd/emri_small.dcm").read_bytes(), limits=LIMITS)
    packed = decode((SHARED / "odd/emri_small_RLE.dcm").read_bytes(), limits=LIMITS)
    assert len(plain) == 10
    for one, other in zip(plain, packed, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_twelve_bit_jpeg_decodes_to_the_known_value() -> None:
    assert decoded("odd/JPEG-lossy.dcm").pixels[420, 140] == 244
