"""A model package is refused with file, key, value and what is allowed, or it is right."""

from __future__ import annotations

import re
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from engines import ModelPackage, PackageError, load_package, shipped_packages

SHIPPED = shipped_packages() / "head-ct-hemorrhage"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped package, to be spoiled."""
    return shutil.copytree(SHIPPED, tmp_path / "package")


def rewrite(folder: Path, pattern: str, replacement: str) -> None:
    """Replace the first line that matches, and make sure that one did."""
    file = folder / "model.toml"
    changed, count = re.subn(
        pattern,
        lambda _: replacement,
        file.read_text(encoding="utf-8"),
        count=1,
        flags=re.MULTILINE,
    )
    assert count == 1, f"nothing in model.toml matches {pattern}"
    file.write_text(changed, encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(PackageError) as caught:
        load_package(folder)
    message = str(caught.value)
    assert str(folder) in message
    return message


@pytest.mark.parametrize("name", sorted(p.name for p in shipped_packages().iterdir()))
def test_every_shipped_package_is_valid_and_tells_its_limits(name: str) -> None:
    package = load_package(shipped_packages() / name)
    assert package.name == name
    assert package.intended_use
    assert "not for diagnosis" in package.limits
    assert (package.path / "CARD.md").is_file()
    assert package.check_set is not None


def test_the_figures_people_read_are_those_of_the_package() -> None:
    card = (SHIPPED / "CARD.md").read_text(encoding="utf-8")
    page = Path(__file__).parents[2] / "docs" / "models-shipped.md"
    told = page.read_text(encoding="utf-8")
    for held in load_package(SHIPPED).measured:
        interval = f"{held.low:.3f} to {held.high:.3f}"
        name = held.figure.replace(": ", " | ")
        assert f"| {name} | {held.value:.3f} | {interval} |" in card
        if held.figure.endswith("AUC"):
            assert f"{held.value:.3f} ({interval})" in told


def test_the_head_ct_package_states_intracranial_hemorrhage_as_critical() -> None:
    package = load_package(SHIPPED)
    finding, *others = package.findings
    assert [other.label for other in others] == ["Skull fracture", "Epidural hemorrhage"]
    assert not any(other.reliable for other in others)  # told of, and never flagged
    assert (finding.code.scheme, finding.code.value) == ("SCT", "1386000")
    assert finding.urgency == "critical"
    assert package.input.channels == 6
    assert package.input.windows == ((40.0, 120.0), (300.0, 1400.0))
    assert (package.aggregate.kind, package.aggregate.k) == ("top_k_mean", 3)


@pytest.mark.parametrize(
    "text", ["CT Head without contrast", "cranial CT", "Schädel nativ", "crane sans IV", "رأس"]
)
def test_the_head_ct_route_knows_a_head_in_several_languages(text: str) -> None:
    (route,) = load_package(SHIPPED).routes
    assert route.description is not None
    assert re.search(route.description, text, re.IGNORECASE)


@pytest.mark.parametrize("text", ["CT Thorax", "Abdomen", "forehead laceration knee", "CT CHEST"])
def test_the_head_ct_route_leaves_other_parts_alone(text: str) -> None:
    (route,) = load_package(SHIPPED).routes
    assert route.description is not None
    assert not re.search(route.description, text, re.IGNORECASE)


def test_a_package_cannot_be_changed_after_it_was_checked() -> None:
    package: ModelPackage = load_package(SHIPPED)
    with pytest.raises(FrozenInstanceError):
        package.version = "9.9.9"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        (r"^name = .*", 'name = "Head CT"', ["[model] name = 'Head CT'", "hyphens"]),
        (r"^name = .*", "name = 3", ["[model] name = 3", "text"]),
        (r"^version = .*", 'version = "1.0"', ["[model] version = '1.0'", "1.2.0"]),
        (r"^version = .*", "", ["[model] version is missing"]),
        (r"^sha256 = .*", 'sha256 = "abc"', ["[model] sha256 = 'abc'", "64 digits"]),
        (r"^licence = .*", 'licence = " "', ["[model] licence", "1 to 20000 characters"]),
        (r"^layout = .*", 'layout = "NHWC"', ["[input] layout = 'NHWC'", '"NCHW"']),
        (r"^height = .*", "height = -1", ["[input] height = -1", "from 8 to 4096"]),
        (r"^height = .*", "height = 160.5", ["[input] height = 160.5", "whole number"]),
        (r"^height = .*", "height = true", ["[input] height = True", "whole number"]),
        (r"^windows = .*", "windows = [[40, 0]]", ["[input] windows = [[40, 0]]", "above 0"]),
        (r"^windows = .*", "windows = []", ["[input] windows = []", "[level, width]"]),
        (r"^windows = .*", "windows = [[40]]", ["[input] windows = [[40]]", "[level, width]"]),
        (r"^neighbours = .*", "neighbours = 99", ["[input] neighbours = 99", "0 to 16"]),
        (r"^neighbours = .*", "neighbors = 1", ["[input] neighbours is missing"]),
        (r"^tensor = .*", 'tensor = "x"\nfoo = 1', ["[input] foo is not a known key", "height"]),
        (r"^modality = .*", 'modality = "ct"', ["[[routes]] number 1 modality = 'ct'", "CT"]),
        (r"^body_parts = .*", 'body_parts = ["Head"]', ["body_parts = ['Head']", "upper case"]),
        (r"^body_parts = .*", 'views = ["pa"]', ["views = ['pa']", "upper case"]),
        (r"^description = .*", "description = '('", ["description = '('", "regular expression"]),
        (r"^modality = .*", 'modality = "CT"\nmin_age = 200', ["min_age = 200", "0 to 150"]),
        (
            r"^modality = .*",
            'modality = "CT"\nmin_age = 20\nmax_age = 10',
            ["max_age = 10", "at least its minimum 20"],
        ),
        (r"^max_slice_thickness_mm = .*", "max_slice_thickness_mm = nan", ["nan", "0 to 1000"]),
        (r"^\[\[routes\]\]$", "[routes]", ["routes =", "[[routes]]"]),
        (r'scheme = "SCT"', 'scheme = "ICD"', ["[[finding]] number 1 code", "'ICD'", "RADLEX"]),
        (r"^output = .*", "output = -1", ["[[finding]] number 1 output = -1", "from 0"]),
        (r"^calibration = .*", "calibration = [0, 1]", ["calibration = [0, 1]", "a above 0"]),
        (r"^calibration = .*", "calibration = [1, inf]", ["calibration", "two numbers"]),
        (r"^calibration = .*", "calibration = [1]", ["calibration = [1]", "[a, b]"]),
        (r"^threshold = .*", "threshold = 1.5", ["threshold = 1.5", "from 0 to 1"]),
        (r"^abstain = .*", "abstain = [0.98, 0.99]", ["abstain = [0.98, 0.99]", "threshold"]),
        (r"^urgency = .*", 'urgency = "routine"\nreliable = 1', ["reliable = 1", "true or false"]),
        (r"^fit = .*", 'fit = "crop"', ["fit = 'crop'", '"stretch"']),
        (
            r"^limit = .*",
            "",
            ["[familiar] limit is missing"],
        ),
        (r"^urgency = .*", 'urgency = "drill"', ["urgency = 'drill'", '"critical"', '"routine"']),
        (r"^kind = .*", 'kind = "mean"', ["[aggregate] kind = 'mean'", '"noisy_or"']),
        (r"^kind = .*", 'kind = "max"', ["[aggregate] k = 3", "top_k_mean"]),
        (r"^k = .*", "k = 0", ["[aggregate] k = 0", "from 1 to 1000"]),
        (r"^parity_tolerance = .*", "parity_tolerance = 0.9", ["[checks] parity_tolerance = 0.9"]),
        (r"^check_set = .*", 'check_set = "../x.npz"', ["check_set = '../x.npz'", "folder"]),
        (r"^check_set = .*", 'check_set = "no.npz"', ["check_set = 'no.npz'", "folder"]),
        (r"^\[\[routes\]\]$", "[[route]]", ["routes is missing", "[[routes]]"]),
        (r"^\[checks\]$", "[check]", ["checks is missing"]),
        (r"^\[aggregate\]$", "[extra]\nx = 1\n[aggregate]", ["extra is not a known key"]),
        (r"^\[input\]$", "[input", ["not valid TOML", "line"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    folder: Path, line: str, instead: str, says: list[str]
) -> None:
    rewrite(folder, line, instead)
    message = refusal(folder)
    for words in ["model.toml", *says]:
        assert words in message


def test_a_measured_figure_outside_its_interval_is_refused(folder: Path) -> None:
    figure = 'figure = "f"\nvalue = 0.9\nlow = 0.1\nhigh = 0.2\nn = 3\non = "studies"\n'
    rewrite(folder, r"^\[input\]$", f"[[model.measured]]\n{figure}\n[input]")
    assert re.search(r"\[\[model\.measured\]\] number \d+ value = 0\.9", refusal(folder))


def test_a_replaced_model_is_refused_and_both_digests_are_told(folder: Path) -> None:
    expected = load_package(folder).digest
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    message = refusal(folder)
    assert expected in message
    assert "replaced or damaged" in message


def test_a_missing_model_or_description_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    assert "model.onnx: not found" in refusal(folder)
    (folder / "model.toml").unlink()
    assert "model.toml: cannot be read" in refusal(folder)


def test_a_description_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "model.toml").write_bytes(b'[model]\nname = "\xff"')
    assert "not UTF-8" in refusal(folder)


def test_all_weights_that_ship_stay_under_8_mb_together() -> None:
    files = list(shipped_packages().glob("*/model.onnx"))
    assert len(files) >= 5
    assert sum(file.stat().st_size for file in files) < 8_000_000
