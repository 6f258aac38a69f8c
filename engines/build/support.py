"""Which nodes of a graph would a builder not take? Its own parser is asked.

`python -m engines.build.support MODULE MODEL` prints the answer as JSON. The parser is native code
that reads a file nobody here made, so it gets a process that may die of it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from engines.build.modules import PlanRefused, load
from engines.build.plan import Module

_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A node that a parser does not take.

    Parameters
    ----------
    node, op : str
        Its name and operator.
    reason : str
        What the parser said.
    """

    node: str
    op: str
    reason: str


@dataclass(frozen=True, slots=True)
class Support:
    """What a builder says of a graph.

    Parameters
    ----------
    builder : str
        Module and version.
    refused : tuple of Refused
        Empty where it takes every node.
    problem : str or None
        Why it could not be asked.
    """

    builder: str
    refused: tuple[Refused, ...]
    problem: str | None = None


def present_modules() -> tuple[Module, ...]:
    """Return which of the two builders are installed, without importing them."""
    known: tuple[Module, ...] = ("tensorrt", "tensorrt_rtx")
    return tuple(name for name in known if importlib.util.find_spec(name) is not None)


def ask(module: Module, model: Path) -> Support:
    """Ask a builder's parser about a model.

    Parameters
    ----------
    module : str
        One of `present_modules`.
    model : pathlib.Path
        ONNX.

    Returns
    -------
    Support
        With a `problem` where the parser gave no answer: it died, or took longer than two minutes.
    """
    command = [sys.executable, "-m", "engines.build.support", module, str(model)]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        held = json.loads(answer.stdout)
    except subprocess.TimeoutExpired:
        return Support(module, (), f"its parser took longer than {_PATIENCE_S:g} s")
    except ValueError:
        return Support(module, (), f"its parser ended with status {answer.returncode}")
    refused = tuple(Refused(**one) for one in held["refused"])
    return Support(held["builder"], refused, held["problem"])


def _asked(module: Module, model: Path) -> Support:
    try:
        flavour = load(module)
    except PlanRefused as error:
        return Support(module, (), str(error))
    name = f"{flavour.name} {flavour.version}"
    trt = flavour.module
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    if builder is None:
        return Support(name, (), "it cannot start on this machine")
    network = builder.create_network(flavour.network_flags())
    parser = trt.OnnxParser(network, logger)
    parser.supports_model_v2(model.read_bytes())
    said = [parser.get_error(number) for number in range(parser.num_errors)]
    refused = {
        (one.node_name(), one.node_operator()): Refused(
            one.node_name(), one.node_operator(), str(one.desc())
        )
        for one in said
    }
    return Support(name, tuple(refused.values()))


def main() -> int:
    """Answer on standard output."""
    known: dict[str, Module] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}
    sys.stdout.write(json.dumps(asdict(_asked(known[sys.argv[1]], Path(sys.argv[2])))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
