"""What turns a model file into checked inference. Knows tensors; nothing of DICOM or patients."""

from engines.aggregate import aggregate, calibrate
from engines.package import (
    Aggregate,
    Code,
    FindingSpec,
    InputSpec,
    Measure,
    ModelPackage,
    PackageError,
    Route,
    load_package,
)
from engines.parity import Parity, compare
from engines.runtime.protocol import LOGITS, Engine, EngineError, TensorSpec
from engines.serving import check_tensors, load_engine, shipped_packages

__all__ = [
    "LOGITS",
    "Aggregate",
    "Code",
    "Engine",
    "EngineError",
    "FindingSpec",
    "InputSpec",
    "Measure",
    "ModelPackage",
    "PackageError",
    "Parity",
    "Route",
    "TensorSpec",
    "aggregate",
    "calibrate",
    "check_tensors",
    "compare",
    "load_engine",
    "load_package",
    "shipped_packages",
]
