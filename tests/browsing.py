"""A real browser on the console, for tests: Debian's Chromium, driven by Playwright.

Screenshots go to build/screenshots. `violations` asks axe-core, which is put into the page
through the browser's debugging port, so that the console's own policy need not be weakened.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
LIMIT_MS = 45_000  # of each wait: a busy machine is slow, not wrong
# WCAG 2.2 A and AA, as axe-core names them.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_FLAGS = (
    "--no-sandbox",  # containers run the tests as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """Return where Chromium is; None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; it ends with the context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(
    browser: Browser,
    *,
    language: str = "en",
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
) -> Iterator[Page]:
    """Open a fresh window: no cookie of another. Its errors fail the test."""
    context: BrowserContext = browser.new_context(
        locale={"en": "en-GB", "ar": "ar-IQ"}[language],
        viewport={"width": width, "height": height},
        ignore_https_errors=True,
        reduced_motion="reduce",
        color_scheme="dark" if dark else "light",
    )
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
        assert not errors, errors
    finally:
        context.close()


def log_in(page: Page, address: str, name: str, password: str, *, to: str = "/") -> None:
    """Log in and open a page of the console."""
    page.goto(f"{address}/login?next={to}")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", password)
    page.click("main form button.main")
    page.wait_for_url(f"**{to}")


def shoot(page: Page, name: str, *, whole: bool = True) -> Path:
    """Write a screenshot and return where it is."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=file, full_page=whole)
    return file


def measured(name: str, value: float) -> None:
    """Note a figure beside the screenshots, to look at; no test passes or fails by it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with (SCREENSHOTS / "figures.txt").open("a", encoding="utf-8") as figures:
        figures.write(f"{name} {value:.0f}\n")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds against WCAG 2.2 AA on the page, one line each."""
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    page.evaluate(script)
    found: dict[str, Any] = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", _TAGS
    )
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
