"""A flagged key image goes to the PACS with its heatmap, where the site wants it, and says what."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from arrivals import arrival, open_store
from builders import ct_slice, radiograph
from findings import BLEED, FRACTURE, finding, series
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from reporting import DEVICE, faults, report

from edge.alerts.message import NOTICE
from edge.config import Results
from edge.imaging.header import Limits, read_header
from edge.imaging.pixels import decode
from edge.imaging.screen import set_aside
from edge.results.desk import Content, Desk
from edge.results.heat_picture import picture
from edge.results.making import answer
from edge.results.order import Order
from edge.store.documents import Documents, Kind
from edge.store.heatmaps import KeptHeatmap
from edge.store.records import Receipt
from edge.store.studies import Store
from edge.store.study_key import SealBroken

SETTINGS = Results(host="pacs", enabled=True, heatmaps=True)
HEAT = np.zeros((32, 32), np.uint8)
HEAT[8:16, 4:12] = 255


def head(number: int = 1) -> bytes:
    grey = np.full((64, 64), 1064, np.uint16)
    return ct_slice(number=number, stored=grey, WindowCenter="40", WindowWidth="80")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> Receipt:
    return store.keep(arrival(), head())


@pytest.fixture
def documents(store: Store) -> Documents:
    return Documents(store.journal)


def kept(instance: int, spec: object = BLEED, heat: object = HEAT) -> KeptHeatmap:
    return KeptHeatmap(instance, 0, spec.code.key, heat)  # type: ignore[attr-defined,arg-type]


def contents(documents: Documents, study: Receipt) -> list[Content]:
    queued = documents.about(study.study_id, study.key, Kind.HEATMAP)
    return [Content.from_json(json.loads(json.dumps(one))) for one in queued.opened]


# The queue


def test_a_picture_is_queued_for_each_flagged_finding_that_has_a_map_and_each_once(
    documents: Documents, study: Receipt
) -> None:
    maps = [kept(1), kept(1, FRACTURE), kept(2), kept(7)]
    desk = Desk(documents, DEVICE, SETTINGS, lambda _: maps)
    both = series(finding(0.9), finding(0.5, FRACTURE))
    desk.keep(study.study_id, study.key, report(both), replaces=False)
    (first,) = contents(documents, study)  # the fracture is uncertain, image 7 shows nothing
    assert first.heat is not None
    assert (first.heat.finding, first.heat.image.instance) == (BLEED.code.key, 1)
    assert np.array_equal(first.heat.plane, HEAT)
    # A figure that changed makes no second picture of the same; another image makes one.
    desk.keep(study.study_id, study.key, report(series(finding(0.8))), replaces=True)
    moved = report(series(finding(0.8, key_instance=2)))
    desk.keep(study.study_id, study.key, moved, replaces=True)
    first, second = contents(documents, study)
    assert second.heat is not None
    assert second.heat.image.instance == 2
    assert first.names.series_uid == second.names.series_uid
    assert [first.names.number, second.names.number] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "maps", "probability"),
    [
        ({"heatmaps": False}, [kept(1)], 0.9),
        ({}, [], 0.9),
        ({}, [kept(1, heat=np.zeros((32, 32), np.uint8))], 0.9),
        ({}, [kept(1)], 0.1),
    ],
    ids=["switched off", "no map", "an empty map", "nothing flagged"],
)
def test_no_picture_is_queued_where_there_is_none_to_show(
    documents: Documents,
    study: Receipt,
    settings: dict[str, bool],
    maps: list[KeptHeatmap],
    probability: float,
) -> None:
    desk = Desk(documents, DEVICE, SETTINGS.model_copy(update=settings), lambda _: maps)
    desk.keep(study.study_id, study.key, report(series(finding(probability))), replaces=False)
    assert contents(documents, study) == []
    assert documents.latest(9)[-1].kind is Kind.REPORT


def test_pictures_are_off_unless_the_site_wants_them() -> None:
    assert not Results(host="pacs", enabled=True).heatmaps


def test_a_damaged_map_keeps_no_report_back(
    documents: Documents, study: Receipt, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(_: int) -> list[KeptHeatmap]:
        raise SealBroken("a record does not open")

    desk = Desk(documents, DEVICE, SETTINGS, damaged)
    with caplog.at_level(logging.ERROR):
        desk.keep(study.study_id, study.key, report(series(finding(0.9))), replaces=False)
    assert [one.kind for one in documents.latest(9)] == [Kind.KEY_IMAGES, Kind.REPORT]
    assert "No heatmap of study 1 goes to the PACS" in caplog.text


# The object


def made(store: Store, documents: Documents, study: Receipt) -> Dataset:
    """Queue a picture and return it as the maker makes it."""
    desk = Desk(documents, DEVICE, SETTINGS, lambda _: [kept(1)])
    desk.keep(study.study_id, study.key, report(series(finding(0.9))), replaces=False)
    (content,) = contents(documents, study)
    records = {1: study.instance.record}
    said, _, file = answer(Order(Kind.HEATMAP, content, records, study.key.raw)).partition(b"\n")
    assert "problem" not in json.loads(said), said
    return dcmread(BytesIO(file))


def test_the_picture_joins_its_study_and_leads_to_the_image_that_it_was_made_of(
    store: Store, documents: Documents, study: Receipt
) -> None:
    one = made(store, documents, study)
    image = dcmread(BytesIO(head()))
    assert one.SOPClassUID == SecondaryCaptureImageStorage
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
        assert one[keyword].value == image[keyword].value
    assert one.SeriesInstanceUID != image.SeriesInstanceUID
    (source,) = one.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert list(one.PatientOrientation) == ["L", "P"]
    assert (one.BurnedInAnnotation, list(one.ImageType)) == ("NO", ["DERIVED", "SECONDARY"])
    assert one.ImageComments == NOTICE
    assert one.SeriesDescription == "Scanside: unverified machine reading"
    assert "PixelSpacing" not in one, "nobody is to measure in it"


def test_the_same_picture_is_made_however_often_it_is_sent(
    store: Store, documents: Documents, study: Receipt
) -> None:
    (first, second) = (made(store, documents, study) for _ in range(2))
    assert first == second


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_the_picture_is_valid_dicom(
    store: Store, documents: Documents, study: Receipt, tmp_path: Path
) -> None:
    assert faults(made(store, documents, study), tmp_path) == []


def test_a_picture_that_comes_back_from_the_pacs_is_looked_at_by_no_model(
    store: Store, documents: Documents, study: Receipt
) -> None:
    file = BytesIO()
    made(store, documents, study).save_as(file, enforce_file_format=True)
    header, _ = read_header(file.getvalue(), limits=Limits())
    assert set_aside(header) is not None


@pytest.mark.parametrize("harm", ["no pixels", "another key image"])
def test_no_picture_is_made_without_its_key_image(
    store: Store, documents: Documents, study: Receipt, harm: str
) -> None:
    desk = Desk(documents, DEVICE, SETTINGS, lambda _: [kept(1)])
    desk.keep(study.study_id, study.key, report(series(finding(0.9))), replaces=False)
    (content,) = contents(documents, study)
    records = {1: study.instance.record}
    if harm == "no pixels":
        empty = dcmread(BytesIO(head(2)))
        del empty.PixelData
        file = BytesIO()
        empty.save_as(file, enforce_file_format=True)
        records = {1: store.keep(arrival(2), file.getvalue()).instance.record}
    else:
        records = {5: study.instance.record}
    said = json.loads(answer(Order(Kind.HEATMAP, content, records, study.key.raw)))
    assert said == {"problem": "none of the images it refers to can be read"}


# The pixels


def test_the_colour_is_where_the_evidence_is_and_the_words_stand_below_the_image() -> None:
    (image,) = decode(head(), limits=Limits())
    shown = picture(image, HEAT, ("one line", "another"))
    assert shown.shape == (512 + 2 * 20 + 20, 512, 3)
    hot, cold = shown[190, 130].astype(int), shown[400, 400].astype(int)
    assert hot[0] - hot[2] > 80, "red over the place"
    assert cold.max() - cold.min() == 0, "grey elsewhere"
    assert (shown[512:] > 200).any(), "words in white"
    edge = shown[120:136, 150]
    assert (np.abs(edge.astype(int) - (255, 225, 77)).sum(axis=1) < 30).any(), "a yellow line"


def test_a_narrow_or_large_image_is_shown_whole_at_a_size_for_screens() -> None:
    grey = np.linspace(0, 4000, 64 * 16).reshape(64, 16).astype(np.uint16)
    (narrow,) = decode(radiograph(stored=grey, PixelSpacing=None), limits=Limits())
    assert picture(narrow, HEAT, ()).shape == (512 + 20, 512, 3)
    (large,) = decode(radiograph(stored=np.tile(grey, (32, 96))), limits=Limits())
    assert picture(large, HEAT, ()).shape == (1024 + 20, 768, 3)


def test_pixels_that_are_not_square_are_shown_as_they_are_in_the_body() -> None:
    (image,) = decode(head(), limits=Limits())
    flat = replace(image, spacing=(0.5, 1.0))
    assert picture(flat, HEAT, ()).shape == (256 + 20, 512, 3)


def test_letters_that_cannot_be_drawn_make_no_fault() -> None:
    (image,) = decode(head(), limits=Limits())
    assert np.array_equal(
        picture(image, HEAT, ("Blutung ä",)), picture(image, HEAT, ("Blutung ?",))
    )
