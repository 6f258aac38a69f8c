"""Are an engine's tensors those that its package describes?

The package says what they should be and the engine knows what they are; here the two are held
against each other, before the first patient and not during.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engines.manifest import PACKAGE_FILE, ModelPackage
from engines.package import PackageError
from engines.runtime.protocol import Engine, TensorSpec


def check_tensors(engine: Engine, package: ModelPackage) -> None:
    """Refuse an engine whose tensors are not those of the package.

    Raises
    ------
    PackageError
        If the input's name, type or shape differs, if there is another input, if the output is
        missing, of another type or number of axes, or if a finding reads beyond it. The sizes of
        a slice or a volume may be free in the model.
    """
    wanted = package.input
    expected = TensorSpec(
        wanted.tensor, np.dtype(np.float32), (None, wanted.channels, *wanted.sizes)
    )
    if len(engine.inputs) != 1 or not _takes(engine.inputs[0], expected):
        raise PackageError(
            f"{package.path / PACKAGE_FILE}: [input] describes {expected.name!r} {expected}, but "
            f"the model takes {_named(engine.inputs)}."
        )
    output = next((spec for spec in engine.outputs if spec.name == package.output.tensor), None)
    axes = "(n, outputs)" if not package.volumes else "(n, classes, depth, height, width)"
    if output is None or output.dtype != np.float32 or len(output.shape) != axes.count(",") + 1:
        raise PackageError(
            f"{package.model}: expected an output {package.output.tensor!r} float32 {axes}, "
            f"got {_named(engine.outputs)}."
        )
    _check_findings(package, output)
    _check_familiar(engine, package)


def _takes(found: TensorSpec, expected: TensorSpec) -> bool:
    return (found.name, found.dtype, found.shape[:2]) == (
        expected.name,
        expected.dtype,
        expected.shape[:2],
    ) and (
        len(found.shape) == len(expected.shape)
        and all(
            have in (None, want)
            for have, want in zip(found.shape[2:], expected.shape[2:], strict=True)
        )
    )


def _check_findings(package: ModelPackage, output: TensorSpec) -> None:
    columns = output.shape[1]
    read: list[tuple[str, tuple[int, ...]]] = [
        *(("output", (one.output,)) for one in package.findings),
        *(("classes", one.classes) for one in package.volumes),
    ]
    for number, (key, indices) in enumerate(read, start=1):
        if columns is None or max(indices) >= columns:
            what = "columns" if key == "output" else "classes"
            raise PackageError(
                f"{package.path / PACKAGE_FILE}: [[finding]] number {number} {key} = "
                f"{max(indices)} is not a whole number below {columns}, the {what} of "
                f"{output.name!r}."
            )


def _check_familiar(engine: Engine, package: ModelPackage) -> None:
    if package.familiar is None:
        return
    expected = TensorSpec(package.familiar.output, np.dtype(np.float32), (None, 1))
    if expected not in engine.outputs:
        raise PackageError(
            f"{package.path / PACKAGE_FILE}: [familiar] output = {expected.name!r} is not an "
            f"output {expected} of the model, which gives {_named(engine.outputs)}."
        )


def _named(tensors: Iterable[TensorSpec]) -> str:
    return "; ".join(f"{spec.name!r} {spec}" for spec in tensors)
