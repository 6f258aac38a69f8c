"""Read `tools/train/configs/NAME.toml`, or a file of one's own, into a plan.

The model's own words (use, limits, routes, codes) stand there too and go into `model.toml` as they
are, so that a hospital with other labels changes one file and no code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import get_args

from engines import InputSpec
from engines.fields import FieldError, Table, read_table
from tools.train.plan import (
    Change,
    Course,
    DataPlan,
    Group,
    Label,
    Layout,
    Plan,
    Shape,
    Stage,
    Words,
)

CONFIGS = Path(__file__).parent / "configs"


class PlanError(ValueError):
    """A configuration cannot be used; the message names file, key, value and what is allowed."""


def known() -> tuple[str, ...]:
    """Return the names of the configurations that come with the product."""
    return tuple(sorted(file.stem for file in CONFIGS.glob("*.toml")))


def read(name: str) -> Plan:
    """Read a configuration by its name, or by the path of a file of one's own.

    Raises
    ------
    PlanError
        If there is none of that name, or something in it is missing or not allowed.
    """
    file = Path(name) if name.endswith(".toml") else CONFIGS / f"{name}.toml"
    if not file.is_file():
        raise PlanError(
            f"{name}: no such configuration. Known are: {', '.join(known())}; or give the path of "
            "a .toml file."
        )
    try:
        return _plan(read_table(file), file)
    except FieldError as error:
        raise PlanError(str(error)) from error


def _plan(top: Table, file: Path) -> Plan:
    model = top.table("model")
    words = Words(
        title=model.text("title"),
        licence=model.text("licence"),
        intended_use=model.text("intended_use"),
        limits=model.texts("limits"),
        data=model.text("data"),
        unit=model.text("unit"),
    )
    plan = Plan(
        name=file.stem,
        version=model.text("version"),
        seed=model.whole("seed", 0, 2**31 - 1),
        words=words,
        data=_data(top.table("data")),
        input=_input(top.table("input")),
        labels=tuple(_label(one) for one in top.tables("label")),
        shape=_shape(top.table("network")),
        course=_course(top.table("course")),
        change=_change(top.table("augment")),
        missed_costs=model.number("missed_costs", 0.1, 100),
        parity_tolerance=model.number("parity_tolerance", 0, 0.5),
        tables={
            "routes": top.raw("routes"),
            "aggregate": top.raw("aggregate"),
            "coverage": top.raw("coverage") if top.has("coverage") else {},
        },
        settings=_settings(top),
        file=file,
    )
    model.close()
    top.close()
    if not plan.shipped or plan.shipped[0] != 0:
        raise top.refuse("label", "a list whose first label ships")
    return plan


def _settings(top: Table) -> str:
    """Return a digest of the keys that decide the weights; words and routes do not."""
    data = {key: value for key, value in top.raw("data").items() if key != "strangers"}
    parts = [data, *(top.raw(name) for name in ("input", "network", "course", "augment"))]
    columns = [(one["name"], one["weight"]) for one in top.raw("label")]
    text = json.dumps([parts, columns, top.raw("model")["seed"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _data(table: Table) -> DataPlan:
    layout = table.choice("layout", get_args(Layout))
    group = table.choice("group", get_args(Group))
    data = DataPlan(
        layout=next(item for item in get_args(Layout) if item == layout),
        group=next(item for item in get_args(Group) if item == group),
        patient=table.text("patient", ""),
        teacher=table.text("teacher", ""),
        folds=table.whole("folds", 0, 20),
        calibration=table.number("calibration", 0, 0.5),
        test=table.number("test", 0, 0.5),
        strangers=table.texts("strangers"),
    )
    table.close()
    return data


def _input(table: Table) -> InputSpec:
    spec = InputSpec(
        tensor="pixels",
        height=table.whole("size", 32, 1024),
        width=table.whole("size", 32, 1024),
        windows=table.pairs("windows", "[level, width]") if table.has("windows") else (),
        neighbours=table.whole("neighbours", 0, 4),
        normalise="windows" if table.has("windows") else "percentile",
        percentiles=None if table.has("windows") else table.pair("percentiles", 0, 100),
        fit="stretch" if table.choice("fit", ("keep", "stretch")) == "stretch" else "keep",
        crop_above=table.optional_number("crop_above", -1e6, 1e6),
    )
    table.close()
    return spec


def _label(table: Table) -> Label:
    ship = table.has("code")
    coded = table.table("code") if ship else None
    label = Label(
        name=table.text("name"),
        folders=table.texts("folders"),
        against=table.texts("against"),
        weight=table.number("weight", 0, 10),
        ship=ship,
        flags=table.flag("flags", default=True),
        label=table.text("label") if ship else "",
        scheme=coded.text("scheme") if coded else "",
        value=coded.text("value") if coded else "",
        meaning=coded.text("meaning") if coded else "",
        urgency=table.choice("urgency", ("critical", "urgent", "routine")) if ship else "",
    )
    table.close()
    return label


def _shape(table: Table) -> Shape:
    shape = Shape(
        stem=table.whole("stem", 4, 128),
        stages=tuple(_stage(one) for one in table.tables("stage")),
        mirrored=table.whole("mirrored", 0, 16, default=0),
        dropout=table.number("dropout", 0, 0.9),
        places=table.whole("places", 0, 16, default=0),
    )
    if shape.mirrored > len(shape.stages):
        raise table.refuse("mirrored", f"0, or one of the {len(shape.stages)} stages")
    table.close()
    return shape


def _stage(table: Table) -> Stage:
    stage = Stage(
        width=table.whole("width", 4, 1024),
        blocks=table.whole("blocks", 1, 16),
        stride=table.whole("stride", 1, 4),
    )
    table.close()
    return stage


def _course(table: Table) -> Course:
    course = Course(
        epochs=table.whole("epochs", 1, 1000),
        batch=table.whole("batch", 2, 1024),
        rate=table.number("rate", 1e-6, 1),
        decay=table.number("decay", 0, 1),
        mixup=table.number("mixup", 0, 1),
        smoothing=table.number("smoothing", 0, 0.2),
        positive_share=table.number("positive_share", 0, 1),
        drawn_share=table.number("drawn_share", 0, 1),
        teach=table.number("teach", 0, 1),
        start=table.text("start", ""),
        ridge=table.optional_number("ridge", 0, 1e6) or 0.0,
        members=table.whole("members", 1, 8, default=1),
    )
    table.close()
    return course


def _change(table: Table) -> Change:
    change = Change(
        mirror=table.flag("mirror"),
        degrees=table.number("degrees", 0, 180),
        zoom=table.number("zoom", 0, 0.9),
        stretch=table.number("stretch", 0, 0.9),
        shift=table.number("shift", 0, 0.9),
        contrast=table.number("contrast", 0, 1),
        brightness=table.number("brightness", 0, 1),
        gamma=table.number("gamma", 0, 1),
        noise=table.number("noise", 0, 1),
        blur=table.number("blur", 0, 1),
        ends=table.flag("ends"),
        erase=table.number("erase", 0, 1),
    )
    table.close()
    return change
