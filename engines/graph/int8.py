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
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from engines.graph.errors import GraphError
from engines.graph.model import check_result, parse_model
from engines.graph.observe import observe
from engines.graph.samples import Feeds
from engines.graph.sensitive import unquantized


class Calibrator(Enum):
    """How the range of a tensor is chosen from what was seen of it."""

    MINMAX = "minmax"
    """All that was seen; one outlier makes every step coarse."""
    PERCENTILE = "percentile"
    """All but the outermost 0.001 percent."""
    ENTROPY = "entropy"
    """The range whose histogram keeps most information (Migacz, GTC 2017)."""


_METHODS = {
    Calibrator.MINMAX: CalibrationMethod.MinMax,
    Calibrator.PERCENTILE: CalibrationMethod.Percentile,
    Calibrator.ENTROPY: CalibrationMethod.Entropy,
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
        Calibration inputs. Every tensor of one run is held at once, so large volumes are better
        given as crops.
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
    """
    if not samples:
        raise GraphError("int8 needs calibration inputs: the package's check set, or an npz.")
    with tempfile.TemporaryDirectory(prefix="scanside-int8-") as folder, _quiet():
        try:
            prepared = _prepared(model, Path(folder))
            kept = unquantized(prepared, observe(prepared, samples))
            target = Path(folder) / "int8.onnx"
            quantize_static(
                prepared,
                target,
                _Reader(samples),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[item.node for item in kept],
                calibrate_method=_METHODS[calibrator],
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
            quantized = onnx.load(target)
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            raise GraphError(
                f"The graph cannot be quantized: {error}. Serve this model in fp16 or fp32."
            ) from error
    return check_result(quantized, "int8")


def _prepared(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Fold what folds (batch normalisation into convolutions), so that it is quantized as one."""
    source, target = folder / "float.onnx", folder / "prepared.onnx"
    source.write_bytes(model.SerializeToString())
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
