"""Teach a finished classifier what it knows: a `distance` output, by graph surgery.

For a model that was trained elsewhere, or before. Its filters' mean activities at several depths,
with the brightness and roughness of the picture and the brightness of each ninth of it, are its
signature of a picture; the graph learns to give the distance of a signature from those of
the training pictures, or more than the limit where it lies beyond the border to known strangers.
Weights and logits stay what they are; a distance that the model has already is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.graph.model import check_result
from tools.train.border import Border
from tools.train.distance import Familiar

DISTANCE = "distance"
_FLOOR = 0.01
_PLACES = 3  # by side: where a picture is bright tells an inverted chest from a chest
_SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Probe:
    """A model with its signature as an output.

    Parameters
    ----------
    model : onnx.ModelProto
        The classifier with one more output, ``signature``, float32 (n, features).
    """

    model: onnx.ModelProto

    def signatures(self, batches: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the signatures of pictures, (m, features)."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return np.concatenate([session.run([_SIGNATURE], {name: one})[0] for one in batches])

    def acquainted(self, known: Familiar, border: Border) -> onnx.ModelProto:
        """Return the classifier with a `distance` output, float32 (n, 1).

        Within the border it is the distance from the training pictures; beyond it the larger of
        that and of the limit with what the border adds.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        outputs = [one for one in graph.output if one.name != _SIGNATURE]
        del graph.output[:]
        graph.output.extend(outputs)
        batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
        graph.output.append(helper.make_tensor_value_info(DISTANCE, TensorProto.FLOAT, [batch, 1]))
        for name, values in (
            ("familiar_middle", known.middle[None]),
            ("familiar_whiten", known.whiten.astype(np.float16)),  # half of the bytes, 0.05 % apart
            ("familiar_axes", np.array([1], np.int64)),
            ("border_weight", border.weight[:, None]),
            ("border_offset", np.array([border.offset + known.limit], np.float32)),
        ):
            graph.initializer.append(numpy_helper.from_array(values, name))
        graph.node.extend(
            [
                helper.make_node("Sub", [_SIGNATURE, "familiar_middle"], ["deviation"]),
                helper.make_node("Cast", ["familiar_whiten"], ["whiten"], to=TensorProto.FLOAT),
                helper.make_node("MatMul", ["deviation", "whiten"], ["parts"]),
                helper.make_node("Mul", ["parts", "parts"], ["squares"]),
                helper.make_node("ReduceMean", ["squares", "familiar_axes"], ["mean_square"]),
                helper.make_node("Sqrt", ["mean_square"], ["apart"]),
                helper.make_node("MatMul", [_SIGNATURE, "border_weight"], ["side"]),
                helper.make_node("Add", ["side", "border_offset"], ["beyond"]),
                helper.make_node("Max", ["apart", "beyond"], [DISTANCE]),
            ]
        )
        check_result(model, "acquainted")
        return model


def probe(file: Path) -> Probe:
    """Return a model with its signature as an output: of the last activation of each width.

    Raises
    ------
    ValueError
        If the model has no rectified feature maps of a known width.
    """
    model = _without_distance(onnx.load(file))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    widths = {
        one.name: one.type.tensor_type.shape.dim[1].dim_value
        for one in inferred.value_info
        if len(one.type.tensor_type.shape.dim) == 4
    }
    last = {widths[n.output[0]]: n.output[0] for n in model.graph.node if n.op_type == "Relu"}
    if not last or not all(last):
        raise ValueError(f"{file}: no rectified feature maps are found, so it has no signature.")
    graph = model.graph
    batch, channels, height, width = graph.input[0].type.tensor_type.shape.dim
    ninth = [height.dim_value // _PLACES, width.dim_value // _PLACES]
    _add_measures(graph, list(last.values()), ninth)
    places = (height.dim_value // ninth[0]) * (width.dim_value // ninth[1])
    features = sum(last) + (2 + places) * channels.dim_value
    graph.output.append(
        helper.make_tensor_value_info(_SIGNATURE, TensorProto.FLOAT, [batch.dim_param, features])
    )
    check_result(model, "probed")
    return Probe(model)


def _add_measures(graph: onnx.GraphProto, maps: list[str], ninth: list[int]) -> None:
    """Add what makes the signature: the logarithm of each mean.

    So features are spread evenly, and a multiple is a distance.
    """
    pixels = graph.input[0].name
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "plane"))
    graph.initializer.append(numpy_helper.from_array(np.float32(_FLOOR), "floor"))
    graph.node.extend(
        [
            helper.make_node(
                "AveragePool",
                [pixels],
                ["smooth"],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                count_include_pad=1,
            ),
            helper.make_node("Sub", [pixels, "smooth"], ["rough_signed"]),
            helper.make_node("Abs", ["rough_signed"], ["rough"]),
            helper.make_node(
                "AveragePool", [pixels], ["ninths"], kernel_shape=ninth, strides=ninth
            ),
            helper.make_node("Flatten", ["ninths"], ["mean_of_ninths"]),
        ]
    )
    means = ["mean_of_ninths"]
    for name in (pixels, "rough", *maps):
        means.append(f"mean_of_{len(means)}")
        graph.node.append(helper.make_node("ReduceMean", [name, "plane"], [means[-1]], keepdims=0))
    graph.node.extend(
        [
            helper.make_node("Concat", means, ["means"], axis=1),
            helper.make_node("Add", ["means", "floor"], ["raised"]),
            helper.make_node("Log", ["raised"], [_SIGNATURE]),
        ]
    )


def _without_distance(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without its `distance` output, and without what served that alone."""
    graph = model.graph
    outputs = [one for one in graph.output if one.name != DISTANCE]
    needed = {one.name for one in outputs}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = [one for one in graph.initializer if one.name in needed]
    # Shapes in between are inferred anew by every runtime, and those of the old distance are wrong.
    del graph.output[:], graph.initializer[:], graph.value_info[:]
    graph.output.extend(outputs)
    graph.initializer.extend(kept)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    return model
