"""fp16, written into the graph: half precision where it is safe, fp32 where it is not.

Inputs and outputs stay float32, so that a caller never knows the difference. ONNX Runtime's CPU
provider computes such a graph in fp32, so running it on a CPU shows that it is valid and says
nothing about its accuracy on a GPU; parity on the device does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from engines.graph.constants import widened
from engines.graph.halving import halved
from engines.graph.model import check_result
from engines.graph.observe import observe
from engines.graph.samples import Feeds
from engines.graph.sensitive import Kept, overflowing, refuse_quantized, steep_or_summing


@dataclass(frozen=True, slots=True)
class HalfGraph:
    """A graph in fp16.

    Parameters
    ----------
    model : onnx.ModelProto
        Typed throughout: it builds in a strongly typed TensorRT network.
    kept : tuple of Kept
        What stayed in fp32 by the rule of `engines.graph.sensitive`.
    """

    model: onnx.ModelProto
    kept: tuple[Kept, ...]


def to_fp16(model: onnx.ModelProto, samples: Sequence[Feeds]) -> HalfGraph:
    """Convert a float32 graph to fp16.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.model.parse_model`; it is left as it is.
    samples : sequence of dict
        Inputs that show which values overflow; without any, every sum stays in fp32 and only the
        weights are asked.

    Returns
    -------
    HalfGraph

    Raises
    ------
    GraphError
        If the samples do not run, or an operator does not take what it is given.
    NotOffered
        If the graph is quantized already.
    """
    refuse_quantized(model)
    model = widened(model)
    seen = observe(model, samples)
    kept = {item.node: item for item in overflowing(model, seen)}
    kept.update({item.node: item for item in steep_or_summing(model, seen)})
    return HalfGraph(check_result(halved(model, kept.keys()), "fp16"), tuple(kept.values()))
