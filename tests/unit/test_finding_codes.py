"""SNOMED CT codes of the shipped findings: well formed, and meant as DICOM means them."""

from __future__ import annotations

from typing import cast

import pytest
from pydicom.sr._concepts_dict import concepts

from engines import load_package, shipped_packages

PERMUTED = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    PERMUTED.append([PERMUTED[-1][place] for place in PERMUTED[1]])


def shipped() -> list[tuple[str, str]]:
    """Return the SNOMED CT codes of all shipped packages, and what they are said to mean."""
    folders = [place.parent for place in shipped_packages().glob("*/model.toml")]
    found = [one.code for folder in folders for one in load_package(folder).findings]
    return sorted({(code.value, code.meaning) for code in found if code.scheme == "SCT"})


def product(left: int, right: int) -> int:
    """Multiply in the dihedral group of order ten."""
    if left < 5:
        return (left + right) % 5 + (5 if right >= 5 else 0)
    return (left - right) % 5 + (0 if right >= 5 else 5)


def checked(identifier: str) -> bool:
    """Return whether the last digit is Verhoeff's check digit of the others."""
    check = 0
    for place, digit in enumerate(reversed(identifier)):
        check = product(check, PERMUTED[place % 8][int(digit)])
    return check == 0


@pytest.mark.parametrize(("code", "meaning"), shipped())
def test_a_code_is_the_identifier_of_a_concept_with_its_check_digit(
    code: str, meaning: str
) -> None:
    assert checked(code), meaning
    assert code[-3:-1] == "00", meaning  # the partition of concepts


def test_a_mistyped_digit_is_found() -> None:
    assert checked("1386000")
    assert not checked("1386001")
    assert not checked("1368000")


def test_what_dicom_names_as_well_means_the_same_there() -> None:
    named: dict[str, set[str]] = {}
    dictionary = cast("dict[str, dict[str, tuple[str, list[int]]]]", concepts["SCT"])
    for entry in dictionary.values():
        for code, (meaning, _) in entry.items():
            named.setdefault(code, set()).add(meaning.split(" (")[0].lower())
    known = [(code, meaning) for code, meaning in shipped() if code in named]
    assert ("1386000", "Intracranial hemorrhage") in known
    for code, meaning in known:
        assert meaning.lower() in named[code]
