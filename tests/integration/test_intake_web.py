"""STOW-RS as others send it: over TLS, with a token, whole or refused, and within bounds."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest
import requests
from arrivals import open_store
from builders import ct_slice, radiograph
from certificates import Authority
from dicomweb_client.api import DICOMwebClient
from intake_parts import HOST, PATIENCE_S, Events, free_port

from edge.config import ConfigError, Web
from edge.imaging.header import Limits
from edge.intake.bounds import InboundBudget
from edge.intake.taking import Taker
from edge.intake.web import WebDoor
from edge.store.records import Kept
from edge.store.spool import read_record
from edge.store.studies import Store

TOKEN = "0123456789abcdef0123456789abcdef"
MAX_BYTES = 3_000_000
TYPE = 'multipart/related; type="application/dicom"; boundary=zzz'


@dataclass(frozen=True)
class Site:
    """An open web door, what is behind it, and what it told."""

    door: WebDoor
    store: Store
    events: Events
    ca: Path
    budget: InboundBudget

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.door.port}"

    @contextmanager
    def client(self) -> Iterator[DICOMwebClient]:
        """Return a client of somebody else's making."""
        with requests.Session() as session:
            session.verify = str(self.ca)
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {TOKEN}"
            yield DICOMwebClient(self.url, session=session, timeout=PATIENCE_S)

    def post(self, content: bytes, path: str = "/studies", **headers: str) -> httpx.Response:
        """Send a body as it is."""
        asked = {"Authorization": f"Bearer {TOKEN}", "Content-Type": TYPE}
        asked |= {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(verify=_trusting(self.ca), trust_env=False) as http:
            return http.post(self.url + path, content=content, headers=asked, timeout=PATIENCE_S)

    def stored(self) -> list[bytes]:
        receipts = [event.receipt for event in self.events.kept]
        return [read_record(one.instance.record, one.key) for one in receipts]


def _trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


@contextmanager
def served(folder: Path, *, reserve_bytes: int = 0, **changes: object) -> Iterator[Site]:
    authority = Authority(folder, "hospital")
    cert, key = authority.issue("scanside")
    token = folder / "token"
    token.write_text(TOKEN + "\n", encoding="ascii")
    settings = Web.model_validate(
        {
            "enabled": True,
            "host": HOST,
            "port": free_port(),
            "cert": cert,
            "key": key,
            "token_file": token,
        }
    )
    timeout_s = float(changes.get("timeout_s", PATIENCE_S))  # type: ignore[arg-type]
    budget = InboundBudget(int(changes.get("inbound", 32_000_000)))  # type: ignore[call-overload]
    with ExitStack() as cleanup:
        store = cleanup.enter_context(open_store(folder / "studies", reserve_bytes=reserve_bytes))
        events = Events()
        taker = Taker(store, lambda *_: "A" * 26, events)
        door = WebDoor(settings, taker, Limits(max_bytes=MAX_BYTES), budget, timeout_s, events)
        door.open()
        cleanup.callback(door.close)
        yield Site(door, store, events, authority.file, budget)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as open_one:
        yield open_one


def slice_of(number: int) -> bytes:
    return ct_slice(SOPInstanceUID=f"1.2.3.{number}")


def body(*parts: bytes, media_type: str = "application/dicom") -> bytes:
    head = f"--zzz\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--zzz--\r\n"


# What is taken


def test_a_client_of_others_stores_a_series_and_is_told_of_each_instance(site: Site) -> None:
    sent = [pydicom.dcmread(BytesIO(slice_of(number))) for number in range(3)]
    with site.client() as client:
        answer = client.store_instances(sent)
    named = [one.ReferencedSOPInstanceUID for one in answer.ReferencedSOPSequence]
    assert named == [f"1.2.3.{number}" for number in range(3)]
    assert "FailedSOPSequence" not in answer
    kept = [pydicom.dcmread(BytesIO(one)).SOPInstanceUID for one in site.stored()]
    assert kept == named
    site.events.wait_for(lambda events: len(events.gone) == 1)
    assert site.events.gone[0].orderly
    assert {event.sender for event in site.events.kept} == {site.events.gone[0].sender}
    assert site.budget.held == 0


def test_what_is_stored_is_what_was_sent_and_twice_is_once(site: Site) -> None:
    data = slice_of(1)
    for _ in range(2):
        answer = site.post(body(data))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/dicom+json"
    assert site.stored() == [data, data]
    assert [event.receipt.kept for event in site.events.kept] == [Kept.NEW, Kept.REPEATED]
    assert (site.door.counts.stored, site.door.counts.repeated) == (1, 1)


def test_a_request_for_one_study_takes_no_other(site: Site) -> None:
    ours = pydicom.dcmread(BytesIO(slice_of(1))).StudyInstanceUID
    answer = site.post(body(slice_of(1)), f"/studies/{ours}")
    assert answer.status_code == 200
    other = site.post(body(slice_of(2)), "/studies/1.2.840.9")
    assert other.status_code == 409
    (failed,) = other.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0xA900]
    assert failed["00081155"]["Value"] == ["1.2.3.2"]


# What is refused


def test_what_cannot_be_taken_is_named_and_the_rest_is_stored(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    no_pixels = radiograph(PixelData=None, Rows=None, Columns=None, SOPInstanceUID="1.2.3.8")
    with caplog.at_level(logging.INFO):
        answer = site.post(
            body(slice_of(1), b"no DICOM", no_pixels, bytes(MAX_BYTES + 1), slice_of(2))
        )
    assert answer.status_code == 202
    said = answer.json()
    stored = [one["00081155"]["Value"][0] for one in said["00081199"]["Value"]]
    assert stored == ["1.2.3.1", "1.2.3.2"]
    (failed,) = said["00081198"]["Value"]
    assert (failed["00081155"]["Value"], failed["00081197"]["Value"]) == (["1.2.3.8"], [0xA900])
    assert [one["00081197"]["Value"] for one in said["0008119A"]["Value"]] == [[0xC000], [0xC000]]
    assert site.door.counts.refused == 3
    assert "larger than [dicom] max_instance_mb" in caplog.text
    assert site.budget.held == 0


def test_a_full_disk_asks_to_come_again(tmp_path: Path) -> None:
    with served(tmp_path, reserve_bytes=1 << 60) as site:
        answer = site.post(body(slice_of(1)))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "60"
        (failed,) = answer.json()["00081198"]["Value"]
        assert failed["00081197"]["Value"] == [0xA700]


@pytest.mark.parametrize(
    "shown", ["Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN]
)
def test_without_the_token_nothing_is_read(site: Site, shown: str) -> None:
    answer = site.post(body(slice_of(1)), Authorization=shown)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["connection"] == "close"
    assert site.events.told == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (slice_of(1), "application/dicom", 415),
        (b"nonsense", TYPE, 400),
        (body(slice_of(1))[:-20], TYPE, 400),
        (body(slice_of(1), media_type="image/jpeg"), TYPE, 409),
    ],
)
def test_what_is_no_store_request_gets_the_status_that_says_so(
    site: Site, content: bytes, content_type: str, status: int
) -> None:
    answer = site.post(content, Content_Type=content_type)
    assert answer.status_code == status
    assert site.budget.held == 0


def test_nothing_else_is_served(site: Site) -> None:
    asked = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(verify=_trusting(site.ca), trust_env=False) as http:
        assert http.get(f"{site.url}/studies", headers=asked).status_code == 405
        assert http.get(f"{site.url}/", headers=asked).status_code == 404


def test_without_memory_for_another_instance_one_is_asked_to_come_again(tmp_path: Path) -> None:
    with served(tmp_path, inbound=1_000_000) as site:
        site.budget.take(600_000)  # others hold more than half
        answer = site.post(body(slice_of(1)))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        site.budget.give_back(600_000)
        assert site.post(body(slice_of(1))).status_code == 200
        assert site.budget.held == 0


def test_a_sender_that_falls_silent_or_goes_away_is_let_go(tmp_path: Path) -> None:
    with served(tmp_path, timeout_s=0.3) as site:
        context = _trusting(site.ca)
        with socket.create_connection((HOST, site.door.port), PATIENCE_S) as plain:
            line = context.wrap_socket(plain, server_hostname=HOST)
            head = (
                f"POST /studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Type: {TYPE}\r\nContent-Length: 1000000\r\n\r\n"
            )
            line.sendall(head.encode() + body(slice_of(1))[:5000])
            assert line.recv(100).startswith(b"HTTP/1.1 408")
            line.close()
        site.events.wait_for(lambda events: len(events.gone) == 1)
        assert not site.events.gone[0].orderly
        assert site.budget.held == 0


# Whether it can be opened


@pytest.mark.parametrize("token", ["short", "", "ümlaut" * 5])
def test_a_token_that_is_none_is_refused_at_the_start(tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    settings = Web(enabled=True, token_file=file, tls=False)
    with pytest.raises(ConfigError, match="token"):
        WebDoor(
            settings,
            Taker(None, lambda *_: "", lambda _: None),  # type: ignore[arg-type]
            Limits(),
            InboundBudget(1),
            1.0,
            lambda _: None,
        )
