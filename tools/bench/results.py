"""``scanside-bench results``: how soon a report is in the PACS, and what a PACS costs the alerts.

Three appliances stand side by side and get studies in turn: one without ``[results]``, one with a
PACS that answers (DCMTK's storescp), one with a PACS that takes connections and says nothing.
"""

from __future__ import annotations

import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.progress import track

from tools.bench.memory import resident_mb
from tools.bench.report import Row, percentile
from tools.bench.storescp import installed, storescp
from tools.broker import HOST
from tools.scanner.head_ct import as_series, draw_head_ct
from tools.scanner.send import send
from tools.site import LocalSite, SiteError
from tools.watch import Watch

_PACE = 20.0  # slices a second: a fast scanner's reconstruction
_FINAL_S = 60.0
_STORED_S = 120.0
_WITHOUT, _ANSWERS, _SILENT = "without a PACS", "a PACS that answers", "a silent PACS"


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a tenth of the studies."""
    if not installed():
        why = "DCMTK is not installed (apt-get install dcmtk)"
        return [Row("report_in_pacs_ms_p50", None, "ms", note=why)]
    studies, slices = (4, 20) if quick else (40, 20)
    watch = Watch()
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scanside-bench-")))
        (folder / "pacs").mkdir()
        ports = {
            _WITHOUT: None,
            _ANSWERS: cleanup.enter_context(storescp(folder / "pacs", {})),
            _SILENT: cleanup.enter_context(_silent()),
        }
        sites = {
            name: cleanup.enter_context(
                LocalSite(
                    folder / f"site-{number}",
                    on_alert=watch.on_alert,
                    settings={"results": {} if port is None else _settings(port)},
                )
            )
            for number, (name, port) in enumerate(ports.items())
        }
        idle = {name: resident_mb(site.appliance.pid) for name, site in sites.items()}
        overhead = _overhead(sites, watch, studies, slices)
        waited = _until_stored(sites[_ANSWERS], studies)
        busy = resident_mb(sites[_ANSWERS].appliance.pid)
    return _rows(overhead, waited, idle, busy, f"{studies} studies of {slices} slices, in turn")


def _settings(port: int) -> dict[str, object]:
    return {"enabled": True, "host": HOST, "port": port, "timeout_s": 5.0}


@contextmanager
def _silent() -> Iterator[int]:
    """Take connections, by the system's own queue, and never say a word."""
    with socket.create_server((HOST, 0), backlog=128) as listener:
        yield int(listener.getsockname()[1])


def _overhead(
    sites: dict[str, LocalSite], watch: Watch, studies: int, slices: int
) -> dict[str, list[float]]:
    """Return, for each site, what the chain added to inference, in ms a study."""
    drawn = [draw_head_ct(lesion, slices, seed=7) for lesion in (True, False)]
    added: dict[str, list[float]] = {name: [] for name in sites}
    for number in track(range(studies), "Studies at scanner pace"):
        for name, site in sites.items():
            series = as_series(drawn[number % 2], seed=7)
            study = watch.follow(str(number), series[0].StudyInstanceUID, slices)

            def on_sent(
                _index: int, _began: int, last_ns: int, status: int | None, study: Any = study
            ) -> None:
                watch.sent(study, last_ns, stored=status == 0)

            send(series, site.appliance.peer, rate=_PACE, on_sent=on_sent)
            if not watch.wait_for_final(study, _FINAL_S):
                raise SiteError(f"No alert came. The log says: {site.appliance.tail()}")
            whole = study.last_byte_to_central_ms or 0.0
            added[name].append(whole - (study.tail_inference_ms or 0.0))
    return added


def _until_stored(site: LocalSite, studies: int) -> list[float]:
    """Return how long each report took from its decision until the PACS had it, in ms."""
    deadline = time.monotonic() + _STORED_S
    while True:
        said = site.appliance.run_cli("results", "list", "--json", "--limit", str(4 * studies))
        lines = json.loads(said.stdout)
        reports = [one for one in lines if one["kind"] == "report"]
        if len(reports) == studies and all(one["state"] == "stored" for one in lines):
            return [1000.0 * (one["stored"] - one["created"]) for one in reports]
        if time.monotonic() > deadline:
            raise SiteError(f"Not all reports reached the PACS: {site.appliance.tail()}")
        time.sleep(0.5)


def _rows(
    overhead: dict[str, list[float]],
    waited: list[float],
    idle: dict[str, float],
    busy: float,
    how: str,
) -> list[Row]:
    names = {_ANSWERS: "answering", _SILENT: "silent"}
    rows = [
        Row(
            f"overhead_{short}_pacs_ms_p50",
            percentile(overhead[name], 0.5),
            "ms",
            _WITHOUT,
            percentile(overhead[_WITHOUT], 0.5),
            note=f"last byte to central, minus inference; {how}",
        )
        for name, short in names.items()
    ]
    return [
        *rows,
        Row(
            "report_in_pacs_ms_p50",
            statistics.median(waited),
            "ms",
            note="from the decision until the PACS had the report, made in a process of its own",
        ),
        Row("report_in_pacs_ms_max", max(waited), "ms", note="the first starts that process"),
        Row("rss_idle_mb", idle[_ANSWERS], "MB", _WITHOUT, idle[_WITHOUT], note="with results on"),
        Row("rss_busy_mb", busy, "MB", note="with the process that makes objects"),
    ]
