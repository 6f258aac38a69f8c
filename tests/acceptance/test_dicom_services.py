"""What scanners do beside sending images, with the whole appliance as a process."""

from __future__ import annotations

import gc
import json
import queue
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
)

from edge.alerts.decision import DISCONTINUED, WRONG_ENTRY
from edge.intake.commitment import WELL_KNOWN_INSTANCE
from tools.broker import free_port
from tools.install_check.commitment import commitment_request
from tools.scanner import Manner, Peer, RefusedError, Tls, head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

ALERT_S = 60.0
HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect it here, where it is known why, and not in whichever test comes later."""
    yield
    gc.collect()


def test_a_study_sent_over_tls_alone_is_an_alert_at_central(tmp_path: Path, watch: Watch) -> None:
    hospital = Authority(tmp_path, "hospital")
    cert, key = hospital.issue("scanside-1", hours=100.0)
    port = free_port()
    settings = {
        "dicom": {
            "host": HOST,
            "cert": str(cert),
            "key": str(key),
            "ca": str(hospital.file),
            "crl": str(hospital.revoke()),
            "tls_port": port,
            "tls_peers": ["ct1.hospital"],
            "plain": False,
        }
    }
    with LocalSite(tmp_path, on_alert=watch.on_alert, settings=settings) as site:
        series = head_ct_series(True, slices=8, seed=1)
        study = watch.follow("study", series[0].StudyInstanceUID, len(series))
        tls = Tls(hospital.file, *hospital.issue("ct1.hospital"))
        report = send(series, Peer("SCANSIDE", HOST, port), manner=Manner(tls=tls))
        assert report.ok, report.failures
        assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
        # Its certificate is taken back: it is refused from then on, and the audit says so.
        assert tls.cert is not None
        hospital.revoke(tls.cert)
        with pytest.raises(RefusedError, match="closed the connection"):
            send(series, Peer("SCANSIDE", HOST, port), manner=Manner(tls=tls))
        checked = site.appliance.run_cli("check").stdout
        audited = site.appliance.run_cli("audit", "show", "--json").stdout
        log = site.appliance.log.read_text(encoding="utf-8")
    assert f"DICOM over TLS: SCANSIDE listens on {HOST}:{port} as scanside-1, by hospital" in log
    assert "The certificate for DICOM over TLS has 4 days left" in log
    assert "dicom certificate" in checked
    assert "dicom revocation list: 1 certificates taken back" in checked
    acts = map(json.loads, audited.splitlines())
    refused = [one for one in acts if one["what"] == "sender.refused"]
    assert [one["outcome"] for one in refused] == [f"revoked, at {HOST}"]
    assert refused[0]["on"].startswith("certificate CN=ct1.hospital, serial ")
    assert "4 days" in checked
    assert "Traceback" not in log


# Storage Commitment


def without_a_count(series: list[Any]) -> list[Any]:
    """Leave out how many there will be: something else has to say that the series is complete."""
    for image in series:
        del image.ImagesInAcquisition
    return series


class Scanner:
    """A scanner that does more than send, and listens for reports."""

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[Dataset] = queue.SimpleQueue()
        self.handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self.ae = AE("CT1")
        services = (CTImageStorage, StorageCommitmentPushModel, ModalityPerformedProcedureStep)
        for service in services:
            self.ae.add_requested_context(service)
        self.ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

    def _on_report(self, event: Any) -> tuple[int, None]:
        self.reports.put(event.event_information)
        return 0x0000, None

    def associate(self, site: LocalSite) -> Any:
        association = self.ae.associate(
            HOST, site.appliance.port, ae_title="SCANSIDE", evt_handlers=self.handlers
        )
        assert association.is_established
        return association

    def ask(self, association: Any, series: list[Any]) -> None:
        answer, _ = association.send_n_action(
            commitment_request(series), 1, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE
        )
        assert answer.Status == 0x0000


def test_a_series_is_complete_when_commitment_was_asked_for_all_of_it(
    site: LocalSite, watch: Watch
) -> None:
    series = without_a_count(head_ct_series(True, slices=8, seed=2))
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    scanner = Scanner()
    association = scanner.associate(site)
    for image in series:
        assert association.send_c_store(image).Status == 0x0000
    scanner.ask(association, series)
    # The association is open still: neither its end nor silence can have closed the series.
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    assert len(scanner.reports.get(timeout=ALERT_S).ReferencedSOPSequence) == len(series)
    association.release()
    assert study.alert is not None
    assert study.alert.study.series[0].completed_by == "commitment"
    log = site.appliance.log.read_text(encoding="utf-8")
    assert "Storage commitment for 'CT1': 8 of 8 instances are safe" in log
    assert not re.search(r"\b[0-9]+(\.[0-9]+){5,}\b", log)


def test_a_commitment_that_was_acknowledged_is_reported_after_a_power_cut(
    tmp_path: Path, watch: Watch
) -> None:
    port = free_port()
    settings = {"dicom": {"host": HOST, "report_to": [f"CT1@{HOST}:{port}"]}}
    with LocalSite(tmp_path, on_alert=watch.on_alert, settings=settings) as site:
        series = without_a_count(head_ct_series(True, slices=8, seed=3))
        study = watch.follow("study", series[0].StudyInstanceUID, len(series))
        scanner = Scanner()
        association = scanner.associate(site)
        for image in series:
            assert association.send_c_store(image).Status == 0x0000
        scanner.ask(association, series)
        site.appliance.kill()
        association.abort()
        server = scanner.ae.start_server((HOST, port), block=False, evt_handlers=scanner.handlers)
        site.appliance.start()
        report = scanner.reports.get(timeout=ALERT_S)
        assert len(report.ReferencedSOPSequence) == len(series)
        assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
        server.shutdown()
    assert study.alert is not None
    assert study.alert.study.series[0].completed_by == "commitment"


# Modality Performed Procedure Step


def begin(association: Any) -> str:
    """Say that a step begins; return its UID."""
    step = Dataset()
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PatientName = "Nobody^Jane"
    uid = str(generate_uid())
    answer, _ = association.send_n_create(step, ModalityPerformedProcedureStep, uid)
    assert answer.Status == 0x0000
    return uid


def end(association: Any, uid: str, status: str, series: list[Any], reason: str = "") -> None:
    """Say how a step ended, with the images of one series."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    one = Dataset()
    one.SeriesInstanceUID = series[0].SeriesInstanceUID
    one.ReferencedImageSequence = commitment_request(series).ReferencedSOPSequence
    step.PerformedSeriesSequence = [one]
    if reason:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = reason, "DCM"
        code.CodeMeaning = "Incorrect worklist entry selected"
        step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
    answer, _ = association.send_n_set(step, ModalityPerformedProcedureStep, uid)
    assert answer.Status == 0x0000


def store(association: Any, series: list[Any]) -> None:
    for image in series:
        assert association.send_c_store(image).Status == 0x0000


def test_a_series_is_complete_when_all_that_the_step_lists_has_come(
    site: LocalSite, watch: Watch
) -> None:
    series = without_a_count(head_ct_series(True, slices=8, seed=4))
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    association = Scanner().associate(site)
    step = begin(association)
    store(association, series[:3])
    end(association, step, "COMPLETED", series)  # the scanner is done; its images are not yet here
    site.appliance.kill()
    association.abort()
    site.appliance.start()
    association = Scanner().associate(site)
    store(association, series[3:])
    # The association is open still: neither its end nor silence can have closed the series.
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    association.release()
    assert study.alert is not None
    assert study.alert.supersedes is None
    (one,) = study.alert.study.series
    assert (one.completed_by, one.instances) == ("mpps", len(series))
    assert "Nobody" not in site.appliance.log.read_text(encoding="utf-8")


def test_a_step_that_is_discontinued_is_told_of_even_when_the_study_was_decided(
    site: LocalSite, watch: Watch
) -> None:
    series = without_a_count(head_ct_series(True, slices=8, seed=5))
    study = watch.follow("study", series[0].StudyInstanceUID, len(series))
    association = Scanner().associate(site)
    step, again = begin(association), begin(association)
    store(association, series)
    end(association, step, "DISCONTINUED", series)
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    first = study.alert
    assert first is not None
    assert first.study.series[0].completed_by == "discontinued"
    assert DISCONTINUED in first.reasons
    assert WRONG_ENTRY not in first.reasons
    study.final = None
    end(association, again, "DISCONTINUED", series, reason="110514")
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    association.release()
    assert study.alert is not None
    assert study.alert.supersedes == first.id
    assert {DISCONTINUED, WRONG_ENTRY} <= set(study.alert.reasons)
