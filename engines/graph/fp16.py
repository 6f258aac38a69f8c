"""fp16, written into the graph: half precision where it is safe, fp32 where it is not.

Inputs and outputs stay float32, so that a caller never knows the difference. ONNX Runtime's CPU
provider computes such a graph in fp32, so running it on a CPU shows that it is valid and says
nothing about its accuracy on a GPU; parity on the device does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from engines.graph.errors import GraphError
from engines.graph.model import check_result
from engines.graph.observe import observe
from engines.graph.samples import Feeds
from engines.graph.sensitive import Kept, overflowing, steep_or_summing

_LARGEST = 65504.0  # the largest finite fp16


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
        If onnxconverter-common is not installed, or the graph cannot be converted.
    """
    try:
        from onnxconverter_common import float16  # noqa: PLC0415  # only conversion needs it
    except ImportError as error:
        raise GraphError(
            f"fp16 needs onnxconverter-common ({error}). Install it with: "
            "pip install onnxconverter-common"
        ) from error
    seen = observe(model, samples)
    kept = {item.node: item for item in overflowing(model, seen)}
    kept.update({item.node: item for item in steep_or_summing(model, seen)})
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        # The converter would raise every weight below 1e-7 to 1e-7; rounding to zero is nearer.
        converted = float16.convert_float_to_float16(
            copy,
            min_positive_val=0.0,
            max_finite_val=_LARGEST,
            keep_io_types=True,
            node_block_list=list(kept),
        )
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise GraphError(
            f"The graph cannot be converted to fp16: {error}. Serve this model in fp32."
        ) from error
    del converted.graph.value_info[:]  # some still say float32; they are inferred anew
    return HalfGraph(check_result(converted, "fp16"), tuple(kept.values()))
