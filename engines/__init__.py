"""What turns a model file into checked inference. Knows tensors; nothing of DICOM or patients."""

from engines.aggregate import aggregate, calibrate, segment, volume_ml
from engines.package import (
    Aggregate,
    Code,
    FamiliarSpec,
    FindingSpec,
    InputSpec,
    Measure,
    ModelPackage,
    OutputSpec,
    PackageError,
    Route,
    VolumeSpec,
    load_package,
)
from engines.parity import LABELS, FindingParity, Parity, compare
from engines.runtime.protocol import LOGITS, Engine, EngineError, Precision, TensorSpec
from engines.serving import check_tensors, load_engine, shipped_packages

__all__ = [
    "LABELS",
    "LOGITS",
    "Aggregate",
    "Code",
    "Engine",
    "EngineError",
    "FamiliarSpec",
    "FindingParity",
    "FindingSpec",
    "InputSpec",
    "Measure",
    "ModelPackage",
    "OutputSpec",
    "PackageError",
    "Parity",
    "Precision",
    "Route",
    "TensorSpec",
    "VolumeSpec",
    "aggregate",
    "calibrate",
    "check_tensors",
    "compare",
    "load_engine",
    "load_package",
    "segment",
    "shipped_packages",
    "volume_ml",
]
