"""Which images of a series are not for analysis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import ct_slice, radiograph

from edge.imaging.header import Header, Limits, read_header
from edge.imaging.screen import Why, set_aside

SLICE = read_header(ct_slice(), limits=Limits())[0]
RADIOGRAPH = read_header(radiograph(), limits=Limits())[0]


def why(header: Header, *image_type: str) -> Why | None:
    if image_type:
        header = replace(header, image_type=image_type)
    decision = set_aside(header)
    return decision.why if decision else None


@pytest.mark.parametrize(
    "image_type",
    [
        ("ORIGINAL", "PRIMARY", "AXIAL"),
        ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        ("ORIGINAL", "SECONDARY", "AXIAL"),
        ("ORIGINAL", "PRIMARY"),
        ("DERIVED", "PRIMARY", "AXIAL"),
        ("ORIGINAL",),
    ],
)
def test_acquired_slices_are_analysed(image_type: tuple[str, ...]) -> None:
    assert why(SLICE, *image_type) is None


def test_a_slice_without_an_image_type_is_analysed() -> None:
    assert set_aside(replace(SLICE, image_type=())) is None


def test_a_radiograph_processed_for_presentation_is_analysed() -> None:
    assert why(RADIOGRAPH) is None


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (("ORIGINAL", "PRIMARY", "LOCALIZER"), Why.LOCALIZER),
        (("ORIGINAL", "PRIMARY", "SCOUT"), Why.LOCALIZER),
        (("ORIGINAL", "PRIMARY", "AXIAL", "TOPOGRAM"), Why.LOCALIZER),
        (("DERIVED", "PRIMARY", "MPR"), Why.REFORMAT),
        (("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"), Why.REFORMAT),
        (("DERIVED", "SECONDARY", "MIP"), Why.REFORMAT),
        (("DERIVED", "SECONDARY", "OTHER"), Why.DERIVED),
        (("DERIVED", "SECONDARY"), Why.DERIVED),
        (("DERIVED", "SECONDARY", "SCREEN SAVE"), Why.SCREEN_SAVE),
        (("ORIGINAL", "PRIMARY", "DOSE_INFO"), Why.SCREEN_SAVE),
    ],
)
def test_scouts_reformats_and_screens_are_set_aside(
    image_type: tuple[str, ...], expected: Why
) -> None:
    assert why(SLICE, *image_type) is expected


def test_a_slice_that_was_only_compressed_on_its_way_is_analysed() -> None:
    compressed = replace(SLICE, lossy=True)
    assert why(compressed, "DERIVED", "PRIMARY", "AXIAL") is None
    assert why(compressed, "DERIVED", "SECONDARY", "AXIAL") is None
    assert why(compressed, "DERIVED", "SECONDARY", "MPR") is Why.REFORMAT


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.7", Why.NOT_ACQUIRED),
        ("1.2.840.10008.5.1.4.1.1.7.2", Why.NOT_ACQUIRED),
        ("1.2.840.10008.5.1.4.1.1.66.4", Why.NOT_ACQUIRED),
        ("1.2.840.10008.5.1.4.1.1.481.2", Why.NOT_ACQUIRED),
        ("1.2.840.10008.5.1.4.1.1.2.1", None),
    ],
)
def test_captured_and_computed_images_are_set_aside(sop_class: str, expected: Why | None) -> None:
    assert why(replace(SLICE, sop_class_uid=sop_class)) is expected


def test_reports_states_and_documents_are_no_images() -> None:
    report = replace(SLICE, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", has_pixels=False)
    assert why(report) is Why.NOT_AN_IMAGE


def test_a_ct_reformat_that_calls_itself_original_is_known_by_its_plane() -> None:
    coronal = replace(SLICE, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    assert why(coronal) is Why.ORIENTATION
    assert why(replace(coronal, modality="MR")) is None


def test_a_tilted_gantry_is_axial() -> None:
    assert why(replace(SLICE, orientation=(1.0, 0.0, 0.0, 0.0, 0.866, -0.5))) is None


@pytest.mark.parametrize(
    ("unit", "expected"), [("HU", None), ("US", None), ("Z_EFF", Why.NOT_HOUNSFIELD)]
)
def test_a_ct_map_is_not_read_as_hounsfield_units(unit: str, expected: Why | None) -> None:
    assert why(replace(SLICE, rescale_type=unit)) is expected


def test_the_reason_is_a_sentence() -> None:
    decision = set_aside(replace(SLICE, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")))
    assert decision is not None
    assert decision.text.endswith(".")
