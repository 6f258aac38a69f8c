"""A message held against its JSON Schema, without repeating what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match


class MessageError(ValueError):
    """A body is not what its schema says. The text says where and why, and repeats no value."""


@cache
def read_schema(package: str, file: str) -> Draft202012Validator:
    """Return the validator for a schema that lies in `package`, read once."""
    schema: dict[str, Any] = json.loads(files(package).joinpath(file).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check_against(document: object, validator: Draft202012Validator, file: str) -> None:
    """Raise `MessageError` when a document is outside the schema of `file`."""
    errors: Iterator[ValidationError] = validator.iter_errors(document)
    worst = best_match(errors)
    if worst is not None:
        where = "/".join(str(step) for step in worst.absolute_path) or "the whole"
        # The library's message repeats the value, and the value may name a patient.
        msg = f"{where}: against '{worst.validator}' of {file}"
        if worst.validator in {"required", "additionalProperties"}:
            msg += " (a member is missing or unknown)"
        raise MessageError(msg)
