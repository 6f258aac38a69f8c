"""``scanside-bench console``: how long people wait for the console, in a real browser.

Chromium is driven by Playwright, on the machine that also analyses: the worst place for both.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from rich.progress import track

from edge.console.accounts import Accounts, Role
from edge.console.database import ConsoleDatabase
from edge.timestamps import parse_rfc3339
from tools.bench.report import Row, percentile
from tools.scanner import head_ct_series, send
from tools.site import LocalSite, SiteError
from tools.watch import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PASSWORD = "only for this measurement"  # noqa: S105 - of an appliance that lives a minute
_FINAL_S = 90.0
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
_WATCH_FLAGS = """() => {
    window.flagged = {};
    const look = () => {
        for (const card of document.querySelectorAll("[data-pressing]")) {
            window.flagged[card.dataset.study] ??= Date.now();
        }
    };
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
}"""
_SCROLL = """async () => {
    const slider = document.querySelector(".foot input");
    const steps = [];
    for (let index = 0; index <= slider.max; index += 1) {
        const began = performance.now();
        slider.value = index;
        slider.dispatchEvent(new Event("input"));
        steps.push(performance.now() - began);
        await new Promise(requestAnimationFrame);
    }
    return steps;
}"""
_LOADED = """count => new Set(performance.getEntriesByType("resource")
    .map(one => one.name).filter(name => name.includes("/image/"))).size >= count"""


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes fewer flags, page loads and slices."""
    flags, loads, slices = (3, 5, 60) if quick else (20, 20, 200)
    watch = Watch()
    settings = {"console": {"tls": True}}
    with (
        tempfile.TemporaryDirectory(prefix="scanside-bench-") as folder,
        LocalSite(Path(folder) / "site", on_alert=watch.on_alert, settings=settings) as site,
    ):
        with closing(ConsoleDatabase(site.appliance.folder / "studies")) as database:
            Accounts(database).add("bench", Role.PHYSICIAN, _PASSWORD)
        return _in_a_browser(site, watch, flags, loads, slices)


def _in_a_browser(site: LocalSite, watch: Watch, flags: int, loads: int, slices: int) -> list[Row]:
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for developers alone
    except ImportError:
        program = None
    if program is None:
        raise SiteError("It needs Chromium and Playwright: ./tools/test.sh --setup-only")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        page = browser.new_context(ignore_https_errors=True).new_page()
        address = f"https://localhost:{site.appliance.console_port}"
        page.goto(f"{address}/login")
        page.fill("input[name=name]", "bench")
        page.fill("input[name=password]", _PASSWORD)
        page.click("main form button.main")
        page.wait_for_url(f"{address}/")
        rows = _flags(site, watch, page, flags)
        study = _large(site, watch, slices, flags)
        rows += _viewer(page, f"{address}/study/{study}", loads, slices)
        browser.close()
    return rows


def _flags(site: LocalSite, watch: Watch, page: Page, flags: int) -> list[Row]:
    """Measure from an alert's making to its card on the open board."""
    page.evaluate(_WATCH_FLAGS)
    lags = []
    for number in track(range(flags), "Flags"):
        series = _anew(head_ct_series(lesion=True, slices=20, seed=2))
        study = watch.follow(str(number), series[0].StudyInstanceUID, len(series))
        send(series, site.appliance.peer, rate=20)
        if not watch.wait_for_final(study, _FINAL_S) or study.alert is None:
            raise SiteError(f"No alert came. The log says: {site.appliance.tail()}")
        first = study.provisional.alert if study.provisional is not None else study.alert
        page.wait_for_selector(f"#study-{number + 1}[data-pressing]")
        shown: float = page.evaluate("study => window.flagged[study]", str(number + 1))
        assert first is not None  # noqa: S101 - `study.alert` is one
        lags.append(shown - parse_rfc3339(first.created).timestamp() * 1000)
    note = "from the alert's making to its card on an open board, by the machine's clock"
    return [
        Row("flag_to_board_p50_ms", percentile(lags, 0.5), "ms", note=note),
        Row("flag_to_board_p99_ms", percentile(lags, 0.99), "ms"),
    ]


def _anew(series: Sequence[Dataset]) -> Sequence[Dataset]:
    """Return the series as another study: the same images, flagged as surely."""
    study, own = generate_uid(), generate_uid()
    for image in series:
        image.StudyInstanceUID, image.SeriesInstanceUID = study, own
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return series


def _large(site: LocalSite, watch: Watch, slices: int, before: int) -> int:
    """Send one large CT; return its number at the appliance."""
    series = head_ct_series(lesion=True, slices=slices, seed=5)
    study = watch.follow("large", series[0].StudyInstanceUID, len(series))
    send(series, site.appliance.peer)
    if not watch.wait_for_final(study, _FINAL_S):
        raise SiteError(f"No alert came. The log says: {site.appliance.tail()}")
    return before + 1


def _viewer(page: Page, address: str, loads: int, slices: int) -> list[Row]:
    """Measure the first image, all images, and each step of a scroll through them."""
    firsts: list[float] = []
    for _ in track(range(loads), "Page loads"):
        page.goto(address)
        page.wait_for_function("() => performance.getEntriesByName('first-image').length > 0")
        firsts.append(page.evaluate("performance.getEntriesByName('first-image')[0].startTime"))
    page.wait_for_function(_LOADED, arg=slices, timeout=_FINAL_S * 1000)
    all_ms: float = page.evaluate("performance.now()")
    steps: list[Any] = page.evaluate(_SCROLL)
    return [
        Row(
            "first_image_p50_ms",
            percentile(firsts, 0.5),
            "ms",
            note="from asking for a study's page to its first image, over TLS on loopback",
        ),
        Row("first_image_max_ms", max(firsts), "ms"),
        Row("all_images_ms", all_ms, "ms", note=f"until all {slices} slices are in the browser"),
        Row("scroll_step_p50_ms", percentile(steps, 0.5), "ms", note="from a step to its picture"),
        Row("scroll_step_max_ms", max(steps), "ms"),
    ]
