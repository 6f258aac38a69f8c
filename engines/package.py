"""A model package: a folder with `model.toml` and `model.onnx`, read and validated.

`docs/models.md` explains the format key by key. Reading checks everything that can be known without
running the model, the digest of `model.onnx` included; what only the model itself can tell (its
tensors) is checked when an engine is loaded from it, see `engines.fitting`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import get_args

from engines.fields import FieldError, Table, Unfilled, left_to_fill_in, read_table
from engines.guards import coverage, familiar, prior, swept
from engines.input_spec import InputSpec
from engines.input_table import read_input
from engines.manifest import (
    MODEL_FILE,
    PACKAGE_FILE,
    Aggregate,
    AggregateKind,
    Code,
    CoverageSpec,
    FamiliarSpec,
    FindingSpec,
    Measure,
    ModelPackage,
    OutputKind,
    OutputSpec,
    Route,
    Urgency,
    VolumeSpec,
)

__all__ = [
    "Aggregate",
    "Code",
    "CoverageSpec",
    "FamiliarSpec",
    "FindingSpec",
    "InputSpec",
    "Measure",
    "ModelDamaged",
    "ModelPackage",
    "OutputSpec",
    "PackageDraft",
    "PackageError",
    "Route",
    "VolumeSpec",
    "digest_of",
    "load_package",
    "read_package",
]

_MODEL_BYTES = 512 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MODALITY = re.compile(r"[A-Z]{2,16}")  # a Code String, DICOM PS3.3 C.7.3.1.1.1
_SCHEME = re.compile(r"SCT|RADLEX|DCM|99[A-Z0-9]{1,14}")  # DICOM PS3.16 section 8


class PackageError(ValueError):
    """A model package is not valid; the message names file, key, value and what is allowed."""


class PackageDraft(PackageError):
    """A package is not finished: the message names a value to be filled in, and all their lines."""


class ModelDamaged(PackageError):
    """``model.onnx`` is missing, or not the file that ``model.toml`` names by its digest."""


def load_package(folder: Path) -> ModelPackage:
    """Read and validate a model package, with its model.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``model.toml`` and ``model.onnx``.

    Returns
    -------
    ModelPackage

    Raises
    ------
    PackageDraft
        If a value is still to be filled in.
    ModelDamaged
        If ``model.onnx`` is missing or not the file that ``model.toml`` names by digest.
    PackageError
        If anything else is missing, unknown or out of range.
    """
    package = read_package(folder)
    _same_model(package)
    return package


def read_package(folder: Path) -> ModelPackage:
    """Read and validate ``model.toml`` alone: an engine that is built needs no model any more.

    Raises
    ------
    PackageDraft, PackageError
        As `load_package`.
    """
    try:
        return _read(folder)
    except Unfilled as error:
        raise PackageDraft(f"{error} {left_to_fill_in(folder / PACKAGE_FILE)}") from error
    except FieldError as error:
        raise PackageError(str(error)) from error


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(folder: Path) -> ModelPackage:
    top = read_table(folder / PACKAGE_FILE)
    model, checks = top.table("model"), top.table("checks")
    check_set = _check_set(checks, folder)
    output = _output(top.table("output")) if top.has("output") else OutputSpec()
    segments = output.kind == "segmentation"
    package = ModelPackage(
        name=_matching(model, "name", _NAME, "words of a-z and 0-9 joined by single hyphens"),
        version=_matching(model, "version", _VERSION, "three numbers, as in 1.2.0"),
        digest=_matching(model, "sha256", _DIGEST, "64 digits of 0-9 and a-f"),
        path=folder,
        intended_use=model.text("intended_use"),
        limits=model.text("limits"),
        licence=model.text("licence"),
        training_data=model.text("training_data"),
        measured=tuple(_measure(table) for table in model.tables("measured", least=0)),
        input=read_input(top.table("input"), output),
        routes=tuple(_route(table) for table in top.tables("routes")),
        findings=() if segments else tuple(_finding(one) for one in top.tables("finding")),
        aggregate=_aggregate(top.table("aggregate"), output),
        parity_tolerance=checks.number("parity_tolerance", 0.0, 0.5),
        check_set=check_set,
        output=output,
        volumes=tuple(_volume(one) for one in top.tables("finding")) if segments else (),
        familiar=familiar(top.table("familiar")) if top.has("familiar") else None,
        prior=prior(top.table("prior")) if top.has("prior") else None,
        coverage=coverage(top.table("coverage")) if top.has("coverage") else None,
    )
    if (package.input.studies == 2) is not (package.prior is not None):
        raise top.refuse("prior", 'a table together with [input] normalise = "brain", or left out')
    for table in (model, checks, top):
        table.close()
    return package


def _same_model(package: ModelPackage) -> None:
    if not package.model.is_file():
        raise ModelDamaged(f"{package.model}: not found. A package is model.toml and model.onnx.")
    size = package.model.stat().st_size
    if size > _MODEL_BYTES:
        raise PackageError(f"{package.model}: {size} bytes; at most {_MODEL_BYTES} are allowed.")
    found = digest_of(package.model)
    if found != package.digest:
        raise ModelDamaged(
            f"{package.path / PACKAGE_FILE}: [model] sha256 = {package.digest!r} is not the digest "
            f"of {MODEL_FILE}, which is {found}: the model was replaced or damaged."
        )


def _matching(table: Table, key: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = table.text(key, longest=64)
    if not pattern.fullmatch(value):
        raise table.refuse(key, allowed)
    return value


def _measure(table: Table) -> Measure:
    measure = Measure(
        figure=table.text("figure"),
        value=table.number("value", 0, 1),
        low=table.number("low", 0, 1),
        high=table.number("high", 0, 1),
        n=table.whole("n", 1, 10**9),
        on=table.text("on"),
    )
    if not measure.low <= measure.value <= measure.high:
        raise table.refuse("value", f"between low {measure.low:g} and high {measure.high:g}")
    table.close()
    return measure


def _output(table: Table) -> OutputSpec:
    word = table.choice("kind", _OUTPUTS)
    kind = next(item for item in _OUTPUTS if item == word)
    spec = OutputSpec(kind, table.text("tensor", "logits", longest=256))
    table.close()
    return spec


def _route(table: Table) -> Route:
    body_parts = table.texts("body_parts")
    if any(part != part.upper() for part in body_parts):
        raise table.refuse("body_parts", "upper case, as DICOM writes Body Part Examined")
    views = table.texts("views")
    if any(view != view.upper() for view in views):
        raise table.refuse("views", "upper case, as DICOM writes View Position")
    route = Route(
        modality=_matching(table, "modality", _MODALITY, "a DICOM modality such as CT, MR or DX"),
        body_parts=body_parts,
        description=_pattern(table),
        min_age=table.optional_number("min_age", 0, 150),
        max_age=table.optional_number("max_age", 0, 150),
        min_slice_thickness_mm=table.optional_number("min_slice_thickness_mm", 0, 1000),
        max_slice_thickness_mm=table.optional_number("max_slice_thickness_mm", 0, 1000),
        views=views,
    )
    _in_order(table, "max_age", route.min_age, route.max_age)
    _in_order(
        table,
        "max_slice_thickness_mm",
        route.min_slice_thickness_mm,
        route.max_slice_thickness_mm,
    )
    table.close()
    return route


def _pattern(table: Table) -> str | None:
    if not table.has("description"):
        return None
    pattern = table.text("description")
    try:
        re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise table.refuse("description", f"a regular expression ({error})") from error
    return pattern


def _in_order(table: Table, key: str, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and high < low:
        raise table.refuse(key, f"at least its minimum {low:g}")


def _code(table: Table) -> Code:
    code = Code(
        scheme=_matching(table, "scheme", _SCHEME, "SCT, RADLEX, DCM or 99 and a private name"),
        value=table.text("value", longest=64),
        meaning=table.text("meaning", longest=128),
    )
    table.close()
    return code


def _volume(table: Table) -> VolumeSpec:
    volume = VolumeSpec(
        code=_code(table.table("code")),
        label=table.text("label", longest=128),
        classes=table.wholes("classes", 0, 10_000),
        flag_below_ml=table.optional_number("flag_below_ml", 0, 1e6),
        flag_above_ml=table.optional_number("flag_above_ml", 0, 1e6),
        urgency=_urgency(table),
        least_mm3=table.number("least_mm3", 0, 1e6) if table.has("least_mm3") else 0.0,
        sweep=swept(table) if table.has("sweep") else (0.0, 0.0),
    )
    _in_order(table, "flag_above_ml", volume.flag_below_ml, volume.flag_above_ml)
    table.close()
    return volume


def _finding(table: Table) -> FindingSpec:
    finding = FindingSpec(
        code=_code(table.table("code")),
        label=table.text("label", longest=128),
        output=table.whole("output", 0, 10_000),
        calibration=table.pair("calibration", -1000, 1000),
        threshold=table.number("threshold", 0, 1),
        abstain=table.pair("abstain", 0, 1),
        urgency=_urgency(table),
        reliable=table.flag("reliable", default=True),
    )
    if finding.calibration[0] <= 0:
        raise table.refuse("calibration", "[a, b] with a above 0: calibration never reorders")
    low, high = finding.abstain
    if not low <= finding.threshold <= high:
        raise table.refuse("abstain", f"[low, high] around the threshold {finding.threshold:g}")
    table.close()
    return finding


def _urgency(table: Table) -> Urgency:
    word = table.choice("urgency", get_args(Urgency))
    return next(item for item in _URGENCIES if item == word)


def _aggregate(table: Table, output: OutputSpec) -> Aggregate:
    segments = output.kind == "segmentation"
    allowed = [item for item in _KINDS if (item == "class_volume") is segments]
    word = table.choice("kind", allowed)
    kind = next(item for item in _KINDS if item == word)
    k = table.whole("k", 1, 1000, default=1)
    if kind != "top_k_mean" and table.has("k"):
        raise table.refuse("k", 'allowed here: only kind = "top_k_mean" has a k')
    table.close()
    return Aggregate(kind, k)


def _check_set(table: Table, folder: Path) -> Path | None:
    if not table.has("check_set"):
        return None
    name = table.text("check_set")
    # A package never points outside its folder.
    if Path(name).name != name or not (folder / name).is_file():
        raise table.refuse("check_set", "the name of a file in the package's folder")
    return folder / name


_URGENCIES: tuple[Urgency, ...] = get_args(Urgency)
_KINDS: tuple[AggregateKind, ...] = get_args(AggregateKind)
_OUTPUTS: tuple[OutputKind, ...] = get_args(OutputKind)
