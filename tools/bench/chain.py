"""``scanside-bench chain``: what the chain adds to inference, and how fast it takes images in."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from tools.bench.memory import resident_mb
from tools.bench.report import Row, percentile
from tools.bench.storescp import installed, storescp, storescu_s
from tools.scanner import brain_mri_series, chest_xray_series
from tools.scanner.head_ct import as_series, draw_head_ct
from tools.scanner.send import send
from tools.scanner.series import write_series
from tools.site import LocalSite, SiteError
from tools.watch import Followed, Watch

_PACE = 20.0  # slices a second: a fast scanner's reconstruction
_FINAL_S = 60.0


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a tenth of the studies and of the slices."""
    studies, slices, large = (5, 20, 40) if quick else (50, 40, 200)
    watch = Watch()
    with (
        tempfile.TemporaryDirectory(prefix="scanside-bench-") as folder,
        LocalSite(Path(folder) / "site", on_alert=watch.on_alert) as site,
    ):
        idle = resident_mb(site.appliance.pid)
        followed = _paced(site, watch, studies, slices)
        busy = resident_mb(site.appliance.pid)
        intake = _intake(site, Path(folder), large, rounds=3 if quick else 5)
        after = resident_mb(site.appliance.pid)
        _others(site, watch)
        every = resident_mb(site.appliance.pid)
    return [
        *_overhead(followed, slices),
        *intake,
        Row("rss_mb", max(busy, after), "MB", note="daemon and worker, after head CTs alone"),
        Row("rss_idle_mb", idle, "MB", note="daemon and worker, engines ready, before any study"),
        Row("rss_every_model_mb", every, "MB", note="after a study for each of the shipped models"),
    ]


def _paced(site: LocalSite, watch: Watch, studies: int, slices: int) -> list[Followed]:
    """Send studies at a scanner's pace, every other one with a bleed."""
    drawn = [draw_head_ct(lesion, slices, seed=7) for lesion in (True, False)]
    followed = []
    for number in track(range(studies), "Studies at scanner pace"):
        series = as_series(drawn[number % 2], seed=7)
        study = watch.follow(str(number), series[0].StudyInstanceUID, slices)
        send(series, site.appliance.peer, rate=_PACE, on_sent=_noting(watch, study))
        if not watch.wait_for_final(study, _FINAL_S):
            raise SiteError(f"No alert came. The log says: {site.appliance.tail()}")
        followed.append(study)
    return followed


def _others(site: LocalSite, watch: Watch) -> None:
    """Send a study to each model that has not had one, so that all engines are awake."""
    adult, child = chest_xray_series(lesion=True, seed=2), chest_xray_series(lesion=True, seed=3)
    child[0].PatientAge = "004Y"
    for series in (adult, child, brain_mri_series(lesion=True, seed=4)):
        study = watch.follow("other", series[0].StudyInstanceUID, len(series))
        send(series, site.appliance.peer, on_sent=_noting(watch, study))
        if not watch.wait_for_final(study, _FINAL_S):
            raise SiteError(f"No alert came. The log says: {site.appliance.tail()}")


def _noting(watch: Watch, study: Followed) -> Callable[[int, int, int, int | None], None]:
    def on_sent(_index: int, _began: int, last_byte_ns: int, status: int | None) -> None:
        watch.sent(study, last_byte_ns, stored=status == 0)

    return on_sent


def _overhead(followed: list[Followed], slices: int) -> list[Row]:
    whole = [study.last_byte_to_central_ms or 0.0 for study in followed]
    overhead = [
        latency - (study.tail_inference_ms or 0.0)
        for latency, study in zip(whole, followed, strict=True)
    ]
    leads = [study.provisional_lead_ms for study in followed]
    early = [lead for lead in leads if lead is not None]
    how = f"{len(followed)} studies of {slices} slices at {_PACE:.0f}/s"
    lead = statistics.median(early) if early else None
    return [
        Row("overhead_ms_p50", percentile(overhead, 0.5), "ms", note=f"{how}, minus inference"),
        Row("overhead_ms_p99", percentile(overhead, 0.99), "ms", note="to the alert at central"),
        Row("last_byte_to_central_ms_p50", percentile(whole, 0.5), "ms", note="with inference"),
        Row("last_byte_to_central_ms_p99", percentile(whole, 0.99), "ms"),
        Row(
            "provisional_lead_ms_p50",
            lead,
            "ms",
            note=f"{len(early)} of {len(followed)} studies had a provisional alert",
        ),
    ]


def _intake(site: LocalSite, folder: Path, slices: int, *, rounds: int) -> list[Row]:
    """Send the same files by the same sender to us and to storescp, in turn."""
    title = site.appliance.peer.ae_title
    if not installed():
        why = "DCMTK is not installed (apt-get install dcmtk)"
        return [Row("intake_200_s", None, "s", "storescp", note=why)]
    peers: dict[str, dict[str, str]] = {
        "storescp": {},
        "storescp, TCP_NODELAY=1": {"TCP_NODELAY": "1"},
    }
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for number in track(range(rounds), "Intake beside storescp"):
        # New UIDs each time: an instance that is known is answered without being stored.
        files = folder / f"files-{number}"
        write_series(as_series(draw_head_ct(False, slices, seed=number), seed=number), files)
        ours.append(storescu_s(files, title, site.appliance.port))
        for name, settings in peers.items():
            place = folder / f"received-{number}-{len(theirs[name])}-{len(settings)}"
            place.mkdir()
            with storescp(place, settings) as port:
                theirs[name].append(storescu_s(files, title, port))
    how = f"{slices} slices by storescu, median of {rounds}; ours encrypted and synced"
    metrics = ("intake_200_s", "intake_200_nodelay_s")
    return [
        Row(metric, statistics.median(ours), "s", name, statistics.median(theirs[name]), note=how)
        for metric, name in zip(metrics, peers, strict=True)
    ]
