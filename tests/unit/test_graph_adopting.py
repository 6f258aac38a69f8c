"""A file as exporters write it becomes one that a package can hold, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import detector, small_graph
from onnx import TensorProto, helper

from engines.draft import draft
from engines.graph.adopting import adopt, rows
from engines.graph.errors import GraphError
from engines.graph.model import parse_model
from engines.graph.observe import run
from engines.interview import interview
from engines.runtime.protocol import Array


def _classifier(
    *, batch: int | str = "n", channels: int = 3, shape: tuple[int, ...] = (0, -1)
) -> onnx.ModelProto:
    """Slices of 8 x 8 to two logits; `shape` is what the pixels are written as before."""
    weights = np.random.default_rng(0).normal(size=(channels * 64, 2)).astype(np.float32)
    return small_graph(
        [
            helper.make_node("Reshape", ["x", "rows"], ["flat"], "flat"),
            helper.make_node("MatMul", ["flat", "w"], ["logits"], "weigh"),
        ],
        {"rows": np.array(shape, np.int64), "w": weights},
        shape=(batch, channels, 8, 8),
        out=(batch, 2),
    )


def _old() -> onnx.ModelProto:
    """In opset 11, where Squeeze and ReduceSum have their axes as attributes."""
    return small_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["sums"], "sum", axes=[1]),
            helper.make_node("GlobalAveragePool", ["sums"], ["mean"], "pool"),
            helper.make_node("Squeeze", ["mean"], ["logits"], "squeeze", axes=[2, 3]),
        ],
        shape=("n", 3, 8, 8),
        out=("n", 1),
        opset=11,
    )


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    onnx.save(model, file)
    return file


def _logits(content: bytes, pixels: Array) -> Array:
    return run(parse_model(content, "model.onnx"), [{"x": pixels}])[0]["logits"]


def _pixels(count: int = 2, channels: int = 3) -> Array:
    return np.random.default_rng(1).random((count, channels, 8, 8)).astype(np.float32)


def test_a_file_that_needs_nothing_stays_byte_for_byte(tmp_path: Path) -> None:
    file = _saved(_classifier(), tmp_path)
    found = adopt(file)
    assert (found.content, found.changes) == (file.read_bytes(), ())


def test_weights_beside_the_file_come_inside(tmp_path: Path) -> None:
    """As torch.onnx.export writes them where it is not told otherwise."""
    file = tmp_path / "model.onnx"
    model = _classifier()
    expected = _logits(model.SerializeToString(), _pixels())
    onnx.save(model, file, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    found = adopt(file)
    assert found.changes == ("2 weights came in from model.onnx.data",)
    assert interview(found).parameters == 3 * 64 * 2 + 2
    np.testing.assert_array_equal(_logits(found.content, _pixels()), expected)


@pytest.mark.parametrize("fault", ["missing", "short", "elsewhere"])
def test_weights_that_cannot_be_read_are_told_with_the_file(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file, beside = folder / "model.onnx", folder / "weights.bin"
    onnx.save(
        _classifier(), file, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    if fault == "missing":
        beside.unlink()
    elif fault == "short":
        beside.write_bytes(beside.read_bytes()[:100])
    else:
        beside.rename(tmp_path / "weights.bin")
        model = onnx.load(file, load_external_data=False)
        for one in model.graph.initializer:
            next(
                item for item in one.external_data if item.key == "location"
            ).value = "../weights.bin"
        file.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match=r"weights\.bin, which cannot be read.*beside it"):
        adopt(file)


def test_an_old_opset_is_raised_where_the_answer_stays(tmp_path: Path) -> None:
    found = adopt(_saved(_old(), tmp_path))
    assert found.changes == ("opset 11 was raised to 13; it answers as before",)
    assert interview(found).opset == 13
    expected = _pixels().sum(1).mean((1, 2))[:, None]
    np.testing.assert_allclose(_logits(found.content, _pixels()), expected, rtol=1e-5)


def test_an_old_opset_that_cannot_be_raised_is_refused_as_before(tmp_path: Path) -> None:
    model = _old()
    model.graph.node[0].op_type = "Scan"
    found = adopt(_saved(model, tmp_path))
    assert found.changes == ()
    with pytest.raises(GraphError, match="opset 11 is older than 13"):
        interview(found)


def test_a_fixed_first_axis_is_freed_where_many_give_what_each_gives(tmp_path: Path) -> None:
    found = adopt(_saved(_classifier(batch=1), tmp_path))
    assert found.changes == (
        "its first axis was fixed to 1 and is free now: 3 at once gave what each gave alone",
    )
    assert interview(found).obstacles == ()
    assert _logits(found.content, _pixels(5)).shape == (5, 2)


@pytest.mark.parametrize("shape", [(1, -1), (-1, 3 * 64)])
def test_a_first_axis_that_the_graph_relies_on_stays_and_is_told(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    model = _classifier(batch=1, shape=shape)
    if shape[0] == -1:  # it runs with more than one, and mixes them
        model.graph.node.append(helper.make_node("Softmax", ["logits"], ["mixed"], axis=0))
        model.graph.output[0].name = "mixed"
    found = adopt(_saved(model, tmp_path))
    assert found.changes == ()
    (obstacle,) = interview(found).obstacles
    assert "is fixed, and the graph relies on it. Export it with a free batch axis" in obstacle


def test_a_detector_that_finds_nothing_is_not_taken_for_a_graph_that_holds_for_any_batch(
    tmp_path: Path,
) -> None:
    found = adopt(_saved(detector(1), tmp_path))
    assert found.changes == ()
    assert "first axis" in interview(found).obstacles[0]


def test_a_detector_has_other_rows_than_slices(tmp_path: Path) -> None:
    assert rows(adopt(_saved(detector("n"), tmp_path)), "logits") == 0
    assert rows(adopt(_saved(_classifier(), tmp_path)), "logits") == 2


def test_an_answer_that_is_no_tensor_is_named_with_the_way_out(tmp_path: Path) -> None:
    model = _classifier()
    sequence = helper.make_tensor_sequence_value_info("logits", TensorProto.FLOAT, None)
    model.graph.node[-1].output[0] = "one"
    model.graph.node.append(helper.make_node("SequenceConstruct", ["one"], ["logits"]))
    model.graph.output[0].CopyFrom(sequence)
    with pytest.raises(GraphError, match=r"model\.onnx: 'logits' is a sequence or a map.*zipmap"):
        interview(adopt(_saved(model, tmp_path)))


def test_what_a_network_subtracts_and_divides_by_is_put_in_front_of_it(tmp_path: Path) -> None:
    file = _saved(_classifier(), tmp_path)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = adopt(file, mean=mean, std=std)
    assert found.changes == (
        "mean 0.485 0.456 0.406 and std 0.229 0.224 0.225 stand in front of it now",
    )
    across = np.array([mean, std], np.float32)[:, None, :, None, None]
    expected = _logits(file.read_bytes(), (_pixels() - across[0]) / across[1])
    np.testing.assert_allclose(_logits(found.content, _pixels()), expected, rtol=1e-5)
    assert [str(one) for one in interview(found).inputs] == ["'x' float32 [n, 3, 8, 8]"]


def test_one_number_serves_all_channels_and_either_may_be_left_out(tmp_path: Path) -> None:
    file = _saved(_classifier(), tmp_path)
    found = adopt(file, std=(0.5,))
    expected = _logits(file.read_bytes(), _pixels() / np.float32(0.5))
    np.testing.assert_allclose(_logits(found.content, _pixels()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [
        ((0.1, 0.2), (), r"--mean has 2 numbers; the input 'x' has 3 channels"),
        ((), (1.0, 1.0, 0.0), "--std holds numbers above 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, mean: tuple[float, ...], std: tuple[float, ...], says: str
) -> None:
    with pytest.raises(GraphError, match=says):
        adopt(_saved(_classifier(), tmp_path), mean=mean, std=std)


def test_of_several_outputs_the_one_called_logits_answers_and_another_can_be_named(
    tmp_path: Path,
) -> None:
    model = _classifier()
    model.graph.output.insert(
        0, helper.make_tensor_value_info("flat", TensorProto.FLOAT, ("n", 192))
    )
    found = adopt(_saved(model, tmp_path))
    facts = interview(found)
    assert (facts.answer.name, facts.doubtful) == ("logits", ("flat",))
    assert len(draft(facts, "two")["finding"]) == 2
    assert interview(found, "flat").answer.name == "flat"
    with pytest.raises(
        GraphError, match="'boxes' is not an output of the model; it has flat, logi"
    ):
        interview(found, "boxes")
