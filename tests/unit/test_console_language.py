"""Every text of the console is said in every language, with its numbers and plurals."""

from __future__ import annotations

import pytest

from edge.console.language import LANGUAGES, language
from tools.messages import LOCALES, collect, problems, texts_of_code

TRANSLATED = [code for code in LANGUAGES if code != "en"]


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_text_is_untranslated_and_none_is_left_over(code: str) -> None:
    found = list(problems(LOCALES / code, collect()))
    assert not found, "\n".join(
        [*found, "`python -m tools.messages` adds what is missing to the catalogue."]
    )


@pytest.mark.parametrize("code", TRANSLATED)
@pytest.mark.parametrize("label", ["Intracranial hemorrhage", "Pneumonia"])
def test_a_finding_is_said_in_every_language(code: str, label: str) -> None:
    assert language(code).say(label) != label


def test_texts_are_found_in_code() -> None:
    source = (
        'visit.refuse(404, "No page", "Mistyped.")\nspeak.count("one", "many", n)\n'
        'say(variable)\nsay("Board")\n'
    )
    assert [text for text, _ in texts_of_code(source)] == [
        "No page",
        "Mistyped.",
        ("one", "many"),
        "Board",
    ]


def test_arabic_writes_numbers_as_iraq_does() -> None:
    arabic, english = language("ar"), language("en")
    assert arabic.number(1234.5) == "١٬٢٣٤٫٥"
    assert english.number(1234.5) == "1,234.5"
    assert arabic.percent(0.62).startswith("٦٢٪")
    assert english.percent(0.62) == "62%"
    assert arabic.number(0.1, "0.00") == "٠٫١٠"
    assert arabic.month(1_790_000_000.0, short=True) == "أيلول"
    assert "٢٠٢٦" in arabic.date(1_790_000_000.0)
    assert english.day(1_790_000_000.0) == "21 Sept"
    assert arabic.day(1_790_000_000.0).endswith("أيلول")


def test_arabic_has_a_form_for_one_two_a_few_and_many() -> None:
    one, many = (
        "Too many wrong passwords. Try again in %(num)s second.",
        "Too many wrong passwords. Try again in %(num)s seconds.",
    )
    said = {number: language("ar").count(one, many, number) for number in (1, 2, 3, 11, 100)}
    assert "ثانية واحدة" in said[1]
    assert "ثانيتين" in said[2]
    assert "٣ ثوانٍ" in said[3]
    assert "١١ ثانية" in said[11]
    assert "١٠٠ ثانية" in said[100]


@pytest.mark.parametrize(("code", "direction"), [("en", "ltr"), ("ar", "rtl")])
def test_a_language_knows_its_direction(code: str, direction: str) -> None:
    assert language(code).direction == direction
