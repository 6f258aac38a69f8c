"""A learning curve: who learns at each share, where the line meets an aim, and what is said."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from test_train_network import drawn, small

from tools.train import examples
from tools.train.examples import DataError

torch = pytest.importorskip("torch", reason="torch is in the train extra, which is not installed")

from tools.train import curve, reading  # noqa: E402
from tools.train.curve import Curve, Point  # noqa: E402
from tools.train.measure import Interval  # noqa: E402


def test_a_smaller_share_of_the_patients_is_part_of_a_larger_one_with_ill_and_well() -> None:
    held = drawn(small())
    fold = examples.folds(held, count=3, seed=7)[0]
    few = curve.thinned(held, fold, 0.25, seed=7)
    more = curve.thinned(held, fold, 0.5, seed=7)
    assert (len(few), len(more), len(fold.train)) == (8, 16, 32)
    assert set(few.tolist()) < set(more.tolist()) < set(fold.train.tolist())
    assert (held.truth[few, 0] == 1).sum() == 4
    assert curve.thinned(held, fold, 1.0, seed=7) is fold.train


def test_a_share_that_leaves_nobody_is_refused() -> None:
    held = drawn(small())
    fold = examples.folds(held, count=3, seed=7)[0]
    with pytest.raises(DataError, match=r"A share of 0\.01 leaves no patient of one kind"):
        curve.thinned(held, fold, 0.01, seed=7)


def test_the_line_of_a_power_law_meets_the_aim_where_the_law_says() -> None:
    points = [(n, 1 - 0.8 * n**-0.4) for n in (10, 20, 40)]
    assert curve.needed(points, 0.9) == round((0.1 / 0.8) ** (1 / -0.4))


def test_points_that_do_not_rise_meet_no_aim() -> None:
    assert curve.needed([(10, 0.8), (20, 0.8), (40, 0.79)], 0.9) is None
    assert curve.needed([(10, 0.7), (20, 0.8)], 0.9) is None  # two points lie on any line
    assert curve.needed([(10, 0.8), (20, 0.8001), (40, 0.8002)], 0.9) is None  # beyond a million


def test_a_curve_is_measured_out_of_fold_and_kept_for_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(epochs=1)
    plan = replace(plan, data=replace(plan.data, folds=2))
    monkeypatch.setattr(reading, "read", lambda *_: drawn(plan))
    said: list[str] = []
    found = curve.measure(plan, tmp_path, tmp_path, [0.5, 0.25], [("slice", 0.9)], say=said.append)
    assert [one.patients for one in found.points] == [6, 12, 24]
    assert curve.kept(plan, tmp_path) == found
    assert "fold 1: 6 patients train" in said
    again: list[str] = []
    assert (
        curve.measure(plan, tmp_path, tmp_path, [0.5, 0.25], [("slice", 0.9)], say=again.append)
        == found
    )
    assert "goes on after epoch 4 of 4" in again  # a quarter of the patients, four times as often


def test_no_curve_is_kept_before_one_is_measured(tmp_path: Path) -> None:
    assert curve.kept(small(), tmp_path) is None


def test_the_words_give_each_point_with_its_interval_and_what_the_line_says() -> None:
    area = Interval(0.8, 0.7, 0.9, 50)
    found = Curve("Bleed", (Point(10, area, area),), (("slice", 0.9, 1234), ("study", 0.88, None)))
    text = curve.words(found)
    assert "| 10 | 0.800 (0.700 to 0.900) | 0.800 (0.700 to 0.900) |" in text
    assert "The line meets 0.90 by slice at about 1,234 patients." in text
    assert "The line does not meet 0.88 by study" in text
    assert json.loads(json.dumps(asdict(found)))["finding"] == "Bleed"
