"""The one form of an alert's body: within the schema, sorted, without spaces, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edge.alerts.schema import MessageError, Schema, read_schema

MAX_BODY = 64 * 1024  # bytes; the longest real alert is near 10 kB


def alert_schema() -> Schema:
    """Return `alert.schema.json`."""
    return read_schema("edge.alerts", "alert.schema.json")


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
    alert_schema().check(document)


def plain(value: Any) -> Any:
    """Return JSON's own types. `dataclasses.asdict` copies deeply and is five times slower."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    return value
