"""int8, written into the graph as QuantizeLinear and DequantizeLinear from calibration data.

What TensorRT's parser takes is narrow: symmetric s8 with zero point 0, weights with one scale per
channel, and no quantized bias. ONNX Runtime runs the same graph, and runs it fast on a CPU after
`engines.graph.twin`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from engines.graph.errors import GraphError, NotOffered
from engines.graph.model import check_result, parse_model
from engines.graph.observe import Seen, observe, run
from engines.graph.pooling import joined
from engines.graph.rectify import without_pairs_before
from engines.graph.samples import Feeds
from engines.graph.sensitive import gains_in_int8, refuse_quantized, unquantized

_HELD_AT_ONCE = 1 << 30  # bytes of tensors
_HIGHEST_OPSET = 22  # in which every ONNX Runtime that can be installed here quantizes


class Calibrator(Enum):
    """How the range of a tensor is chosen from what was seen of it."""

    MINMAX = "minmax"
    """All that was seen; one outlier makes every step coarse."""
    PERCENTILE = "percentile"
    """All but the outermost 0.001 percent."""
    ENTROPY = "entropy"
    """The range whose histogram keeps most information (Migacz, GTC 2017).

    Where most values are zero, as after ReLU, it may clip what matters: read the report first.
    """


# With ONNX Runtime's own 128 bins for 128 steps entropy has a single range to choose from, the
# whole, and is min-max by another name; `quantize_static` cannot be told otherwise, so its two
# halves, calibration and quantization, are called here one by one.
_METHODS: dict[Calibrator, tuple[CalibrationMethod, dict[str, object]]] = {
    Calibrator.MINMAX: (CalibrationMethod.MinMax, {}),
    Calibrator.PERCENTILE: (
        CalibrationMethod.Percentile,
        {"num_bins": 2048, "percentile": 99.999, "symmetric": True},
    ),
    Calibrator.ENTROPY: (
        CalibrationMethod.Entropy,
        {"num_bins": 512, "num_quantized_bins": 128, "symmetric": True},
    ),
}


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Hands the samples out once, as ONNX Runtime asks for them."""

    def __init__(self, samples: Sequence[Feeds]) -> None:
        self._next = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self._next, None)


def to_int8(
    model: onnx.ModelProto, samples: Sequence[Feeds], calibrator: Calibrator
) -> onnx.ModelProto:
    """Quantize a float32 graph to explicit s8.

    Parameters
    ----------
    model : onnx.ModelProto
        From `engines.graph.model.parse_model`; it is left as it is.
    samples : sequence of dict
        Calibration inputs. Every tensor of one run at least is held at once, so large volumes are
        better given as crops.
    calibrator : Calibrator
        How ranges are chosen.

    Returns
    -------
    onnx.ModelProto
        The s8 graph, for TensorRT. `engines.graph.twin.cpu_twin` makes its equal for a CPU.

    Raises
    ------
    GraphError
        If there are no samples, or the graph cannot be quantized.
    NotOffered
        If int8 would gain nothing, or the graph is quantized already.
    """
    refuse_quantized(model)
    if not samples:
        raise GraphError("int8 needs calibration inputs: the package's check set, or an npz.")
    with tempfile.TemporaryDirectory(prefix="scanside-int8-") as folder, _quiet():
        try:
            prepared = _prepared(model, Path(folder))
            seen = observe(prepared, samples)
            kept = unquantized(prepared, seen)
            if not gains_in_int8(prepared, kept):
                raise NotOffered(
                    "int8 would gain nothing: every convolution and matrix product stays in fp32 "
                    "(or there is none). Serve this model in fp16 or fp32."
                )
            groups = _groups(samples, seen)
            ranges = _ranges(prepared, groups, calibrator, Path(folder))
            quantizer = QDQQuantizer(
                prepared,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8,
                tensors_range=ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=[item.node for item in kept],
                op_types_to_quantize=_operators(),
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()  # it appends as it goes
            quantized = quantizer.model.model
            without_pairs_before(quantized)
        except NotOffered:
            raise
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            raise GraphError(
                f"The graph cannot be quantized: {error}. Serve this model in fp16 or fp32."
            ) from error
    _refuse_unrunnable(quantized)
    return check_result(quantized, "int8")


def _refuse_unrunnable(model: onnx.ModelProto) -> None:
    """Refuse an opset whose QuantizeLinear ONNX Runtime does not have: it comes after ONNX's."""
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset <= _HIGHEST_OPSET:
        return
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["y"])],
        "rounds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("point", TensorProto.INT8, [], [0]),
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    asked = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version)
    try:
        run(asked, [])
    except GraphError as error:
        raise GraphError(
            f"ONNX Runtime {onnxruntime.__version__} has no QuantizeLinear of opset {opset}. For "
            f"int8 export the model again with opset {_HIGHEST_OPSET} or lower."
        ) from error


def _groups(samples: Sequence[Feeds], seen: Mapping[str, Seen]) -> Sequence[Sequence[Feeds]]:
    """Return the samples in the groups of which ONNX Runtime holds every tensor at once.

    All of them together bin a histogram best; a volume's do not fit into a machine's memory.
    """
    one = 4 * sum(tensor.elements for tensor in seen.values())
    count = sum(len(next(iter(feeds.values()))) for feeds in samples)
    return [samples] if one * count <= _HELD_AT_ONCE else [[feeds] for feeds in samples]


def _ranges(
    model: onnx.ModelProto,
    groups: Sequence[Sequence[Feeds]],
    calibrator: Calibrator,
    folder: Path,
) -> TensorsData:
    source = folder / "calibrate.onnx"
    source.write_bytes(model.SerializeToString())
    method, options = _METHODS[calibrator]
    collecting = create_calibrator(
        source,
        _operators(),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=method,
        extra_options=options,
    )
    for group in groups:
        collecting.collect_data(_Reader(group))
    return collecting.compute_data()


def _operators() -> list[str]:
    """Return every operator that ONNX Runtime knows how to quantize, always in one order."""
    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _prepared(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Fold what folds (normalisations and averages into convolutions), to be quantized as one."""
    source, target = folder / "float.onnx", folder / "prepared.onnx"
    source.write_bytes(joined(model).SerializeToString())
    quant_pre_process(source, target, skip_symbolic_shape=True)
    return parse_model(target.read_bytes(), "the prepared graph")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's calibration prints and logs to the root; neither is for our reader."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
