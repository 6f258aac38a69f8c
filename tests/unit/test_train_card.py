"""A package and its card are written from the same figures, and every shipped plan can be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import load_package
from engines.package import digest_of
from tools.train import card, plan_file
from tools.train.assess import Bin, Figure, Settled
from tools.train.measure import Interval
from tools.train.unknown import Turned, Unknown


def found(place: int, *, reliable: bool) -> card.Finding:
    plan = "head-ct-hemorrhage" if place == 0 else "brain-mri-tumour"
    label = plan_file.read(plan).labels[place]
    name = label.label
    return card.Finding(
        label=label,
        settled=Settled(1.5, -0.5, 0.3, (0.2, 0.4)),
        figures=(
            Figure(name, "slice", "AUC", Interval(0.92, 0.8, 0.95, 50), 20, 30),
            Figure(name, "study", "AUC", Interval(0.9, 0.7, 1.0, 14), 4, 10),
            Figure(name, "study", "sensitivity", Interval(0.75, 0.3, 0.9, 4), 4, 10),
            Figure(name, "study", "specificity", Interval(0.9, 0.6, 1.0, 10), 4, 10),
        ),
        groups=(),
        bins=(Bin(0.25, 0.2, 10),),
        error=0.05,
        reliable=reliable,
        peer=None,
    )


def test_the_description_of_a_package_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    np.savez(tmp_path / "check.npz", pixels=np.zeros(1))
    facts = card.Facts(
        digest=digest_of(tmp_path / "model.onnx"),
        parameters=5,
        sets=(("trained", 30, 3), ("tested", 10, 1)),
        how="",
        findings=(found(0, reliable=True), found(1, reliable=False)),
        unknown=Unknown(
            1.75, (Turned("noise", 40, 40), Turned("knee", 10, 5)), Turned("test pictures", 200, 2)
        ),
        speeds=(card.Speed("fp32", 9.5, 0.0),),
        machine="a machine",
        extra=(),
    )
    plan = replace(plan_file.read("head-ct-hemorrhage"), version="1.2.3")
    card.write(plan, facts, tmp_path)
    package = load_package(tmp_path)
    assert (package.name, package.version) == ("head-ct-hemorrhage", "1.2.3")
    assert package.findings[0].calibration == (1.5, -0.5)
    assert package.findings[0].abstain == (0.2, 0.4)
    assert [one.reliable for one in package.findings] == [True, False]
    assert package.familiar is not None
    assert (package.familiar.output, package.familiar.limit) == ("distance", 1.75)
    assert package.input == plan.input
    assert package.routes[0].body_parts == tuple(plan.tables["routes"][0]["body_parts"])
    assert (package.measured[0].low, package.measured[0].n) == (0.8, 50)
    assert package.limits.startswith("At the threshold it missed 1 of 4 test studies")
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert "| Intracranial hemorrhage | study AUC | 0.900 | 0.700 to 1.000 | 4 | 10 |" in text
    assert "90.0% of 50 pictures that it should not judge were turned away" in text
    assert "1.0% of 200 test pictures, which it should" in text


@pytest.mark.parametrize("name", plan_file.known())
def test_every_shipped_plan_can_be_read_and_names_its_findings_once(name: str) -> None:
    plan = plan_file.read(name)
    codes = [plan.labels[column].value for column in plan.shipped]
    assert len(set(codes)) == len(codes)
    assert plan.words.limits[-1].endswith("not for diagnosis.")


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ("epochs = 12", "epochs = 0", "epochs = 0"),
        ('layout = "folders"', 'layout = "zip"', "layout = 'zip'"),
        ("size = 160", "size = 160\nzoom = 2", "zoom is not a known key"),
        ("missed_costs = 2\n", "", "missed_costs is missing"),
    ],
)
def test_a_wrong_plan_names_file_key_and_value(
    tmp_path: Path, line: str, instead: str, says: str
) -> None:
    text = (plan_file.CONFIGS / "chest-xray-pneumonia-children.toml").read_text(encoding="utf-8")
    assert line in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(line, instead), encoding="utf-8")
    with pytest.raises(plan_file.PlanError, match=f"mine.toml.*{says}"):
        plan_file.read(str(file))


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(plan_file.PlanError, match="Known are: brain-mri-tumour"):
        plan_file.read("knee")
