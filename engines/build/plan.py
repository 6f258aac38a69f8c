"""What is to be built: one value, which travels to the building process as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from engines.manifest import ModelPackage

Module = Literal["tensorrt", "tensorrt_rtx"]
MODULES: tuple[Module, ...] = get_args(Module)

_MIB = 1 << 20
LEAST_WORKSPACE = 16 * _MIB


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes an engine is made for, one optimisation profile's worth of one input.

    Parameters
    ----------
    tensor : str
        Name of the input.
    smallest, usual, largest : tuple of int
        It runs all between, and is tuned for `usual`.
    """

    tensor: str
    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """One build.

    Parameters
    ----------
    model : pathlib.Path
        ONNX, in the precision it is to run in.
    target : pathlib.Path
        Where the engine goes; it appears there whole or not at all.
    module : str
        ``tensorrt`` or ``tensorrt_rtx``.
    shapes : tuple of Shapes
        One for each input that has a free axis.
    workspace : int
        Bytes of GPU memory that layers may use for scratch. On a Jetson this is the memory that
        everything else lives in too.
    memory_limit : int
        Bytes that the building process may hold; above, it is stopped.
    capability : str or None
        ``SM89`` and the like builds for that GPU without one (TensorRT for RTX alone); None builds
        for the GPU of this machine.
    dla_core : int or None
        Run on this deep learning accelerator, and on the GPU what it cannot.
    timing_cache : pathlib.Path or None
        Where measured kernels are remembered between builds (TensorRT alone).
    """

    model: Path
    target: Path
    module: Module
    shapes: tuple[Shapes, ...]
    workspace: int = 256 * _MIB
    memory_limit: int = 4096 * _MIB
    capability: str | None = None
    dla_core: int | None = None
    timing_cache: Path | None = None

    def smaller(self) -> BuildPlan:
        """Return the same build with a quarter of the workspace, at least 16 MiB."""
        return replace(self, workspace=max(self.workspace // 4, LEAST_WORKSPACE))

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> BuildPlan:
        """Read what `to_json` wrote."""
        held = json.loads(line)
        held["shapes"] = tuple(
            Shapes(
                item["tensor"],
                tuple(item["smallest"]),
                tuple(item["usual"]),
                tuple(item["largest"]),
            )
            for item in held["shapes"]
        )
        for key in ("model", "target", "timing_cache"):
            held[key] = None if held[key] is None else Path(held[key])
        return cls(**held)


def shapes_of(package: ModelPackage, *, usual: int = 1, largest: int = 16) -> tuple[Shapes, ...]:
    """Return the shapes of a package's input, from one slice to `largest` at a time."""
    rest = (package.input.channels, *package.input.sizes)
    return (Shapes(package.input.tensor, (1, *rest), (usual, *rest), (largest, *rest)),)
