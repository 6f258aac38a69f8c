"""Text, dates and ages as DICOM writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.imaging.moments import acquired_at, age_years
from edge.imaging.text import codec_named, decode


@pytest.mark.parametrize(
    ("terms", "raw", "expected"),
    [
        (b"", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO_IR 192", "王^小东=محمد".encode(), "王^小东=محمد"),
        (b"ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
        (b"ISO_IR 144", "Москва".encode("iso8859_5"), "Москва"),
        (b"ISO 2022 IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            "Yamada^Tarou=山田^太郎",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "Hong^Gildong=洪^吉洞",
        ),
        (b"NO SUCH SET", b"Andr\xe9", "André"),
        (b"ISO_IR 192", b"\xff\x00\x07ok ", "\ufffdok"),
    ],
)
def test_names_are_read_in_their_character_set(terms: bytes, raw: bytes, expected: str) -> None:
    assert decode(raw, codec_named(terms)) == expected


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_any_bytes_are_some_text(terms: bytes, raw: bytes) -> None:
    assert "\x1b" not in decode(raw, codec_named(terms))


@pytest.mark.parametrize(
    ("age", "years"), [("034Y", 34), ("018M", 1.5), ("004W", 0.0767), ("010D", 0.0274), ("7Y", 7)]
)
def test_an_age_is_given_in_years(age: str, years: float) -> None:
    assert age_years(age, "", "") == pytest.approx(years, abs=0.001)


@pytest.mark.parametrize("age", ["", "34", "999Y", "Y034", "0x2Y"])
def test_an_age_that_is_none_falls_back_on_the_birth_date(age: str) -> None:
    years = age_years(age, "19900101", "20200101")
    assert years == (None if age == "999Y" else pytest.approx(30, abs=0.01))


@pytest.mark.parametrize(
    ("born", "studied"), [("", "20200101"), ("20210101", "20200101"), ("19001332", "x")]
)
def test_an_age_that_cannot_be_known_is_none(born: str, studied: str) -> None:
    assert age_years("", born, studied) is None


@pytest.mark.parametrize(
    ("moment", "pairs", "zone", "expected"),
    [
        ("20240501101530.25+0300", [], "-0500", "2024-05-01T10:15:30.250000+03:00"),
        ("20240501101530", [], "+0300", "2024-05-01T10:15:30+03:00"),
        ("", [("20240501", "1015")], "", "2024-05-01T10:15:00"),
        ("", [("2024.05.01", "10:15:30")], "", "2024-05-01T10:15:30"),
        ("", [("", "101530"), ("20240502", "")], "", "2024-05-02"),
        ("", [("20240501", "101560")], "", "2024-05-01T10:15:59"),
        ("rubbish", [("20241399", "1"), ("20240501", "2599")], "+9999", "2024-05-01"),
        ("", [], "", ""),
    ],
)
def test_the_best_moment_of_acquisition_is_taken(
    moment: str, pairs: list[tuple[str, str]], zone: str, expected: str
) -> None:
    assert acquired_at(moment, pairs, zone) == expected


@given(st.text(max_size=30), st.text(max_size=10), st.text(max_size=15), st.text(max_size=6))
def test_any_text_is_some_moment_or_none(moment: str, day: str, time: str, zone: str) -> None:
    acquired_at(moment, [(day, time)], zone)
    age_years(moment, day, day)
