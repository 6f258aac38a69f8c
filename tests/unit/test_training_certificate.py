"""A certificate: for who passed, until it expires, and of nobody else's making."""

from __future__ import annotations

import base64
from datetime import date

import pytest

from edge.alerts.sealing import Refusal, SealError
from edge.keys import DeviceKeys, TrustedDevices, init_device
from edge.training.certificate import Certificate, certify, months_later, sign, verify
from edge.training.content import SHIPPED, Course
from edge.training.paper import Marks, draw, mark

TODAY = date(2026, 11, 25)


@pytest.fixture(scope="module")
def course() -> Course:
    return Course.read(SHIPPED)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> DeviceKeys:
    return init_device(tmp_path_factory.mktemp("device") / "keys", device="ct-1", site="north")


def marks(course: Course, right: int) -> Marks:
    paper = draw(course, "technician", b"seed")
    answers = [
        places.index(0 if number < right else 1) for number, places in enumerate(paper.places)
    ]
    return mark(paper, answers, course, "en")


def certificate(course: Course) -> Certificate:
    return certify(
        "زينب", "technician", course, marks(course, 9), device="ct-1", site="north", today=TODAY
    )


def test_who_passed_gets_one_for_a_year(course: Course) -> None:
    one = certificate(course)
    assert (one.score, one.of, one.needed) == (9, 10, 8)
    assert (one.issued, one.expires) == ("2026-11-25", "2027-11-25")
    assert one.holds(TODAY)
    assert one.holds(date(2027, 11, 25))
    assert not one.holds(date(2027, 11, 26))
    assert not one.holds(date(2026, 11, 24))


def test_who_did_not_pass_gets_none(course: Course) -> None:
    with pytest.raises(ValueError, match="7 of 10"):
        certify("n", "technician", course, marks(course, 7), device="d", site="s", today=TODAY)


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2027, 11, 30), 3, date(2028, 2, 29)),
        (date(2026, 12, 1), 1, date(2027, 1, 1)),
        (date(2026, 6, 15), 24, date(2028, 6, 15)),
    ],
)
def test_a_month_later_is_a_day_that_exists(day: date, months: int, later: date) -> None:
    assert months_later(day, months) == later


def test_a_certificate_is_verified_with_the_devices_public_key(
    course: Course, keys: DeviceKeys
) -> None:
    one = certificate(course)
    assert verify(sign(one, keys.signing) + "\n", keys.trust_in_itself) == one


def test_an_altered_certificate_is_refused(course: Course, keys: DeviceKeys) -> None:
    header, body, signature = sign(certificate(course), keys.signing).split(".")
    whole = base64.urlsafe_b64decode(body + "==").replace(b'"score": 9', b'"score": 8')
    altered = base64.urlsafe_b64encode(whole).rstrip(b"=").decode()
    with pytest.raises(SealError) as refused:
        verify(f"{header}.{altered}.{signature}", keys.trust_in_itself)
    assert refused.value.reason is Refusal.BAD_SIGNATURE


def test_a_certificate_of_an_unknown_device_is_refused(course: Course, keys: DeviceKeys) -> None:
    with pytest.raises(SealError) as refused:
        verify(sign(certificate(course), keys.signing), TrustedDevices({}))
    assert refused.value.reason is Refusal.UNKNOWN_DEVICE


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "é"])
def test_what_is_no_certificate_is_refused(keys: DeviceKeys, text: str) -> None:
    with pytest.raises(SealError):
        verify(text, keys.trust_in_itself)
