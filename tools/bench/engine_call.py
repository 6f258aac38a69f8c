"""What a call costs around the network: ours beside plain ONNX Runtime, on a graph of one node.

A network leaves the processor's caches full of its own numbers, so each call is timed after as much
memory as its nearer caches hold was read. Each side has several sessions, because where the parts
of one lie in memory makes it quicker or slower for as long as it lives.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from engines.runtime import onnx_runtime
from tools.bench.engine_memory import plain_session
from tools.bench.report import Row

_SESSIONS = 3
_CACHES = 2 << 20  # bytes
_SEED = 1


def call_cost(rounds: int) -> Row:
    """Measure `rounds` calls of each session, in an order that changes.

    Parameters
    ----------
    rounds : int
        At least 1.

    Returns
    -------
    Row
        ``ort_call_us``: the median of ours and of the peer's, in microseconds.
    """
    content = _one_node()
    feeds = {"x": np.ones((1, 1), np.float32)}
    calls: list[tuple[str, Callable[[], object]]] = []
    with ExitStack() as opened:
        for _ in range(_SESSIONS):
            engine = opened.enter_context(
                closing(onnx_runtime.load_content(content, Path("one-node.onnx")))
            )
            session = plain_session(content, 1)
            calls.append(("ours", partial(engine.infer, feeds)))
            calls.append(("plain", partial(session.run, None, feeds)))
        spent = _spent(calls, rounds)
    return Row(
        "ort_call_us",
        1e6 * statistics.median(spent["ours"]),
        "us",
        "InferenceSession",
        1e6 * statistics.median(spent["plain"]),
        note=f"a graph of one node, the caches emptied before each of {len(spent['ours'])} calls; "
        "ours looks at what comes in and at what comes out",
    )


def _spent(calls: list[tuple[str, Callable[[], object]]], rounds: int) -> dict[str, list[float]]:
    other = np.ones(_CACHES // 4, np.float32)
    spent: dict[str, list[float]] = {"ours": [], "plain": []}
    for _, call in calls * 3:
        call()
    shuffled = np.random.default_rng(_SEED)
    for _ in range(rounds):
        for which in shuffled.permutation(len(calls)):
            whose, call = calls[which]
            other.sum()
            began = time.perf_counter()
            call()
            spent[whose].append(time.perf_counter() - began)
    return spent


def _one_node() -> bytes:
    shape = ["n", 1]
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["logits"])],
        "one-node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content
