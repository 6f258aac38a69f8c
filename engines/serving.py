"""From a model package to an engine that may serve.

The package says what the tensors should be, the engine knows what they are; here the two are held
against each other before the first patient, not during.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.manifest import PACKAGE_FILE, ModelPackage
from engines.package import PackageError
from engines.runtime import onnx_runtime
from engines.runtime.protocol import LOGITS, Engine, TensorSpec


def shipped_packages() -> Path:
    """Return the folder of the model packages that ship with the product, one folder each."""
    return Path(__file__).parent / "packages"


def load_engine(package: ModelPackage, *, threads: int = 1) -> Engine:
    """Load the package's model into ONNX Runtime and check its tensors against the package.

    Parameters
    ----------
    package : ModelPackage
        From `load_package`.
    threads : int
        Threads for one run.

    Returns
    -------
    Engine
        Not yet warmed up.

    Raises
    ------
    PackageError
        If the model's tensors are not those that ``model.toml`` describes.
    EngineError
        If the model cannot be loaded, or is no longer the file the package was read with.
    """
    engine = onnx_runtime.load(package.model, threads=threads, digest=package.digest)
    try:
        check_tensors(engine, package)
    except PackageError:
        engine.close()
        raise
    return engine


def check_tensors(engine: Engine, package: ModelPackage) -> None:
    """Refuse an engine whose tensors are not those of the package.

    Raises
    ------
    PackageError
        If the input's name, type or shape differs, if there is another input, if there is no
        output ``logits`` of float32 (n, outputs), or if a finding reads beyond its columns.
    """
    file = package.path / PACKAGE_FILE
    wanted = package.input
    expected = TensorSpec(
        wanted.tensor,
        np.dtype(np.float32),
        (None, wanted.channels, wanted.height, wanted.width),
    )
    if engine.inputs != (expected,):
        found = "; ".join(f"{spec.name!r} {spec}" for spec in engine.inputs)
        raise PackageError(
            f"{file}: [input] describes {expected.name!r} {expected}, but the model takes {found}."
        )
    logits = next((spec for spec in engine.outputs if spec.name == LOGITS), None)
    if logits is None or logits.dtype != np.float32 or len(logits.shape) != 2:
        found = "; ".join(f"{spec.name!r} {spec}" for spec in engine.outputs)
        raise PackageError(
            f"{package.model}: expected an output {LOGITS!r} float32 (n, outputs), got {found}."
        )
    columns = logits.shape[1]
    for number, finding in enumerate(package.findings, start=1):
        if columns is None or finding.output >= columns:
            raise PackageError(
                f"{file}: [[finding]] number {number} output = {finding.output} is not a whole "
                f"number below {columns}, the columns of {LOGITS!r}."
            )
