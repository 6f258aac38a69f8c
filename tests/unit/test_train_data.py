"""No patient is on two sides of a split, and no slice has a neighbour in another head."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines import calibrate
from tools.train import assess, data, lesions, phantom

HEADER = "patient,slice," + ",".join(data.KINDS) + ",no_hemorrhage,fracture\n"


def written(folder: Path, *, bleeding: int, healthy: int) -> Path:
    """Write patients of three 16 x 16 slices; slice 2 is missing, the last slice bleeds."""
    lines = []
    for patient in range(1, bleeding + healthy + 1):
        place = folder / f"{patient:03d}"
        place.mkdir()
        for number in (1, 3, 4):
            ill = patient <= bleeding and number == 4
            lines.append(f"{patient},{number},0,0,0,{int(ill)},0,{int(not ill)},0\n")
            grey = np.full((16, 16), 10 * patient + number, np.uint8)
            cv2.imwrite(str(place / f"{number:02d}-brain.jpg"), grey)
    # The table need not be in order.
    (folder / "slices.csv").write_text(HEADER + "".join(reversed(lines)), encoding="utf-8")
    return folder


def test_slices_are_read_from_the_neck_upwards_with_their_own_neighbours(tmp_path: Path) -> None:
    slices = data.read(written(tmp_path, bleeding=1, healthy=1), size=8)
    assert slices.patient.tolist() == ["001"] * 3 + ["002"] * 3
    assert slices.bleeding.tolist() == [False, False, True, False, False, False]
    assert slices.neighbour.tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 4],
        [3, 4, 5],
        [4, 5, 5],
    ]
    tensor = slices.tensor(np.array([1]))
    assert tensor.shape == (1, 3, 8, 8)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 0, 0] * 255, [11, 13, 14], atol=1)


def test_a_split_is_by_patient_balanced_and_repeatable(tmp_path: Path) -> None:
    slices = data.read(written(tmp_path, bleeding=8, healthy=12), size=8)
    split = data.split(slices, calibration=5, test=5, seed=3)
    sets = [set(split.train), set(split.calibration), set(split.test)]
    assert [len(s) for s in sets] == [10, 5, 5]
    assert len(set.union(*sets)) == 20
    ill = {f"{n:03d}" for n in range(1, 9)}
    assert [len(s & ill) for s in sets] == [4, 2, 2]
    assert split == data.split(slices, calibration=5, test=5, seed=3)
    assert split != data.split(slices, calibration=5, test=5, seed=4)
    rows = [set(slices.rows(part).tolist()) for part in (split.train, split.test)]
    assert not rows[0] & rows[1]


def test_a_split_that_leaves_nobody_to_train_is_refused(tmp_path: Path) -> None:
    slices = data.read(written(tmp_path, bleeding=1, healthy=2), size=8)
    with pytest.raises(data.DataError, match="3 patients cannot give 2"):
        data.split(slices, calibration=2, test=1, seed=0)


def test_a_label_that_contradicts_itself_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "slices.csv").write_text(HEADER + "1,1,1,0,0,0,0,1,0\n", encoding="utf-8")
    with pytest.raises(data.DataError, match=r"slices\.csv line 2: no_hemorrhage contradicts"):
        data.read(tmp_path, size=8)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match=r"slices\.csv: not found"):
        data.read(tmp_path, size=8)
    (tmp_path / "slices.csv").write_text(HEADER + "1,1,0,0,0,0,0,1,0\n", encoding="utf-8")
    with pytest.raises(data.DataError, match=r"01-brain\.jpg: not a readable image"):
        data.read(tmp_path, size=8)


def test_a_drawn_bleed_is_brighter_inside_the_skull_and_nowhere_else() -> None:
    head = phantom.heads(1, size=96, seed=1)[0].astype(np.float32) / 255
    brain = np.stack([lesions.inside_skull(s) for s in head])
    assert 0.2 < brain[1].mean() < 0.6
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


def test_phantoms_are_the_same_wherever_they_are_drawn_from_one_seed() -> None:
    first, second = (phantom.heads(3, size=64, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 3, 64, 64)
    assert first.dtype == np.uint8


def test_the_calibration_patients_settle_and_the_test_patients_measure(tmp_path: Path) -> None:
    slices = data.read(written(tmp_path, bleeding=10, healthy=14), size=8)
    split = data.split(slices, calibration=8, test=8, seed=1)
    rng = np.random.default_rng(6)
    logit = rng.normal(0, 1, len(slices.patient)) + 4.0 * slices.bleeding
    held, test = slices.rows(split.calibration), slices.rows(split.test)
    settled = assess.settle(slices, held, logit[held], seed=1)
    low, high = settled.band
    assert low <= settled.threshold <= high
    figures = {
        f.name: f.interval for f in assess.measure(slices, test, logit[test], settled, seed=1)
    }
    assert figures["slice AUC"].n == len(test)
    assert figures["study AUC"].n == len(split.test)
    assert figures["slice AUC"].value > 0.9
    scores = assess.studies(slices, test, calibrate(logit[test], settled.a, settled.b))
    ill = scores.score[scores.bleeding] >= settled.threshold
    assert figures["study sensitivity"].value == pytest.approx(ill.mean())
    assert figures["study sensitivity"].n == len(ill)
