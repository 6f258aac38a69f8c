"""An ONNX file as exporters write it becomes one that a package can hold.

Weights that lie in other files come inside, an old opset is raised and a first axis that was fixed
is freed, where the graph, run, is seen to hold; and what a network subtracts from its pixels and
divides them by is put in front of it. Where nothing of this is needed the file stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import (
    TensorProto,
    checker,
    external_data_helper,
    helper,
    numpy_helper,
    version_converter,
)

from engines.graph.errors import GraphError
from engines.graph.model import LOWEST_OPSET, parse_model
from engines.graph.observe import run
from engines.graph.wiring import tensors_of
from engines.runtime.protocol import Array

MODEL_BYTES = 512 * 1024 * 1024
_BATCH = "n"
_TRIED = 3  # in one batch, against one by one
_FREE_SIDE = 64  # pixels along an axis that the graph leaves free, for the trial
_SLICES, _VOLUMES = 4, 5  # axes


@dataclass(frozen=True, slots=True)
class Adopted:
    """A model file, whole.

    Parameters
    ----------
    source : str
        The file, for errors.
    content : bytes
        The model, weights inside.
    changes : tuple of str
        What was changed, for people; empty where `content` is the file's own.
    """

    source: str
    content: bytes
    changes: tuple[str, ...] = ()


def adopt(file: Path, *, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Adopted:
    """Read a model file and make it whole.

    Parameters
    ----------
    file : pathlib.Path
        ONNX; files that it names for its weights lie beside it.
    mean, std : sequence of float
        What is subtracted from each channel of the input, and what it is then divided by; one
        number serves all channels, none leaves the input as it is.

    Raises
    ------
    GraphError
        If a file cannot be read, lacks weights or is too large, or `mean` and `std` do not fit.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise GraphError(f"{file}: cannot be read: {error.strerror}.") from error
    _check_size(file, len(content))
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        return Adopted(str(file), content)  # whoever parses it says so
    changes = _brought_inside(model, file)
    found = _raised(model)
    if found is not None:
        model, change = found
        changes.append(change)
    changes += _normalising(model, mean, std)
    found = _freed(model, str(file))
    if found is not None:
        model, change = found
        changes.append(change)
    if changes:
        content = model.SerializeToString()
    return Adopted(str(file), content, tuple(changes))


def _check_size(file: Path, size: int) -> None:
    if size > MODEL_BYTES:
        raise GraphError(f"{file}: {size} bytes; at most {MODEL_BYTES} are allowed.")


def _brought_inside(model: onnx.ModelProto, file: Path) -> list[str]:
    """Bring weights in from other files, in place."""
    outside = [
        external_data_helper.ExternalDataInfo(one)
        for one in tensors_of(model.graph)
        if external_data_helper.uses_external_data(one)
    ]
    if not outside:
        return []
    places = sorted({one.location for one in outside})
    _check_size(file, sum(one.length or 0 for one in outside))
    try:
        external_data_helper.load_external_data_for_model(model, str(file.parent))
    except (OSError, ValueError, checker.ValidationError) as error:
        raise GraphError(
            f"{file}: keeps {len(outside)} weights in {', '.join(places)}, which cannot be read "
            f"({error}). Put what was exported with it beside it."
        ) from error
    _check_size(file, sum(len(one.raw_data) for one in tensors_of(model.graph)))
    return [f"{len(outside)} weights came in from {', '.join(places)}"]


def _input(model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """Return the one input of slices or volumes that a package takes, where there is such a one."""
    weights = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        return None
    axes = len(inputs[0].type.tensor_type.shape.dim)
    return inputs[0] if axes in (_SLICES, _VOLUMES) else None


def _raised(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str] | None:
    """Return a graph of an old opset in the lowest that is read, where it answers as before."""
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    given = _input(model)
    if not 0 < opset < LOWEST_OPSET or given is None:
        return None
    try:
        newer = version_converter.convert_version(model, LOWEST_OPSET)
        feeds = {given.name: _random(given, 1)}
        (before,), (after,) = run(model, [feeds]), run(newer, [feeds])
    except (GraphError, RuntimeError, ValueError):
        return None
    if not all(_same(before[name], after[name]) for name in before):
        return None
    return newer, f"opset {opset} was raised to {LOWEST_OPSET}; it answers as before"


def _same(one: Array, two: Array) -> bool:
    return one.shape == two.shape and np.allclose(one, two, rtol=1e-3, atol=1e-4)


def _random(given: onnx.ValueInfoProto, count: int) -> Array:
    axes = given.type.tensor_type.shape.dim[1:]
    sides = [axis.dim_value if axis.dim_value > 0 else _FREE_SIDE for axis in axes]
    return np.random.default_rng(0).random((count, *sides)).astype(np.float32)


def _normalising(model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]) -> list[str]:
    """Put a subtraction and a division in front of the graph, in place."""
    if not mean and not std:
        return []
    given = _input(model)
    if given is None:
        raise GraphError("--mean and --std are for a model with one input of slices or volumes.")
    axes = given.type.tensor_type.shape.dim
    channels = axes[1].dim_value
    for word, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (0, 1, channels):
            raise GraphError(
                f"{word} has {len(values)} numbers; the input {given.name!r} has {channels} "
                "channels. Give one for each, or one for all."
            )
    if any(value <= 0 for value in std):
        raise GraphError("--std holds numbers above 0: it divides.")
    name, said = given.name, []
    for op, word, values in (("Sub", "mean", mean), ("Div", "std", std)):
        if not values:
            continue
        before, name, constant = name, f"{given.name}.less_{word}", f"{given.name}.{word}"
        shape = (1, -1, *(1 for _ in axes[2:]))
        array = np.array(values, np.float32).reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array(array, constant))
        said.append(f"{word} {' '.join(f'{value:g}' for value in values)}")
        for node in model.graph.node:
            _read_instead(node, before, name)
        model.graph.node.insert(
            1 if op == "Div" and mean else 0,
            helper.make_node(op, [before, constant], [name], f"{name}.node"),
        )
    return [f"{' and '.join(said)} stand in front of it now"]


def _read_instead(node: onnx.NodeProto, before: str, after: str) -> None:
    for place, name in enumerate(node.input):
        # The node that was put there first goes on reading what it reads.
        if name == before and not node.output[0].startswith(f"{before}.less_"):
            node.input[place] = after
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _read_instead(inner, before, after)


def rows(adopted: Adopted, output: str) -> int | None:
    """Return how many rows an output has for a batch of two slices; None where it does not run.

    A classifier gives one for each slice. A detector gives one for each thing that it found.
    """
    model = parse_model(adopted.content, adopted.source)
    given = _input(model)
    if given is None:
        return None
    try:
        (found,) = run(model, [{given.name: _random(given, 2)}])
    except GraphError:
        return None
    return int(found[output].shape[0])


def _freed(model: onnx.ModelProto, source: str) -> tuple[onnx.ModelProto, str] | None:
    """Return the graph with its first axis free, where it is fixed and the graph holds without."""
    given = _input(model)
    if given is None or not given.type.tensor_type.shape.dim[0].HasField("dim_value"):
        return None
    axes = given.type.tensor_type.shape.dim
    size = axes[0].dim_value
    free = onnx.ModelProto()
    free.CopyFrom(model)
    for value in (*free.graph.input, *free.graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_value == size:
            shape.dim[0].dim_param = _BATCH
    del free.graph.value_info[:]
    said = f"its first axis was fixed to {size} and is free now"
    if len(axes) == _VOLUMES and size == 1:
        return free, f"{said}: volumes are run one by one"
    many = _random(given, _TRIED)
    try:
        whole = parse_model(free.SerializeToString(), source)
        one_by_one = run(whole, [{given.name: one[None]} for one in many])
        (together,) = run(whole, [{given.name: many}])
    except GraphError:
        return None
    for name, values in together.items():
        if values.ndim == 0 or any(len(one[name]) != 1 for one in one_by_one):
            return None
        if not _same(np.concatenate([one[name] for one in one_by_one]), values):
            return None
    return free, f"{said}: {_TRIED} at once gave what each gave alone"
