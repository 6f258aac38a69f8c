"""The one form of an alert's body: within the schema, sorted, without spaces, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

MAX_BODY = 64 * 1024  # bytes; the longest real alert is near 10 kB


class MessageError(ValueError):
    """A body is not an alert. The text says where and why, and repeats no value."""


@cache
def validator() -> Draft202012Validator:
    """Return the validator for `alert.schema.json`, read once."""
    text = files("edge.alerts").joinpath("alert.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the one form of a document as bytes; raises `MessageError`."""
    try:
        text = json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        body = text.encode()
    except ValueError as error:  # a NaN, or text that is not Unicode
        msg = "the alert has a number or a text that JSON cannot carry"
        raise MessageError(msg) from error
    if len(body) > MAX_BODY:
        msg = f"the alert has {len(body)} bytes; at most {MAX_BODY} are sent"
        raise MessageError(msg)
    return body


def check(document: object) -> None:
    """Raise `MessageError` when a document is outside the schema."""
    errors: Iterator[ValidationError] = validator().iter_errors(document)
    worst = best_match(errors)
    if worst is not None:
        where = "/".join(str(step) for step in worst.absolute_path) or "the whole"
        # The library's message repeats the value, and the value may name a patient.
        msg = f"{where}: against '{worst.validator}' of alert.schema.json"
        if worst.validator in {"required", "additionalProperties"}:
            msg += " (a member is missing or unknown)"
        raise MessageError(msg)


def plain(value: Any) -> Any:
    """Return JSON's own types. `dataclasses.asdict` copies deeply and is five times slower."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    return value
