"""From the trained network to `model.onnx`: folded, stripped of where it was made, and checked."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines import LOGITS
from engines.runtime import onnx_runtime
from tools.train.network import Backbone, Committee, Residual, Shipped, averaging
from tools.train.plan import Plan

EVIDENCE = "evidence"
OPSET = 18
_AGREE = 2e-3  # logits, ONNX Runtime against torch, both float32


class ExportError(RuntimeError):
    """The exported model does not answer as the trained one does."""


def folded(network: Committee, columns: tuple[int, ...]) -> Shipped:
    """Return the shipping network, each batch normalisation folded into its convolution."""
    shipped = Shipped(copy.deepcopy(network).float(), columns)
    shipped.eval()
    for member in shipped.network.members:
        member.head = nn.Identity()  # the findings' head stands for all of them
    for module in list(shipped.modules()):
        if isinstance(module, Residual):
            module.first = fuse_conv_bn_eval(module.first, module.first_norm)
            module.second = fuse_conv_bn_eval(module.second, module.second_norm)
            module.first_norm = module.second_norm = nn.Identity()
        if isinstance(module, Backbone) and module.mirrored:
            module.smooth = averaging(module.widths[module.mirrored - 1])
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], nn.Conv2d) and isinstance(module[i + 1], nn.BatchNorm2d):
                    module[i] = fuse_conv_bn_eval(module[i], module[i + 1])
                    module[i + 1] = nn.Identity()
    shipped.to(memory_format=torch.contiguous_format)
    return shipped


def write(network: Shipped, file: Path, plan: Plan) -> str:
    """Write the ONNX file and return its SHA-256.

    The exporter notes source paths and its own version in the file; both are taken out, so that the
    same weights give the same bytes wherever they are exported. The maps from which the logits are
    pooled keep the name "evidence" inside the graph: they are what a heatmap is drawn from.
    """
    spec = plan.input
    with _quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, spec.channels, spec.height, spec.width),),
            input_names=[spec.tensor],
            output_names=[LOGITS],
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch gave no ONNX program.")
    model = program.model_proto
    _strip(model, plan.name)
    _name_evidence(model.graph)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def agree(network: Shipped, file: Path, name: str, samples: NDArray[np.float32]) -> float:
    """Return the largest difference in logits between ONNX Runtime and torch.

    Raises
    ------
    ExportError
        If it is more than rounding explains.
    """
    engine = onnx_runtime.load(file, threads=1)
    worst = 0.0
    for start in range(0, len(samples), 32):
        batch = samples[start : start + 32]
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        apart = np.abs(engine.infer({name: batch})[LOGITS] - expected)
        worst = max(worst, float((apart / np.maximum(1.0, np.abs(expected))).max()))
    engine.close()
    if worst > _AGREE:
        raise ExportError(f"{file}: answers differ from torch by {worst:.2g}, more than {_AGREE}.")
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own parts and of packages it does not need; none is for a user."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.setLevel(before)


def _strip(model: onnx.ModelProto, name: str) -> None:
    model.producer_name, model.producer_version, model.doc_string = "scanside", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = name, ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    # Shapes in between are inferred anew by every runtime; the file needs only its edges.
    del graph.value_info[:]


def _name_evidence(graph: onnx.GraphProto) -> None:
    """Give the output of the last convolution its lasting name."""
    last = [node for node in graph.node if node.op_type == "Conv"][-1]
    old = last.output[0]
    last.output[0] = EVIDENCE
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = EVIDENCE
