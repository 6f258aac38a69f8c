"""What an ONNX file says of itself, before anybody wrote a package for it.

The graph tells names, types, shapes and operators. It does not tell what the pixels must become,
what the outputs mean, or when the model is the right one: those a person must know.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from engines.graph.adopting import Adopted
from engines.graph.errors import GraphError
from engines.graph.model import parse_model
from engines.graph.wiring import makers, tensors_of
from engines.manifest import OutputKind
from engines.runtime.protocol import LOGITS

Size = int | str | None
"""Of an axis: fixed, free by a name, or free without one."""

_FLOAT = "float32"
_FEW_CHANNELS, _MOST_CHANNELS = 4, 32  # what one image has; what is still thought to be channels
_SQUASHING = {"Softmax", "Sigmoid"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or an output of the graph.

    Parameters
    ----------
    name : str
    dtype : str
        As numpy names it.
    shape : tuple of int, str or None
        A name or None where the axis is free.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} {self.dtype} [{sizes}]"


@dataclass(frozen=True, slots=True)
class Interview:
    """All that a graph tells.

    Parameters
    ----------
    inputs, outputs : tuple of Tensor
        Inputs without those that are weights.
    opset : int
        Of the default domain.
    producer : str
        Who wrote the file; may be empty.
    operators : mapping of str to int
        How often each is used.
    parameters : int
        Weights, counted one by one.
    size : int
        Bytes of the file.
    digest : str
        SHA-256 of the file.
    answer : Tensor
        The output that a package reads.
    last : str
        The operator that it comes out of; empty where it is an input.
    broken : tuple of str
        Names of weights that hold values that are not numbers.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    answer: Tensor
    opset: int
    producer: str
    operators: Mapping[str, int]
    parameters: int
    size: int
    digest: str
    last: str
    broken: tuple[str, ...] = ()

    @property
    def probabilities(self) -> bool:
        """Whether the model ends in what makes probabilities, where a package wants logits."""
        return self.kind == "logits" and self.last in _SQUASHING

    @property
    def kind(self) -> OutputKind | None:
        """``logits`` or ``segmentation`` by the number of axes, None where it is neither."""
        return _kind(self.inputs[0], self.answer)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Names of the other outputs that could be the answer."""
        return tuple(
            one.name
            for one in self.outputs
            if one != self.answer and _kind(self.inputs[0], one) is not None
        )

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why no package can be made of it as it is; empty where one can."""
        found = []
        if len(self.inputs) != 1:
            names = "; ".join(map(str, self.inputs))
            found.append(f"It takes {len(self.inputs)} inputs ({names}); a package has one.")
        first = self.inputs[0]
        if first.dtype != _FLOAT:
            found.append(f"Its input {first} is not {_FLOAT}. Export it with {_FLOAT} inputs.")
        if first.shape and isinstance(first.shape[0], int):
            found.append(
                f"The first axis of {first} is fixed, and the graph relies on it. Export it with a "
                "free batch axis."
            )
        if self.kind is None:
            found.append(
                f"It leads from {first} to {self.answer}. A package takes slices, from [n, "
                "channels, height, width] to [n, outputs], or volumes, from [n, channels, depth, "
                "height, width] to [n, classes, depth, height, width]."
            )
        if self.answer.dtype != _FLOAT:
            found.append(f"Its output {self.answer} is not {_FLOAT}.")
        if _channels_last(first.shape):
            found.append(
                f"The last axis of {first} looks like its channels, as TensorFlow has them; a "
                "package gives them first. With tf2onnx: --inputs-as-nchw "
                f"{first.name}; otherwise put a Transpose before its first node."
            )
        elif any(isinstance(size, str) or size is None for size in first.shape[1:2]):
            found.append(f"The number of channels of {first} is free; a package fixes it.")
        if self.broken:
            found.append(
                f"{len(self.broken)} of its weights hold values that are not numbers (NaN), the "
                f"first of them {self.broken[0]!r}. What they touch has no result: it was not "
                "trained to an end, or is damaged."
            )
        return tuple(found)


def _kind(given: Tensor, answer: Tensor) -> OutputKind | None:
    known: dict[tuple[int, int], OutputKind] = {(4, 2): "logits", (5, 5): "segmentation"}
    return known.get((len(given.shape), len(answer.shape)))


def _answer(given: Tensor, outputs: tuple[Tensor, ...], wanted: str | None) -> Tensor:
    """Return the output that was asked for; else one called logits, else the first that fits."""
    if wanted is not None:
        named = [one for one in outputs if one.name == wanted]
        if not named:
            names = ", ".join(one.name for one in outputs)
            raise GraphError(f"--output {wanted!r} is not an output of the model; it has {names}.")
        return named[0]
    fitting = [one for one in outputs if _kind(given, one) is not None]
    called = [one for one in fitting if one.name == LOGITS]
    return (*called, *fitting, *outputs)[0]


def _channels_last(shape: tuple[Size, ...]) -> bool:
    """Return whether few channels stand behind the rows and columns, and no few before them."""
    if len(shape) not in (4, 5):
        return False
    second, last = shape[1], shape[-1]
    few = isinstance(last, int) and last <= _FEW_CHANNELS
    return few and not (isinstance(second, int) and second <= _MOST_CHANNELS)


def interview(adopted: Adopted, output: str | None = None) -> Interview:
    """Read a graph.

    Parameters
    ----------
    adopted : Adopted
        A model, weights inside.
    output : str, optional
        The output that answers, where the graph does not tell by itself.

    Raises
    ------
    GraphError
        If it is not ONNX, is damaged, invalid, too old, or has no such output.
    """
    file, content = adopted.source, adopted.content
    model = parse_model(content, file)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_tensor(value, file) for value in graph.input if value.name not in weights)
    if not inputs or not graph.output:
        raise GraphError(f"{file}: a model needs an input and an output.")
    outputs = tuple(_tensor(value, file) for value in graph.output)
    answer = _answer(inputs[0], outputs, output)
    return Interview(
        inputs=inputs,
        outputs=outputs,
        answer=answer,
        opset=next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        operators=dict(Counter(node.op_type for node in graph.node).most_common()),
        parameters=sum(prod(tensor.dims) for tensor in tensors_of(graph)),
        size=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        last=_last(graph, answer.name),
        broken=tuple(one.name for one in tensors_of(graph) if _holds_nan(one)),
    )


def _last(graph: onnx.GraphProto, name: str) -> str:
    """Return the operator that makes a tensor, behind what only hands it on; empty of an input."""
    made = makers(graph)
    while (node := made.get(name)) is not None and node.op_type == "Identity":
        name = node.input[0]
    return "" if node is None else str(node.op_type)


def _holds_nan(tensor: onnx.TensorProto) -> bool:
    # Infinite ones are legitimate: masks are made of them.
    values = onnx.numpy_helper.to_array(tensor)
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _tensor(value: onnx.ValueInfoProto, file: str) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise GraphError(
            f"{file}: {value.name!r} is a sequence or a map, and a package takes tensors alone. "
            'With skl2onnx: options={"zipmap": False}'
        )
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
        for axis in kind.shape.dim
    )
    return Tensor(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)
