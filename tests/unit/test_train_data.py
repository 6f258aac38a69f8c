"""No patient is on two sides of a split, and no slice has a neighbour in another head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tools.scanner.head_ct import draw_head_ct
from tools.train import examples, folders, head_slices, lesions, looks, plan_file, table
from tools.train.examples import DataError, Examples
from tools.train.plan import Plan

HEADER = "patient,slice," + ",".join(head_slices.KINDS) + ",no_hemorrhage,fracture\n"


def small(name: str) -> Plan:
    """Return a shipped plan at 32 x 32 pixels."""
    plan = plan_file.read(name)
    return replace(plan, input=replace(plan.input, height=32, width=32, crop_above=None))


HEAD = small("head-ct-hemorrhage")
CHILDREN = small("chest-xray-pneumonia-children")
ADULTS = small("chest-xray-findings-adults")


def heads(folder: Path, *, bleeding: int, healthy: int) -> Path:
    """Write patients of three 40 x 40 slices; slice 2 is missing, the last slice bleeds."""
    lines = []
    for patient in range(1, bleeding + healthy + 1):
        place = folder / f"{patient:03d}"
        place.mkdir()
        for number in (1, 3, 4):
            ill = patient <= bleeding and number == 4
            lines.append(f"{patient},{number},0,0,0,{int(ill)},0,{int(not ill)},0\n")
            grey = np.full((40, 40), 60 + 5 * patient + number, np.uint8)
            cv2.imwrite(str(place / f"{number:02d}-brain.jpg"), grey)
            cv2.imwrite(str(place / f"{number:02d}-bone.jpg"), np.full((40, 40), 75, np.uint8))
    # The table need not be in order.
    (folder / "slices.csv").write_text(HEADER + "".join(reversed(lines)), encoding="utf-8")
    return folder


def chests(folder: Path, names: dict[str, list[str]]) -> Path:
    """Write a folder for each class, with noise under these file names."""
    rng = np.random.default_rng(1)
    for name, files in names.items():
        (folder / name).mkdir()
        for file in files:
            cv2.imwrite(str(folder / name / file), rng.integers(0, 255, (24, 24), np.uint8))
    return folder


def test_slices_are_read_from_the_neck_upwards_with_their_own_neighbours(tmp_path: Path) -> None:
    found = head_slices.read(heads(tmp_path, bleeding=1, healthy=1), HEAD)
    assert found.group.tolist() == ["001"] * 3 + ["002"] * 3
    assert found.truth[:, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert found.neighbour.tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 4],
        [3, 4, 5],
        [4, 5, 5],
    ]
    tensor = found.tensor(np.array([1]))
    assert tensor.shape == (1, 6, 32, 32)
    # Window by window: three slices of the brain window, then three of the bone window.
    np.testing.assert_allclose(tensor[0, :3, 16, 16] * 255, [66, 68, 69], atol=1.5)
    assert np.ptp(tensor[0, 3:, 16, 16]) < 0.02


def test_hounsfield_units_come_back_from_both_windows() -> None:
    hu = np.array([[-1000, -10, 35, 90, 400, 1500]], np.float32)

    def seen(level: float, width: float) -> NDArray[np.float32]:
        return np.asarray(np.clip((hu - (level - width / 2)) / width, 0, 1) * 255, np.float32)

    both = head_slices.hounsfield(seen(40, 120), seen(700, 3200))[0].tolist()
    assert both[1:] == pytest.approx(hu[0, 1:].tolist(), abs=7)
    assert both[0] <= -900
    assert head_slices.hounsfield(seen(40, 120), None)[0].tolist()[0] == -1000


def test_a_patient_is_read_from_the_file_name_and_never_divided(tmp_path: Path) -> None:
    found = folders.read(
        chests(
            tmp_path,
            {
                "normal": [f"IM-{n:04d}-0001.jpg" for n in range(30)],
                "bacteria": [f"person{n}_bacteria_{n}.jpg" for n in range(20)],
                "virus": [f"person{n}_virus_{m}.jpg" for n in range(20) for m in (1, 2)],
            },
        ),
        CHILDREN,
    )
    assert len(set(found.group.tolist())) == 50
    held = examples.split(found, calibration=0.2, test=0.2, seed=1)
    sides = [set(found.group[rows].tolist()) for rows in (held.train, held.calibration, held.test)]
    assert sum(len(side) for side in sides) == 50
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    for rows in (held.calibration, held.test):
        assert {0.0, 1.0} <= set(found.truth[rows, 0].tolist())
    # A healthy chest says nothing of the kind of pneumonia.
    assert np.isnan(found.truth[found.truth[:, 0] == 0, 1]).all()


def test_each_patient_is_tested_in_one_fold_and_the_same_seed_divides_alike(tmp_path: Path) -> None:
    found = head_slices.read(heads(tmp_path, bleeding=6, healthy=9), HEAD)
    parts = examples.folds(found, count=3, seed=4)
    assert np.concatenate([part.test for part in parts]).size == len(found)
    for part in parts:
        assert not set(found.group[part.train]) & set(found.group[part.test])
        assert found.truth[part.test, 0].sum() == 2
    again = examples.folds(found, count=3, seed=4)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(parts, again, strict=True))


def test_too_few_patients_are_refused(tmp_path: Path) -> None:
    found = head_slices.read(heads(tmp_path, bleeding=1, healthy=1), HEAD)
    with pytest.raises(DataError, match="2 patients are too few"):
        examples.split(found, calibration=0.1, test=0.1, seed=0)
    with pytest.raises(DataError, match="2 patients cannot be divided into 3 parts"):
        examples.folds(found, count=3, seed=0)


def test_the_table_brings_findings_age_sex_and_what_another_network_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30), np.uint8))
    (tmp_path / "labels.csv").write_text(
        "image,findings,patient,age,sex\n"
        "a.jpg,Mass|Pleural_Thickening,1,61,F\nb.jpg,No Finding,2,,M\n",
        encoding="utf-8",
    )
    (tmp_path / "densenet121-predictions.csv").write_text(
        "image,mass,hernia\nb.jpg,0.25,0.5\n", encoding="utf-8"
    )
    found = table.read(tmp_path, ADULTS)
    column = {label.name: place for place, label in enumerate(ADULTS.labels)}
    assert found.truth[0].sum() == 2
    assert found.truth[0, column["pleural_thickening"]] == 1
    assert found.truth[1].sum() == 0
    assert found.teacher[1, column["mass"]] == 0.25
    assert np.isnan(found.teacher[0]).all()
    assert found.age[0] == 61
    assert np.isnan(found.age[1])
    assert found.sex.tolist() == ["F", "M"]


def test_pictures_that_look_alike_share_a_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    unlike = [0.1 * rng.normal(0, 1, (32, 32)) for _ in range(3)]
    pictures = [unlike[0], 0.9 * unlike[0] + 0.02, unlike[1], unlike[2]]
    image = np.stack([np.asarray(127 + 300 * one, np.uint8)[None] for one in pictures])
    count = len(image)
    found = Examples(
        digest=np.array([""] * count),
        image=image,
        neighbour=examples.alone(count),
        group=np.array(["x"] * count),
        study=np.array([f"{n}" for n in range(count)]),
        truth=np.zeros((count, 1), np.float32),
        teacher=examples.unknown(count, 1),
        age=examples.unknown(count),
        sex=np.array([""] * count),
    )
    groups = looks.groups(found).tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "1,1,1,0,0,0,0,1,0\n", r"slices\.csv line 2: no_hemorrhage contradicts"),
        (HEADER + "1,1,0,0,0,0,0,1,0\n", r"01-brain\.jpg: not a readable image"),
        (None, r"slices\.csv: not found"),
    ],
)
def test_data_that_cannot_be_used_are_named(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "slices.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        head_slices.read(tmp_path, HEAD)


def test_a_missing_class_is_named_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    with pytest.raises(DataError, match=r"no folder 'bacteria'.*bacteria, virus"):
        folders.read(tmp_path, CHILDREN)


def test_a_drawn_bleed_is_brighter_inside_the_skull_and_nowhere_else() -> None:
    hu = draw_head_ct(lesion=False, slices=16, seed=1).hu[9:12].astype(np.float32)
    head = np.stack(
        [cv2.resize(np.clip((one + 20) / 120, 0, 1), (96, 96), interpolation=3) for one in hu]
    ).astype(np.float32)
    brain = np.stack([lesions.inside_skull(s) for s in head])
    assert 0.1 < brain[1].mean() < 0.6
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(40):
        lesion = lesions.draw(head, rng)
        assert lesion is not None
        kinds.add(lesion.bleeding)
        change = lesion.image - head
        assert np.all(change[~brain] == 0)
        extreme = change[1].max() if lesion.bleeding else -change[1].min()
        assert extreme > 0.02
    assert kinds == {True, False}


def test_nothing_is_drawn_where_there_is_no_brain() -> None:
    air = np.zeros((3, 64, 64), np.float32)
    assert lesions.draw(air, np.random.default_rng(0)) is None
