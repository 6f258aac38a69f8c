"""What the analysis says in English is said in Arabic, figures and all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edge.alerts.chance import chance
from edge.alerts.decision import UNFAMILIAR, doubts_of, not_by, said_for
from edge.alerts.message import Code, FindingResult
from edge.analysis.coverage import NONE_JUDGED, not_judged
from edge.analysis.deaths import LEFT_OUT, named
from edge.analysis.models import ENGINE_FAILED
from edge.console import words
from edge.console.language import language
from edge.console.sentences import FORMS, say
from edge.imaging.quality.flags import Stacked, flags
from edge.imaging.quality.slice_measures import SliceMeasures
from engines import load_package, shipped_packages

ARABIC, ENGLISH = language("ar"), language("en")
GOOD = SliceMeasures(fingerprint=None, height_mm=0.0, body_mm=180.0, cut=0.0, edge_mm=1.0)
PACKAGE = load_package(shipped_packages() / "head-ct-hemorrhage")


def stack(modality: str, count: int = 12, **measures: object) -> Stacked:
    images = tuple(
        replace(GOOD, fingerprint=number, height_mm=5.0 * number, **measures)  # type: ignore[arg-type]
        for number in range(count)
    )
    return Stacked(modality, images, tuple(5.0 * number for number in range(count)), True)


BAD = [
    stack("CT", background=0.0),
    stack("CT", body_mm=600.0),
    stack("CT", cut=0.9),
    stack("CT", streaks_hu=500.0),
    stack("CT", edge_mm=30.0),
    stack("CT", roll_deg=40.0),
    stack("CT", tilt_deg=60.0),
    stack("MR", ghosts=0.9, edge_mm=None),
    stack("MR", blur=0.99, edge_mm=None),
    stack("MR", background=9.0, edge_mm=None),
    stack("DX", 1, white=0.9, edge_mm=None, body_mm=None, cut=None),
    stack("DX", 1, spread=0.01, edge_mm=None, body_mm=None, cut=None),
    stack("DX", 1, column=-0.9, likeness=0.0, edge_mm=None, body_mm=None, cut=None),
    replace(stack("CT"), positions_mm=(0.0, 5.0, 10.0, 15.0, 60.0, 65.0, 70.0, 75.0)),
    replace(stack("CT"), images=(replace(GOOD, fingerprint=7),) * 12),
]
FLAGS = [flag for one in BAD for flag in flags(one)]


def is_arabic(text: str) -> bool:
    return not re.search(r"[A-Za-z0-9]", text)


def test_the_degraded_stacks_raise_most_flags() -> None:
    assert len({flag.name for flag in FLAGS}) >= 9


@pytest.mark.parametrize("text", sorted({flag.text for flag in FLAGS}))
def test_every_quality_flag_is_said_in_arabic(text: str) -> None:
    assert say(text, ENGLISH) == text
    assert is_arabic(say(text, ARABIC)), say(text, ARABIC)


@pytest.mark.parametrize(
    "text",
    [
        *doubts_of(PACKAGE, 20, 3),
        *doubts_of(PACKAGE, 20, 19),
        UNFAMILIAR,
        "3 of 40 images could not be read.",
        "no image could be read: too large",
        f"no image could be read: {LEFT_OUT}",
        named(12, 40),
        "Not reliable enough to flag: Pneumonia, Intracranial hemorrhage.",
        "Intracranial hemorrhage: probability 10% then, over 99% now; flagged now and not then.",
        "Intracranial hemorrhage: probability 93% then, under 1% now; flagged then and not now.",
        "Intracranial hemorrhage: 12.0 ml then, 31.5 ml now.",
        "Brighter than before: 2.9 ml (2.0 to 5.0); Darker than before: 0.0 ml (0.0 to 0.1). "
        "Not clear of what two scans of one brain differ by.",
        "the two studies could not be aligned: they correlate by 0.82 where one head gives 0.93 or "
        "more",
        "No earlier study to compare with.",
        "Compared with an earlier study; nothing else was looked for.",
        NONE_JUDGED,
        ENGINE_FAILED,
        "patient's left, back, upper",
        "lower right of the image",
        "middle of the image",
    ],
)
def test_doubts_changes_and_places_are_said_in_arabic(text: str) -> None:
    assert say(text, ENGLISH) == text
    assert is_arabic(say(text, ARABIC)), say(text, ARABIC)


@pytest.mark.parametrize(
    "said",
    [
        not_by("brain-mri-tumour", ENGINE_FAILED),
        not_by("brain-flair-change", "3 of 40 images could not be read: too large"),
        said_for("brain-mri-tumour", not_judged(12, 40)),
        said_for("brain-mri-tumour", "Not reliable enough to flag: Glioma, Meningioma."),
    ],
)
def test_what_is_said_of_one_of_two_models_is_arabic_but_for_its_name(said: str) -> None:
    assert say(said, ENGLISH) == said
    name = next(one for one in ("brain-mri-tumour", "brain-flair-change") if one in said)
    assert name in say(said, ARABIC)
    assert is_arabic(say(said, ARABIC).replace(name, "")), say(said, ARABIC)


@pytest.mark.parametrize(
    ("probability", "english"),
    [(0.9999, "over 99%"), (0.99, "99%"), (0.5, "50%"), (0.0, "under 1%")],
)
def test_a_probability_is_said_alike_by_itself_and_in_a_sentence(
    probability: float, english: str
) -> None:
    code = Code("SCT", "1", "Cyst")
    finding = FindingResult(code, "Cyst", probability, 0.5, True, False, "1", None, None, "m")
    assert words.chance(finding, ENGLISH) == chance(probability) == english
    sentence = f"Cyst: probability {chance(probability)} then, 10% now; flagged then and not now."
    for spoken in (ENGLISH, ARABIC):
        assert words.chance(finding, spoken) in say(sentence, spoken)


def test_a_sentence_that_is_not_known_stays_as_it_was_written() -> None:
    assert say("Something new at 5 mm.", ARABIC) == "Something new at 5 mm."
    assert words.reason("something new", ENGLISH) == "Something new"


def test_forms_do_not_take_each_others_sentences() -> None:
    for form in FORMS:
        parts = re.sub(r"%\((before|after)\)s", "over 99%%", form)
        filled = re.sub(r"%\((\w+)\)s", "1", parts).replace("%%", "%")
        assert say(filled, ENGLISH).replace(" ", "") == filled.replace(" ", ""), form
