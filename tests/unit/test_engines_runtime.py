"""An engine takes what the model says it takes, and says so when it is given something else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import small_graph
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engines import (
    Engine,
    EngineError,
    ModelPackage,
    PackageError,
    TensorSpec,
    check_tensors,
    compare,
    load_engine,
    load_package,
    shipped_packages,
)
from engines.runtime import onnx_runtime

SHIPPED = shipped_packages() / "head-ct-hemorrhage"


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return load_package(SHIPPED)


@pytest.fixture(scope="module")
def engine(package: ModelPackage) -> Iterator[Engine]:
    with closing(load_engine(package)) as loaded:
        loaded.warm_up()
        yield loaded


@pytest.fixture(scope="module")
def heads(package: ModelPackage) -> NDArray[Any]:
    """The first phantoms of the check set, float32 (4, 3, h, w)."""
    assert package.check_set is not None
    with np.load(package.check_set) as held:
        scaled: NDArray[Any] = held["pixels"][:4].astype(np.float32) / np.float32(255)
    return scaled


def tiny(file: Path, operator: str = "Sqrt") -> Path:
    """Write a model that takes "x" float32 (n, 2) and gives operator(x) as "logits"."""
    shape = ["n", 2]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["logits"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), file)
    return file


def test_the_shipped_model_reproduces_its_check_set(engine: Engine, package: ModelPackage) -> None:
    parity = compare(engine, package)
    assert parity.samples >= 8
    # The same arithmetic in another library: rounding, not the tolerance for fp16 or int8.
    assert parity.worst < 1e-4 < parity.tolerance
    assert parity.agrees


def test_a_batch_gives_what_single_slices_give(
    engine: Engine, package: ModelPackage, heads: NDArray[Any]
) -> None:
    together = engine.infer({"pixels": heads})["logits"]
    alone = [engine.infer({"pixels": heads[i : i + 1]})["logits"] for i in range(len(heads))]
    assert together.shape == (4, len(package.findings))
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


def test_an_engine_tells_its_tensors_up_front(engine: Engine, package: ModelPackage) -> None:
    float32 = np.dtype(np.float32)
    assert (engine.name, engine.precision) == ("onnxruntime", "fp32")
    assert engine.inputs == (TensorSpec("pixels", float32, (None, 6, 112, 112)),)
    assert engine.outputs == (
        TensorSpec("logits", float32, (None, len(package.findings))),
        TensorSpec("distance", float32, (None, 1)),
    )


def test_a_picture_in_another_memory_order_is_read_right(
    engine: Engine, heads: NDArray[Any]
) -> None:
    strided = np.asfortranarray(heads)
    expected = engine.infer({"pixels": heads})["logits"]
    np.testing.assert_array_equal(engine.infer({"pixels": strided})["logits"], expected)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, ["'pixels'", "missing", "float32 (n, 6, 112, 112)"]),
        ({"x": np.zeros(1)}, ["'x'", "not an input", "pixels"]),
        (
            {"pixels": np.zeros((1, 6, 112, 112))},
            ["'pixels'", "float32 (n, 6, 112, 112)", "float64 (1, 6, 112, 112)"],
        ),
        (
            {"pixels": np.zeros((1, 1, 112, 112), np.float32)},
            ["'pixels'", "float32 (n, 6, 112, 112)", "float32 (1, 1, 112, 112)"],
        ),
        ({"pixels": np.zeros((6, 112, 112), np.float32)}, ["got float32 (6, 112, 112)"]),
        ({"pixels": np.zeros((0, 6, 112, 112), np.float32)}, ["got float32 (0, 6, 112, 112)"]),
    ],
)
def test_a_wrong_tensor_is_named_with_what_was_expected_and_what_came(
    engine: Engine, feeds: dict[str, NDArray[Any]], says: list[str]
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.infer(feeds)
    for words in says:
        assert words in str(caught.value)


def test_an_output_that_is_not_a_number_is_an_error_and_not_a_result(tmp_path: Path) -> None:
    with closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as roots:
        for _ in range(2):  # the second time on the quicker way
            assert roots.infer({"x": np.full((1, 2), 4, np.float32)})["logits"].tolist() == [[2, 2]]
            with pytest.raises(EngineError, match="'logits' holds values that are not finite"):
                roots.infer({"x": np.full((1, 2), -1, np.float32)})


def test_slice_after_slice_each_has_a_result_of_its_own_that_stays(tmp_path: Path) -> None:
    given = [np.array([[n * n, 4]], np.float32) for n in range(1, 6)]
    with closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as roots:
        found = [roots.infer({"x": value})["logits"] for value in given]
        assert roots.infer({"x": np.ones((3, 2), np.float32)})["logits"].shape == (3, 2)
    assert [value.tolist() for value in found] == [[[n, 2]] for n in range(1, 6)]


@pytest.mark.parametrize(
    "given",
    [
        np.asfortranarray(np.array([[1, 4], [9, 16]], np.float32)),
        np.array([[1, 0, 4, 0], [9, 0, 16, 0]], np.float32)[:, ::2],
        np.array([[1, 4], [9, 16]], np.float32)[::-1][::-1],
    ],
)
def test_an_array_in_any_order_is_read_right_on_the_quicker_way_too(
    tmp_path: Path, given: NDArray[Any]
) -> None:
    with closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as roots:
        roots.infer({"x": np.ones((2, 2), np.float32)})
        assert roots.infer({"x": given})["logits"].tolist() == [[1, 2], [3, 4]]


def test_two_threads_at_one_engine_are_not_given_each_others_results(tmp_path: Path) -> None:
    with closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as roots:
        roots.infer({"x": np.ones((1, 2), np.float32)})

        def right(root: int) -> bool:
            feeds = {"x": np.full((1, 2), root * root, np.float32)}
            return all((roots.infer(feeds)["logits"] == root).all() for _ in range(2000))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(right, range(1, 5)))


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2", "<i4"])
def test_another_type_at_the_usual_shape_is_named(tmp_path: Path, dtype: str) -> None:
    with closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as roots:
        usual = np.full((1, 2), 4, np.float32)
        roots.infer({"x": usual})
        with pytest.raises(EngineError, match="'x'"):
            roots.infer({"x": usual.astype(dtype)})
        assert roots.infer({"x": usual})["logits"].tolist() == [[2, 2]]


def test_axes_that_share_a_name_by_mistake_are_sized_by_the_run(tmp_path: Path) -> None:
    """torch's older exporter calls the rows of a U-Net's output as it calls the batch."""
    model = small_graph(
        [helper.make_node("Relu", ["x"], ["logits"])],
        shape=("n", 1, "h", "w"),
        out=("n", 1, "n", "w"),
    )
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    pixels = np.random.default_rng(0).random((300, 1, 2, 1000)).astype(np.float32)
    with closing(onnx_runtime.load(file)) as engine:
        for _ in range(2):
            np.testing.assert_array_equal(engine.infer({"x": pixels})["logits"], pixels)
        engine.infer({"x": pixels[:4, :, :, :8]})


def test_a_run_that_fails_inside_the_library_is_an_engine_error(tmp_path: Path) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [3, 1])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["logits"])],
        "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [3, 1])],
        [shape],
    )
    file = tmp_path / "m.onnx"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), file)
    with closing(onnx_runtime.load(file)) as three:
        assert three.infer({"x": np.ones((3, 1), np.float32)})["logits"].shape == (3, 1)
        with pytest.raises(EngineError, match=r"m\.onnx: ONNX Runtime could not run it"):
            three.infer({"x": np.ones((2, 1), np.float32)})


def test_a_closed_engine_refuses_to_run_and_closes_twice(tmp_path: Path) -> None:
    engine = onnx_runtime.load(tiny(tmp_path / "m.onnx"))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.warm_up()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a" * 300])
def test_a_damaged_model_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.onnx.*cannot load it.*(?s:.*)again"):
        onnx_runtime.load(file)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((SHIPPED / "model.onnx").read_bytes()[:100_000])
    with pytest.raises(EngineError, match="cannot load it"):
        onnx_runtime.load(file)


def test_a_missing_model_and_a_wrong_thread_count_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.onnx: cannot be read"):
        onnx_runtime.load(tmp_path / "none.onnx")
    with pytest.raises(EngineError, match="threads = 0"):
        onnx_runtime.load(tmp_path / "none.onnx", threads=0)


def test_a_batch_beyond_the_engine_s_memory_is_refused_and_smaller_ones_still_run() -> None:
    with closing(onnx_runtime.load(SHIPPED / "model.onnx", memory=32 << 20)) as engine:
        engine.infer({"pixels": np.zeros((1, 6, 112, 112), np.float32)})
        with pytest.raises(EngineError, match="Available memory of"):
            engine.infer({"pixels": np.zeros((128, 6, 112, 112), np.float32)})
        engine.infer({"pixels": np.zeros((2, 6, 112, 112), np.float32)})
    with pytest.raises(EngineError, match="memory = 5 is not a whole number from 1048576"):
        onnx_runtime.load(SHIPPED / "model.onnx", memory=5)


def test_a_model_replaced_after_the_package_was_read_is_not_served(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / "package")
    read = load_package(folder)
    tiny(folder / "model.onnx")
    with pytest.raises(EngineError, match="replaced or damaged"):
        load_engine(read)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tensor": "planes"}, "'planes'"),
        ({"height": 128}, r"float32 \(n, 6, 128, 112\)"),
        ({"neighbours": 0}, r"float32 \(n, 2, 112, 112\)"),
    ],
)
def test_a_package_that_describes_another_input_is_refused(
    engine: Engine, package: ModelPackage, change: dict[str, object], says: str
) -> None:
    described = replace(package, input=replace(package.input, **change))  # type: ignore[arg-type]
    with pytest.raises(PackageError, match=rf"model\.toml: \[input\] describes .*{says}"):
        check_tensors(engine, described)


def test_a_model_that_leaves_rows_and_columns_free_takes_those_of_its_package(
    package: ModelPackage,
) -> None:
    model = onnx.load(package.model)
    for number, axis in enumerate(model.graph.input[0].type.tensor_type.shape.dim[2:]):
        axis.dim_param = f"size{number}"
    loaded = onnx_runtime.load_content(model.SerializeToString(), package.model)
    with closing(loaded) as engine:
        check_tensors(engine, package)
        engine.warm_up()
        assert compare(engine, package).agrees


def test_a_finding_beyond_the_model_s_outputs_is_refused(
    engine: Engine, package: ModelPackage
) -> None:
    beyond = replace(package, findings=(replace(package.findings[0], output=3),))
    with pytest.raises(PackageError, match=r"\[\[finding\]\] number 1 output = 3 .* below 3"):
        check_tensors(engine, beyond)


def test_a_model_without_logits_is_refused(tmp_path: Path, package: ModelPackage) -> None:
    with (
        closing(onnx_runtime.load(tiny(tmp_path / "m.onnx"))) as other,
        pytest.raises(PackageError, match="the model takes 'x' float32"),
    ):
        check_tensors(other, package)


@pytest.mark.parametrize("library", ["onnxruntime", "onnx", "torch"])
def test_importing_engines_imports_no_heavy_library(library: str) -> None:
    code = f"import sys, engines; sys.exit({library!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_check_set_that_disagrees_keeps_the_engine_from_serving(
    engine: Engine, package: ModelPackage, heads: NDArray[Any], tmp_path: Path
) -> None:
    other = tmp_path / "check.npz"
    logits = engine.infer({"pixels": heads})["logits"]
    np.savez(other, pixels=heads, logits=logits + 3)
    parity = compare(engine, replace(package, check_set=other))
    assert not parity.agrees
    assert parity.samples == len(heads)


@pytest.mark.parametrize("arrays", [{"logits": np.zeros((1, 1))}, {"pixels": np.zeros((0, 3))}])
def test_a_check_set_that_lacks_a_part_is_refused(
    engine: Engine, package: ModelPackage, arrays: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    other = tmp_path / "check.npz"
    np.savez(other, **arrays)  # type: ignore[arg-type]
    with pytest.raises(PackageError, match=r"check\.npz: not an npz with 'pixels' and 'logits'"):
        compare(engine, replace(package, check_set=other))


def test_a_package_without_a_check_set_says_that_it_cannot_be_compared(
    engine: Engine, package: ModelPackage
) -> None:
    with pytest.raises(PackageError, match=r"check_set is missing"):
        compare(engine, replace(package, check_set=None))
