"""At which node does a graph of another precision leave FP32?

What rounds shows at the node that adds to the difference, not at the last one, where all that was
added before has come together. Both graphs run node by node on the CPU, on the same samples; what
bears the same name in both is compared. As everywhere on a CPU, fp16 computes in fp32 between
roundings, so a GPU may add more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from engines.graph.observe import opened, run
from engines.graph.samples import Feeds

_MOST_RUNS = 2  # of a check set: to find a place, not to measure


@dataclass(frozen=True, slots=True)
class Drift:
    """What a node adds to the difference from FP32.

    Parameters
    ----------
    node, op : str
        Its name and operator.
    apart : float
        How far its output is from FP32: the norm of the difference over the norm of the output.
    added : float
        By how much that is more than at any of its inputs.
    """

    node: str
    op: str
    apart: float
    added: float

    def __str__(self) -> str:
        return f"{self.node!r} ({self.op}) adds {self.added:.1%} and is {self.apart:.1%} apart"


def drift(
    reference: onnx.ModelProto, other: onnx.ModelProto, samples: Sequence[Feeds]
) -> tuple[Drift, ...]:
    """Compare two graphs of one model node by node, the one that adds most first.

    Parameters
    ----------
    reference : onnx.ModelProto
        In fp32, from `engines.graph.model.parse_model`.
    other : onnx.ModelProto
        The same in another precision.
    samples : sequence of dict
        Inputs; the first few are run.

    Raises
    ------
    GraphError
        If ONNX Runtime cannot run one of them.
    """
    named = {name for node in reference.graph.node for name in node.output}
    theirs = {name for node in other.graph.node for name in node.output}
    both = named & theirs
    few = samples[:_MOST_RUNS]
    graphs = (opened(reference, both), opened(other, both))
    runs = [run(graph, few, fused=False) for graph in graphs]
    apart = {name: _apart(name, *runs) for name in both if _is_float(runs[0][0].get(name))}
    found, reached = [], dict.fromkeys((value.name for value in reference.graph.input), 0.0)
    for node in reference.graph.node:
        before = max((reached.get(name, 0.0) for name in node.input), default=0.0)
        for name in node.output:
            # What has no counterpart was moved or merged: it passes on what came to it.
            reached[name] = apart.get(name, before)
        if node.output[0] in apart:
            at = apart[node.output[0]]
            found.append(Drift(node.name, node.op_type, at, at - before))
    return tuple(sorted(found, key=lambda one: one.added, reverse=True))


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _apart(name: str, ours: Sequence[Feeds], theirs: Sequence[Feeds]) -> float:
    off = whole = 0.0
    for one, two in zip(ours, theirs, strict=True):
        exact = one[name].astype(np.float64)
        off += float(np.square(exact - two[name].astype(np.float64)).sum())
        whole += float(np.square(exact).sum())
    return float(np.sqrt(off / whole)) if whole else float(np.sqrt(off))
