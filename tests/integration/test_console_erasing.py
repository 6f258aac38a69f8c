"""Erasing on the console, in a real browser: who may, what is asked, what others see of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from browsing import LIMIT_MS, chromium, find_chromium, log_in, shoot, violations, window
from playwright.sync_api import Browser, Page, expect

from tools.scanner import head_ct_series, send
from tools.site import LocalSite
from tools.watch import Watch

PASSWORD = "a long enough pass phrase"
PEOPLE = {"Amina": "technician", "Layla": "physician", "Omar": "admin", "Field": "service"}
PATIENT = "P-2026-77"
SLICES = 16

Form = dict[str, str | float | bool]  # as Playwright takes it

expect.set_options(timeout=LIMIT_MS)
pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """An appliance with four studies: 2 is flagged, 3 and 4 are of one patient."""
    folder = tmp_path_factory.mktemp("site")
    secret = folder / "password"
    secret.write_text(PASSWORD)
    watch = Watch()
    settings: dict[str, dict[str, object]] = {"storage": {"keep_days": 30.0, "keep_gb": 500.0}}
    with LocalSite(folder, on_alert=watch.on_alert, settings=settings) as running:
        for name, role in PEOPLE.items():
            running.appliance.run_cli(
                "users", "add", name, "--role", role, "--password-file", str(secret)
            )
        for number in range(1, 5):
            series = head_ct_series(lesion=number == 2, slices=SLICES, seed=number)
            for one in series:
                if number > 2:
                    one.PatientID = PATIENT
            study = watch.follow(str(number), series[0].StudyInstanceUID, len(series))
            assert send(series, running.appliance.peer).ok
            assert watch.wait_for_final(study, 90), running.appliance.tail()
        yield running


@pytest.fixture
def address(site: LocalSite) -> str:
    return f"https://localhost:{site.appliance.console_port}"


@pytest.fixture
def admin(browser: Browser, address: str) -> Iterator[Page]:
    with window(browser) as page:
        log_in(page, address, "Omar", PASSWORD)
        yield page


def states(site: LocalSite) -> dict[int, str]:
    listed = json.loads(site.appliance.run_cli("studies", "list", "--json").stdout)
    return {one["id"]: one["state"] for one in listed}


def fill(page: Page, *, reason: str, confirm: str) -> None:
    """Fill in the form that asks for an erasure, and send it."""
    page.get_by_label("Why?").fill(reason)
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_label("To confirm").fill(confirm)
    page.locator("button.danger").click()


@pytest.mark.parametrize("name", [name for name, role in PEOPLE.items() if role != "admin"])
def test_only_an_administrator_is_offered_it_and_the_server_refuses_everybody_else(
    browser: Browser, site: LocalSite, address: str, name: str
) -> None:
    with window(browser) as page:
        log_in(page, address, name, PASSWORD)
        page.goto(f"{address}/study/1")
        expect(page.get_by_text("What was told, and when")).to_be_visible()
        assert page.get_by_role("link", name="Erase…").count() == 0
        assert page.get_by_role("link", name="Kept studies").count() == 0
        form: Form = {
            "csrf": page.locator("meta[name=csrf]").get_attribute("content") or "",
            "reason": "ours",
            "confirm": "1",
            "studies": "1",
            "undelivered": "on",
            "unacknowledged": "on",
        }
        for path in ("/study/1/erase", "/study/1/erase/patient"):
            assert page.request.get(address + path).status == 403
            sent = page.request.post(address + path, form=form, headers={"Origin": address})
            assert sent.status == 403
        assert page.request.get(f"{address}/keeping").status == 403
        assert page.request.get(f"{address}/keeping/orders/1-1").status == 403
        seek = page.request.post(
            f"{address}/keeping",
            form={"csrf": form["csrf"], "patient": PATIENT},
            headers={"Origin": address},
        )
        assert seek.status == 403
    assert states(site)[1] == "decided"


def test_a_form_of_another_site_or_session_erases_nothing(
    admin: Page, site: LocalSite, address: str
) -> None:
    form: Form = {"reason": "ours", "confirm": "1", "undelivered": "on", "unacknowledged": "on"}
    place = f"{address}/study/1/erase"
    assert admin.request.post(place, form=form).status == 403
    stale: Form = {**form, "csrf": "of another session"}
    assert admin.request.post(place, form=stale).status == 403
    csrf = admin.locator("meta[name=csrf]").get_attribute("content") or ""
    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    sent = admin.request.post(place, form={**form, "csrf": csrf}, headers=foreign)
    assert sent.status == 403
    assert httpx.post(place, data=form, verify=False, trust_env=False).status_code == 401  # noqa: S501
    assert states(site)[1] == "decided"


def test_a_study_goes_once_it_is_confirmed_with_a_reason_that_names_nobody_and_all_see_it(
    browser: Browser, admin: Page, site: LocalSite, address: str
) -> None:
    with window(browser) as board, window(browser) as open_study:
        log_in(board, address, "Amina", PASSWORD)
        expect(board.locator("#study-2[data-pressing]")).to_be_visible()
        log_in(open_study, address, "Layla", PASSWORD, to="/study/2")
        expect(open_study.locator("canvas[data-index]")).to_be_visible()

        admin.goto(f"{address}/study/2")
        admin.get_by_role("link", name="Erase…").click()
        expect(admin.get_by_role("heading", name="Erase study 2 for good")).to_be_visible()
        expect(admin.get_by_text("central servers, the PACS and the scanner keep")).to_be_visible()
        expect(admin.get_by_label("Although nobody acknowledged its flag")).to_be_visible()
        assert violations(admin) == []
        shoot(admin, "erase")
        fill(admin, reason="request 2026-14", confirm="1")
        expect(admin.get_by_role("alert").filter(has_text="is something else")).to_be_visible()
        whose = head_ct_series(lesion=True, slices=1, seed=2)[0]
        fill(admin, reason=f"asked for {whose.PatientID}", confirm="2")
        expect(admin.get_by_role("alert").filter(has_text="names the patient")).to_be_visible()
        assert str(whose.PatientID) not in site.appliance.tail()
        assert states(site)[2] == "decided"

        fill(admin, reason="request 2026-14", confirm="٢")  # as an Arabic keyboard writes it
        expect(admin.locator("[data-state=erased]")).to_contain_text("Study 2")
        assert violations(admin) == []
        shoot(admin, "erased")
        expect(board.locator("#study-2")).to_contain_text("Erased")
        expect(board.locator("#alarm .alarm")).to_have_count(0)
        expect(open_study.get_by_role("heading", name="This study was erased")).to_be_visible()
        assert admin.goto(f"{address}/study/2/erase").status == 404  # type: ignore[union-attr]
    assert states(site)[2] == "erased"
    entries = [
        json.loads(line)
        for line in site.appliance.run_cli("audit", "show", "--json").stdout.splitlines()
    ]
    told = [
        (one["who"], one["outcome"])
        for one in entries
        if (one["what"], one["on"]) == ("study.erased", "study:2")
    ]
    assert ("console:Omar (admin)", "done: request 2026-14") in told
    assert ("console:Omar (admin)", "refused: the reason names somebody") in told
    assert site.appliance.run_cli("audit", "verify").returncode == 0


def test_what_is_kept_how_long_and_how_much_room_it_takes_stands_on_a_page(
    admin: Page, address: str
) -> None:
    admin.goto(address)
    admin.get_by_role("link", name="Kept studies").click()
    expect(admin.get_by_text("erased 30 days after its last image came")).to_be_visible()
    expect(admin.get_by_text("together take more than 500 GB")).to_be_visible()
    expect(admin.get_by_text("Free on the disk")).to_be_visible()
    going = admin.get_by_role("region", name="Next to go").get_by_role("row")
    expect(going.nth(1)).to_contain_text("nothing")
    lately = admin.get_by_role("region", name="Lately erased").get_by_role("row")
    expect(lately.nth(1)).to_contain_text("console:Omar (admin)")
    expect(lately.nth(1)).to_contain_text("request 2026-14")
    assert violations(admin) == []
    shoot(admin, "keeping")


def test_all_studies_of_a_patient_go_by_their_id_which_is_kept_nowhere(
    admin: Page, site: LocalSite, address: str
) -> None:
    admin.goto(f"{address}/keeping")
    admin.get_by_label("Patient ID").fill("nobody's")
    admin.get_by_role("button", name="Show the studies").click()
    expect(admin.get_by_role("alert").filter(has_text="There is no study")).to_be_visible()
    issuer = str(
        getattr(head_ct_series(lesion=False, slices=1, seed=3)[0], "IssuerOfPatientID", "")
    )
    admin.get_by_label("Patient ID").fill(PATIENT)
    admin.get_by_label("Who issued it").fill(issuer)
    admin.get_by_role("button", name="Show the studies").click()
    rows = admin.get_by_role("region", name="What you erase").get_by_role("row")
    expect(rows).to_have_count(3)
    assert PATIENT not in admin.url
    shown = admin.locator("form .pseudonym").inner_text()
    fill(admin, reason="request 2026-15", confirm=shown.lower())
    expect(admin.locator("[data-state=erased]")).to_have_count(2)
    assert states(site) == {1: "decided", 2: "erased", 3: "erased", 4: "erased"}
    folder = site.appliance.folder
    files = [one for one in folder.rglob("*") if one.is_file() and one.suffix != ".json"]
    assert not [one for one in files if PATIENT.encode() in one.read_bytes()]


def test_a_study_of_which_images_still_come_says_so_and_stays(
    admin: Page, site: LocalSite, address: str
) -> None:
    series = head_ct_series(lesion=False, slices=SLICES, seed=9)
    assert send(series[:4], site.appliance.peer).ok  # more were announced
    admin.goto(f"{address}/study/5/erase")
    expect(admin.get_by_text("coming in or being looked at")).to_be_visible()
    assert admin.locator("button.danger").count() == 0
    assert send(series[4:], site.appliance.peer).ok


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_are_right_in_arabic(browser: Browser, address: str, width: int) -> None:
    with window(browser, language="ar", width=width) as page:
        log_in(page, address, "Omar", PASSWORD)
        for path, name in (("/keeping", "keeping"), ("/study/1/erase", "erase")):
            page.goto(address + path)
            assert page.locator("html").get_attribute("dir") == "rtl"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(page) == []
            shoot(page, f"{name}-ar-{width}")
