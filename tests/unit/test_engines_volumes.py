"""A model that outlines things in a volume: its package, its answer in millilitres, its parity."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from segmenting import brightness, brightness_model, write_brightness

from engines import (
    PackageError,
    compare,
    load_engine,
    load_package,
    segment,
    serve,
    volume_ml,
)
from engines.agreement import dice
from engines.build import shapes_of
from engines.checkset import write_check_set
from engines.package import digest_of


def rewrite(folder: Path, old: str, new: str) -> None:
    file = folder / "model.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_volume_package_says_all_that_a_series_must_become(tmp_path: Path) -> None:
    package = brightness(tmp_path / "brightness")
    assert package.input.sizes == (16, 16, 16)
    assert package.input.channels == 1
    assert package.input.spacing_mm == (2.0, 1.0, 1.0)
    assert (package.input.axes, package.input.percentiles) == ("LIA", (2.0, 98.0))
    assert (package.output.kind, package.output.tensor) == ("segmentation", "scores")
    assert not package.findings
    grey, seen = package.volumes
    assert (grey.flag_below_ml, grey.flag_above_ml) == (None, None)
    assert (seen.classes, seen.flag_above_ml, seen.urgency) == ((1, 2), 5.0, "urgent")
    assert package.aggregate.kind == "class_volume"
    assert shapes_of(package, largest=1)[0].largest == (1, 1, 16, 16, 16)


def test_a_network_that_halves_its_volume_serves_though_one_voxel_is_too_few(
    tmp_path: Path,
) -> None:
    """As every U-Net that leaves its sizes free."""
    folder = write_brightness(tmp_path / "halving")
    model = brightness_model()
    weights = numpy_helper.to_array(model.graph.initializer[0])
    weights = np.concatenate([weights, np.zeros_like(weights)], axis=1)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    ones = np.ones((1, 1, 2, 2, 2), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(ones, "ones"))
    last = model.graph.node.pop()
    last.input[0] = "both"
    steps = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
    model.graph.node.extend(
        [
            helper.make_node("MaxPool", ["volume"], ["half"], **steps),
            helper.make_node("ConvTranspose", ["half", "ones"], ["even"], **steps),
            helper.make_node("Concat", ["volume", "even"], ["both"], axis=1),
            last,
        ]
    )
    before = digest_of(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx")
    rewrite(folder, before, digest_of(folder / "model.onnx"))
    volume = np.linspace(0, 1, 8**3, dtype=np.float32).reshape(1, 1, 8, 8, 8)
    write_check_set(load_package(folder), list(volume))
    with closing(serve(folder).engine) as engine:
        assert engine.infer({"volume": volume})["scores"].shape == (1, 3, 8, 8, 8)


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ("depth = 16", "", ["[input] depth is missing", "from 8 to 4096"]),
        ("depth = 16", 'depth = "any"', ["depth = 'any'", "whole number"]),
        ("spacing_mm = [2.0, 1.0, 1.0]", "spacing_mm = 1.0", ["spacing_mm = 1.0", "3 numbers"]),
        ("[2.0, 1.0, 1.0]", "[2.0, 1.0, 0.0]", ["[2.0, 1.0, 0.0]", "from 0.05"]),
        ('axes = "LIA"', 'axes = "LRA"', ["axes = 'LRA'", "one of S and I"]),
        ('axes = "LIA"', 'axes = "lia"', ["axes = 'lia'", "as in LIA"]),
        ('axes = "LIA"', "", ["[input] axes is missing"]),
        ('"percentile"', '"zscore"', ["normalise = 'zscore'", '"windows", "percentile"']),
        ("[2, 98]", "[98, 2]", ["percentiles = [98, 2]", "low below high"]),
        ("[2, 98]", "[2, 101]", ["percentiles = [2, 101]", "from 0 to 100"]),
        ("depth = 16", "depth = 16\nneighbours = 1", ["neighbours is not a known key"]),
        ('"NCDHW"', '"NCHW"', ["layout = 'NCHW'", "segmentation needs"]),
        ('"segmentation"', '"boxes"', ["[output] kind = 'boxes'", '"logits", "segmentation"']),
        ('kind = "segmentation"', 'kind = "logits"', ["layout = 'NCDHW'", "segmentation"]),
        ('"class_volume"', '"max"', ["[aggregate] kind = 'max'", '"class_volume"']),
        ("classes = [1]", "classes = []", ["number 1 classes = []", "one or more"]),
        ("classes = [1]", "classes = [1, 1]", ["classes = [1, 1]", "each once"]),
        ("classes = [1]", "output = 1", ["number 1 classes is missing"]),
        ("flag_above_ml = 5.0", "flag_above_ml = -1", ["flag_above_ml = -1", "from 0"]),
        (
            "flag_above_ml = 5.0",
            "flag_above_ml = 5.0\nflag_below_ml = 6.0",
            ["flag_above_ml = 5.0", "at least its minimum 6"],
        ),
    ],
)
def test_a_wrong_key_of_a_volume_is_named(
    tmp_path: Path, line: str, instead: str, says: list[str]
) -> None:
    folder = write_brightness(tmp_path / "brightness")
    rewrite(folder, line, instead)
    with pytest.raises(PackageError) as caught:
        load_package(folder)
    for words in [str(folder / "model.toml"), *says]:
        assert words in str(caught.value)


def test_what_is_still_to_be_filled_in_is_refused_with_what_it_is(tmp_path: Path) -> None:
    folder = write_brightness(tmp_path / "brightness")
    rewrite(folder, "depth = 16", 'depth = "FILL IN: how many slices"')
    with pytest.raises(PackageError, match="depth is still to be filled in"):
        load_package(folder)


def test_free_sizes_in_the_model_take_the_crops_of_the_check_set(tmp_path: Path) -> None:
    package = brightness(tmp_path / "brightness")
    with closing(load_engine(package)) as engine:
        parity = compare(engine, package)
    assert (parity.samples, parity.worst) == (1, 0.0)
    assert parity.agrees


def test_an_engine_that_outlines_something_else_does_not_agree(tmp_path: Path) -> None:
    folder = write_brightness(tmp_path / "brightness")
    with np.load(folder / "check.npz") as held:
        volume, scores = held["volume"], held["scores"].copy()
    scores[:, 1] += 0.1
    np.savez(folder / "check.npz", volume=volume, scores=scores)
    package = load_package(folder)
    with closing(load_engine(package)) as engine:
        parity = compare(engine, package)
    assert 0.05 < parity.worst < 0.5
    assert not parity.agrees


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("depth = 16", "depth = 24"), "[input] describes 'volume' float32 (n, 1, 24, 16, 16)"),
        (('"volume"', '"other"'), "[input] describes 'other'"),
        (('"scores"', '"labels"'), "expected an output 'labels' float32 (n, classes, depth"),
        (("classes = [1, 2]", "classes = [1, 3]"), "number 2 classes = 3 is not a whole number"),
    ],
)
def test_a_model_that_is_not_what_the_package_says_is_refused(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    folder = write_brightness(tmp_path / "brightness")
    model = brightness_model()
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 16
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    text = (folder / "model.toml").read_text(encoding="utf-8")
    new = re.sub('sha256 = ".*"', f'sha256 = "{digest_of(folder / "model.onnx")}"', text)
    (folder / "model.toml").write_text(new, encoding="utf-8")
    rewrite(folder, *change)
    with pytest.raises(PackageError) as caught:
        load_engine(load_package(folder))
    assert says in str(caught.value)


def test_a_volume_is_counted_in_millilitres(tmp_path: Path) -> None:
    package = brightness(tmp_path / "brightness")
    scores = np.zeros((3, 16, 16, 16), np.float32)
    scores[1, :5, :10, :10] = 1  # 500 voxels of 2 cubic millimetres
    scores[2, 5:10, :10, :10] = 1
    grey, seen = package.volumes
    classes = segment(scores)
    assert package.input.spacing_mm is not None
    assert volume_ml(grey, classes, package.input.spacing_mm) == pytest.approx(1.0)
    assert volume_ml(seen, classes, package.input.spacing_mm) == pytest.approx(2.0)


def test_scores_that_are_no_numbers_have_no_class() -> None:
    scores = np.zeros((2, 3, 4, 5), np.float32)
    scores[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        segment(scores)
    with pytest.raises(ValueError, match=r"expected \(classes, depth, height, width\)"):
        segment(scores[0])


def test_two_empty_outlines_are_alike() -> None:
    empty, full = np.zeros(8, bool), np.ones(8, bool)
    assert dice(empty, empty) == dice(full, full) == 1.0
    assert dice(empty, full) == 0.0
