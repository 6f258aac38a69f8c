"""From a model package to an engine that may serve.

What was activated serves; where it cannot, what served before it does, and after that FP32 in ONNX
Runtime, which every machine can run.
"""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from engines.activation import Activated, ActivationError
from engines.build.plan import MODULES
from engines.cache import CachedFile, EngineKey
from engines.fitting import check_tensors
from engines.manifest import ModelPackage
from engines.package import ModelDamaged, PackageError, load_package, read_package
from engines.parity import Parity, compare
from engines.remote import read_remote
from engines.runtime import kserve, onnx_runtime, tensorrt
from engines.runtime.fallback import FallbackEngine
from engines.runtime.protocol import Engine, EngineError
from engines.store import EngineStore


@dataclass(frozen=True, slots=True)
class Serving:
    """An engine that was found to agree with FP32 on this machine, just now.

    Parameters
    ----------
    package : ModelPackage
        What it serves.
    engine : Engine
        Warmed up.
    parity : Parity
        How it compared.
    activated : Activated or None
        The engine, where it was activated; None for FP32 straight from the package.
    notes : tuple of str
        What is not as it was wished, for people; empty where all is.
    """

    package: ModelPackage
    engine: Engine
    parity: Parity
    activated: Activated | None
    notes: tuple[str, ...]


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
    engine = onnx_runtime.load(
        package.model, threads=threads, digest=package.digest, memory=_memory(package)
    )
    try:
        check_tensors(engine, package)
    except PackageError:
        engine.close()
        raise
    return engine


def load_built(package: ModelPackage, key: EngineKey, store: EngineStore, threads: int) -> Engine:
    """Load an engine from the cache and check its tensors against the package.

    Raises
    ------
    PackageError
        If the engine's tensors are not those that ``model.toml`` describes.
    EngineError
        If it is not in the cache, is damaged, of another model, or cannot be loaded here.
    """
    name = f"The {key.precision} engine of {key.builder}{key.on}"
    if key.model != package.digest:
        raise EngineError(
            f"{name} was built from another model than the package has now. Type: "
            f"scanside models build {package.name}"
        )
    found = store.cache.find(key)
    if found is None:
        raise EngineError(
            f"{name} is not in {store.folder} any more. Type: scanside models build {package.name}"
        )
    engine = _load(found, key, threads, _memory(package))
    try:
        check_tensors(engine, package)
    except PackageError:
        engine.close()
        raise
    return engine


def _memory(package: ModelPackage) -> int:
    """Return the bytes that a run may take; a volume may have three quarters of the machine."""
    if package.input.depth is None:
        return onnx_runtime.MEMORY
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(onnx_runtime.MEMORY, machine * 3 // 4)


def _load(found: CachedFile, key: EngineKey, threads: int, memory: int) -> Engine:
    if key.runtime == onnx_runtime.OnnxRuntimeEngine.name:
        return onnx_runtime.load(
            found.path,
            threads=threads,
            digest=found.sha256,
            precision=key.base_precision,
            memory=memory,
        )
    module = next((name for name in MODULES if name == key.runtime), None)
    if module is None:
        raise EngineError(f"There is no runtime for {key.builder} in this installation.")
    return tensorrt.load(
        found.path,
        module=module,
        digest=found.sha256,
        precision=key.base_precision,
        cache=found.path.with_suffix(".kernels"),
        dla_core=key.dla_core,
    )


def serve(folder: Path, store: EngineStore | None = None, *, threads: int = 1) -> Serving:
    """Return the engine that serves a package: what was activated, or the best that is left.

    Where a server is to run the model, that comes first while it can be had and agrees with FP32.

    Parameters
    ----------
    folder : pathlib.Path
        The package's.
    store : EngineStore, optional
        Where its activated engines are.
    threads : int
        Threads for one run.

    Returns
    -------
    Serving

    Raises
    ------
    PackageError
        If ``model.toml`` is not valid; or ``model.onnx`` is not the right file and no engine is
        left that was built from the right one.
    EngineError
        If no engine can be loaded and agrees with FP32; the message says why of each.
    """
    here = _serve_here(folder, store, threads)
    if store is None or store.remote is None:
        return here
    package = here.package
    try:
        endpoint = read_remote(store.remote, package.name)
    except EngineError as error:
        return replace(here, notes=(*here.notes, f"It runs here alone: {error}"))
    if endpoint is None:
        return here

    def connect() -> Engine:
        there = kserve.load(endpoint, waits=False)
        try:
            check_tensors(there, package)
            _agreeing(there, package)
        except PackageError as error:
            there.close()
            raise EngineError(str(error)) from error
        return there

    engine = FallbackEngine(connect, here.engine)
    notes = (f"It runs here until its server can be had: {engine.why_not}",)
    return replace(here, engine=engine, notes=here.notes + (notes if engine.why_not else ()))


def _serve_here(folder: Path, store: EngineStore | None, threads: int) -> Serving:
    package = read_package(folder)
    notes: list[str] = []
    for one in _standing(package, store, notes):
        assert store is not None  # noqa: S101  # what stands, stands in a store
        try:
            engine = load_built(package, one.key, store, threads)
            parity = _agreeing(engine, package)
        except (EngineError, PackageError) as error:
            notes.append(str(error))
            continue
        try:
            load_package(folder)
        except ModelDamaged as error:
            notes.append(f"{error} The engine that was built from the right one goes on.")
        return Serving(package, engine, parity, one, tuple(notes))
    try:
        package = load_package(folder)
        engine = load_engine(package, threads=threads)
        parity = _agreeing(engine, package)
    except (EngineError, PackageError) as error:
        raise type(error)("\n  ".join([*notes, str(error)])) from error
    return Serving(package, engine, parity, None, tuple(notes))


def may_rest(serving: Serving) -> bool:
    """Return whether an engine may be closed until it is asked: it is quick to load again.

    ONNX Runtime on this machine alone: a GPU's engine takes seconds, and one on a server is the
    server's to keep.
    """
    return isinstance(serving.engine, onnx_runtime.OnnxRuntimeEngine)


def load_again(serving: Serving, store: EngineStore | None, *, threads: int = 1) -> Engine:
    """Load an engine that was closed: the very bytes that agreed with FP32, so not compared anew.

    Raises
    ------
    PackageError, EngineError
        If it is damaged or gone.
    """
    if serving.activated is None or store is None:
        return load_engine(serving.package, threads=threads)
    return load_built(serving.package, serving.activated.key, store, threads)


def keep_as_good(serving: Serving, store: EngineStore) -> Serving:
    """Keep FP32 as it serves now, so that it goes on should ``model.onnx`` be damaged later.

    Returns
    -------
    Serving
        With what was activated; as it was where an engine of this very model was before.

    Raises
    ------
    ActivationError, CacheError
        If the store cannot be read or written.
    EngineError
        If the model changed since it was loaded.
    """
    package = serving.package
    current = store.active.of(package.name).current
    ours = current is not None and current.key.model == package.digest
    if ours or serving.activated is not None:
        return serving
    content = package.model.read_bytes()
    if hashlib.sha256(content).hexdigest() != package.digest:
        raise EngineError(f"{package.model}: changed while it was loaded.")
    key = onnx_runtime_key(package, "fp32")
    store.cache.get_or_build(key, lambda target: target.write_bytes(content))
    activated = Activated.now(key, serving.parity)
    store.active.activate(package.name, activated)
    return replace(serving, activated=activated)


def onnx_runtime_key(package: ModelPackage, precision: str) -> EngineKey:
    """Return what a graph for ONNX Runtime on this machine's CPU is kept under."""
    return EngineKey(
        model=package.digest,
        builder=f"{onnx_runtime.OnnxRuntimeEngine.name} {onnx_runtime.installed_version()}",
        gpu="none",
        capability=platform.machine(),
        precision=precision,
        profile="any",
        tool=version("scanside"),
    )


def _standing(
    package: ModelPackage, store: EngineStore | None, notes: list[str]
) -> tuple[Activated, ...]:
    if store is None:
        return ()
    try:
        return store.active.of(package.name).both
    except ActivationError as error:
        notes.append(str(error))
        return ()


def _agreeing(engine: Engine, package: ModelPackage) -> Parity:
    """Warm an engine up and compare it; one that may not serve is closed."""
    try:
        engine.warm_up()
        parity = compare(engine, package)
        if not parity.agrees:
            raise EngineError(
                f"The {engine.precision} engine of {engine.name} is off by {parity.worst:.4f} from "
                f"FP32 on this machine; the package allows {parity.tolerance:.4f}."
            )
    except (EngineError, PackageError):
        engine.close()
        raise
    return parity
