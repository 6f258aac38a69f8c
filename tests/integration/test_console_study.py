"""A study's page in a real browser: what one sees of a flag, and whether its viewer is right."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browsing import LIMIT_MS, chromium, find_chromium, log_in, measured, shoot, violations, window
from playwright.sync_api import Browser, Locator, Page, expect

from tools.scanner import head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

PASSWORD = "a long enough pass phrase"
SLICES = 100

expect.set_options(timeout=LIMIT_MS)
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """An appliance with two head CTs of one patient: an earlier one, and one with a bleed."""
    folder = tmp_path_factory.mktemp("site")
    secret = folder / "password"
    secret.write_text(PASSWORD)
    watch = Watch()
    protocol = folder / "follow-up.toml"
    protocol.write_text(
        '["SCT:1386000"]\nwithin_days = 1\ntext = "Repeat the CT."\nsource = "Protocol 3"\n',
        "utf-8",
    )
    settings = {"alerts": {"follow_up": str(protocol)}}
    with LocalSite(folder, on_alert=watch.on_alert, settings=settings) as running:
        for name, role in (("Amina", "technician"), ("Field", "service")):
            running.appliance.run_cli(
                "users", "add", name, "--role", role, "--password-file", str(secret)
            )
        earlier = head_ct_series(lesion=False, slices=16, seed=1)
        series = head_ct_series(lesion=True, slices=SLICES, seed=2)
        for one in earlier:
            one.PatientID = series[0].PatientID
        assert send(earlier, running.appliance.peer).ok
        study = watch.follow("study", series[0].StudyInstanceUID, len(series))
        # What was cut off is sent again, as a scanner does.
        assert any(send(series, running.appliance.peer).ok for _ in range(3))
        assert watch.wait_for_final(study, 90), running.appliance.tail()
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def address(site: LocalSite) -> str:
    return f"https://localhost:{site.appliance.console_port}"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with window(browser, width=1440) as opened:
        opened.emulate_media(color_scheme="dark")
        log_in(opened, address, "Amina", PASSWORD)
        expect(opened.locator(".card")).to_have_count(2)
        opened.goto(f"{address}/study/2")
        expect(opened.locator("canvas[data-index]")).to_be_visible()
        yield opened


def grey(canvas: Locator) -> list[int]:
    """Return the canvas's pixels, one of four values each."""
    pixels: list[int] = canvas.evaluate(
        "one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
        ".filter((_, at) => at % 4 === 0)"
    )
    return pixels


def drag(page: Page, canvas: Locator, dx: float, dy: float) -> None:
    """Drag from the middle of a canvas by so many CSS pixels."""
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()


def wait_for_every_slice(page: Page) -> None:
    """Wait until the browser has all images of the study, and asks for none."""
    page.wait_for_function(
        "count => new Set(performance.getEntriesByType('resource').map(one => one.name)"
        ".filter(name => name.includes('/image/'))).size >= count",
        arg=SLICES,
    )


def test_a_flag_is_shown_with_its_image_its_heatmap_its_probability_and_its_model(
    page: Page, address: str
) -> None:
    first = page.evaluate("performance.getEntriesByName('first-image')[0].startTime")
    measured("first_image_ms", first)
    finding = page.locator(".said").first
    expect(finding).to_contain_text("Intracranial hemorrhage")
    expect(finding).to_contain_text("likely")
    weak = page.locator(".said").nth(1)
    expect(weak).to_contain_text("not reliable enough to flag")
    expect(weak).not_to_contain_text("likely")
    expect(page.locator("#heat-label")).to_be_visible()
    assert violations(page) == []
    shoot(page, "study", whole=False)

    canvas = page.locator("canvas").first
    with_heat = grey(canvas)
    page.locator("#heat").fill("0")
    assert grey(canvas) != with_heat

    key = canvas.get_attribute("data-index")
    canvas.focus()
    page.keyboard.press("Home")
    expect(canvas).to_have_attribute("data-index", "0")
    page.get_by_role("button", name="Show the key image").first.click()
    expect(canvas).to_have_attribute("data-index", str(key))

    page.get_by_role("link", name="About the model").first.click()
    expect(page.get_by_role("heading", name="What it cannot do")).to_be_visible()
    assert violations(page) == []


def test_dragging_changes_the_window_and_a_preset_is_a_named_one(page: Page) -> None:
    canvas = page.locator("canvas").first
    before, width = grey(canvas), canvas.get_attribute("data-width")
    drag(page, canvas, 80, 0)
    assert canvas.get_attribute("data-width") != width
    assert grey(canvas) != before
    page.get_by_role("button", name="Reset").click()
    canvas.focus()
    page.keyboard.press("Shift+ArrowRight")
    assert float(canvas.get_attribute("data-width") or 0) > float(width or 0)
    page.get_by_label("Preset").select_option(label="Bone (600/2800)")
    expect(canvas).to_have_attribute("data-level", "600.00")
    page.get_by_role("button", name="Reset").click()
    expect(canvas).to_have_attribute("data-width", str(width))
    assert grey(canvas) == before


def test_a_measured_line_has_the_length_that_the_pixel_spacing_gives_it(page: Page) -> None:
    canvas = page.locator("canvas").first
    page.get_by_role("radio", name="Measure").click()
    drag(page, canvas, 100, 0)
    said = canvas.get_attribute("data-measured") or ""
    scale = canvas.evaluate("one => Math.min(one.clientWidth / 512, one.clientHeight / 512)")
    facts = page.evaluate(
        "async () => JSON.parse((await fetch(document.querySelector('link[rel=preload]').href))"
        ".headers.get('X-Frame'))"
    )
    assert facts["rows"] == facts["columns"] == 512
    number = re.match(r"([\d.]+) mm", said)
    assert number is not None, said
    assert float(number[1]) == pytest.approx(100 / scale * facts["spacing"][1], abs=0.2)


def test_every_slice_is_there_before_one_scrolls_to_it(page: Page) -> None:
    wait_for_every_slice(page)
    canvas = page.locator("canvas").first
    longest = page.evaluate(
        """async () => {
            const slider = document.querySelector(".foot input");
            let longest = 0;
            for (let index = 0; index <= slider.max; index += 1) {
                const began = performance.now();
                slider.value = index;
                slider.dispatchEvent(new Event("input"));
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - began);
            }
            return longest;
        }"""
    )
    measured("longest_step_ms", longest)
    expect(canvas).to_have_attribute("data-index", str(SLICES - 1))


def test_an_earlier_study_stands_beside_and_scrolls_along(page: Page) -> None:
    page.get_by_label("Beside it").select_option(index=1)
    expect(page.locator("canvas")).to_have_count(2)
    both = page.locator("canvas")
    both.first.focus()
    page.keyboard.press("End")
    expect(both.first).to_have_attribute("data-index", str(SLICES - 1))
    expect(both.last).to_have_attribute("data-index", "15")
    page.keyboard.press("Home")
    expect(both.last).to_have_attribute("data-index", "0")
    both.last.focus()
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    expect(both.last).to_have_attribute("data-index", "8")
    expect(both.first).to_have_attribute("data-index", str(round(8 / 15 * (SLICES - 1))))
    shoot(page, "study-with-earlier", whole=False)


def test_a_study_beside_it_that_came_later_is_called_so(page: Page, address: str) -> None:
    page.goto(f"{address}/study/1")
    expect(page.locator("canvas[data-index]")).to_be_visible()
    page.get_by_label("Beside it").select_option(index=1)
    expect(page.locator("figcaption").last).to_contain_text("Later study")


def test_what_changed_since_an_earlier_study_stands_by_itself_with_its_uncertainty(
    page: Page,
) -> None:
    since = page.get_by_role("region", name="Since an earlier study")
    expect(since).to_contain_text("flagged now and not then")
    expect(since).to_contain_text("Compare the images before you call it a change")


def test_the_next_look_of_the_hospital_s_own_protocol_is_shown_with_its_source(page: Page) -> None:
    following = page.get_by_role("region", name="Suggested next look")
    expect(following).to_contain_text("Within 1 day · Repeat the CT. (Protocol 3)")
    expect(following).to_contain_text("Your hospital's own protocol says so")
    shoot(page, "study-whole", whole=True)


def test_an_acknowledgement_that_did_not_get_through_is_said_to_have_failed(page: Page) -> None:
    page.context.set_offline(True)
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#away")).to_contain_text("Not acknowledged: no connection")
    page.context.set_offline(False)
    expect(page.locator("html[data-connection=here]")).to_be_attached()
    expect(page.get_by_role("button", name="Acknowledge")).to_be_enabled()


def test_an_acknowledgement_after_the_sessions_end_is_asked_for_again(page: Page) -> None:
    wait_for_every_slice(page)
    page.context.clear_cookies()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("alert").filter(has_text="was not acknowledged")).to_be_visible()
    assert violations(page) == []
    page.fill("input[name=name]", "Amina")
    page.fill("input[name=password]", PASSWORD)
    page.click("main form button.main")
    expect(page.get_by_role("button", name="Acknowledge")).to_be_visible()


def test_on_paper_the_page_is_dark_on_white_whichever_theme_the_screen_has(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    text, ground = page.evaluate(
        "() => ['color', 'backgroundColor'].map(one => getComputedStyle(document.body)[one])"
    )
    assert (text, ground) == ("rgb(18, 23, 29)", "rgb(255, 255, 255)")
    expect(page.locator(".toolbar")).to_be_hidden()
    expect(page.locator(".said").first).to_be_visible()
    expect(page.locator("footer.notice")).to_be_visible()
    shoot(page, "study-printed")


def test_service_sees_how_the_machine_does_and_no_image(
    browser: Browser, site: LocalSite, address: str
) -> None:
    with window(browser) as page:
        log_in(page, address, "Field", PASSWORD)
        page.goto(f"{address}/study/2")
        expect(page.get_by_text("Images are shown to technicians")).to_be_visible()
        assert page.locator(".patient").count() == 0
        answer = page.request.get(f"{address}/study/2/image/17/0")
        assert answer.status == 403
    assert "study.viewed" in site.appliance.run_cli("audit", "show", "--json").stdout


def test_a_study_that_is_erased_while_it_is_looked_at_is_shown_as_erased_from_then_on(
    page: Page, site: LocalSite, address: str
) -> None:
    expect(page.get_by_text("Kept here until an administrator erases it.")).to_be_visible()
    page.get_by_label("Beside it").select_option(index=1)
    expect(page.locator("canvas")).to_have_count(2)
    assert page.request.get(f"{address}/study/1/image/1/0").ok
    done = site.appliance.run_cli("studies", "erase", "1", "--reason", "ours", "--undelivered")
    assert done.returncode == 0, done.stdout
    assert page.request.get(f"{address}/study/1/image/1/0").status == 404
    assert page.request.get(f"{address}/study/1/pictures").status == 404
    assert page.goto(f"{address}/study/1").status == 410  # type: ignore[union-attr]
    expect(page.get_by_role("heading", name="This study was erased")).to_be_visible()
    page.goto(f"{address}/study/2")
    expect(page.locator("canvas[data-index]")).to_be_visible()
    expect(page.get_by_label("Beside it")).to_have_count(0)
    page.goto(address)
    card = page.locator("#study-1")
    expect(card).to_contain_text("Erased")
    expect(card).not_to_contain_text("Nothing flagged")
    assert violations(page) == []
    shoot(page, "board-with-erased")
