"""``scanside models build``, ``activate`` and ``rollback``: what a model runs on."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from contextlib import closing
from typing import get_args

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge.audit import Act, Audit
from edge.commands.arguments import CommandError, Commands, command, config_option
from edge.config import Config, load_config
from edge.keys import DeviceKeys
from edge.packages import Shelf
from edge.store.journal import Journal
from engines import Activated, ModelPackage, Parity, Precision, compare, load_built, load_package
from engines.build import Progress
from engines.cache import EngineKey

_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_CALIBRATORS = ("percentile", "minmax", "entropy")


def add(models: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the group."""
    build = command(models, "build", _build, "make engines and compare each with FP32; none serves")
    build.add_argument("name", help="as in `models list`")
    build.add_argument(
        "--precision",
        nargs="+",
        choices=_PRECISIONS,
        default=_PRECISIONS,
        help="which to make (all three)",
    )
    build.add_argument(
        "--calibrator",
        choices=_CALIBRATORS,
        default=_CALIBRATORS[0],
        help="how int8 chooses its ranges (percentile)",
    )
    build.add_argument(
        "--dla",
        type=_core,
        metavar="CORE",
        help="have TensorRT build for this deep learning accelerator of a Jetson, as in 0, and for "
        "the GPU what it does not take",
    )
    config_option(build)
    activate = command(models, "activate", _activate, "have a built engine serve, if it agrees")
    activate.add_argument("name", help="as in `models list`")
    activate.add_argument("--precision", choices=_PRECISIONS, default="fp32", help="(fp32)")
    activate.add_argument(
        "--runtime",
        choices=("onnxruntime", "tensorrt", "tensorrt_rtx"),
        default="onnxruntime",
        help="(onnxruntime)",
    )
    activate.add_argument(
        "--dla",
        type=_core,
        metavar="CORE",
        help="the engine that was built for this deep learning accelerator; without, the one for "
        "the GPU alone",
    )
    config_option(activate)
    back = command(models, "rollback", _rollback, "have the engine before serve again, at once")
    back.add_argument("name", help="as in `models list`")
    config_option(back)


def print_parity(parity: Parity, console: Console) -> None:
    """Print how an engine compared with FP32, a line for each finding."""
    console.print(
        f"Compared with FP32 on {parity.samples} samples: off by {parity.worst:.2e} at most, "
        f"{parity.mean:.2e} on average; {parity.tolerance:g} is allowed."
    )
    table = _table("finding", "largest", "mean", "rank", "AUC", "FP32's AUC")
    for one in parity.findings:
        table.add_row(
            one.label,
            f"{one.worst:.2e}",
            f"{one.mean:.2e}",
            _figure(one.rank),
            _figure(one.auc),
            _figure(one.reference_auc),
        )
    console.print(table)


def _build(options: argparse.Namespace) -> int:
    try:
        return _build_all(options)
    except KeyboardInterrupt:
        print(
            "scanside: stopped. Nothing half-made is kept; engines that were finished are, and "
            "what serves is as it was.",
            file=sys.stderr,
        )
        raise


def _build_all(options: argparse.Namespace) -> int:
    # Heavy; only this command writes graphs.
    from engines.build.support import present_modules  # noqa: PLC0415
    from engines.candidates import Bench, Candidate, candidates  # noqa: PLC0415
    from engines.gpu import gpu_here  # noqa: PLC0415
    from engines.graph.int8 import Calibrator  # noqa: PLC0415

    config = load_config(options.config)
    shelf = Shelf.of(config)
    package = load_package(shelf.find(options.name).folder)
    gpu, modules = gpu_here(), present_modules()
    console = _console()
    console.print(f"{package.name} {package.version}. {_equipment(gpu is not None, modules)}")
    if options.dla is not None:
        console.print(accelerator(options.dla, gpu is not None, modules))
    table = _table(
        "runtime", "precision", "MB", "made, s", "largest", "mean", "rank", "AUC", "verdict"
    )
    said: list[str] = []
    able: list[EngineKey] = []
    if package.check_set is None:
        console.print(
            "It has no check set: nothing can be compared, and so nothing may serve. Type: "
            f"scanside models checkset {package.name} FILE"
        )
    with Bars(
        TextColumn("{task.description}"),
        *Bars.get_default_columns()[1:3],
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bars:
        bench = Bench(
            shelf.store,
            gpu,
            modules,
            config.analysis.threads,
            _shown(bars, package.name),
            options.dla,
        )
        for precision in options.precision:
            for one in candidates(package, precision, Calibrator(options.calibrator), bench):
                if isinstance(one, Candidate):
                    table.add_row(*_row(one.key, one.size, one.seconds, one.parity))
                    notes = _notes(one.notes, one.not_run)
                    said += [f"{one.key.runtime} {precision}: {note}" for note in notes]
                    if one.parity is not None and one.parity.agrees:
                        able.append(one.key)
                else:
                    verdict = "not made" if one.offered else "not offered"
                    table.add_row(one.builder, one.precision, *[""] * 6, verdict)
                    said.append(f"{one.builder} {one.precision}: {one.reason}")
    console.print(table)
    for line in said:
        console.print(line)
    if not able:
        console.print("None of them may serve here; what serves now stays.")
        return 1
    console.print("To have one serve:")
    for key in able:
        console.print(
            f"  scanside models activate {package.name} --precision {key.base_precision} "
            f"--runtime {key.runtime}{_dla(key.dla_core)}"
        )
    return 0


def _equipment(gpu: bool, modules: tuple[str, ...]) -> str:
    builders = " and ".join(modules) or "neither TensorRT nor TensorRT for RTX"
    here = "A GPU is here" if gpu else "No GPU is here: no TensorRT engine is run"
    return f"{here}; installed: {builders}."


def accelerator(core: int, gpu: bool, modules: tuple[str, ...]) -> str:
    """Return what comes of the wish for a deep learning accelerator."""
    if "tensorrt" in modules and gpu:
        return (
            f"DLA core {core}: TensorRT's engines are built for it; those of ONNX Runtime run on "
            "the CPU."
        )
    lacks = "TensorRT is not installed" if gpu else "no GPU is here"
    return (
        f"DLA core {core}: nothing is built for it. Only TensorRT builds for a DLA, on a Jetson "
        f"that has one, and {lacks}."
    )


def _core(text: str) -> int:
    """Read the number of a DLA core."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a DLA core, such as 0")
    return int(text)


def _shown(bars: Bars, name: str) -> Callable[[Progress], None]:
    """Return what turns a builder's phases into bars, one for each that is going on."""
    tasks: dict[str, TaskID] = {}

    def show(progress: Progress) -> None:
        if progress.step is None:
            if progress.phase in tasks:
                bars.remove_task(tasks.pop(progress.phase))
        elif progress.phase not in tasks:
            label = f"{name}: {progress.phase}"
            tasks[progress.phase] = bars.add_task(label, total=progress.steps)
        else:
            bars.update(tasks[progress.phase], completed=progress.step)

    return show


def _notes(notes: tuple[str, ...], not_run: str) -> list[str]:
    return [*notes, *([f"not run: {not_run}"] if not_run else [])]


def _row(key: EngineKey, size: int, seconds: float, parity: Parity | None) -> tuple[str, ...]:
    made = f"{seconds:.1f}" if seconds else ""
    start = (key.runtime, key.base_precision, f"{size / 1e6:.2f}", made)
    if parity is None:
        return (*start, "", "", "", "", "not run")
    aucs = [one.auc for one in parity.findings if one.auc is not None]
    return (
        *start,
        f"{parity.worst:.1e}",
        f"{parity.mean:.1e}",
        _figure(parity.rank),
        _figure(min(aucs, default=None)),
        "may serve" if parity.agrees else "stays out",
    )


def _activate(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    shelf = Shelf.of(config)
    package = load_package(shelf.find(options.name).folder)
    key = _built(package, shelf, options.runtime, options.precision, options.dla)
    with closing(load_built(package, key, shelf.store, config.analysis.threads)) as engine:
        engine.warm_up()
        parity = compare(engine, package)
    activated = Activated.now(key, parity)
    shelf.store.active.activate(package.name, activated)
    _audit(config, package, "model.activated", f"{key.builder} {key.precision}{key.on}")
    print(
        f"{key.builder} {key.base_precision}{key.on} serves {package.name}: off by "
        f"{parity.worst:.1e} on {parity.samples} samples, {parity.tolerance:.1e} is allowed. A "
        "running daemon takes it with the next series."
    )
    return 0


def _built(
    package: ModelPackage, shelf: Shelf, runtime: str, precision: str, dla_core: int | None
) -> EngineKey:
    """Return the latest engine of a kind that was built from this very model."""
    if dla_core is not None and runtime != "tensorrt":
        raise CommandError(
            f"--dla {dla_core}: {runtime} has no DLA. Only TensorRT runs on one: add --runtime "
            "tensorrt, or leave --dla out."
        )
    wanted = (package.digest, runtime, precision, dla_core)
    for entry in shelf.store.cache.entries():
        key = entry.key
        if (key.model, key.runtime, key.base_precision, key.dla_core) == wanted:
            return key
    where = "" if dla_core is None else f" for DLA core {dla_core}"
    raise CommandError(
        f"There is no {precision} engine of {runtime}{where} for {package.name} {package.version}. "
        f"Type: scanside models build {package.name} --precision {precision}{_dla(dla_core)}"
    )


def _dla(core: int | None) -> str:
    """Return what names a DLA core on the command line, after another word."""
    return "" if core is None else f" --dla {core}"


def _rollback(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    shelf = Shelf.of(config)
    found = shelf.find(options.name)
    back = shelf.store.active.rollback(found.name)
    if found.package is not None:
        what = f"{back.key.builder} {back.key.precision}{back.key.on}"
        _audit(config, found.package, "model.rolled-back", what)
    print(f"{back.key.builder} {back.key.base_precision}{back.key.on} serves {found.name} again.")
    return 0


def _audit(config: Config, package: ModelPackage, what: str, outcome: str) -> None:
    """Write the change into the audit; before the daemon's first start there is none."""
    file = config.storage.folder / "journal.db"
    if not file.exists():
        return
    keys = DeviceKeys.load(config.storage.keys)
    on = f"model:{package.name} {package.version} {package.digest[:12]}"
    with closing(Journal(file)) as journal:
        act = Act(f"cli:{getpass.getuser()}", what, on, outcome)
        Audit(journal, lambda: keys.signing).note(act)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in columns:
        table.add_column(title, no_wrap=True)
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
