"""What scanners do beside sending images, with the whole appliance as a process."""

from __future__ import annotations

from pathlib import Path

from certificates import Authority

from tools.broker import free_port
from tools.scanner import Manner, Peer, Tls, head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

ALERT_S = 60.0
HOST = "127.0.0.1"


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
        checked = site.appliance.run_cli("check").stdout
        log = site.appliance.log.read_text(encoding="utf-8")
    assert f"DICOM over TLS: SCANSIDE listens on {HOST}:{port} as scanside-1, by hospital" in log
    assert "The certificate for DICOM over TLS has 4 days left" in log
    assert "dicom certificate" in checked
    assert "4 days" in checked
    assert "Traceback" not in log
