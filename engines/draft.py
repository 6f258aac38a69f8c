"""The first `model.toml` of a model that nobody described yet.

What the graph tells is written; what only a person can know says FILL IN and what is wanted, and
the package is refused until it is replaced. Answers that somebody has written down before (a TOML
file with the same tables) go straight in.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.fields import TO_FILL_IN, FieldError, read_toml, spans
from engines.interview import Interview, Size, Tensor

Tables = dict[str, Any]

_MOST_NEIGHBOURS = 16
_BACKGROUND = {"background", "unknown"}
_ORDER = ("model", "input", "output", "routes", "finding", "aggregate", "checks")
_TEXTS = {
    "licence": "licence of the weights, and of the data they come from",
    "intended_use": "what a result is for; it is shown with every result",
    "limits": "what is not known, and where the model is not to be trusted",
    "training_data": "on whom it was trained, calibrated and measured",
}


class DraftError(ValueError):
    """A draft cannot be written; the message says why."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What a person has yet to write, in one table or alike in several of a list.

    Parameters
    ----------
    table : str
        As in ``finding``.
    numbers : tuple of int
        Which of the list, from 1; empty where the table is no list.
    key : str
    what : str
        What is wanted.
    """

    table: str
    numbers: tuple[int, ...]
    key: str
    what: str

    @property
    def values(self) -> int:
        """How many values that is."""
        return max(1, len(self.numbers))

    def __str__(self) -> str:
        if not self.numbers:
            return f"[{self.table}] {self.key}: {self.what}"
        word = "number" if len(self.numbers) == 1 else "numbers"
        return f"[[{self.table}]] {word} {spans(self.numbers)} {self.key}: {self.what}"


def read_labels(file: Path) -> tuple[tuple[int, str], ...]:
    """Read what the outputs mean: rows of index and label, or of labels alone, counted from 0.

    Raises
    ------
    DraftError
        If the file cannot be read, or a row is neither.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DraftError(f"{file}: cannot be read as CSV: {error}.") from error
    labels = []
    for number, row in enumerate(rows):
        index, label = (str(number), row[0]) if len(row) == 1 else (row[0].strip(), row[1])
        if not index.isdecimal() or not label.strip() or len(row) > 2:
            raise DraftError(
                f"{file} line {number + 1}: {','.join(row)[:60]!r} is not an index and a label, "
                "as in 2,Cerebral Cortex."
            )
        labels.append((int(index), label.strip()))
    if not labels:
        raise DraftError(f"{file}: holds no label.")
    return tuple(labels)


def read_answers(file: Path) -> Tables:
    """Read a TOML file with tables of `model.toml` and some of their keys.

    Raises
    ------
    DraftError
        If it cannot be read, is not TOML, or has a table that `model.toml` does not know.
    """
    try:
        tables = read_toml(file)
    except FieldError as error:
        raise DraftError(str(error)) from error
    unknown = sorted(set(tables) - set(_ORDER))
    if unknown:
        raise DraftError(f"{file}: {unknown[0]} is not a known table. Known are {_known()}.")
    return tables


def draft(
    facts: Interview,
    name: str,
    labels: Sequence[tuple[int, str]] = (),
    answers: Mapping[str, Any] | None = None,
) -> Tables:
    """Return the tables of a first `model.toml`.

    Parameters
    ----------
    facts : Interview
        Of the graph.
    name : str
        Of the package.
    labels : sequence of (index, label)
        What the outputs mean.
    answers : mapping, optional
        From `read_answers`; a key given there replaces the draft's.
    """
    segments = facts.kind == "segmentation"
    tables: Tables = {
        "model": {
            "name": name,
            "version": "0.1.0",
            "sha256": facts.digest,
            **{key: fill_in(text) for key, text in _TEXTS.items()},
        },
        "input": _input(facts.inputs[0], segments=segments),
        "output": {"kind": facts.kind, "tensor": facts.answer.name},
        "routes": [
            {
                "modality": fill_in("CT, MR, DX or another modality"),
                "body_parts": fill_in('a list such as ["HEAD", "BRAIN"]'),
            }
        ],
        "finding": [_finding(*one, facts) for one in _told(labels, facts)],
        "aggregate": {
            "kind": "class_volume" if segments else fill_in("max, noisy_or or top_k_mean")
        },
        "checks": {
            "parity_tolerance": fill_in(
                "largest share of a finding's voxels that may differ from FP32, such as 0.05"
                if segments
                else "largest difference in probability from FP32, such as 0.02"
            )
        },
    }
    for key, given in (answers or {}).items():
        tables[key] = {**tables[key], **given} if isinstance(given, dict) else given
    return tables


def fill_in(text: str) -> str:
    """Return a value that is refused, with what a person is to write there."""
    return f"{TO_FILL_IN}: {text}"


def unfilled(tables: Mapping[str, Any]) -> tuple[Gap, ...]:
    """Return what a person has yet to write, in order; what is alike in a list is told once."""
    told: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for table, number, key, what in _unfilled(tables):
        before = told.get((table, key, what), ())
        told[table, key, what] = before if number is None else (*before, number)
    return tuple(Gap(table, numbers, key, what) for (table, key, what), numbers in told.items())


def to_toml(tables: Mapping[str, Any], source: str) -> str:
    """Return the file's text; it says which model `source` it was drafted from."""
    lines = [
        f"# Drafted by `scanside models add` from {source}; docs/models.md explains every key.",
        f"# The package is refused until every {TO_FILL_IN} is replaced.",
    ]
    for key in _ORDER:
        value = tables[key]
        heading, items = (f"[[{key}]]", value) if isinstance(value, list) else (f"[{key}]", [value])
        for item in items:
            nested = {name: one for name, one in item.items() if _is_tables(one)}
            lines += ["", heading]
            lines += [f"{name} = {_value(one)}" for name, one in item.items() if name not in nested]
            for name, tables_within in nested.items():
                for within in tables_within:
                    lines += ["", f"[[{key}.{name}]]"]
                    lines += [f"{inner} = {_value(one)}" for inner, one in within.items()]
    return "\n".join(lines) + "\n"


def _known() -> str:
    return ", ".join(_ORDER)


def _input(tensor: Tensor, *, segments: bool) -> Tables:
    channels, *sizes = tensor.shape[1:]
    names = ("depth", "height", "width") if segments else ("height", "width")
    found: Tables = {"tensor": tensor.name, "layout": "NCDHW" if segments else "NCHW"}
    for name, size in zip(names, sizes, strict=True):
        unit = "slices" if name == "depth" else "pixels"
        found[name] = (
            size if isinstance(size, int) else fill_in(f"{unit}; the model leaves it free")
        )
    if segments:
        found["spacing_mm"] = fill_in("[depth, height, width] of a voxel, such as [1.0, 1.0, 1.0]")
        found["axes"] = fill_in("which way depth, height, width run in the patient, such as LIA")
    found["normalise"] = fill_in(
        "windows, and then a key windows = [[level, width]]; or percentile, and then a key "
        "percentiles = [2, 98]; the model is given 0 to 1, and what it subtracts and divides by "
        "must be in its graph (models add --mean ... --std ... puts it there)"
    )
    if not segments:
        found["neighbours"] = (
            0 if channels == 1 else fill_in(f"slices on each side; {_arrangements(channels)}")
        )
    return found


def _arrangements(channels: Size) -> str:
    """Return how windows and neighbours can make up a number of channels."""
    assert isinstance(channels, int)  # noqa: S101  # a free number is an obstacle
    ways = [
        f"{side} with {channels // (2 * side + 1)} window{'s' * (channels != 2 * side + 1)}"
        for side in range(_MOST_NEIGHBOURS + 1)
        if channels % (2 * side + 1) == 0
    ]
    return (
        f"the model has {channels} channels, windows x (2 x neighbours + 1): {' or '.join(ways)} "
        "(the same window may be written more than once)"
    )


def _told(labels: Sequence[tuple[int, str]], facts: Interview) -> Sequence[tuple[int, str]]:
    if labels:
        seen = [one for one in labels if one[1].casefold() not in _BACKGROUND]
        return seen if facts.kind == "segmentation" else labels
    width = facts.answer.shape[1]
    first = 1 if facts.kind == "segmentation" else 0  # class 0 is nearly always the background
    count = width if isinstance(width, int) else first + 1
    return [(index, fill_in(f"what output {index} is")) for index in range(first, count)]


def _finding(index: int, label: str, facts: Interview) -> Tables:
    found: Tables = {
        "code": {
            "scheme": fill_in("SCT, RADLEX, DCM or 99 and a private name"),
            "value": fill_in("code value"),
            "meaning": fill_in("code meaning"),
        },
        "label": label,
    }
    if facts.kind == "segmentation":
        found["classes"] = [index]
    else:
        found["output"] = index
        found["calibration"] = fill_in(
            "[a, b] for sigmoid(a * logit + b), fitted on known patients"
            + (f"; here the logit is what {facts.last} gives" if facts.probabilities else "")
        )
        found["threshold"] = fill_in("study score from which it is stated, 0 to 1")
        found["abstain"] = fill_in("[low, high] around the threshold: called uncertain")
    found["urgency"] = fill_in("critical, urgent or routine")
    return found


def _unfilled(tables: Mapping[str, Any]) -> Iterator[tuple[str, int | None, str, str]]:
    for key in _ORDER:
        value = tables.get(key, {})
        many = isinstance(value, list)
        for number, item in enumerate(value if many else [value], start=1):
            for name, one in item.items():
                inner = one.items() if isinstance(one, dict) else [("", one)]
                for part, text in inner:
                    if isinstance(text, str) and text.startswith(TO_FILL_IN):
                        what = text.removeprefix(f"{TO_FILL_IN}: ")
                        yield (
                            key,
                            number if many else None,
                            f"{name}.{part}" if part else name,
                            what,
                        )


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # A TOML basic string takes JSON's escapes; DEL alone must be escaped in one and not the other.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
