"""Training in a real browser: read, practise, pass the test, in English and in Arabic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import chromium, find_chromium, log_in, shoot, violations, window
from playwright.sync_api import Browser, Page

from edge.training.content import SHIPPED, Course
from tools.broker import free_port
from tools.site import Appliance

PASSWORD = "a long enough pass phrase"
PEOPLE = {"Sara": "technician", "زينب": "technician", "Dr Ali": "physician", "Admin": "admin"}

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """An appliance that requires a certificate. No broker: training needs none."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"console": {"tls": False, "require_certificate": True}}
    running = Appliance(folder / "appliance", settings, broker_port=free_port())
    secret = folder / "password"
    secret.write_text(PASSWORD)
    for name, role in PEOPLE.items():
        made = running.run_cli("users", "add", name, "--role", role, "--password-file", str(secret))
        assert made.returncode == 0, made.stderr
    running.start(wait_for="READY=1")
    yield running
    running.stop()


@pytest.fixture
def address(appliance: Appliance) -> str:
    return f"http://localhost:{appliance.console_port}"


def right_answers(page: Page, language: str) -> None:
    """Answer every question of the test on the page as the course says."""
    course = Course.read(SHIPPED)
    by_text = {one.text: one.right for one in course.wordings[language].questions.values()}
    questions = page.locator("fieldset.question")
    for number in range(questions.count()):
        question = questions.nth(number)
        text = question.locator("legend").inner_text()
        right = next(right for asked, right in by_text.items() if text.endswith(asked))
        question.get_by_label(right, exact=True).check()


@pytest.mark.parametrize(
    ("name", "language", "direction"), [("Sara", "en", "ltr"), ("زينب", "ar", "rtl")]
)
def test_somebody_reads_practises_and_passes(
    browser: Browser, address: str, appliance: Appliance, name: str, language: str, direction: str
) -> None:
    with window(browser, language=language) as page:
        log_in(page, address, name, PASSWORD, to="/training")
        html = page.locator("html")
        assert (html.get_attribute("lang"), html.get_attribute("dir")) == (language, direction)
        assert violations(page) == []
        shoot(page, f"training-{language}")

        # Read every step, by keyboard alone.
        page.locator("section a.button.main").focus()
        page.keyboard.press("Enter")
        for _ in range(5):
            page.wait_for_url("**/training/step/*")
            title = page.locator("h1").inner_text()
            page.locator("main form button.main").focus()
            page.keyboard.press("Enter")
            page.wait_for_function(
                "old => document.querySelector('h1')?.innerText !== old", arg=title
            )
        assert page.locator(".steps [data-done]").count() == 5

        # A case: the truth is told only after the answer.
        page.goto(f"{address}/training/case/02-missed-bleed")
        assert "epidural" not in page.content()
        shoot(page, f"training-case-{language}", whole=False)
        page.locator("#which").focus()
        page.keyboard.press("ArrowLeft" if direction == "rtl" else "ArrowRight")
        assert page.locator("#slice").get_attribute("src") == "/training/case/02-missed-bleed/6.png"
        page.locator(".choice input").first.check()
        page.click("main form button.main")
        page.wait_for_selector(".verdict")
        assert "epidural" in page.content()
        assert violations(page) == []
        shoot(page, f"training-case-answered-{language}")

        # The test.
        page.goto(f"{address}/training")
        page.click("form[action='/training/test'] button")
        page.wait_for_url("**/training/test/*")
        assert violations(page) == []
        page.click("button.big")
        assert page.locator("[role=alert].problem a").count() == 10
        right_answers(page, language)
        shoot(page, f"training-test-{language}")
        page.click("button.big")
        page.wait_for_selector("[data-passed=yes]")
        shoot(page, f"training-result-{language}")
        page.click(".outcome a.button")
        page.wait_for_url("**/training/certificate/*")
        assert name in page.locator(".paper-name").inner_text()
        assert violations(page) == []
        shoot(page, f"training-certificate-{language}")

        with page.expect_download() as download:
            page.click("a[href$=signed]")
        file = appliance.folder / f"{language}.jws"
        download.value.save_as(file)
    checked = appliance.run_cli("training", "verify", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"Signed by this device: {name}, technician" in checked.stdout
    shown = appliance.run_cli("audit", "show", "--json", "--limit", "500")
    assert "training.certified" in shown.stdout


def test_the_page_of_a_test_says_nothing_of_its_answers(browser: Browser, address: str) -> None:
    with window(browser) as page:
        log_in(page, address, "Dr Ali", PASSWORD, to="/training")
        page.click("form[action='/training/test'] button")
        page.wait_for_url("**/training/test/*")
        questions = Course.read(SHIPPED).wordings["en"].questions.values()
        source = page.content()
        assert not [one.why for one in questions if one.why in source]
        values = (
            page.locator("fieldset.question")
            .first.locator("input")
            .evaluate_all("all => all.map(one => one.value)")
        )
        assert values == ["0", "1", "2", "3"]


def test_who_fails_gets_no_certificate_and_may_try_again(browser: Browser, address: str) -> None:
    with window(browser) as page:
        log_in(page, address, "Admin", PASSWORD, to="/training")
        page.click("form[action='/training/test'] button")
        page.wait_for_url("**/training/test/*")
        for number in range(page.locator("fieldset.question").count()):
            page.locator("fieldset.question").nth(number).locator("input").first.check()
        page.click("button.big")
        page.wait_for_selector("[data-passed]")
        if page.locator("[data-passed=no]").count():  # ten guesses: one in 2,000 passes
            assert page.locator(".outcome a.button").count() == 0
            assert page.locator(".outcome form button").count() == 1
        page.goto(f"{address}/training/people")
        assert violations(page) == []
        shoot(page, "training-people-en")


def test_every_page_can_be_read_in_the_dark_and_on_a_tablet(browser: Browser, address: str) -> None:
    paths = ["/training", "/training/step/flags", "/training/case/03-calcified", "/statistics"]
    with window(browser, language="ar", width=820, height=1180, dark=True) as page:
        log_in(page, address, "Dr Ali", PASSWORD, to="/training")
        for path in paths:
            page.goto(address + path)
            assert violations(page) == [], path
            wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not page.evaluate(wider), path
            shoot(page, f"tablet-dark{path.replace('/', '-')}-ar")


def test_another_persons_test_and_certificate_are_not_shown(browser: Browser, address: str) -> None:
    with window(browser) as page:
        log_in(page, address, "Dr Ali", PASSWORD, to="/training")
        for path in ("/training/test/1", "/training/people", "/training/step/keep"):
            answer = page.goto(address + path)
            assert answer is not None
            assert answer.status in {403, 404}
