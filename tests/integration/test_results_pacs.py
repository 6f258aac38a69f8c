"""Results reach a real PACS, beside their study, once, whatever happens on the way."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import ct_slice, radiograph
from certificates import Authority
from findings import finding, series
from pacs import HAS_ORTHANC, HOST, orthanc, own_pacs, wait_until
from pydicom import dcmread
from pydicom.uid import UID, ComprehensiveSRStorage, MRImageStorage, SecondaryCaptureImageStorage
from reporting import faults, report, said
from results_parts import BLEED, no_thread_is_left, sending, settings

from edge.results.courier import CourierState
from edge.store.documents import DocumentState
from edge.store.erasure import Erased, Order
from edge.store.heatmaps import KeptHeatmap, keep_heatmaps
from edge.store.journal import StudyState
from tools.scanner import send

# pynetdicom leaves the socket of a failed or aborted connection to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(socket.socket|ssl):pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"),
]

needs_orthanc = pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed")
NOT_FLAGGED = report(series(finding(0.1)))
NAME = "Nobody^Test"


def image(kind: str) -> bytes:
    if kind == "MR":
        return ct_slice(SOPClassUID=MRImageStorage, Modality="MR", RescaleIntercept=None)
    return radiograph() if kind == "X-ray" else ct_slice()


@needs_orthanc
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_report_and_key_images_join_the_study_of_each_modality_in_orthanc(tmp_path: Path) -> None:
    images = {kind: image(kind) for kind in ("CT", "MR", "X-ray")}
    with (
        orthanc(tmp_path / "pacs") as pacs,
        sending(tmp_path / "here", settings(pacs.port)) as here,
    ):
        for number, (kind, data) in enumerate(images.items()):
            file = tmp_path / f"{kind}.dcm"
            study = f"1.2.826.0.1.3680043.10.{number}"
            data_set = dcmread(BytesIO(data))
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = UID(study), UID(f"{study}.1")
            data_set.SOPInstanceUID = UID(f"{study}.1.1")
            data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
            data_set.save_as(file)
            assert send([data_set], pacs.peer).ok
            instance = here.take_in(file.read_bytes(), study=study).instance.id
            here.say(report(series(finding(0.9, key_instance=instance)), first=instance))
        assert here.all_stored(), here.answers
        studies = pacs.studies()
        assert len(studies) == 3
        for study_there in studies:
            assert len(study_there["Series"]) == 3  # the images, the report, the key images
            assert study_there["PatientMainDicomTags"]["PatientName"] == NAME
        reports, selections = pacs.instances("SR"), pacs.instances("KO")
        assert len(reports) == len(selections) == 3
        for one in (*reports, *selections):
            assert faults(one, tmp_path) == []
        for one in selections:
            shown = said(one, "Source")
            assert shown == [f"{one.StudyInstanceUID}.1.1"]
        assert len(here.audited) == 6


@needs_orthanc
def test_the_heatmap_of_a_flag_joins_its_study_in_orthanc_and_leaves_with_it_here(
    tmp_path: Path,
) -> None:
    with (
        orthanc(tmp_path / "pacs") as pacs,
        sending(tmp_path / "here", settings(pacs.port, heatmaps=True)) as here,
    ):
        grey = np.full((64, 64), 1064, np.uint16)
        receipt = here.take_in(ct_slice(stored=grey, WindowCenter="40", WindowWidth="80"))
        heat = np.zeros((32, 32), np.uint8)
        heat[8:16, 4:12] = 255
        kept = [KeptHeatmap(receipt.instance.id, 0, "SCT:1386000", heat)]
        keep_heatmaps(here.store.journal, receipt.key, receipt.study_id, kept)
        here.say()
        assert here.all_stored(), here.answers
        (picture,) = pacs.instances("OT")
        assert picture.PatientName == NAME
        assert picture.pixel_array.shape[2] == 3
        (study_there,) = pacs.studies()
        assert len(study_there["Series"]) == 3  # the report, the key images, the picture
        assert faults(picture, tmp_path) == []
        assert [kind for _, kind in here.audited] == ["heatmap", "key_images", "report"]
        here.store.study_state(receipt.study_id, StudyState.DECIDED, 1)
        order = Order(receipt.study_id, "cli:root", "request 7")
        assert isinstance(here.store.erase(order, lambda _: None, pressing=False), Erased)
        assert all(here.documents.opened(one, receipt.key) is None for one in (1, 2, 3))


def test_a_pacs_that_takes_no_pictures_gets_the_report(tmp_path: Path) -> None:
    heat = np.full((32, 32), 200, np.uint8)
    with (
        own_pacs(without=[SecondaryCaptureImageStorage]) as pacs,
        sending(tmp_path, settings(pacs.port, heatmaps=True, key_images=False)) as here,
    ):
        receipt = here.take_in()
        kept = [KeptHeatmap(receipt.instance.id, 0, "SCT:1386000", heat)]
        keep_heatmaps(here.store.journal, receipt.key, receipt.study_id, kept)
        here.say()
        assert wait_until(lambda: here.documents.standing().waiting == 0)
        assert here.answers == ["", "the PACS takes no Secondary Capture"]


@needs_orthanc
def test_what_was_said_while_the_pacs_was_away_is_there_when_it_is_back(tmp_path: Path) -> None:
    with orthanc(tmp_path / "pacs") as pacs:
        pacs.stop()
        with sending(tmp_path / "here", settings(pacs.port)) as here:
            here.take_in()
            here.say()
            here.say(NOT_FLAGGED, replaces=True)
            assert wait_until(lambda: here.courier.state.reason != "")
            assert "connection refused" in here.courier.state.reason
            assert here.documents.standing().waiting == 3
            pacs.start()
            assert here.all_stored(), here.courier.state
            assert here.courier.state.reason == ""
            first, second = pacs.instances("SR")
            assert "PredecessorDocumentsSequence" not in first
            (named,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
            assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
            assert first.SeriesInstanceUID == second.SeriesInstanceUID


def test_a_restart_loses_nothing_and_an_answer_that_was_lost_makes_no_second_object(
    tmp_path: Path,
) -> None:
    with own_pacs() as pacs:
        # The line breaks after the object has come and before it is answered.
        pacs.before_answer = lambda event: event.assoc.abort()
        with sending(tmp_path, settings(pacs.port)) as here:
            here.take_in()
            here.say(NOT_FLAGGED)
            assert wait_until(lambda: here.documents.latest(1)[0].attempts > 0)
            assert here.answers == ["the PACS gave no answer"]
        pacs.before_answer = None
        with sending(tmp_path, settings(pacs.port)) as here:
            here.documents.ask_again([1])
            assert here.all_stored()
        assert len({one.SOPInstanceUID for one in pacs.offered}) == 1
        assert len(pacs.offered) >= 2
        assert pacs.offered[0] == pacs.offered[-1]


def test_an_object_that_the_pacs_refuses_is_told_of_and_holds_nothing_else_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "scanside"),
        own_pacs([0xC123]) as pacs,
        sending(tmp_path, settings(pacs.port)) as here,
    ):
        here.take_in()
        here.say()
        assert wait_until(lambda: here.documents.standing().waiting == 0)
        standing = here.documents.standing()
        assert (standing.refused, standing.stored) == (1, 1)
        assert here.answers == ["0xC123: the PACS cannot understand the object", ""]
        assert here.metrics.results.labels("report", "never")._value.get() == 1
        assert "The PACS refuses object 1: 0xC123" in caplog.text
        assert "TEST-1" not in caplog.text
        assert NAME not in caplog.text
        assert here.states == [CourierState(refused=True)]
        # When the PACS was mended, a person has it sent again.
        assert here.documents.ask_again(here.documents.given_up()) == [1]
        assert here.all_stored()
        assert wait_until(lambda: here.states[-1] == CourierState())


def test_a_pacs_without_room_gets_the_object_later(tmp_path: Path) -> None:
    with own_pacs([0xA700]) as pacs, sending(tmp_path, settings(pacs.port)) as here:
        here.take_in()
        here.say(NOT_FLAGGED)
        assert wait_until(lambda: here.answers == ["0xA700: the PACS is out of resources"])
        (waiting,) = here.documents.latest(1)
        assert (waiting.state, waiting.attempts) == (DocumentState.WAITING, 1)
        assert here.all_stored()


def test_a_pacs_that_takes_no_reports_gets_the_key_images(tmp_path: Path) -> None:
    with (
        own_pacs(without=[ComprehensiveSRStorage]) as pacs,
        sending(tmp_path, settings(pacs.port)) as here,
    ):
        here.take_in()
        here.say()
        assert wait_until(lambda: here.documents.standing().waiting == 0)
        assert here.answers == ["the PACS takes no Comprehensive SR", ""]
        assert [one.Modality for one in pacs.stored] == ["KO"]


def test_a_pacs_that_does_not_know_us_says_so_and_gets_it_when_it_does(tmp_path: Path) -> None:
    with own_pacs(callers=["OTHER"]) as pacs, sending(tmp_path, settings(pacs.port)) as here:
        here.take_in()
        here.say(NOT_FLAGGED)
        assert wait_until(
            lambda: "does not know our AE title SCANSIDE" in here.courier.state.reason
        )
        pacs.let_in("SCANSIDE")
        assert here.all_stored()


def test_a_pacs_that_is_silent_stops_nothing(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        with sending(tmp_path, settings(port, timeout_s=2)) as here:
            here.take_in()
            here.say(NOT_FLAGGED)
            assert wait_until(lambda: here.courier.state.reason != "")
            assert here.documents.standing().waiting == 1
    assert no_thread_is_left(before)


def test_no_object_is_made_of_a_study_whose_images_are_damaged(tmp_path: Path) -> None:
    with own_pacs() as pacs, sending(tmp_path, settings(pacs.port)) as here:
        receipt = here.take_in()
        path = receipt.instance.record.path
        damaged = bytearray(path.read_bytes())
        damaged[40] ^= 1
        path.write_bytes(damaged)
        here.say(NOT_FLAGGED)
        told = "not made: none of the images it refers to can be read"
        assert wait_until(lambda: here.answers == [told])
        assert wait_until(lambda: here.documents.standing().refused == 1)
        assert pacs.offered == []


@needs_orthanc
@pytest.mark.parametrize(
    ("authority", "address", "told"),
    [
        ("hospital", HOST, ""),
        ("stranger", HOST, "certificate is not accepted"),
        ("hospital", "127.0.0.2", "certificate is not accepted"),
    ],
    ids=["as it should be", "another authority", "another name"],
)
def test_over_tls_the_pacs_is_known_by_its_certificate(
    tmp_path: Path, authority: str, address: str, told: str
) -> None:
    ours = Authority(tmp_path, "hospital")
    Authority(tmp_path, "stranger")
    cert, key = ours.issue("pacs", address)
    shown, shown_key = ours.issue("scanside")
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(cert),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(ours.file),
    }
    ca = tmp_path / f"{authority}.ca.pem"
    with orthanc(tmp_path / "pacs", **tls) as pacs:
        to = settings(pacs.port, tls=True, ca=ca, cert=shown, key=shown_key)
        with sending(tmp_path / "here", to) as here:
            here.take_in()
            here.say(NOT_FLAGGED)
            if told:
                assert wait_until(lambda: told in here.courier.state.reason)
                assert pacs.instances() == []
            else:
                assert here.all_stored(), here.courier.state
                assert len(pacs.instances("SR")) == 1


def test_a_pacs_without_tls_is_told_of_as_such(tmp_path: Path) -> None:
    with own_pacs() as pacs, sending(tmp_path, settings(pacs.port, tls=True)) as here:
        here.take_in()
        here.say(NOT_FLAGGED)
        assert wait_until(lambda: here.courier.state.reason != "")
        assert "no TLS with it" in here.courier.state.reason
        assert pacs.offered == []


def test_a_stop_does_not_wait_for_a_slow_pacs_and_nothing_is_lost(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    answer, asked = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        asked.set()
        answer.wait(60)

    with own_pacs() as pacs:
        pacs.before_answer = hold
        with sending(tmp_path, settings(pacs.port, timeout_s=60)) as here:
            here.take_in()
            here.say(NOT_FLAGGED)
            assert asked.wait(60)
            began = time.monotonic()
            here.courier.stop()
            assert time.monotonic() - began < 30
            assert here.documents.standing().waiting == 1
        answer.set()
    assert no_thread_is_left(before)


def test_a_study_that_no_model_looked_at_is_left_out_unless_the_site_wants_it(
    tmp_path: Path,
) -> None:
    unseen = report(series(reason="no model for this kind of study"))
    with own_pacs() as pacs:
        with sending(tmp_path / "a", settings(pacs.port)) as here:
            here.take_in()
            here.say(unseen)
            assert here.documents.latest(9) == []
        with sending(tmp_path / "b", settings(pacs.port, not_analysed=True)) as here:
            here.take_in()
            here.say(unseen)
            assert here.all_stored()
        (stored,) = pacs.stored
        assert said(stored, "NOT ANALYSED") == [
            "CT HEAD, 40 instances: no model for this kind of study"
        ]


def test_the_process_that_makes_objects_ends_with_the_courier(tmp_path: Path) -> None:
    with own_pacs() as pacs, sending(tmp_path, settings(pacs.port)) as here:
        here.take_in()
        here.say(replace(BLEED, change="Larger than before."))
        assert here.all_stored()
        maker = here.courier.maker_pid
        assert maker is not None
        os.kill(maker, signal.SIGKILL)  # as the system does when memory is short
        here.say(NOT_FLAGGED, replaces=True)
        assert here.all_stored()
        assert here.documents.latest(1)[0].attempts == 0
        maker = here.courier.maker_pid
        assert Path(f"/proc/{maker}").exists()
    assert not Path(f"/proc/{maker}").exists()
