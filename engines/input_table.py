"""The table `[input]` of ``model.toml``, read and checked."""

from __future__ import annotations

from typing import get_args

from engines.fields import Table
from engines.input_spec import Fit, InputSpec, Layout, Normalise
from engines.manifest import OutputSpec

_LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_NORMALISES: tuple[Normalise, ...] = get_args(Normalise)
_FITS: tuple[Fit, ...] = get_args(Fit)
_DIRECTIONS = {"R": "R", "L": "R", "A": "P", "P": "P", "S": "I", "I": "I"}  # one of each pair


def read_input(table: Table, output: OutputSpec) -> InputSpec:
    """Read the table, for a model with this output.

    Raises
    ------
    FieldError
        If a key is missing, not valid, or does not go with the output.
    """
    word = table.choice("layout", _LAYOUTS)
    layout = next(item for item in _LAYOUTS if item == word)
    if output.kind == "segmentation" and layout != "NCDHW":
        raise table.refuse("layout", '"NCDHW", which a segmentation needs')
    if output.kind == "logits" and layout == "NCDHW":
        raise table.refuse("layout", '"NCHW": volumes are for [output] kind = "segmentation"')
    scale = table.choice("normalise", _NORMALISES, "windows")
    normalise = next(item for item in _NORMALISES if item == scale)
    volume = layout == "NCDHW"
    if normalise == "brain" and not volume:
        raise table.refuse("normalise", '"windows" or "percentile": slices have no brain to find')
    spec = InputSpec(
        tensor=table.text("tensor"),
        height=table.whole("height", 8, 4096),
        width=table.whole("width", 8, 4096),
        windows=_windows(table) if normalise == "windows" else (),
        neighbours=0 if volume else table.whole("neighbours", 0, 16),
        layout=layout,
        normalise=normalise,
        percentiles=_percentiles(table) if normalise == "percentile" else None,
        depth=table.whole("depth", 8, 4096) if volume else None,
        spacing_mm=_spacing(table) if volume else None,
        axes=_axes(table) if volume else None,
        fit="keep" if volume else _fit(table),
        crop_above=None if volume else table.optional_number("crop_above", -1e6, 1e6),
        studies=2 if normalise == "brain" else 1,
    )
    table.close()
    return spec


def _windows(table: Table) -> tuple[tuple[float, float], ...]:
    allowed = "one or more [level, width] with width above 0"
    windows = table.pairs("windows", allowed)
    if any(width <= 0 for _, width in windows):
        raise table.refuse("windows", allowed)
    return windows


def _fit(table: Table) -> Fit:
    word = table.choice("fit", _FITS, "keep")
    return next(item for item in _FITS if item == word)


def _percentiles(table: Table) -> tuple[float, float]:
    low, high = table.pair("percentiles", 0, 100)
    if low >= high:
        raise table.refuse("percentiles", "[low, high] with low below high, as in [2, 98]")
    return low, high


def _spacing(table: Table) -> tuple[float, float, float]:
    depth, height, width = table.numbers("spacing_mm", 3, 0.05, 50)
    return depth, height, width


def _axes(table: Table) -> str:
    axes = table.text("axes", longest=3)
    if not axes.isupper() or sorted(_DIRECTIONS.get(letter, "") for letter in axes) != [*"IPR"]:
        raise table.refuse("axes", "one of R and L, one of A and P, one of S and I, as in LIA")
    return axes
