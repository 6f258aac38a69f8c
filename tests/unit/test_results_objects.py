"""The objects for a PACS: valid DICOM, beside their study, and never more than a suggestion."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import ct_data_set, ct_slice, radiograph, with_values
from findings import FRACTURE, finding, package, series
from highdicom import sr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from reporting import (
    DECIDED,
    DEVICE,
    GROWN,
    LOOK,
    NAMES,
    faults,
    items,
    report,
    said,
    sources,
)

from edge.alerts.decision import SeriesVolume
from edge.alerts.message import NOTICE, FollowUp
from edge.imaging.quality.flags import Flag
from edge.imaging.spot import Spot
from edge.results.identity import Predecessor
from edge.results.key_images import key_images
from edge.results.report import Report
from edge.results.source import SourceImage, read_source
from edge.results.structured_report import structured_report
from edge.timestamps import parse_rfc3339
from engines import Code, VolumeSpec

LESION = VolumeSpec(Code("SCT", "52988006", "Lesion"), "Lesions", (1,), None, 20.0, "urgent")
VOLUMES = series(
    volumes=(SeriesVolume(LESION, 25.0, (21.0, 30.0)),),
    model=package("ms", findings=(), volumes=(LESION,)),
    modality="MR",
    series_uid="1.2.3.5",
)
UNSEEN = series(reason="no model for this kind of study", modality="XA", series_uid="1.2.3.6")
BLUR = Flag("blur", 3.4, "mm", 2.6, "Edges are 3.4 mm wide.")
FULL = report(
    replace(
        series(
            replace(finding(0.91234), spot=Spot("patient's left, front", None)),
            finding(0.5, FRACTURE, key_instance=2),
            finding(0.9, replace(FRACTURE, reliable=False)),
        ),
        quality=(BLUR,),
        doubts=("Not reliable enough to flag: Fracture.",),
    ),
    VOLUMES,
    UNSEEN,
    change=GROWN,
    look=LOOK,
)
needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed"
)


def document(
    of: Report = FULL,
    images: dict[int, SourceImage] | None = None,
    predecessor: Predecessor | None = None,
) -> Dataset:
    """Return a report as it is after it was written and read."""
    made = structured_report(of, NAMES, DEVICE, images or sources(), predecessor)
    return _read_back(made)


def selection(of: Report = FULL, images: dict[int, SourceImage] | None = None) -> Dataset:
    """Return key images as they are after they were written and read."""
    return _read_back(key_images(of, NAMES, DEVICE, images or sources()))


def _read_back(made: Dataset) -> Dataset:
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return dcmread(BytesIO(file.getvalue()))


def test_a_report_is_filed_with_its_study_and_patient() -> None:
    made, image = document(), ct_data_set()
    for keyword in (
        "StudyInstanceUID",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
        "StudyDescription",
    ):
        assert made[keyword].value == image[keyword].value, keyword
    assert made.SeriesInstanceUID == NAMES.series_uid != image.SeriesInstanceUID
    assert (made.Modality, made.SeriesDescription) == ("SR", "Scanside: unverified machine reading")


def test_a_report_is_unverified_preliminary_and_says_that_it_is_a_suggestion() -> None:
    made = document()
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert said(made, "Notice") == [NOTICE]
    first = next(one for one in made.ContentSequence if one.RelationshipType == "CONTAINS")
    assert first.TextValue == NOTICE


def test_a_report_holds_every_finding_with_its_figures_and_what_the_model_makes_of_it() -> None:
    made = document()
    assert said(made, "Finding") == [
        "Intracranial hemorrhage",
        "Fracture of skull",
        "Fracture of skull",
        "Lesion",
    ]
    assert said(made, "Probability by the model") == ["91.234 %", "50 %", "90 %"]
    assert said(made, "Flagged from this probability on") == ["50 %"] * 3
    assert said(made, "Machine assessment, unverified") == [
        "Flagged: a suggestion to look sooner",
        "Uncertain: the model says neither",
        "Not reliable enough to flag",
        "Flagged: a suggestion to look sooner",
    ]
    assert said(made, "Where the model saw it") == ["patient's left, front"]
    assert said(made, "Source of Measurement") == [
        sources()[1].instance_uid,
        sources()[2].instance_uid,
    ]


def test_a_report_holds_a_volume_with_its_bounds_in_millilitres() -> None:
    made = document()
    volume = ("Volume", "Volume at least", "Volume at most", "Flagged above this volume")
    assert [said(made, name) for name in volume] == [["25 ml"], ["21 ml"], ["30 ml"], ["20 ml"]]
    assert said(made, "Flagged below this volume") == []


def test_a_report_names_the_model_by_version_and_digest() -> None:
    made = document()
    assert said(made, "Algorithm Name") == ["head-ct"] * 3 + ["ms"]
    assert set(said(made, "Algorithm Version")) == {"1.0.0"}
    assert set(said(made, "Algorithm Parameters")) == {f"sha256 {'ab' * 32}", "fp32 in onnxruntime"}


def test_a_report_says_what_was_not_analysed_and_why_once() -> None:
    made = document()
    assert said(made, "NOT ANALYSED") == ["XA HEAD, 40 instances: no model for this kind of study"]
    assert said(made, "Series") == [
        "CT HEAD, 40 instances: analysed",
        "MR HEAD, 40 instances: analysed",
    ]
    assert said(made, "Reservation") == ["Not reliable enough to flag: Fracture."]
    assert said(made, "Image quality") == [BLUR.text]
    assert said(made, "Change since an earlier study") == [GROWN.text]
    assert made.CompletionFlag == "PARTIAL"
    assert made.CompletionFlagDescription


def test_a_report_has_the_next_look_of_the_protocol_with_its_interval_and_whose_it_is() -> None:
    made = document()
    (section,) = (
        one
        for one in made.ContentSequence
        if one.ConceptNameCodeSequence[0].CodeMeaning == "Recommendations"
    )
    (look,) = section.ContentSequence
    assert look.TextValue == "Within 1 day: Repeat the head CT."
    assert said(look, "Recommended Follow-up Interval") == ["1 d"]
    assert said(look, "By this hospital's own protocol") == [LOOK.source]
    assert _codes(section) == ["LN 18783-1", "DCM 121075", "DCM 111055", "99SCANSIDE protocol"]


@pytest.mark.parametrize(
    ("days", "words"), [(0, "The same day: Look."), (30, "Within 30 days: Look.")]
)
def test_the_next_look_says_until_when(days: int, words: str) -> None:
    made = document(report(look=FollowUp(days, "Look.", "Protocol")))
    assert said(made, "Recommendation") == [words]
    assert said(made, "Recommended Follow-up Interval") == [f"{days} d"]


def test_where_the_protocol_has_nothing_a_report_recommends_nothing() -> None:
    made = document(report(series(finding(0.9))))
    assert said(made, "Recommendations") == said(made, "Recommendation") == []


def _codes(item: Dataset) -> list[str]:
    """Return the code of an item's name, and of all below it."""
    names = (one.ConceptNameCodeSequence[0] for one in (item, *items(item)))
    return [f"{name.CodingSchemeDesignator} {name.CodeValue}" for name in names]


def test_a_report_of_all_there_was_is_complete() -> None:
    made = document(report(series(finding(0.1))))
    assert made.CompletionFlag == "COMPLETE"
    assert "CompletionFlagDescription" not in made
    assert said(made, "Outcome of the machine reading") == [
        "Nothing flagged, which does not mean normal"
    ]


def test_a_report_of_nothing_analysed_has_no_figures_and_says_so() -> None:
    made = document(report(UNSEEN))
    assert said(made, "Outcome of the machine reading") == ["NOT ANALYSED"]
    assert said(made, "Finding") == []
    assert made.CompletionFlag == "PARTIAL"


def test_a_report_that_takes_a_flag_back_says_so_and_names_the_one_it_replaces() -> None:
    before = Predecessor("2.25.1001", "2.25.999")
    made = document(report(series(finding(0.1)), status="retracted"), predecessor=before)
    assert "taken back" in said(made, "WITHDRAWN")[0]
    (study,) = made.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == made.StudyInstanceUID
    (one,) = study.ReferencedSeriesSequence
    assert one.SeriesInstanceUID == before.series_uid
    assert one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.instance_uid


def test_an_object_that_is_made_again_is_the_same_to_the_last_byte() -> None:
    def made() -> list[bytes]:
        files = [BytesIO(), BytesIO()]
        structured_report(FULL, NAMES, DEVICE, sources(), None).save_as(files[0])
        key_images(FULL, NAMES, DEVICE, sources()).save_as(files[1])
        return [file.getvalue() for file in files]

    assert made() == made()


def test_another_library_reads_the_report_by_its_template() -> None:
    read = sr.ComprehensiveSR.from_dataset(document())
    assert isinstance(read.content, sr.MeasurementReport)
    groups = read.content.get_image_measurement_groups()
    assert [one.finding_type and one.finding_type.value for one in groups][:1] == ["1386000"]
    assert len(groups) == 4


def test_key_images_are_of_interest_and_are_those_of_what_is_flagged() -> None:
    made = selection()
    assert (made.Modality, made.PatientID) == ("KO", "TEST-1")
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    assert said(made, "Source") == [sources()[1].instance_uid]
    (text,) = said(made, "Key Object Description")
    assert text.startswith("Flagged by a machine, unverified: Hemorrhage by head-ct.")
    assert NOTICE in text


def test_of_a_multi_frame_image_the_frame_is_named() -> None:
    frames = ct_slice(stored=np.full((5, 16, 16), 1024, np.uint16))
    of = report(series(replace(finding(0.9), key_frame=3)))
    for made in (document(of, sources(frames)), selection(of, sources(frames))):
        frames_named = [
            int(one.ReferencedSOPSequence[0].ReferencedFrameNumber) for one in _all_images(made)
        ]
        assert frames_named == [4]


def _all_images(made: Dataset) -> list[Dataset]:
    found: list[Dataset] = []
    for one in made.get("ContentSequence", ()):
        found += [one] if one.ValueType == "IMAGE" else _all_images(one)
    return found


def test_a_name_in_any_script_arrives_as_it_was() -> None:
    image = ct_slice(PatientName="محمد^علي", SpecificCharacterSet="ISO_IR 192")
    made = document(images=sources(image, ct_slice(number=2)))
    assert made.PatientName == "محمد^علي"
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in document()


def test_a_label_in_any_script_arrives_as_it_was() -> None:
    label = replace(FRACTURE, label="كسر")
    made = document(report(series(finding(0.9, label))))
    assert said(made, "Tracking Identifier") == ["كسر 1, by head-ct"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", b"1964/05/"),
        ("PatientBirthDate", b"19641399"),
        ("PatientBirthDate", b"19640231"),
        ("StudyDate", b"00000101"),
        ("StudyTime", b"99:99 "),
        ("PatientSex", b"W "),
    ],
)
def test_a_value_that_is_none_is_left_empty_and_the_rest_goes(keyword: str, value: bytes) -> None:
    image = with_values(ct_data_set(), {keyword: value})
    made = document(images=sources(image, ct_slice(number=2)))
    assert not made[keyword].value
    assert made.PatientID == "TEST-1"


def test_what_names_the_patient_is_shown_by_no_text_of_the_image() -> None:
    assert "Nobody" not in repr(read_source(ct_slice()))
    assert "TEST-1" not in repr(read_source(ct_slice()))


def test_an_image_of_a_private_kind_is_referred_to_as_well() -> None:
    image = ct_slice(SOPClassUID="1.2.826.0.1.3680043.10.99")
    made = document(report(series(finding(0.1))), images=sources(image))
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPClassUID.endswith("10.99")


@needs_dciodvfy
@pytest.mark.parametrize(
    "of",
    [FULL, report(series(finding(0.1))), report(VOLUMES), report(UNSEEN)],
    ids=["all there is", "nothing flagged", "volumes", "not analysed"],
)
def test_dciodvfy_finds_no_fault_in_a_report(of: Report, tmp_path: Path) -> None:
    before = Predecessor("2.25.1001", "2.25.999")
    made = structured_report(of, NAMES, DEVICE, sources(), before)
    assert faults(made, tmp_path) == []


@needs_dciodvfy
@pytest.mark.parametrize("image", [ct_slice(), radiograph()], ids=["CT", "X-ray"])
def test_dciodvfy_finds_no_fault_in_key_images(image: bytes, tmp_path: Path) -> None:
    assert faults(key_images(FULL, NAMES, DEVICE, sources(image)), tmp_path) == []


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_both_objects(tmp_path: Path) -> None:
    for name, made in (
        ("report", structured_report(FULL, NAMES, DEVICE, sources(), None)),
        ("key images", key_images(FULL, NAMES, DEVICE, sources())),
    ):
        file = tmp_path / f"{name}.dcm"
        made.save_as(file, enforce_file_format=True)
        whole = ["dsrdump", "+Pl", str(file)]
        done = subprocess.run(whole, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "unverified" in done.stdout.lower()
        assert (LOOK.text in done.stdout) == (name == "report")


def test_the_moment_of_an_object_is_that_of_the_decision() -> None:
    made = document()
    decided = parse_rfc3339(DECIDED).astimezone()
    assert f"{made.ContentDate}{str(made.ContentTime)[:6]}" == f"{decided:%Y%m%d%H%M%S}"
    # It would be of the study's own date and time, too, which the scanner wrote.
    assert "TimezoneOffsetFromUTC" not in made


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of values that are too long
@settings(max_examples=40)
@given(
    name=st.binary(max_size=80),
    patient=st.binary(max_size=80),
    moments=st.tuples(st.binary(max_size=12), st.binary(max_size=16)),
    others=st.tuples(*[st.binary(max_size=40)] * 4),
    character_set=st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 87", b"\xff"]),
)
def test_whatever_a_scanner_wrote_of_the_patient_a_report_can_be_made_and_read(
    name: bytes,
    patient: bytes,
    moments: tuple[bytes, bytes],
    others: tuple[bytes, bytes, bytes, bytes],
    character_set: bytes,
) -> None:
    values = {
        "SpecificCharacterSet": character_set,
        "PatientName": name,
        "PatientID": patient,
        "StudyDate": moments[0],
        "StudyTime": moments[1],
        "PatientSex": others[0],
        "AccessionNumber": others[1],
        "StudyID": others[2],
        "ReferringPhysicianName": others[3],
    }
    even = {key: value + b" " * (len(value) % 2) for key, value in values.items()}
    images = {1: read_source(with_values(ct_data_set(), even))}
    of = report(series(finding(0.9)))
    for made in (document(of, images), selection(of, images)):
        subject = dict(images[1].subject)
        assert str(made.PatientID or "") == subject["PatientID"]
        assert str(made.PatientName or "").rstrip("^=") == subject["PatientName"].rstrip("^=")
