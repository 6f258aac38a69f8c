"""A message held against its JSON Schema, without repeating what it says."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError


class MessageError(ValueError):
    """A body is not what its schema says. The text says where and why, and repeats no value."""


class Schema:
    """A JSON Schema (draft 2020-12) that messages are held against.

    Parameters
    ----------
    file : str
        As errors name it.
    document : dict
        What is in it.
    """

    def __init__(self, file: str, document: dict[str, Any]) -> None:
        self.file = file
        self.document = document
        self._validator = Draft202012Validator(document)

    def check(self, document: object) -> None:
        """Raise `MessageError` when a document, as `read_json` returns it, is outside of it."""
        # The least deep of them: what is wrong with the whole explains what is wrong in it.
        worst = min(self._validator.iter_errors(document), key=_depth, default=None)
        if worst is not None:
            where = "/".join(str(step) for step in worst.instance_path) or "the whole"
            # The library's message repeats the value, and the value may name a patient.
            msg = f"{where}: against '{worst.kind.name}' of {self.file}"
            if worst.kind.name in {"required", "additionalProperties"}:
                msg += " (a member is missing or unknown)"
            raise MessageError(msg)


def _depth(error: ValidationError) -> int:
    return len(error.instance_path)


@cache
def read_schema(package: str, file: str) -> Schema:
    """Return the schema that lies in `package`, read once."""
    return Schema(file, json.loads(files(package).joinpath(file).read_text("utf-8")))
