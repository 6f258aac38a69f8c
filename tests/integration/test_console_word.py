"""The physician's word and its figures in a real browser, on a study that a scanner sent."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import numpy as np
import pytest
from browsing import chromium, find_chromium, log_in, shoot, violations, window
from playwright.sync_api import Browser, Locator, Page

from edge.feedback.drift import bin_of
from edge.keys import DeviceKeys
from edge.store.feedback import FeedbackStore, Score, Subject, Verdict, count_scores
from edge.store.journal import Journal
from tools.broker import find_mosquitto
from tools.central.database import open_database
from tools.central.feedback import latest
from tools.central.subscriber import Received
from tools.scanner import head_ct_series, send
from tools.site import LocalSite

PASSWORD = "a long enough pass phrase"
PEOPLE = {"Sara": "technician", "Dr Ali": "physician", "د. هدى": "physician", "Admin": "admin"}
BLEED = Subject("head-ct-hemorrhage", "0.1.0", "SCT:1386000", "Intracranial hemorrhage")
EDGE = Subject(BLEED.model, BLEED.version, "INPUT:edge_mm", "Width of the edge from air to skin")

pytestmark = [
    pytest.mark.skipif(
        find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
    ),
    pytest.mark.skipif(
        find_mosquitto() is None, reason="mosquitto is not installed: apt-get install mosquitto"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def alerts() -> queue.Queue[Received]:
    """The alerts that central has kept."""
    return queue.Queue()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, alerts: queue.Queue[Received]
) -> Iterator[LocalSite]:
    """A site where certificates are required, a year of counts, and one flagged study."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"console": {"tls": False, "require_certificate": True}}
    with LocalSite(folder, on_alert=alerts.put, settings=settings) as running:
        appliance = running.appliance
        secret = folder / "password"
        secret.write_text(PASSWORD)
        for name, role in PEOPLE.items():
            made = appliance.run_cli(
                "users", "add", name, "--role", role, "--password-file", str(secret)
            )
            assert made.returncode == 0, made.stderr
        appliance.stop()
        journal = Journal(appliance.folder / "studies" / "journal.db")
        a_year_of_counts(journal)
        journal.close()
        appliance.start()
        series = head_ct_series(lesion=True, slices=16, seed=1)
        assert send(series, appliance.peer).ok
        alerts.get(timeout=45)
        yield running


@pytest.fixture
def address(site: LocalSite) -> str:
    return f"http://localhost:{site.appliance.console_port}"


def a_year_of_counts(journal: Journal) -> None:
    """Count a year of scores, the last months of them moved, and physicians' words on them."""
    rng = np.random.default_rng(5)
    now = datetime.now().astimezone()
    with journal.transaction() as write:
        for number, score in zip(range(480), rng.beta(1, 4, 480), strict=False):
            at = now - timedelta(days=360 - number * 0.75)
            moved = score**0.5 if number > 340 else score
            edge = rng.normal(0.55 if number > 340 else 0.3, 0.05)
            scores = [Score(BLEED, bin_of(float(moved))), Score(EDGE, bin_of(float(edge)))]
            count_scores(write, scores, at.timestamp())
        for month in range(1, 12):
            day = (now - timedelta(days=30 * month)).date().isoformat()
            for flagged, verdict, number in (
                (True, Verdict.AGREE, int(rng.integers(2, 14))),
                (True, Verdict.DISAGREE, int(rng.integers(0, 6))),
                (False, Verdict.AGREE, int(rng.integers(5, 25))),
                (False, Verdict.DISAGREE, int(rng.integers(0, 3))),
            ):
                write.execute(
                    "REPLACE INTO verdict_counts VALUES (?,?,?,?,?,?,?,?)",
                    (
                        day,
                        BLEED.model,
                        BLEED.version,
                        BLEED.code,
                        BLEED.label,
                        flagged,
                        verdict.value,
                        number,
                    ),
                )


def wait_for_an_alert_of(study_uid: str, alerts: queue.Queue[Received]) -> None:
    while True:
        alert = alerts.get(timeout=45).alert
        if alert is not None and alert.study.study_uid == study_uid:
            return


def wait_for_the_flag(page: Page) -> None:
    page.wait_for_selector(".card[data-tone=critical]")


def test_who_has_no_certificate_sees_the_flag_and_cannot_acknowledge_it(
    browser: Browser, address: str
) -> None:
    with window(browser) as page:
        log_in(page, address, "Sara", PASSWORD)
        wait_for_the_flag(page)
        assert page.locator("button.acknowledge").count() == 0
        csrf = page.locator("meta[name=csrf]").get_attribute("content")
        answer = page.request.post(
            f"{address}/study/1/acknowledge",
            form={"csrf": csrf or ""},
            headers={"Origin": address},
        )
        assert answer.status == 403
        assert "valid certificate" in answer.text()
        assert page.goto(f"{address}/study/1/word").status == 403  # type: ignore[union-attr]
        assert page.goto(f"{address}/statistics").status == 403  # type: ignore[union-attr]


def test_the_arabic_board_is_arabic_from_right_to_left(browser: Browser, address: str) -> None:
    with window(browser, language="ar") as page:
        log_in(page, address, "د. هدى", PASSWORD)
        wait_for_the_flag(page)
        assert page.locator("html").get_attribute("dir") == "rtl"
        assert "نزف داخل الجمجمة" in page.locator(".card").first.inner_text()
        tone, act = (
            page.locator(f".card {part}").first.bounding_box() for part in (".tone", ".act")
        )
        assert tone is not None
        assert act is not None
        assert tone["x"] > act["x"]
        assert violations(page) == []
        shoot(page, "board-ar", whole=False)


def about_the_flag(page: Page) -> Locator:
    """The form about the first finding, which is flagged; others are only told of."""
    return page.locator(".judged").first


def test_a_physician_says_a_word_and_it_is_counted_and_sent(
    browser: Browser, address: str, site: LocalSite, alerts: queue.Queue[Received]
) -> None:
    with window(browser) as page:
        log_in(page, address, "Dr Ali", PASSWORD)
        wait_for_the_flag(page)
        page.goto(f"{address}/study/1/word")
        assert violations(page) == []
        assert "Flagged from" in about_the_flag(page).inner_text()
        unreliable = page.locator(".judged").nth(1).inner_text()
        assert "not reliable enough to flag" in unreliable
        assert "likely" not in unreliable
        about_the_flag(page).get_by_label("Disagree", exact=True).check()
        about_the_flag(page).locator("textarea").fill("calcified falx,\n seen before")
        page.click(".judged button.main")
        page.wait_for_selector(".mine")
        assert "Disagree" in page.locator(".mine").inner_text()
        assert "calcified falx, seen before" in page.locator(".mine").inner_text()
        # The mind is changed; the last word counts.
        about_the_flag(page).get_by_label("Agree", exact=True).check()
        page.click(".judged button.main")
        page.wait_for_function("() => document.querySelector('.mine strong').innerText === 'Agree'")
        shoot(page, "word-en")

        page.goto(f"{address}/statistics")
        assert page.locator(".problem").count() == 2  # scores and images of the last months moved
        assert violations(page) == []
        shoot(page, "statistics-en")
        table = page.locator("details table").first
        page.locator("summary").first.click()
        assert table.locator("tbody tr").count() == 12
    with window(browser, language="ar") as page:
        log_in(page, address, "د. هدى", PASSWORD, to="/statistics")
        assert violations(page) == []
        shoot(page, "statistics-ar")
        page.goto(f"{address}/study/1/word")
        assert "Dr Ali" in about_the_flag(page).inner_text()
        shoot(page, "word-ar")

    keys = DeviceKeys.load(site.appliance.keys)
    journal = Journal(site.appliance.folder / "studies" / "journal.db", read_only=True)
    store = FeedbackStore(journal, keys.storage)
    (said,) = store.of_study(1)
    assert (said.word.who, said.word.verdict) == ("Dr Ali", Verdict.AGREE)
    # Central has kept what came before the alert of a later study.
    later = head_ct_series(lesion=False, slices=8, seed=3)
    assert send(later, site.appliance.peer).ok
    wait_for_an_alert_of(later[0].StudyInstanceUID, alerts)
    assert store.pending(9, ()) == []
    journal.close()
    with closing(open_database(str(site.central.file))) as database:
        assert [row.verdict for row in latest(database, 9)] == ["agree", "disagree"]
    audit = site.appliance.run_cli("audit", "show", "--json", "--limit", "500").stdout
    assert audit.count("feedback.given") == 2
    assert "falx" not in audit


def test_a_note_that_is_being_typed_outlives_the_session(
    browser: Browser, address: str, site: LocalSite
) -> None:
    with window(browser) as page:
        log_in(page, address, "Dr Ali", PASSWORD)
        wait_for_the_flag(page)
        page.goto(f"{address}/study/1/word")
        note = about_the_flag(page).locator("textarea")
        note.fill("seen on two slices")
        secret = site.appliance.folder.parent / "password"
        changed = site.appliance.run_cli(
            "users", "passwd", "Dr Ali", "--password-file", str(secret)
        )
        assert changed.returncode == 0, changed.stderr  # every session of the account ends
        page.get_by_text("What you typed is still here").wait_for()
        assert note.input_value() == "seen on two slices"
        about_the_flag(page).get_by_label("Agree", exact=True).check()
        page.click(".judged button.main")
        page.get_by_role("heading", name="Your session has ended").wait_for()
        assert "was not kept" in page.inner_text("main")


def test_an_answer_to_an_older_result_is_not_taken(browser: Browser, address: str) -> None:
    with window(browser) as page:
        log_in(page, address, "Dr Ali", PASSWORD)
        wait_for_the_flag(page)
        page.goto(f"{address}/study/1/word")
        page.evaluate("document.querySelector('input[name=alert]').value = 'older'")
        about_the_flag(page).get_by_label("Unsure", exact=True).check()
        page.click(".judged button.main")
        page.wait_for_selector(".problem[role=alert]")
        assert "newer result" in page.locator(".problem").inner_text()
