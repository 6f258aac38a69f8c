"""A model that nobody described becomes a draft that says what a person must write."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import MESHNETS, meshnet_file, small_graph
from onnx import TensorProto, helper, numpy_helper
from segmenting import brightness_model

from engines import PackageError, load_package
from engines.build.support import ask, present_modules
from engines.draft import (
    DraftError,
    draft,
    read_answers,
    read_labels,
    to_toml,
    unfilled,
)
from engines.graph.adopting import adopt
from engines.graph.errors import GraphError
from engines.interview import interview
from engines.package import PackageDraft


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "some.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def classifier(channels: int = 3, *, operator: str = "Relu") -> onnx.ModelProto:
    """Return a network from slices to two logits."""
    weights = np.ones((channels * 64, 2), np.float32)
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node(operator, ["sums"], ["answer"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", channels, 8, 8])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(
        graph, opset_imports=opset, ir_version=10, producer_name="a trainer", producer_version="2"
    )


@pytest.mark.parametrize("name", MESHNETS)
def test_a_model_that_nobody_here_made_tells_all_that_its_graph_knows(name: str) -> None:
    file = meshnet_file(name)
    facts = interview(adopt(file))
    assert [str(one) for one in facts.inputs] == ["'t1' float32 [n, 1, d, h, w]"]
    assert facts.kind == "segmentation"
    assert facts.obstacles == ()
    assert facts.operators == {"Conv": 10, "Elu": 9}
    assert facts.opset == 17
    assert facts.size == file.stat().st_size
    assert 80_000 < facts.parameters < 200_000


@pytest.mark.parametrize("name", MESHNETS)
def test_its_draft_has_a_finding_for_each_label_but_the_background(name: str) -> None:
    file = meshnet_file(name)
    labels = read_labels(file.with_name(file.stem + "-labels.csv"))
    tables = draft(interview(adopt(file)), "meshnet", labels)
    assert [one["classes"] for one in tables["finding"]] == [[index] for index, _ in labels[1:]]
    assert [one["label"] for one in tables["finding"]] == [label for _, label in labels[1:]]


def test_a_draft_is_refused_and_names_what_is_to_be_filled_in(tmp_path: Path) -> None:
    facts = interview(adopt(saved(classifier(), tmp_path)))
    tables = draft(facts, "some")
    (tmp_path / "some.onnx").rename(tmp_path / "model.onnx")
    (tmp_path / "model.toml").write_text(to_toml(tables, "some.onnx"), encoding="utf-8")
    with pytest.raises(
        PackageDraft,
        match=r"intended_use is still .* In all 26 values say FILL IN, on lines 8 to 11, 18 to 19,",
    ):
        load_package(tmp_path)
    missing = unfilled(tables)
    for words in (
        "[model] limits:",
        "[input] normalise:",
        "[input] neighbours: slices on each side; the model has 3 channels, windows x (2 x "
        "neighbours + 1): 0 with 3 windows or 1 with 1 window ",
        "[[routes]] number 1 modality:",
        "[[finding]] numbers 1 to 2 code.value:",
        "[[finding]] number 2 label:",
        "[[finding]] numbers 1 to 2 calibration:",
        "[aggregate] kind:",
        "[checks] parity_tolerance:",
    ):
        assert any(str(one).startswith(words) for one in missing), words
    assert sum(one.values for one in missing) == 26


def test_a_model_that_ends_in_probabilities_is_told_of(tmp_path: Path) -> None:
    model = classifier(1, operator="Softmax")
    model.graph.node[-1].output[0] = "handed"
    model.graph.node.append(helper.make_node("Identity", ["handed"], ["answer"]))
    facts = interview(adopt(saved(model, tmp_path)))
    assert facts.probabilities
    calibration = next(one for one in unfilled(draft(facts, "some")) if one.key == "calibration")
    assert calibration.what.endswith("here the logit is what Softmax gives")
    assert not interview(adopt(saved(classifier(1), tmp_path))).probabilities


def test_what_the_graph_knows_is_not_asked(tmp_path: Path) -> None:
    facts = interview(adopt(saved(classifier(1), tmp_path)))
    tables = draft(facts, "some")
    assert tables["input"]["tensor"] == "pixels"
    assert (tables["input"]["height"], tables["input"]["width"]) == (8, 8)
    assert tables["input"]["neighbours"] == 0
    assert tables["output"] == {"kind": "logits", "tensor": "answer"}
    assert facts.producer == "a trainer 2"


ANSWERS = """
[model]
licence = "MIT"
intended_use = "tests"
limits = 'with "quotes", a \\ and
a line'
training_data = "none"
[input]
depth = 16
height = 16
width = 16
spacing_mm = [1.0, 1.0, 1.0]
axes = "RAS"
normalise = "percentile"
percentiles = [2, 98]
[[routes]]
modality = "MR"
body_parts = ["BRAIN"]
[[finding]]
code = { scheme = "99TEST", value = "1", meaning = "Grey" }
label = "Grey"
classes = [1]
urgency = "routine"
[checks]
parity_tolerance = 0.05
"""


def test_answers_that_were_written_down_before_make_the_package_whole(tmp_path: Path) -> None:
    answers = tmp_path / "answers.toml"
    answers.write_text(ANSWERS.replace("a \\ and\na line'", "a \\ and a line'"), encoding="utf-8")
    folder = tmp_path / "package"
    folder.mkdir()
    model = saved(brightness_model(), folder).rename(folder / "model.onnx")
    tables = draft(interview(adopt(model)), "grey", (), read_answers(answers))
    assert unfilled(tables) == ()
    (folder / "model.toml").write_text(to_toml(tables, "x"), encoding="utf-8")
    package = load_package(folder)
    assert package.name == "grey"
    assert package.limits == 'with "quotes", a \\ and a line'
    assert package.input.percentiles == (2.0, 98.0)
    assert [one.label for one in package.volumes] == ["Grey"]


def test_answers_with_a_table_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    answers = tmp_path / "answers.toml"
    answers.write_text("[models]\nname = 'x'\n", encoding="utf-8")
    with pytest.raises(DraftError, match="models is not a known table"):
        read_answers(answers)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0,Background\n2,Grey Matter\n", ((0, "Background"), (2, "Grey Matter"))),
        ("Normal\nPneumonia\n\n", ((0, "Normal"), (1, "Pneumonia"))),
    ],
)
def test_labels_are_numbered_or_in_order(
    tmp_path: Path, text: str, labels: tuple[tuple[int, str], ...]
) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "labels.csv") == labels


@pytest.mark.parametrize("text", ["", "one,Grey\n", "0,\n", "0,a,b\n"])
def test_labels_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream)
        stream.write(text)
    with pytest.raises(DraftError, match=r"labels\.csv"):
        read_labels(file)


def test_what_keeps_a_graph_from_being_a_package_is_told(tmp_path: Path) -> None:
    shape = ["n", 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["pixels"], ["maps"])],
        "maps",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT16, shape)],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    said = interview(adopt(saved(model, tmp_path))).obstacles
    assert len(said) == 3
    assert "float16 [n, 3, 8, 8] is not float32" in said[0]
    assert "A package takes slices" in said[1]


@pytest.mark.parametrize("sizes", [(224, 224, 3), ("h", "w", 1), (None, None, 3)])
def test_a_model_with_its_channels_last_is_told_how_to_have_them_first(
    tmp_path: Path, sizes: tuple[int | str | None, ...]
) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["pixels"], ["first"], perm=[0, 3, 1, 2]),
            helper.make_node("GlobalAveragePool", ["first"], ["means"]),
            helper.make_node("Flatten", ["means"], ["answer"]),
        ],
        "channels last",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", *sizes])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", sizes[-1]])],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    (obstacle,) = interview(adopt(saved(model, tmp_path))).obstacles
    assert "looks like its channels" in obstacle
    assert "--inputs-as-nchw pixels" in obstacle


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "some.onnx"
    file.write_bytes(content)
    with pytest.raises(GraphError, match=r"some\.onnx"):
        interview(adopt(file))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"none\.onnx: cannot be read: No such file"):
        interview(adopt(tmp_path / "none.onnx"))


def test_values_that_a_person_wrote_stay_a_text_in_the_file(tmp_path: Path) -> None:
    facts = interview(adopt(saved(classifier(), tmp_path)))
    tables = draft(facts, "some", [(0, 'a "b" \x7f \t c'), (1, "] [x]\nname = 1")])
    (tmp_path / "model.toml").write_text(to_toml(tables, "x"), encoding="utf-8")
    (tmp_path / "some.onnx").rename(tmp_path / "model.onnx")
    with pytest.raises(PackageError, match="intended_use is still"):
        load_package(tmp_path)


@pytest.mark.skipif("tensorrt_rtx" not in present_modules(), reason="tensorrt_rtx is not installed")
def test_the_builders_own_parser_names_what_it_does_not_take(tmp_path: Path) -> None:
    good = ask("tensorrt_rtx", saved(classifier(), tmp_path))
    assert (good.refused, good.problem) == ((), None)
    assert good.builder.startswith("tensorrt_rtx 1.")
    bad = ask("tensorrt_rtx", saved(classifier(operator="BitwiseNot"), tmp_path))
    assert [(one.node, one.op) for one in bad.refused] == [("last", "BitwiseNot")]


def test_a_builder_that_is_not_there_has_a_problem_and_no_answer(tmp_path: Path) -> None:
    if "tensorrt" in present_modules():
        pytest.skip("TensorRT is installed here")
    said = ask("tensorrt", saved(classifier(), tmp_path))
    assert said.problem is not None
    assert "cannot be imported" in said.problem


def test_weights_that_are_not_numbers_are_named_and_infinite_ones_are_not(tmp_path: Path) -> None:
    for value, broken in ((np.nan, ("w",)), (-np.inf, ())):
        weight = np.array([1, value, 1, 1], np.float32)
        model = small_graph([helper.make_node("Mul", ["x", "w"], ["logits"])], {"w": weight})
        onnx.save(model, tmp_path / "model.onnx")
        facts = interview(adopt(tmp_path / "model.onnx"))
        assert facts.broken == broken
        # PaddlePaddle's weights are Constant nodes.
        held = numpy_helper.from_array(weight, "w")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=held))
        del model.graph.initializer[:]
        onnx.save(model, tmp_path / "model.onnx")
        constant = interview(adopt(tmp_path / "model.onnx"))
        assert (constant.broken, constant.parameters) == (broken, 4)
        assert any("NaN" in obstacle for obstacle in facts.obstacles) is bool(broken)
