"""The network that sees lesion change in a pair of FLAIR volumes: a matched filter, not trained.

What is brighter than it was may be a lesion that is new or grew; what is darker, one that shrank.
The difference of the two is smoothed to the size of a small lesion, what changes slowly from place
to place (the coils, not the patient) is taken out, and what is left is measured in standard
deviations of itself within the brain. It counts where one of the two studies is as bright as a
lesion, and not at the brain's rim, where a fraction of a voxel moves bone and fluid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
PAIR, SCORES = "pair", "scores"
GREW, SHRANK = 1, 2
"""Classes of the scores; 0 is no change."""

_SMOOTH_MM = 0.7
_SLOW_MM = 18.0
_RIM_MM = 3.0
_MEDIAN = 0.4  # of the brain, as the pair is prepared
_CUT = 2.5  # times the mean of what is not cut: what stands out is no noise
_ROUNDS = 4
# Of a normal distribution cut at 2.5 times its own mean absolute value, and so on to rest.
_SD_OF_MEAN = 1.30
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Filter:
    """What may be chosen of it.

    Parameters
    ----------
    noises : float
        Standard deviations of the noise from which a difference is change.
    bright : float
        How much brighter than the brain's median a lesion is, as a share of it.
    """

    noises: float
    bright: float


def change_graph(
    settings: Filter, spacing_mm: tuple[float, float, float], name: str
) -> onnx.ModelProto:
    """Return the network: ``pair`` (n, 2, d, h, w) to ``scores`` (n, 3, d, h, w).

    Parameters
    ----------
    settings : Filter
    spacing_mm : tuple of float
        Of the grid, along depth, height and width.
    name : str
        Of the model.
    """
    build = _Builder()
    add, number = build.add, build.number
    current = add("Slice", PAIR, *build.channel(0))
    prior = add("Slice", PAIR, *build.channel(1))
    brain = add("Cast", add("Greater", current, number(0.0)), to=TensorProto.FLOAT)
    kernel = build.held("small", _gaussian(_SMOOTH_MM, spacing_mm))
    edge = (kernel_edge(_SMOOTH_MM, spacing_mm[1]) - 1) // 2
    pads = [0, edge, edge, 0, edge, edge]
    smooth = [add("Conv", one, kernel, pads=pads) for one in (current, prior)]
    difference = add("Mul", add("Sub", *smooth), brain)
    slow = difference
    weight = brain
    for axis, step in enumerate(spacing_mm):
        for _ in range(2):  # two boxes are nearly a bell
            slow, weight = (build.box(one, axis, step) for one in (slow, weight))
    drift = add("Div", slow, add("Max", weight, number(0.05)))
    rest = add("Mul", add("Sub", difference, drift), brain)
    deviations = add("Div", rest, build.noise(rest, brain))
    reach = max(1, round(_RIM_MM / spacing_mm[1]))
    within = add(
        "Neg",
        add(
            "MaxPool",
            add("Neg", brain),
            kernel_shape=[1, 2 * reach + 1, 2 * reach + 1],
            pads=[0, reach, reach, 0, reach, reach],
        ),
    )
    bright = add("Greater", add("Max", *smooth), number(_MEDIAN * (1 + settings.bright)))
    where = add("Mul", within, add("Cast", bright, to=TensorProto.FLOAT))
    seen = add("Mul", deviations, where)
    limit = number(settings.noises)
    grew, shrank = add("Sub", seen, limit), add("Sub", add("Neg", seen), limit)
    none = add("Mul", brain, number(0.0))
    build.nodes.append(helper.make_node("Concat", [none, grew, shrank], [SCORES], axis=1))
    free = ["n", 2, "d", "h", "w"]
    graph = helper.make_graph(
        build.nodes,
        name,
        [helper.make_tensor_value_info(PAIR, TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["n", 3, "d", "h", "w"])],
        build.constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
        producer_name="scanside",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def kernel_edge(sigma_mm: float, step_mm: float) -> int:
    """Return how many voxels a bell of this width covers, an odd number."""
    return 2 * max(1, round(3 * sigma_mm / step_mm)) + 1


def _gaussian(sigma_mm: float, spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return a bell within the slice: from slice to slice there are millimetres already."""
    profiles = []
    for step in spacing_mm[1:]:
        half = (kernel_edge(sigma_mm, step) - 1) // 2
        profiles.append(np.exp(-0.5 * (np.arange(-half, half + 1) * step / sigma_mm) ** 2))
    bell = np.outer(*profiles)
    return np.asarray((bell / bell.sum())[None, None, None], np.float32)


class _Builder:
    """Collects nodes and constants, and names what is between them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def held(self, name: str, values: NDArray[np.generic]) -> str:
        if all(one.name != name for one in self.constants):
            self.constants.append(numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        return self.held(f"number_{value:g}", np.array(value, np.float32))

    def channel(self, index: int) -> tuple[str, str, str]:
        edges = (index, index + 1, 1)
        names = [self.held(f"whole_{one}", np.array([one], np.int64)) for one in edges]
        return names[0], names[1], names[2]

    def box(self, values: str, axis: int, step_mm: float) -> str:
        """Average along one axis; a box of width w has a variance of (w * w - 1) / 12."""
        half = max(1, round((np.sqrt(6 * (_SLOW_MM / step_mm) ** 2 + 1) - 1) / 2))
        shape, pads = [1, 1, 1], [0, 0, 0]
        shape[axis], pads[axis] = 2 * half + 1, half
        return self.add(
            "AveragePool", values, kernel_shape=shape, pads=[*pads, *pads], count_include_pad=1
        )

    def noise(self, values: str, brain: str) -> str:
        """Return the standard deviation within the brain, of what does not stand out."""
        size = self.add("Abs", values)
        axes = self.held("within", np.array([1, 2, 3, 4], np.int64))
        count = self.add("Max", self.add("ReduceSum", brain, axes), self.number(1.0))
        mean = self.add("Div", self.add("ReduceSum", size, axes), count)
        for _ in range(_ROUNDS):
            cut = self.add("Min", size, self.add("Mul", mean, self.number(_CUT)))
            mean = self.add("Div", self.add("ReduceSum", cut, axes), count)
        spread = self.add("Mul", mean, self.number(_SD_OF_MEAN))
        return self.add("Max", spread, self.number(_EPSILON))
