"""Small models, and every runtime that can run them, for one suite that all of them pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from cuda_stand_in import Streams, TensorRt
from onnx import TensorProto, helper, numpy_helper

from engines import Engine, EngineError
from engines.build import BuildPlan, Shapes, build
from engines.build.modules import Flavour, PlanRefused, load
from engines.build.plan import Module
from engines.cuda.context import CudaContext, open_context
from engines.runtime import kserve, onnx_runtime, tensorrt
from engines.runtime.tensorrt import TensorRtEngine

FLOAT, HALF, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32
Axes = tuple[int | str, ...]
Tensors = list[tuple[str, int, Axes]]

Open = Callable[[str], AbstractContextManager[Engine]]
"""Opens the model of that name; leaving the context closes the engine."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the suite.

    Parameters
    ----------
    graph : onnx.ModelProto
        What is run.
    sizes : dict of str to (int, int, int)
        Smallest, usual and largest size of each free axis, for what must be built beforehand.
    """

    graph: onnx.ModelProto
    sizes: dict[str, tuple[int, int, int]]

    @property
    def shapes(self) -> tuple[Shapes, ...]:
        """What it is built for."""
        found = []
        for tensor in self.graph.graph.input:
            axes = tensor.type.tensor_type.shape.dim
            ends = [
                tuple(self.sizes[a.dim_param][end] if a.dim_param else a.dim_value for a in axes)
                for end in range(3)
            ]
            if any(axis.dim_param for axis in axes):
                found.append(Shapes(tensor.name, *ends))
        return tuple(found)


def _model(nodes: list[onnx.NodeProto], takes: Tensors, gives: Tensors) -> onnx.ModelProto:
    weights = {
        "two": np.array(2, np.float32),
        "kernel": np.ones((1, 1, 3, 3, 3), np.float32),
        "ten": np.array(10, np.int32),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "conformance",
        [helper.make_tensor_value_info(*tensor) for tensor in takes],
        [helper.make_tensor_value_info(*tensor) for tensor in gives],
        [numpy_helper.from_array(value, key) for key, value in weights.items() if key in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def models() -> dict[str, Model]:
    """Return the models of the suite, by name."""
    batch = {"n": (1, 2, 8)}
    space = dict.fromkeys(("d", "h", "w"), (4, 8, 16))
    plane: Axes = ("n", 3, 4, 5)
    volume: Axes = (1, 1, "d", "h", "w")
    return {
        "double": Model(
            _model(
                [helper.make_node("Mul", ["x", "two"], ["logits"])],
                [("x", FLOAT, plane)],
                [("logits", FLOAT, plane)],
            ),
            batch,
        ),
        "roots": Model(
            _model(
                [helper.make_node("Sqrt", ["x"], ["logits"])],
                [("x", FLOAT, ("n", 2))],
                [("logits", FLOAT, ("n", 2))],
            ),
            batch,
        ),
        "several": Model(
            _model(
                [
                    helper.make_node("Mul", ["x", "two"], ["logits"]),
                    helper.make_node("Add", ["count", "ten"], ["counted"]),
                ],
                [("x", FLOAT, ("n", 2)), ("count", INT32, ("n", 3))],
                [("logits", FLOAT, ("n", 2)), ("counted", INT32, ("n", 3))],
            ),
            batch,
        ),
        "half": Model(
            _model(
                [helper.make_node("Add", ["x", "x"], ["logits"])],
                [("x", HALF, ("n", 2))],
                [("logits", HALF, ("n", 2))],
            ),
            batch,
        ),
        "fixed": Model(
            _model(
                [helper.make_node("Mul", ["x", "two"], ["logits"])],
                [("x", FLOAT, (2, 3))],
                [("logits", FLOAT, (2, 3))],
            ),
            {},
        ),
        "volume": Model(
            _model(
                [helper.make_node("Conv", ["x", "kernel"], ["logits"], pads=[1] * 6)],
                [("x", FLOAT, volume)],
                [("logits", FLOAT, volume)],
            ),
            space,
        ),
    }


def write(folder: Path) -> None:
    """Write each model of the suite as ``NAME.onnx``."""
    for name, model in models().items():
        onnx.save(model.graph, folder / f"{name}.onnx")


def onnxruntime_opener(folder: Path) -> Open:
    """Return what opens the models of a folder in ONNX Runtime."""
    return lambda name: closing(onnx_runtime.load(folder / f"{name}.onnx"))


def kserve_opener(address: str) -> Open:
    """Return what opens the models of a server on this machine."""
    return lambda name: closing(
        kserve.load(kserve.Endpoint(address, name, plain=True, deadline_s=30))
    )


def tensorrt_opener(folder: Path, gpu: CudaContext, cuda: Streams) -> Open:
    """Return what opens the models of a folder in our TensorRT runtime, over a stand-in."""
    known = models()

    def opened(name: str) -> AbstractContextManager[Engine]:
        file = folder / f"{name}.onnx"
        flavour = Flavour("tensorrt", TensorRt(cuda, known[name].sizes))
        return closing(
            TensorRtEngine(
                file,
                file.read_bytes(),
                flavour,
                gpu,
                owns_gpu=False,
                precision="fp32",
                cache=None,
                memory=1 << 20,
            )
        )

    return opened


def missing_for(module: Module) -> str | None:
    """Return what this machine lacks to run engines of a module, or None."""
    try:
        open_context().close()
        load(module)
    except (PlanRefused, EngineError) as error:
        return str(error)
    return None


def built_opener(folder: Path, module: Module, built: Path) -> Open:
    """Return what builds the models of a folder for this machine's GPU, once, and opens them."""
    known = models()

    def opened(name: str) -> AbstractContextManager[Engine]:
        engine = built / f"{name}.{module}"
        if not engine.is_file():
            build(BuildPlan(folder / f"{name}.onnx", engine, module, known[name].shapes))
        return closing(tensorrt.load(engine, module=module))

    return opened
