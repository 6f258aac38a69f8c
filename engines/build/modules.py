"""`tensorrt` and `tensorrt_rtx`: one interface, and all that differs between them.

| | TensorRT 10.3 to 11 | TensorRT for RTX |
|---|---|---|
| typing | strong where asked, which we always do | strong alone |
| timing cache | remembers kernels between builds | none: kernels are chosen when it runs |
| building without that GPU | no | for SM 75 to 121, by name |
| DLA | on a Jetson Orin and Xavier | no |
| runtime cache | none needed | keeps the kernels that it compiled at the first runs |
| CUDA graphs | recorded by the caller | recorded by itself, for changing shapes too |

What is written here for `tensorrt` follows its documented interface and was not run: it needs a
GPU. Building with `tensorrt_rtx` is run by the tests; of running an engine, which needs a GPU too,
they hold the names that are used against the module's own.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.build.plan import BuildPlan, Module

_INSTALL = {
    "tensorrt": "It comes with JetPack; elsewhere: pip install tensorrt",
    "tensorrt_rtx": "Install it with: pip install tensorrt-rtx-cu13",
}


class PlanRefused(ValueError):
    """The module, or this machine, cannot do what the plan asks."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the two modules.

    Parameters
    ----------
    name : str
        ``tensorrt`` or ``tensorrt_rtx``.
    module : module
        Untyped: neither ships annotations that hold for every version.
    """

    name: Module
    module: Any

    @property
    def version(self) -> str:
        """As in ``10.3.0``."""
        return str(self.module.__version__)

    def network_flags(self) -> int:
        """Return the creation flags: strongly typed, so that the graph alone decides precision."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)  # 0 where no other kind is left

    def configure(self, builder: Any, config: Any, plan: BuildPlan) -> list[str]:
        """Set pools, target GPU, DLA and timing cache; return what could not be had.

        Raises
        ------
        PlanRefused
            If the plan asks for a GPU or a DLA core that the module cannot build for.
        """
        trt = self.module
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace)
        if self.name == "tensorrt_rtx":
            return self._configure_rtx(config, plan)
        if plan.capability is not None:
            raise PlanRefused(
                "TensorRT builds only for the GPU of the machine it runs on: leave capability out."
            )
        notes = self._configure_dla(builder, config, plan)
        if plan.timing_cache is not None:
            known = plan.timing_cache.read_bytes() if plan.timing_cache.is_file() else b""
            cache = config.create_timing_cache(known)
            if not config.set_timing_cache(cache, ignore_mismatch=False):
                notes.append("The timing cache is of another GPU or version; it is begun anew.")
                config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        return notes

    def keep_timings(self, config: Any, plan: BuildPlan) -> None:
        """Write the timing cache back, where there is one."""
        if self.name == "tensorrt_rtx" or plan.timing_cache is None:
            return
        write_whole(plan.timing_cache, bytes(config.get_timing_cache().serialize()))

    def create_context(self, engine: Any, cache: Path | None) -> tuple[Any, Any]:
        """Return an execution context, and the runtime cache that it fills or None.

        Parameters
        ----------
        engine : ICudaEngine
            To be run.
        cache : pathlib.Path or None
            Where an earlier process kept compiled kernels. One of another GPU or version is passed
            over by the module itself.
        """
        if self.name != "tensorrt_rtx":
            return engine.create_execution_context(), None
        config = engine.create_runtime_config()
        kernels = None
        if cache is not None:
            kernels = config.create_runtime_cache()
            if cache.is_file():
                kernels.deserialize(cache.read_bytes())
            config.set_runtime_cache(kernels)
        strategies = getattr(self.module, "CudaGraphStrategy", None)  # since 1.2
        if strategies is not None:
            config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(config), kernels

    @property
    def records_itself(self) -> bool:
        """Whether the module makes CUDA graphs of its own."""
        return self.name == "tensorrt_rtx"

    def kept_errors(self, on_warning: Callable[[str], None]) -> Any:
        """Return a logger for the module: `said` tells its last errors, warnings are passed on."""
        trt = self.module

        class Kept(trt.ILogger):  # type: ignore[misc,name-defined]  # the base is known when the module is
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self._errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                    self._errors = [*self._errors[-2:], message.strip()]
                elif severity == trt.ILogger.WARNING:
                    on_warning(message.strip())

            def said(self) -> str:
                return " / ".join(self._errors) or "it gave no reason"

        return Kept()

    def _configure_rtx(self, config: Any, plan: BuildPlan) -> list[str]:
        if plan.dla_core is not None:
            raise PlanRefused("TensorRT for RTX has no DLA: build it without a DLA core.")
        if plan.capability is not None:
            known = self.module.ComputeCapability
            capability = getattr(known, plan.capability, None)
            if capability is None:
                names = sorted((name for name in dir(known) if name.startswith("SM")), key=_number)
                raise PlanRefused(
                    f"capability {plan.capability!r} is not one of {', '.join(names)}."
                )
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(capability, 0):
                raise PlanRefused(f"capability {plan.capability!r} was refused by the builder.")
        return []

    def _configure_dla(self, builder: Any, config: Any, plan: BuildPlan) -> list[str]:
        if plan.dla_core is None:
            return []
        cores = builder.num_DLA_cores
        if plan.dla_core >= cores:
            has = f"it has {cores}, counted from 0" if cores else "it has none"
            raise PlanRefused(
                f"No DLA core {plan.dla_core} on this machine ({has}): build it without a DLA core."
            )
        config.default_device_type = self.module.DeviceType.DLA
        config.DLA_core = plan.dla_core
        config.set_flag(self.module.BuilderFlag.GPU_FALLBACK)
        return [f"Built for DLA core {plan.dla_core}, and for the GPU what it does not take."]


def load(name: Module) -> Flavour:
    """Import one of the modules.

    Raises
    ------
    PlanRefused
        If it is not installed, or what it needs of the machine is missing.
    """
    try:
        return Flavour(name, importlib.import_module(name))
    except (ImportError, OSError) as error:
        raise PlanRefused(f"{name} cannot be imported ({error}). {_INSTALL[name]}") from error


def write_whole(target: Path, content: bytes) -> None:
    """Write a file so that it is there whole, durably, or not at all."""
    # A name of its own: a process whose end nobody has seen yet may still be writing.
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(target)


def _number(name: str) -> int:
    return int(name.removeprefix("SM"))
