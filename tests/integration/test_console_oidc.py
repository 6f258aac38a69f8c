"""Logging in at a hospital's own log-in: a real OpenID provider, the whole appliance, HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tools.broker import free_port
from tools.site import Appliance

LIMIT_S = 60.0
PEOPLE = (
    {"sub": "7", "preferred_username": "Dr. Layla", "groups": ["staff", "radiology-physicians"]},
    {"sub": "8", "preferred_username": "Visitor", "groups": ["visitors"]},
)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    port = free_port()
    claims = [item for one in PEOPLE for item in ("--user-claims", json.dumps(one))]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-p", str(port), *claims],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    transport = httpx.HTTPTransport(retries=30)  # until it listens
    try:
        with httpx.Client(transport=transport, timeout=LIMIT_S) as client:
            found = client.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
        yield found.json()["issuer"]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("site")
    secret = folder / "client-secret"
    secret.write_text("between the two\n")
    settings: dict[str, dict[str, object]] = {
        "console": {"tls": False},
        "oidc": {
            "issuer": provider,
            "client_id": "scanside",
            "client_secret_file": str(secret),
            "physicians": ["radiology-physicians"],
        },
    }
    appliance = Appliance(folder / "appliance", settings, broker_port=free_port())
    appliance.start(wait_for="READY=1")
    yield f"http://127.0.0.1:{appliance.console_port}"
    appliance.stop()


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=LIMIT_S, headers={"accept": "text/html"}) as client:
        yield client


def leave(browser: httpx.Client, console: str) -> str:
    """Ask for the log-in; return where the browser is sent."""
    assert "hospital" in browser.get(f"{console}/login").text
    answer = browser.get(f"{console}/login/oidc", params={"next": "/statistics"})
    assert answer.status_code == 303
    return answer.headers["location"]


def approve(browser: httpx.Client, where: str, subject: str) -> str:
    """Be `subject` at the provider; return where it sends the browser."""
    answer = browser.post(where, data={"sub": subject})
    assert answer.status_code == 302
    return answer.headers["location"]


def test_a_physician_comes_in_with_the_role_of_her_group(
    browser: httpx.Client, console: str
) -> None:
    where = leave(browser, console)
    asked = parse_qs(urlsplit(where).query)
    assert asked["code_challenge_method"] == ["S256"]
    answer = browser.get(approve(browser, where, "7"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/statistics")
    page = browser.get(f"{console}/")
    assert "Dr. Layla" in page.text
    assert "Physician" in page.text


def test_somebody_without_a_group_that_counts_is_told_so(
    browser: httpx.Client, console: str
) -> None:
    answer = browser.get(approve(browser, leave(browser, console), "8"))
    assert answer.status_code == 401
    assert "none of your groups" in answer.text
    assert browser.get(f"{console}/").status_code == 303


def test_an_answer_counts_once_and_in_the_browser_that_asked(
    browser: httpx.Client, console: str
) -> None:
    back = approve(browser, leave(browser, console), "7")
    with httpx.Client(timeout=LIMIT_S) as other:
        assert other.get(back).status_code == 401, "of another browser"
    assert browser.get(back).status_code == 401, "it was used up"


def test_a_forged_answer_is_refused(browser: httpx.Client, console: str) -> None:
    where = leave(browser, console)
    state = parse_qs(urlsplit(where).query)["state"][0]
    answer = browser.get(f"{console}/login/oidc/back", params={"state": state, "code": "made up"})
    assert answer.status_code == 401


def test_a_denied_log_in_leads_back_to_the_form(browser: httpx.Client, console: str) -> None:
    where = leave(browser, console)
    denied = browser.post(where, data={"action": "deny"}).headers["location"]
    parts = parse_qs(urlsplit(denied).query)
    state = parts.get("state") or parse_qs(urlsplit(where).query)["state"]
    answer = browser.get(
        f"{console}/login/oidc/back", params={"state": state[0], "error": "access_denied"}
    )
    assert answer.status_code == 401
    assert "did not let you in" in answer.text


def test_metrics_are_for_this_machine_and_hold_no_patient(
    browser: httpx.Client, console: str
) -> None:
    answer = browser.get(f"{console}/metrics")
    assert answer.status_code == 200
    assert "scanside_console_logins_total" in answer.text


def test_a_body_that_is_too_large_is_refused_before_it_comes(console: str) -> None:
    port = urlsplit(console).port or 80
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as raw:
        raw.settimeout(LIMIT_S)
        raw.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 413")
