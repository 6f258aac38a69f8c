"""The building process: `python -m engines.build.worker EVENTS_FD`, plan on standard input.

It writes one JSON object a line to the file descriptor: progress, warnings, then ``done`` or
``failed``. When standard input closes, whoever wanted the engine is gone, and so is this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from engines.build.memory import starved
from engines.build.modules import Flavour, PlanRefused, load, write_whole
from engines.build.plan import BuildPlan, Shapes
from engines.graph.errors import GraphError
from engines.graph.model import parse_model

_ABANDONED = 3
_MOST_WARNINGS = 100
_PARSE_ERRORS = 5


class Failed(Exception):
    """The build ended without an engine."""


class Starved(Exception):
    """The builder got no more memory; smaller pools may do."""


class Events:
    """The way back to whoever started this process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # The builder may call from threads of its own; a line is written in one go.
        self._lock = threading.Lock()

    def send(self, kind: str, **facts: object) -> None:
        """Write one event."""
        with self._lock:
            self._stream.write(json.dumps({"event": kind, **facts}) + "\n")
            self._stream.flush()


def main() -> int:
    """Build what standard input says."""
    # Ctrl-C reaches the whole terminal; whoever started this process decides, and closes its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(int(sys.argv[1]), "w", encoding="utf-8") as stream:  # noqa: PTH123  # a descriptor
        events = Events(stream)
        plan = BuildPlan.from_json(sys.stdin.readline())
        threading.Thread(target=_leave_when_abandoned, daemon=True).start()
        # Under pressure the kernel should take this process and not the daemon.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        try:
            _build(plan, events)
        except (Failed, PlanRefused, GraphError, OSError) as error:
            events.send("failed", message=str(error))
            return 1
        except (Starved, MemoryError) as error:
            events.send("memory", message=str(error))
            return 1
    return 0


def _leave_when_abandoned() -> None:
    sys.stdin.read()
    os._exit(_ABANDONED)


def _build(plan: BuildPlan, events: Events) -> None:
    # The graph is read before TensorRT is: what is no ONNX model gets a plain answer.
    model = parse_model(plan.model.read_bytes(), str(plan.model))
    flavour = load(plan.module)
    trt = flavour.module
    logger = _logger(flavour, events)
    builder = trt.Builder(logger)
    if builder is None:
        raise Failed(f"{flavour.name} {flavour.version} cannot start: {logger.said()}")
    network = builder.create_network(flavour.network_flags())
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        _leave_if_starved(logger.said())
        raise Failed(f"{plan.model}: {flavour.name} {flavour.version} {_refusal(parser, logger)}")
    config = builder.create_builder_config()
    for note in flavour.configure(builder, config, plan):
        events.send("warning", message=note)
    _set_profile(builder, network, config, plan.shapes)
    monitor = _monitor(trt, events)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        _leave_if_starved(logger.said())
        raise Failed(_explain(plan, flavour, logger.said()))
    flavour.keep_timings(config, plan)
    content = bytes(engine)
    write_whole(plan.target, content)
    events.send("done", size=len(content), builder=f"{flavour.name} {flavour.version}")


def _leave_if_starved(said: str) -> None:
    if starved(said):
        raise Starved(said)


def _set_profile(builder: Any, network: Any, config: Any, shapes: tuple[Shapes, ...]) -> None:
    known = {item.tensor: item for item in shapes}
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    unknown = sorted(known.keys() - {tensor.name for tensor in inputs})
    if unknown:
        names = ", ".join(tensor.name for tensor in inputs)
        raise Failed(f"Input {unknown[0]!r} is not in the model; it has {names}.")
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        wanted = tuple(tensor.shape)
        if -1 not in wanted and tensor.name not in known:
            continue
        item = known.get(tensor.name)
        if item is None:
            raise Failed(f"Input {tensor.name!r} has free axes {wanted}: give its shapes.")
        if not _fit(item, wanted):
            raise Failed(
                f"Input {tensor.name!r} is {wanted} in the model (-1 is free), which the shapes "
                f"{item.smallest}, {item.usual}, {item.largest} do not fit, or they do not rise."
            )
        profile.set_shape(tensor.name, item.smallest, item.usual, item.largest)
    config.add_optimization_profile(profile)


def _fit(item: Shapes, wanted: tuple[int, ...]) -> bool:
    trio = (item.smallest, item.usual, item.largest)
    if any(len(shape) != len(wanted) for shape in trio):
        return False
    return all(
        1 <= low <= middle <= high and (size == -1 or low == high == size)
        for low, middle, high, size in zip(*trio, wanted, strict=True)
    )


def _refusal(parser: Any, logger: Any) -> str:
    found = []
    for index in range(min(parser.num_errors, _PARSE_ERRORS)):
        error = parser.get_error(index)
        if error.node_operator():
            where = f"node {error.node_name()!r} ({error.node_operator()})"
            found.append(f"does not take {where}: {error.code().name}{_described(error)}")
        else:
            found.append(f"cannot read it: {error.desc()}")
    return "; ".join(found) or f"cannot read it: {logger.said()}"


def _described(error: Any) -> str:
    # For an operator that it has no importer for, the parser's description is a bare "false".
    return "" if error.desc() in ("", "false") else f": {error.desc()}"


def _explain(plan: BuildPlan, flavour: Flavour, said: str) -> str:
    start = f"{plan.model}: {flavour.name} {flavour.version} built no engine"
    if "OutOfMemory" in said or "out of memory" in said.lower():
        return (
            f"{start}: its workspace of {plan.workspace >> 20} MiB is too small for the largest "
            f"shapes. Allow more workspace, or build for a smaller batch or volume. It said: {said}"
        )
    return f"{start}: {said}"


def _logger(flavour: Flavour, events: Events) -> Any:
    """Return a logger that keeps errors and passes warnings on, each once."""
    warned: set[str] = set()

    def warn(message: str) -> None:
        if message not in warned and len(warned) < _MOST_WARNINGS:
            warned.add(message)
            events.send("warning", message=message)

    return flavour.kept_errors(warn)


def _monitor(trt: Any, events: Events) -> Any:
    """Return a monitor that passes phases and steps on."""

    class Passed(trt.IProgressMonitor):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            events.send("phase", name=phase, parent=parent, step=0, steps=steps)

        def step_complete(self, phase: str, step: int) -> bool:
            events.send("phase", name=phase, parent=None, step=step + 1, steps=None)
            return True  # cancelling ends this whole process

        def phase_finish(self, phase: str) -> None:
            events.send("phase", name=phase, parent=None, step=None, steps=None)

    return Passed()


if __name__ == "__main__":
    sys.exit(main())
