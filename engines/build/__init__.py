"""From an ONNX graph to a TensorRT engine, in a process of its own.

`build` starts that process, passes its progress on, and answers with the engine or with the reason.
"""

from engines.build.plan import BuildPlan, Shapes, shapes_of
from engines.build.process import BuildCancelled, BuildError, BuildResult, Progress, build

__all__ = [
    "BuildCancelled",
    "BuildError",
    "BuildPlan",
    "BuildResult",
    "Progress",
    "Shapes",
    "build",
    "shapes_of",
]
