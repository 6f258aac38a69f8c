"""What MLServer runs for the tests, in its own environment: an ONNX file, named in its settings."""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

_TYPES = {"FP32": np.float32, "FP16": np.float16, "INT32": np.int32}
_NAMES = {np.dtype(dtype): name for name, dtype in _TYPES.items()}


class OnnxModel(MLModel):  # type: ignore[misc]  # MLServer lives in an environment of its own
    """Plain ONNX Runtime behind MLServer."""

    async def load(self) -> bool:
        """Read the file that the settings name."""
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run what came."""
        feeds = {
            item.name: np.array(item.data, _TYPES[item.datatype]).reshape(item.shape)
            for item in payload.inputs
        }
        names = [output.name for output in self._session.get_outputs()]
        values = self._session.run(names, feeds)
        # Not through MLServer's codec for numpy, which makes an empty place of what is no number.
        outputs = [
            ResponseOutput(
                name=name,
                shape=list(value.shape),
                datatype=_NAMES[value.dtype],
                data=value.ravel().tolist(),
            )
            for name, value in zip(names, values, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
