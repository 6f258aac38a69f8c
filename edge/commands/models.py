"""``scanside models``: which models there are, and a new one from an ONNX file."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from edge.commands import model_engines
from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    config_option,
    config_to_look,
    group,
)
from edge.config import load_config
from edge.packages import Found, Shelf, State
from engines import EngineError, ModelPackage, PackageError, load_engine, load_package, serve
from engines.build.support import ask, present_modules
from engines.manifest import MODEL_FILE, PACKAGE_FILE
from engines.runtime.protocol import Array

if TYPE_CHECKING:
    from engines.graph.adopting import Adopted  # heavy
    from engines.interview import Interview

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    models = group(commands, "models", "which models look at images, and on which engine")
    listed = command(models, "list", _list, "every model package and what serves it")
    listed.add_argument("--json", action="store_true", help="print JSON")
    config_option(listed)
    _named(command(models, "show", _show, "what a model is for, its limits, how it was measured"))
    _add_options(command(models, "add", _add, "draft a package for an ONNX file"))
    checks = command(
        models, "checkset", _checkset, "make a package's check set: inputs, and what FP32 answers"
    )
    _named(checks)
    checks.add_argument(
        "file",
        type=Path,
        nargs="+",
        help="an npz with the input tensor (and labels), or .nii.gz volumes",
    )
    _named(command(models, "check", _check, "is a package whole, and does its engine agree?"))
    _trial_options(command(models, "try", _try, "what does a model say of one file or folder?"))
    model_engines.add(models)
    _named(command(models, "remove", _remove, "remove one of the site's own packages"))


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="as in `models list`")
    config_option(parser)


def _trial_options(parser: argparse.ArgumentParser) -> None:
    _named(parser)
    parser.add_argument(
        "file", type=Path, help="a folder of one DICOM series, a .nii.gz volume, or an npz"
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="the earlier study, a folder or a .nii.gz, for a model that compares two",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--name", help="of the package; the file's name where left out")
    parser.add_argument(
        "--labels", type=Path, metavar="CSV", help="what the outputs are: index,label in each row"
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="TOML",
        help="what a person knows, with the tables and keys of model.toml",
    )
    parser.add_argument(
        "--mean",
        type=float,
        nargs="+",
        default=(),
        metavar="M",
        help="what the network subtracts from its pixels of 0 to 1, for each channel or for all",
    )
    parser.add_argument(
        "--std",
        type=float,
        nargs="+",
        default=(),
        metavar="S",
        help="what it then divides them by; both are put in front of the graph",
    )
    parser.add_argument("--output", metavar="NAME", help="the output that answers, of several")
    config_option(parser)


def _list(options: argparse.Namespace) -> int:
    shelf = Shelf.of(config_to_look(options))
    lines = [_line(one, shelf) for one in shelf.look()]
    if options.json:
        print(json.dumps(lines, indent=2))
        return 0
    table = Table(
        "model",
        "version",
        "state",
        "serves",
        "from",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for line in lines:
        table.add_row(*(line[key] for key in ("name", "version", "state", "serves", "from")))
    _console().print(table)
    if not lines:
        print("No model. To draft a package for one: scanside models add MODEL.onnx")
    return 0


def _line(found: Found, shelf: Shelf) -> dict[str, str]:
    current = shelf.store.active.of(found.name).current
    serves = "" if found.package is None else "onnxruntime fp32"
    if current is not None and found.package is not None:
        serves = f"{current.key.runtime} {current.key.base_precision}{current.key.on}"
    return {
        "name": found.name,
        "version": "" if found.package is None else found.package.version,
        "state": found.state.value,
        "serves": serves,
        "from": "Scanside" if found.shipped else "this site",
        "problem": found.problem,
    }


def _show(options: argparse.Namespace) -> int:
    from edge.analysis.preparing import foretold  # noqa: PLC0415  # loads OpenCV

    shelf = Shelf.of(config_to_look(options))
    found = shelf.find(options.name)
    if found.package is None:
        raise CommandError(found.problem)
    console = _console()
    _print_card(found.package, console)
    standing = shelf.store.active.of(found.package.name)
    console.print("\nEngines")
    if not standing.both:
        console.print("  onnxruntime fp32 serves; nothing else was activated")
    for word, one in zip(("serves", "served before"), standing.both, strict=False):
        console.print(
            f"  {one.key.builder} {one.key.precision}{one.key.on} {word}; since {one.since}, "
            f"off by {one.worst:.1e} on {one.samples} samples "
            f"(up to {one.tolerance:.1e} is allowed)"
        )
    if not found.package.volumes:
        runtime = standing.both[0].key.runtime if standing.both else "onnxruntime"
        console.print(f"  slices are prepared {foretold(runtime)}")
    for entry in shelf.store.cache.entries():
        if entry.key.model == found.package.digest:
            console.print(
                f"  {entry.key.builder} {entry.key.precision}{entry.key.on} is built, for "
                f"{entry.key.capability}, {entry.size / 1e6:.2f} MB"
            )
            for note in entry.notes:
                console.print(f"    its builder said: {note}")
    if found.problem:
        console.print(f"\n{found.problem}")
    return 0


def _print_card(package: ModelPackage, console: Console) -> None:
    console.print(f"{package.name} {package.version}, SHA-256 {package.digest}")
    for title, text in (
        ("Intended use", package.intended_use),
        ("Limits", package.limits),
        ("Trained, calibrated and measured on", package.training_data),
        ("Licence", package.licence),
    ):
        console.print(f"\n{title}\n{_indented(text)}")
    console.print("\nFindings")
    for finding in package.findings:
        name = f"{finding.label} ({finding.code.scheme} {finding.code.value})"
        says = (
            f"{finding.urgency}, flagged from {finding.threshold:g}, uncertain from "
            f"{finding.abstain[0]:g} to {finding.abstain[1]:g}"
        )
        console.print(f"  {name}, {says if finding.reliable else 'told of and never flagged'}")
    for volume in package.volumes:
        bounds = [
            f"flagged {word} {limit:g} ml"
            for word, limit in (("below", volume.flag_below_ml), ("above", volume.flag_above_ml))
            if limit is not None
        ]
        console.print(
            f"  {volume.label} ({volume.code.scheme} {volume.code.value}), volume in ml, "
            f"{' and '.join(bounds) or 'measured and never flagged'}"
        )
    console.print("\nMeasured, with 95 % intervals")
    for one in package.measured:
        interval = f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
        console.print(f"  {one.figure}: {interval}, of {one.n}: {one.on}")
    if not package.measured:
        console.print("  nothing: how good it is here is not known")


def _refused_by_reference(adopted: Adopted, facts: Interview) -> tuple[str, ...]:
    """Say why ONNX Runtime, which every engine is compared with, does not run a model."""
    from engines.graph.adopting import rows  # noqa: PLC0415  # heavy
    from engines.runtime import onnx_runtime  # noqa: PLC0415  # heavy

    try:
        onnx_runtime.load_content(adopted.content, Path(adopted.source)).close()
    except EngineError as error:
        return (f"Every engine is compared with ONNX Runtime, which does not run it: {error}",)
    if facts.kind == "logits" and not facts.obstacles:
        given = rows(adopted, facts.answer.name)
        if given not in (None, 2):
            return (
                f"Of two slices {facts.answer} has {given} rows: one for each thing found, as of a "
                "detector, and not one for each slice. A package takes classifiers and "
                "segmentations of volumes.",
            )
    return ()


def _print_support(adopted: Adopted) -> None:
    with TemporaryDirectory(prefix="scanside-add-") as folder:
        whole = Path(folder) / MODEL_FILE
        whole.write_bytes(adopted.content)
        for module in present_modules():
            said = ask(module, whole)
            refused = "; ".join(f"does not take {one.node!r} ({one.op})" for one in said.refused)
            print(f"  {said.builder}: {said.problem or refused or 'takes every node'}")


def _add(options: argparse.Namespace) -> int:
    from engines import draft  # noqa: PLC0415  # heavy: only this command reads graphs
    from engines.graph.adopting import adopt  # noqa: PLC0415
    from engines.interview import interview  # noqa: PLC0415

    shelf = Shelf.of(load_config(options.config))
    adopted = adopt(options.model, mean=options.mean, std=options.std)
    facts = interview(adopted, options.output)
    name = options.name or re.sub(r"[^a-z0-9]+", "-", options.model.stem.lower()).strip("-")
    if not _NAME.fullmatch(name):
        raise CommandError(f"--name {name!r} is not words of a-z and 0-9 joined by single hyphens.")
    folder = shelf.own / name
    if folder.exists():
        raise CommandError(f"{folder} exists already; it was left as it is. Choose another --name.")
    print(
        f"{options.model}: opset {facts.opset}, {facts.parameters:,} weights, {facts.size:,} bytes"
    )
    print(f"  made by   {facts.producer or 'unknown'}")
    for one in facts.inputs:
        print(f"  input     {one}")
    for one in facts.outputs:
        print(f"  output    {one}")
    print(f"  operators {', '.join(f'{count} {op}' for op, count in facts.operators.items())}")
    for change in adopted.changes:
        print(f"  changed   {change}")
    _print_support(adopted)
    obstacles = (*facts.obstacles, *_refused_by_reference(adopted, facts))
    if obstacles:
        raise CommandError("No package can be made of it.\n  " + "\n  ".join(obstacles))
    if facts.probabilities:
        print(
            f"  note      {facts.answer.name!r} comes out of {facts.last}; a package puts a "
            "sigmoid on what the model gives. Better export it without its last "
            f"{facts.last}."
        )
    if facts.doubtful:
        print(
            f"  note      {facts.answer.name!r} is taken for the answer; --output takes another: "
            f"{', '.join(facts.doubtful)}"
        )
    try:
        labels = () if options.labels is None else draft.read_labels(options.labels)
        answers = None if options.answers is None else draft.read_answers(options.answers)
    except draft.DraftError as error:
        raise CommandError(str(error)) from error
    tables = draft.draft(facts, name, labels, answers)
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(adopted.content)
    (folder / PACKAGE_FILE).write_text(draft.to_toml(tables, options.model.name), encoding="utf-8")
    print(f"Wrote {folder}.")
    missing = draft.unfilled(tables)
    if missing:
        values = sum(one.values for one in missing)
        print(f"A person must fill in {values} values in {folder / PACKAGE_FILE}:")
        for line in missing:
            print(f"  {line}")
    first = facts.inputs[0]
    kind = "npz" if facts.kind == "logits" else "nii.gz"
    if facts.kind == "logits":
        print(f"Its check set is made of an npz that holds {first}, from 0 to 1.")
    print(f"Then: scanside models checkset {name} FILE.{kind}, and scanside models check {name}")
    return 0


def _try(options: argparse.Namespace) -> int:
    from edge.commands.model_trial import try_model  # noqa: PLC0415  # loads the decoders

    return try_model(options)


def _checkset(options: argparse.Namespace) -> int:
    from edge.commands.model_trial import read_volume  # noqa: PLC0415
    from engines.checkset import crops, read_inputs, write_check_set  # noqa: PLC0415

    config = load_config(options.config)
    package = _own(Shelf.of(config), options.name)
    inputs: list[Array] = []
    labels = None
    for file in options.file:
        if file.suffix == ".npz":
            if len(options.file) > 1:
                raise CommandError("One npz holds the whole check set: give it alone.")
            held, labels = read_inputs(file, package)
            inputs.extend(held)
        else:
            inputs.extend(crops(read_volume(file, package)))
    written = write_check_set(package, inputs, labels, threads=config.analysis.threads)
    load_package(package.path)
    print(f"Wrote {written}: {len(inputs)} samples, and what FP32 answers.")
    return 0


def _check(options: argparse.Namespace) -> int:
    config = config_to_look(options)
    shelf = Shelf.of(config)
    found = shelf.find(options.name)
    if found.package is None:
        raise CommandError(found.problem)
    if found.package.check_set is None:
        with closing(load_engine(found.package, threads=config.analysis.threads)):
            raise CommandError(
                f"{found.name} is whole, but has no check set, and so no engine may serve. Type: "
                f"scanside models checkset {found.name} FILE"
            )
    serving = serve(found.folder, shelf.store, threads=config.analysis.threads)
    with closing(serving.engine) as engine:
        console = _console()
        console.print(f"{found.name} {found.package.version}: {engine.name} {engine.precision}")
        model_engines.print_parity(serving.parity, console)
    for note in serving.notes:
        print(note)
    return 0


def _remove(options: argparse.Namespace) -> int:
    shelf = Shelf.of(load_config(options.config))
    found = shelf.find(options.name)
    if found.shipped:
        raise CommandError(f"{found.name} came with Scanside; only the site's own can be removed.")
    if found.package is not None:
        shelf.store.active.forget(found.package.name)
    shutil.rmtree(found.folder)
    print(f"Removed {found.folder}. A running daemon uses it no more.")
    return 0


def _own(shelf: Shelf, name: str) -> ModelPackage:
    found = shelf.find(name)
    if found.shipped:
        raise PackageError(f"{found.name} came with Scanside and is read-only.")
    if found.state is State.DRAFT or found.package is None:
        raise PackageError(found.problem)
    return found.package


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def _console() -> Console:
    # No markup: a text that a person wrote may hold brackets.
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
