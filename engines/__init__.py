"""What turns a model file into checked inference. Knows tensors; nothing of DICOM or patients."""

from engines.activation import Activated, ActivationError
from engines.aggregate import aggregate, calibrate, segment, volume_ml
from engines.cache import CacheError, EngineKey
from engines.change import Amount, amount, changed
from engines.fitting import check_tensors
from engines.manifest import PriorSpec
from engines.package import (
    Aggregate,
    Code,
    CoverageSpec,
    FamiliarSpec,
    FindingSpec,
    InputSpec,
    Measure,
    ModelDamaged,
    ModelPackage,
    OutputSpec,
    PackageDraft,
    PackageError,
    Route,
    VolumeSpec,
    load_package,
    read_package,
)
from engines.parity import LABELS, FindingParity, Parity, compare
from engines.runtime.protocol import LOGITS, Engine, EngineError, Precision, TensorSpec
from engines.serving import (
    Serving,
    keep_as_good,
    load_again,
    load_built,
    load_engine,
    may_rest,
    serve,
    shipped_packages,
)
from engines.store import EngineStore

__all__ = [
    "LABELS",
    "LOGITS",
    "Activated",
    "ActivationError",
    "Aggregate",
    "Amount",
    "CacheError",
    "Code",
    "CoverageSpec",
    "Engine",
    "EngineError",
    "EngineKey",
    "EngineStore",
    "FamiliarSpec",
    "FindingParity",
    "FindingSpec",
    "InputSpec",
    "Measure",
    "ModelDamaged",
    "ModelPackage",
    "OutputSpec",
    "PackageDraft",
    "PackageError",
    "Parity",
    "Precision",
    "PriorSpec",
    "Route",
    "Serving",
    "TensorSpec",
    "VolumeSpec",
    "aggregate",
    "amount",
    "calibrate",
    "changed",
    "check_tensors",
    "compare",
    "keep_as_good",
    "load_again",
    "load_built",
    "load_engine",
    "load_package",
    "may_rest",
    "read_package",
    "segment",
    "serve",
    "shipped_packages",
    "volume_ml",
]
