"""A hospital trains a model on its own labels with the same three commands, from its own plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines import compare, load_engine, load_package
from tools.train import cli, plan_file

pytest.importorskip("torch", reason="torch is in the train extra, which is not installed")

BACTERIAL = """[[label]]
name = "bacterial"
folders = ["bacteria"]
against = ["virus"]
weight = 0.2
flags = false
label = "Bacterial pneumonia rather than viral"
code = { scheme = "SCT", value = "53084003", meaning = "Bacterial pneumonia" }
urgency = "routine"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for a small network, and 60 patients of whom half have a bright spot."""
    folder = tmp_path_factory.mktemp("hospital")
    plan = plan_file.read("chest-xray-pneumonia-children").file.read_text(encoding="utf-8")
    plan = plan.replace("size = 160", "size = 48").replace("epochs = 12", "epochs = 40")
    plan = plan.replace(BACTERIAL, "").replace("batch = 32", "batch = 8")
    plan = plan.replace("test = 0.2", "test = 0.3").replace(
        "calibration = 0.1", "calibration = 0.3"
    )
    stages = (
        "stage = [{ width = 8, blocks = 1, stride = 2 }, { width = 12, blocks = 1, stride = 2 }]"
    )
    plan = re.sub(r"(?s)stem = 16\n(.*?)stage = \[\n.*?\n\]\n", rf"stem = 6\n\1{stages}\n", plan)
    (folder / "our-chests.toml").write_text(plan, encoding="utf-8")
    rng = np.random.default_rng(3)
    for name, stem in (("normal", "IM-{:04d}-0001"), ("bacteria", "person{}_bacteria_1")):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(60):
            picture = cv2.GaussianBlur(rng.normal(90, 60, (64, 64)), (0, 0), 3).astype(np.float32)
            picture = np.clip(picture + np.linspace(0, 60, 64)[:, None], 0, 200)
            if name == "bacteria":
                picture[20:44, 20:44] += 50
            kept = folder / "data" / name / f"{stem.format(number)}.png"
            cv2.imwrite(str(kept), picture.astype(np.uint8))
    (folder / "data" / "virus").mkdir()
    return folder


def command(place: Path, step: str, *more: str) -> int:
    return cli.main([step, str(place / "our-chests.toml"), "--data", str(place / "data"), *more])


def test_fit_package_and_eval_make_a_package_that_serves_and_says_what_it_does_not_know(
    place: Path,
) -> None:
    runs, out, figures = place / "runs", place / "package", place / "figures.json"
    assert command(place, "fit", "--runs", str(runs)) == 0
    assert command(place, "package", "--runs", str(runs), "--out", str(out)) == 0
    package = load_package(out)
    engine = load_engine(package)
    assert compare(engine, package).worst < 1e-5
    engine.close()
    assert package.name == "our-chests"
    assert package.familiar is not None
    card = (out / "CARD.md").read_text(encoding="utf-8")
    assert f"A picture farther than {package.familiar.limit:g} from the training pictures" in card
    away = re.search(r"(\d+\.\d)% of \d+ pictures that it should not judge were turned away", card)
    assert away is not None
    assert float(away[1]) >= 95
    assert command(place, "eval", "--package", str(out), "--json", str(figures)) == 0
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["left_out_as_seen"] > 0
    assert found["pictures"] + found["left_out_as_seen"] == 120
    area = next(row for row in found["rows"] if row["finding"] == "Pneumonia")
    assert area["auc"] > 0.9


def test_a_finding_that_the_calibration_patients_lack_is_named_before_anything_is_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = (place / "our-chests.toml").read_text(encoding="utf-8")
    (place / "lacking.toml").write_text(f"{plan}\n{BACTERIAL}", encoding="utf-8")
    lacking, runs, out = place / "lacking.toml", place / "lacking-runs", place / "lacking"
    given = ["--data", str(place / "data"), "--runs", str(runs)]
    assert cli.main(["fit", str(lacking), *given]) == 0
    assert cli.main(["package", str(lacking), *given, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("scanside-train: Bacterial pneumonia rather than viral: 18 of the")
    assert "pictures that settle it have the finding and 0 have it not" in said
    assert not out.exists()
