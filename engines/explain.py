"""From a classifier's package to an engine that also says where: its FP32 model, opened.

Only slices that deserve a look are asked about twice, so it runs in ONNX Runtime on the CPU
whatever serves; the probabilities are the serving engine's.
"""

from __future__ import annotations

from engines.graph.activation import ACTIVATION, add_activation
from engines.graph.model import parse_model
from engines.manifest import ModelPackage
from engines.runtime import onnx_runtime
from engines.runtime.protocol import Engine

__all__ = ["ACTIVATION", "load_explainer"]


def load_explainer(package: ModelPackage, *, threads: int = 1) -> Engine:
    """Load the package's model with the further output ``activation``.

    Parameters
    ----------
    package : ModelPackage
        Of a classifier.
    threads : int
        Threads for one run.

    Returns
    -------
    Engine
        Not yet warmed up.

    Raises
    ------
    GraphError
        If the model's head shows no place; see `engines.graph.activation`.
    EngineError
        If the model cannot be loaded, or is no longer the file the package was read with.
    """
    content = onnx_runtime.read(package.model, digest=package.digest)
    model = parse_model(content, str(package.model))
    opened = add_activation(model, package.output.tensor)
    return onnx_runtime.load_content(opened.SerializeToString(), package.model, threads=threads)
