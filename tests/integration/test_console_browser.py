"""The board in a real browser, before a real appliance with a broker and a central server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from browsing import LIMIT_MS, chromium, find_chromium, log_in, measured, shoot, violations, window
from playwright.sync_api import Browser, Page, expect

from edge.timestamps import parse_rfc3339
from tools.scanner import chest_xray_series, head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

PASSWORD = "a long enough pass phrase"
PEOPLE = {"Amina": "technician", "Layla": "physician", "Omar": "admin", "Field": "service"}
CONSOLES = 8
STORM = 20

expect.set_options(timeout=LIMIT_MS)
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Iterator[LocalSite]:
    folder = tmp_path_factory.mktemp("site")
    secret = folder / "password"
    secret.write_text(PASSWORD)
    settings: dict[str, dict[str, object]] = {
        "console": {"escalate_after_s": 3.0},
        "analysis": {"last_resort_s": 2},
    }
    with LocalSite(folder, on_alert=watch.on_alert, settings=settings) as running:
        for name, role in PEOPLE.items():
            made = running.appliance.run_cli(
                "users", "add", name, "--role", role, "--password-file", str(secret)
            )
            assert made.returncode == 0, made.stderr
        yield running


@pytest.fixture
def address(site: LocalSite) -> str:
    return f"https://localhost:{site.appliance.console_port}"


def seen_at(page: Page, selector: str) -> None:
    """Have the page note, on the machine's clock, when `selector` first matches something."""
    page.evaluate(
        """selector => {
            const look = () => {
                if (window.seenAt || !document.querySelector(selector)) return;
                window.seenAt = Date.now();
            };
            const all = { childList: true, subtree: true, attributes: true };
            new MutationObserver(look).observe(document, all);
            look();
        }""",
        selector,
    )


def test_a_flag_is_on_the_board_at_once_and_is_acknowledged_by_name(
    browser: Browser,
    site: LocalSite,
    watch: Watch,
    address: str,
) -> None:
    with window(browser) as page:
        page.emulate_media(color_scheme="dark")
        log_in(page, address, "Amina", PASSWORD)
        expect(page.get_by_text("No study has come in yet")).to_be_visible()
        assert violations(page) == []
        shoot(page, "board-empty", whole=False)
        seen_at(page, "[data-pressing][data-tone=critical]")

        series = head_ct_series(lesion=True, slices=24, seed=2)
        study = watch.follow("flagged", series[0].StudyInstanceUID, len(series))
        lateral = chest_xray_series(lesion=True, seed=1)
        lateral[0].ViewPosition = "LL"  # which no model is for
        send(lateral, site.appliance.peer)
        send(series, site.appliance.peer, rate=20)
        card = page.locator("[data-pressing]")
        expect(card).to_be_visible()
        expect(page.locator("#alarm .alarm")).to_contain_text("Intracranial hemorrhage")
        expect(card).to_contain_text("Critical")
        assert page.title().startswith("(1) ")
        assert watch.wait_for_final(study, 45), site.appliance.tail()

        # On one machine all clocks are one: from the alert's making to the page.
        assert study.alert is not None
        first = study.alert if study.provisional is None else study.provisional.alert
        assert first is not None
        made = parse_rfc3339(first.created).timestamp()
        lag_ms = page.evaluate("window.seenAt") - made * 1000
        measured("flag_to_board_ms", lag_ms)
        assert lag_ms < 10_000

        expect(card.locator(".count")).to_have_text("24")
        expect(page.locator("[data-tone=not-analysed]")).to_contain_text("No model for this kind")
        expect(page.locator("[data-escalated]").first).to_be_visible()  # nobody did for 3 s
        expect(card.locator(".delivery")).to_have_text("Received by central")
        assert violations(page) == []
        shoot(page, "board", whole=False)

        card.get_by_role("button", name="Acknowledge").click()
        expect(page.locator("[data-pressing]")).to_have_count(0)
        expect(page.locator("#alarm .alarm")).to_have_count(0)
        expect(page.locator(".seen")).to_contain_text("Amina")
        shoot(page, "board-acknowledged", whole=False)
    audit = site.appliance.run_cli("audit", "show", "--json").stdout
    assert "alert.acknowledged" in audit
    assert "alert.unacknowledged" in audit
    assert site.appliance.run_cli("audit", "verify").returncode == 0


def test_the_sound_is_on_after_one_touch_and_says_so(browser: Browser, address: str) -> None:
    with window(browser) as page:
        page.context.grant_permissions(["notifications"])
        log_in(page, address, "Amina", PASSWORD)
        sound = page.locator("#sound")
        expect(sound).to_have_attribute("aria-pressed", "false")
        sound.click()
        expect(sound).to_have_attribute("aria-pressed", "true")
        expect(sound).to_have_text("Sound is on")
        page.reload()
        expect(sound).to_have_attribute("aria-pressed", "false")  # a browser wants a touch again
        page.locator("h1").click()
        expect(sound).to_have_attribute("aria-pressed", "true")


def test_a_drill_is_on_the_board_as_a_drill(
    browser: Browser, site: LocalSite, address: str
) -> None:
    with window(browser) as page:
        log_in(page, address, "Amina", PASSWORD)
        site.appliance.run_cli("drill")
        expect(page.locator("[data-level=drill]")).to_contain_text("Drill: a test alarm was sent")
        expect(page.locator("[data-level=drill]")).to_contain_text("Received by central")
        assert page.locator("[data-pressing]").count() == 0
        assert violations(page) == []


def test_the_board_in_arabic_runs_from_right_to_left(
    browser: Browser, site: LocalSite, address: str
) -> None:
    with window(browser, language="ar") as page:
        log_in(page, address, "Layla", PASSWORD)
        card = page.locator("[data-tone=critical]").first
        expect(card).to_be_visible()
        assert page.locator("html").get_attribute("dir") == "rtl"
        # At one moment: the live board may put a new card in its place between two looks.
        tone, act = card.evaluate(
            """card => [".tone", ".act"].map(
                part => card.querySelector(part).getBoundingClientRect().x)"""
        )
        assert tone > act, "the tone leads, at the right"
        assert violations(page) == []
        shoot(page, "board-ar", whole=False)


def test_a_board_that_lost_the_appliance_says_so_and_comes_back_by_itself(
    browser: Browser, site: LocalSite, watch: Watch, address: str
) -> None:
    with window(browser) as page:
        log_in(page, address, "Amina", PASSWORD)
        expect(page.locator(".card").first).to_be_visible()
        before = page.locator(".card").count()
        site.appliance.kill()
        expect(page.locator("#away")).to_contain_text("No connection")
        shoot(page, "board-away", whole=False)
        site.appliance.start()
        expect(page.locator("html[data-connection=here]")).to_be_attached()
        expect(page.locator(".card")).to_have_count(before)
        expect(page.locator(".seen")).to_contain_text("Amina")  # kept over the power cut
        send(head_ct_series(lesion=False, slices=8, seed=11), site.appliance.peer)
        expect(page.locator(".card")).to_have_count(before + 1)


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everyone_can_use_the_log_in_page(
    browser: Browser, address: str, language: str, dark: bool
) -> None:
    with window(browser, language=language, dark=dark) as page:
        page.goto(f"{address}/login")
        expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
        assert violations(page) == []
        shoot(page, f"log-in-{language}-{'dark' if dark else 'light'}")


@pytest.mark.parametrize("name", ["Amina", "Field"])
def test_a_page_is_refused_to_a_role_it_is_not_for(
    browser: Browser, address: str, name: str
) -> None:
    with window(browser) as page:
        log_in(page, address, name, PASSWORD)
        answer = page.goto(f"{address}/training/people")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading", name="Not for your role")).to_be_visible()


def test_eight_consoles_show_the_same_at_the_end_of_a_storm(
    browser: Browser, site: LocalSite, watch: Watch, address: str
) -> None:
    with ExitStack() as windows:
        pages = [windows.enter_context(window(browser)) for _ in range(CONSOLES)]
        for page in pages:
            log_in(page, address, "Amina", PASSWORD)
        before = pages[0].locator(".card").count()
        for number in range(STORM):
            series = head_ct_series(lesion=number == 0, slices=6, seed=100 + number)
            study = watch.follow(f"storm {number}", series[0].StudyInstanceUID, len(series))
            send(series, site.appliance.peer)
        assert watch.wait_for_final(study, 120), site.appliance.tail()
        for page in pages:
            expect(page.locator(".card")).to_have_count(before + STORM)
            expect(page.locator("[data-tone=waiting]")).to_have_count(0)
        boards = {
            tuple(page.eval_on_selector_all(".card", "all => all.map(one => one.dataset.study)"))
            for page in pages
        }
        assert len(boards) == 1
