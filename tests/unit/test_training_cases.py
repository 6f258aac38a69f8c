"""The practice cases: what is shown is what was drawn, and what is said is what the model said."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.training.cases import SHIPPED_CASES, Case, picture, read_cases
from edge.training.content import ROLES
from edge.training.texts import CourseError
from tools.practice import PLANS, load_model, make


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A case that a site adds."""
    return Path(shutil.copytree(SHIPPED_CASES / "06-quiet", tmp_path / "site" / "our-own"))


def test_every_role_practises_in_every_language() -> None:
    cases = read_cases(SHIPPED_CASES)
    assert [case.id for case in cases] == sorted(PLANS)
    for role in ROLES:
        assert any(role in case.roles for case in cases)
    for case in cases:
        assert set(case.words) == {"en", "ar"}
        english, arabic = (case.words[language].question for language in ("en", "ar"))
        assert len(english.wrong) == len(arabic.wrong) == 3


def test_the_cases_hold_a_right_flag_a_wrong_one_a_missed_finding_and_a_doubt() -> None:
    seen = {(case.said, case.shown_to > 0) for case in read_cases(SHIPPED_CASES)}
    assert {
        ("flagged", True),
        ("flagged", False),
        ("not_flagged", True),
        ("not_flagged", False),
        ("uncertain", False),
    } == seen


# One with a finding and one without: drawing all six takes long and shows nothing more.
@pytest.mark.parametrize("name", ["02-missed-bleed", "06-quiet"])
def test_the_images_are_the_phantoms_and_the_score_is_the_models(name: str) -> None:
    engine, package = load_model()
    practice = make(PLANS[name], engine, package)
    engine.close()
    assert practice.truth == (SHIPPED_CASES / name / "truth.toml").read_text("utf-8")
    case = Case.read(SHIPPED_CASES / name)
    for drawn, file in zip(practice.images, case.images, strict=True):
        kept = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert kept is not None
        # WebP loses a little of the noise, and nothing of what is seen.
        assert float(np.abs(kept.astype(float) - drawn).mean()) < 6


def test_a_site_adds_its_own_cases(own: Path) -> None:
    assert read_cases(SHIPPED_CASES, own.parent)[-1].id == "our-own"


def test_two_cases_of_one_name_are_refused(own: Path) -> None:
    own.rename(own.with_name("06-quiet"))
    with pytest.raises(CourseError, match="Two cases are called 06-quiet"):
        read_cases(SHIPPED_CASES, own.parent)


def test_nothing_but_the_pixels_of_a_picture_reaches_a_page(tmp_path: Path) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    # A text chunk, as an export writes it: length, type, text, check sum (PNG 11.3.4.3).
    name = b"tEXtComment\0Hussein^Ali"
    chunk = (len(name) - 4).to_bytes(4, "big") + name + b"\xb8\x00\x00\x00"
    file = tmp_path / "01.png"
    file.write_bytes(png[:33] + chunk + png[33:])
    shown = picture(file)
    assert b"Hussein" not in shown
    again = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_UNCHANGED)
    assert again is not None
    assert np.array_equal(again, pixels)


def test_a_dicom_file_is_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "01.png"
    file.write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(CourseError, match="not a WebP, PNG or JPEG"):
        picture(file)


def test_a_case_without_images_or_with_a_mistake_is_named(own: Path) -> None:
    truth = own / "truth.toml"
    truth.write_text(truth.read_text("utf-8").replace("shown_to = 0", "shown_to = 99"), "utf-8")
    with pytest.raises(CourseError, match="shown_to is not a whole number from 0 to 9"):
        Case.read(own)
    for image in own.glob("*.webp"):
        image.unlink()
    with pytest.raises(CourseError, match="1 to 60 images, not 0"):
        Case.read(own)
