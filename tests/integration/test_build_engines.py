"""Real engines from the real parser and builder of TensorRT for RTX, without a GPU."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import (
    CHANGE,
    MESHNETS,
    SHIPPED,
    blobs,
    meshnet,
    meshnet_file,
    shipped_model,
    shipped_samples,
    small_graph,
    transformer,
)
from onnx import helper
from runtime_parts import models

from engines import load_engine
from engines.build import (
    BuildCancelled,
    BuildError,
    BuildPlan,
    Progress,
    Shapes,
    build,
    shapes_of,
)
from engines.cache import EngineCache, EngineKey
from engines.candidates import shapes_for, write_graphs
from engines.graph.fp16 import to_fp16
from engines.graph.int8 import Calibrator, to_int8
from engines.graph.model import parse_model
from engines.runtime.protocol import Precision

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed (pip install tensorrt-rtx-cu13)",
)
GIB = 1 << 30


def plan_for(model: Path, shapes: tuple[Shapes, ...], target: Path) -> BuildPlan:
    return BuildPlan(model, target, "tensorrt_rtx", shapes, workspace=GIB, capability="SM89")


@pytest.fixture
def shipped(tmp_path: Path) -> BuildPlan:
    return plan_for(SHIPPED.model, shapes_of(SHIPPED), tmp_path / "shipped.engine")


def written(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def volume_plan(model: Path, target: Path) -> BuildPlan:
    usual = (1, 1, 32, 32, 32)
    shapes = Shapes("t1", (1, 1, 16, 16, 16), usual, (1, 1, 64, 64, 64))
    return plan_for(model, (shapes,), target)


def test_the_shipped_model_becomes_an_engine_and_tells_its_progress(shipped: BuildPlan) -> None:
    told: list[Progress] = []
    result = build(shipped, on_progress=told.append)
    assert result.engine.stat().st_size == result.size > 100_000
    assert result.builder.startswith("tensorrt_rtx 1.")
    assert result.peak_memory > 50 << 20
    assert told[0].phase == "Building engine"
    assert told[0].steps
    assert {item.phase for item in told if item.step is None} >= {"Building engine"}
    assert list(result.engine.parent.iterdir()) == [result.engine]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_shipped_model_builds_in_fewer_bits(
    shipped: BuildPlan, precision: str, tmp_path: Path
) -> None:
    model, samples = shipped_model(), shipped_samples()
    if precision == "fp16":
        graph = to_fp16(model, samples).model
    else:
        graph = to_int8(model, samples, Calibrator.PERCENTILE)
    assert build(replace(shipped, model=written(graph, tmp_path))).size > 100_000


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", MESHNETS)
def test_a_foreign_volume_model_becomes_an_engine(
    name: str, precision: str, tmp_path: Path
) -> None:
    file = meshnet_file(name)
    if precision == "fp16":
        file = written(to_fp16(meshnet(name), blobs()).model, tmp_path)
    elif precision == "int8":
        file = written(to_int8(meshnet(name), blobs(), Calibrator.MINMAX), tmp_path)
    assert build(volume_plan(file, tmp_path / "volume.engine")).size > 10_000


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_vision_transformer_builds_in_fewer_bits(precision: str, tmp_path: Path) -> None:
    model = parse_model(transformer().SerializeToString(), "transformer.onnx")
    samples = [{"x": np.random.default_rng(1).random((2, 3, 8, 8)).astype(np.float32)}]
    graph = (
        to_fp16(model, samples).model
        if precision == "fp16"
        else to_int8(model, samples, Calibrator.MINMAX)
    )
    shapes = Shapes("x", (1, 3, 8, 8), (1, 3, 8, 8), (16, 3, 8, 8))
    plan = plan_for(written(graph, tmp_path), (shapes,), tmp_path / "transformer.engine")
    assert build(plan).size > 10_000


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_model_of_change_becomes_an_engine_in_every_precision_that_it_is_offered_in(
    precision: Precision, tmp_path: Path
) -> None:
    graphs = write_graphs(CHANGE, precision)
    file = tmp_path / "change.onnx"
    file.write_bytes(graphs.native)
    shapes = shapes_for(CHANGE, graphs.native)
    assert build(plan_for(file, shapes, tmp_path / "change.engine")).size > 100_000


def test_every_model_of_the_runtimes_suite_becomes_an_engine(tmp_path: Path) -> None:
    """So that the suite has engines to run where there is a GPU: several inputs, fp16, fixed."""
    for name, model in models().items():
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(model.graph.SerializeToString())
        assert build(plan_for(file, model.shapes, tmp_path / name)).size > 10_000


@pytest.mark.parametrize("domain", [None, "acme"])
def test_an_operator_that_is_not_supported_is_named_with_its_node(
    domain: str | None, tmp_path: Path
) -> None:
    op = "Unique" if domain is None else "Sharpen"
    extra = {"sorted": 1} if domain is None else {"domain": domain}
    nodes = [
        helper.make_node("Flatten", ["x"], ["a"], name="first"),
        helper.make_node(op, ["a"], ["logits"], name="strange", **extra),
    ]
    file = written(small_graph(nodes, out=("k",), domain=domain), tmp_path)
    shapes = (Shapes("x", (1, 4), (1, 4), (2, 4)),)
    with pytest.raises(BuildError, match=rf"does not take node 'strange' \({op}\)"):
        build(plan_for(file, shapes, tmp_path / "none.engine"))
    assert not (tmp_path / "none.engine").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 1000, SHIPPED.model.read_bytes()[:50_000]])
def test_a_file_that_is_no_model_is_refused_with_its_name(
    content: bytes, shipped: BuildPlan, tmp_path: Path
) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    with pytest.raises(BuildError, match=r"broken\.onnx: (not an ONNX model|holds no network)"):
        build(replace(shipped, model=file))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shapes": ()}, "has free axes .*: give its shapes"),
        ({"shapes": (Shapes("other", (1,), (1,), (1,)),)}, "'other' is not in the model"),
        ({"shapes": (Shapes("pixels", (1, 3), (1, 3), (1, 3)),)}, "do not fit"),
        ({"capability": "SM42"}, "'SM42' is not one of SM75, SM80"),
        ({"dla_core": 0}, "has no DLA"),
        ({"model": Path("/nowhere/model.onnx")}, "No such file"),
    ],
)
def test_a_plan_that_cannot_be_met_says_why(
    change: dict[str, object], says: str, shipped: BuildPlan
) -> None:
    with pytest.raises(BuildError, match=says):
        build(replace(shipped, **change))  # type: ignore[arg-type]  # one field at a time


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed here"
)
def test_a_module_that_is_missing_is_a_clear_message(shipped: BuildPlan) -> None:
    with pytest.raises(BuildError, match=r"tensorrt cannot be imported.*JetPack"):
        build(replace(shipped, module="tensorrt", capability=None))


def test_a_workspace_too_small_is_explained(tmp_path: Path) -> None:
    plan = volume_plan(meshnet_file(MESHNETS[0]), tmp_path / "volume.engine")
    with pytest.raises(BuildError, match="workspace of 16 MiB is too small"):
        build(replace(plan, workspace=16 << 20))


def test_a_build_can_be_cancelled_and_leaves_nothing(shipped: BuildPlan) -> None:
    told: list[Progress] = []
    with pytest.raises(BuildCancelled):
        build(shipped, on_progress=told.append, cancelled=lambda: bool(told))
    assert not list(shipped.target.parent.iterdir())


def test_a_build_beyond_its_memory_is_tried_twice_and_explained(shipped: BuildPlan) -> None:
    with pytest.raises(BuildError, match=r"stopped for memory twice.* 1024 MiB and of 256 MiB"):
        build(replace(shipped, memory_limit=40 << 20))


def test_a_builder_that_takes_too_much_is_stopped_and_succeeds_with_smaller_pools(
    shipped: BuildPlan, tmp_path: Path
) -> None:
    """Memory is really taken, as much as the workspace allows, while a model serves beside it."""
    script = tmp_path / "hungry.py"
    script.write_text(
        "import io, json, sys\n"
        "line = sys.stdin.readline()\n"
        "taken = b'x' * json.loads(line)['workspace']\n"
        "sys.stdin = io.TextIOWrapper(open(0, 'rb', closefd=False))\n"
        "first = [line]\n"
        "read = sys.stdin.readline\n"
        "sys.stdin.readline = lambda: first.pop() if first else read()\n"
        "from engines.build.worker import main\n"
        "sys.exit(main())\n",
        encoding="utf-8",
    )
    slices = next(iter(shipped_samples()))
    served = []
    with closing(load_engine(SHIPPED, threads=1)) as engine:
        before = engine.infer(slices)["logits"]

        def serve() -> bool:
            served.append(np.array_equal(engine.infer(slices)["logits"], before))
            return False

        result = build(
            replace(shipped, memory_limit=800 << 20),
            cancelled=serve,
            worker=(sys.executable, str(script)),
        )
    assert result.workspace == GIB // 4
    assert re.search(r"stopped for memory at \d{3,4} MiB.* again with 256 MiB", result.warnings[0])
    assert len(served) > 3
    assert all(served)


def test_a_builder_that_gets_no_more_memory_is_tried_twice_and_explained(
    shipped: BuildPlan,
) -> None:
    """The limit is the kernel's, on the address space: enough to begin with, too little to end."""
    limited = ("prlimit", f"--as={700 << 20}", sys.executable, "-m", "engines.build.worker")
    with pytest.raises(BuildError, match=r"for memory twice.*builder said: .*bad_alloc") as told:
        build(shipped, worker=limited)
    assert "--precision fp16" in str(told.value)
    assert not list(shipped.target.parent.iterdir())


def test_native_code_that_aborts_for_memory_is_known_by_its_last_words(
    shipped: BuildPlan,
) -> None:
    last = "terminate called after throwing an instance of 'std::bad_alloc'"
    abort = f'import os, sys; sys.stderr.write("{last}"); sys.stderr.flush(); os.abort()'
    with pytest.raises(BuildError, match=r"stopped for memory twice.*std::bad_alloc"):
        build(shipped, worker=(sys.executable, "-c", abort))


def test_a_build_the_kernel_killed_is_tried_again_with_smaller_pools(
    shipped: BuildPlan, tmp_path: Path
) -> None:
    """The killer's signal is real; only the reason for it is arranged."""
    script = tmp_path / "greedy.py"
    script.write_text(
        "import io, json, os, signal, sys\n"
        "line = sys.stdin.readline()\n"
        f"if json.loads(line)['workspace'] >= {GIB}:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.stdin = io.TextIOWrapper(open(0, 'rb', closefd=False))\n"
        "first = [line]\n"
        "read = sys.stdin.readline\n"
        "sys.stdin.readline = lambda: first.pop() if first else read()\n"
        "from engines.build.worker import main\n"
        "sys.exit(main())\n",
        encoding="utf-8",
    )
    result = build(shipped, worker=(sys.executable, str(script)))
    assert result.workspace == GIB // 4
    assert "tried again with 256 MiB" in result.warnings[0]


def test_a_builder_that_crashes_says_how_it_ended(shipped: BuildPlan) -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(BuildError, match="ended by SIGSEGV without an answer"):
        build(shipped, worker=(sys.executable, "-c", crash))


def test_the_builder_leaves_when_nobody_wants_the_engine_any_more(shipped: BuildPlan) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as events:
        process = subprocess.Popen(
            [sys.executable, "-m", "engines.build.worker", str(writing)],
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
        )
        os.close(writing)
        with process:
            assert process.stdin is not None
            process.stdin.write(shipped.to_json().encode() + b"\n")
            process.stdin.close()
            # Standard input is at its end from the start, so it never gets as far as an engine.
            assert process.wait(timeout=60) == 3
        assert b'"done"' not in events.read()
    assert not shipped.target.exists()


def test_a_plan_survives_the_way_to_the_builder(shipped: BuildPlan) -> None:
    plan = replace(shipped, timing_cache=Path("/var/timing"), dla_core=1)
    assert BuildPlan.from_json(plan.to_json()) == plan
    assert np.prod(plan.shapes[0].largest) == 16 * 6 * 112 * 112


def test_a_built_engine_is_kept_and_not_built_again(shipped: BuildPlan, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", limit=GIB)
    key = EngineKey(
        SHIPPED.digest, "tensorrt_rtx", "none", "SM89", "fp32", str(shipped.shapes), "0.1.0"
    )
    first = cache.get_or_build(key, lambda path: build(replace(shipped, target=path)))
    assert cache.get_or_build(key, lambda path: pytest.fail(f"{path} was built again")) == first
    names = {file.name.partition(".")[2] for file in (tmp_path / "engines").iterdir()}
    assert names == {"engine", "json", "lock", ""}
