"""From the trained network to `model.onnx`: folded, stripped of where it was made, and checked."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines import LOGITS
from engines.runtime import onnx_runtime
from tools.train.network import FirstLogit, Residual, SliceNet

INPUT = "slices"
EVIDENCE = "evidence"
OPSET = 18
_AGREE = 1e-3  # logits, ONNX Runtime against torch, both float32


class ExportError(RuntimeError):
    """The exported model does not answer as the trained one does."""


def folded(network: SliceNet) -> FirstLogit:
    """Return the shipping network, each batch normalisation folded into its convolution."""
    shipped = FirstLogit(copy.deepcopy(network).float())
    shipped.eval()
    for module in list(shipped.modules()):
        if isinstance(module, Residual):
            module.first = fuse_conv_bn_eval(module.first, module.first_norm)
            module.second = fuse_conv_bn_eval(module.second, module.second_norm)
            module.first_norm = module.second_norm = nn.Identity()
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], nn.Conv2d) and isinstance(module[i + 1], nn.BatchNorm2d):
                    module[i] = fuse_conv_bn_eval(module[i], module[i + 1])
                    module[i + 1] = nn.Identity()
    shipped.to(memory_format=torch.contiguous_format)
    return shipped


def write(network: FirstLogit, file: Path, *, size: int) -> str:
    """Write the ONNX file and return its SHA-256.

    The exporter notes source paths and its own version in the file; both are taken out, so that the
    same weights give the same bytes wherever they are exported. The map from which the logit is
    pooled keeps the name "evidence" inside the graph: it is what a heatmap is drawn from.
    """
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, size, size),),
        input_names=[INPUT],
        output_names=[LOGITS],
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ExportError("torch gave no ONNX program.")
    model = program.model_proto
    _strip(model)
    _name_evidence(model.graph)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def agree(network: FirstLogit, file: Path, samples: NDArray[np.float32]) -> float:
    """Return the largest difference in logits between ONNX Runtime and torch.

    Raises
    ------
    ExportError
        If it is more than rounding explains.
    """
    engine = onnx_runtime.load(file, threads=2)
    worst = 0.0
    for start in range(0, len(samples), 32):
        batch = samples[start : start + 32]
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        worst = max(worst, float(np.abs(engine.infer({INPUT: batch})[LOGITS] - expected).max()))
    engine.close()
    if worst > _AGREE:
        raise ExportError(f"{file}: logits differ from torch by {worst:.2g}, more than {_AGREE}.")
    return worst


def _strip(model: onnx.ModelProto) -> None:
    model.producer_name, model.producer_version, model.doc_string = "scanside", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "head-ct", ""
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
