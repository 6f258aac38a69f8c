"""``tools/gpu_check.sh``: one table, one JSON file, and a status that says whether all held."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from engines.build.plan import MODULES
from tools.bench.report import as_json
from tools.gpu_check import engines_here, kernel, suite, third_party
from tools.gpu_check.machine import Machine, look
from tools.gpu_check.part import Part

_MARKS = {"passed": "ok", "failed": "FAILED", "could not run": "not run"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every part; return 1 where one failed, else 0, also where some could not run."""
    parser = argparse.ArgumentParser(
        prog="tools/gpu_check.sh",
        description="Runs what only a GPU can show, and says what could not run and why.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table as text")
    parser.add_argument("--quick", action="store_true", help="fewer runs for each figure")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="check the models of docs/models too: their .onnx and -labels.csv files lie here, and "
        "the T1 in ../data/brain-mri",
    )
    options = parser.parse_args(arguments)
    machine = look()
    parts = []
    try:
        with TemporaryDirectory(prefix="scanside-gpu-") as folder:
            for part in _parts(machine, Path(folder), options.models, quick=options.quick):
                print(f"{_MARKS[part.state]:8}{part.name}: {part.said}", flush=True)
                parts.append(part)
    except KeyboardInterrupt:
        print("stopped; nothing is written", file=sys.stderr)
        return 130
    table = render(machine, parts)
    if options.table is not None:
        options.table.write_text(table, encoding="utf-8")
    if options.json is not None:
        text = json.dumps(to_json(machine, parts), indent=2) + "\n"
        options.json.write_text(text, encoding="utf-8")
    print("\n" + table, end="")
    return int(any(part.state == "failed" for part in parts))


def _parts(machine: Machine, folder: Path, models: Path | None, *, quick: bool) -> Iterator[Part]:
    for runtime in ("onnxruntime", "tensorrt-stand-in"):
        yield suite.conformance(runtime, None)
    for module in MODULES:
        yield suite.conformance(module, machine.lacks[module])
    yield suite.endings(machine)
    yield kernel.compiles()
    yield kernel.on_gpu(machine, quick=quick)
    yield kernel.as_the_worker(machine)
    yield from engines_here.every(machine, folder, quick=quick)
    yield from third_party.every(machine, folder, models, quick=quick)


def render(machine: Machine, parts: Sequence[Part]) -> str:
    """Return the table as text of at most 100 columns."""
    text = io.StringIO()
    console = Console(file=text, width=100, highlight=False, color_system=None)
    table = Table(title=f"gpu_check on {machine.name}")
    for title in ("part", "", "what was found, or what is missing"):
        table.add_column(title, no_wrap=not title)
    for part in parts:
        table.add_row(part.name, _MARKS[part.state], part.said)
    console.print(table)
    rows = [row for part in parts for row in part.rows]
    if rows:
        figures = Table()
        for title in ("figure", "value", "unit", "peer", "peer's"):
            figures.add_column(title)
        for row in rows:
            value, theirs = (f"{x:.4g}" if x else "" for x in (row.value, row.peer_value))
            figures.add_row(row.metric, value, row.unit, row.peer, theirs)
        console.print(figures)
    counts = [f"{sum(p.state == state for p in parts)} {state}" for state in _MARKS]
    found = ", ".join(f"{k} {v}" for k, v in machine.installed.items() if v) or "nothing"
    console.print(f"{', '.join(counts)}. Installed: {found}. {machine.jetson}".strip())
    return text.getvalue()


def to_json(machine: Machine, parts: Sequence[Part]) -> dict[str, object]:
    """Return what the file holds: a benchmark's, with the GPU and the parts beside it."""
    rows = [row for part in parts for row in part.rows]
    return {
        **as_json("gpu_check", rows),
        "gpu": None if machine.gpu is None else asdict(machine.gpu),
        "jetson": machine.jetson,
        "installed": machine.installed,
        "parts": [{"name": p.name, "state": p.state, "said": p.said} for p in parts],
    }


if __name__ == "__main__":
    sys.exit(main())
