"""Reading a configuration file: what is wrong is named by file, line, key and what is allowed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edge.config.default_file import toml_value
from edge.config.kinds import ConfigError, Section
from edge.config.sections import Config, bounds_of, keys_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_config(path: Path) -> Config:
    """Read and validate a configuration; relative paths in it start at the file's folder.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or has a wrong key or value. The text names
        every wrong key with its line, its value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: {error.strerror}.\n"
            f"  Write a commented default with: scanside config init {path}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from error
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_describe(path, text, raw, item) for item in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    return _resolve(config, path.resolve().parent)


def _resolve(config: Config, base: Path) -> Config:
    """Return `config` with every relative path made absolute against `base`."""
    sections: dict[str, Section] = {}
    for name in type(config).model_fields:
        section: Section = getattr(config, name)
        moved = {
            key: base / value
            for key in type(section).model_fields
            if isinstance(value := getattr(section, key), Path)
        }
        sections[name] = section.model_copy(update=moved)
    return config.model_copy(update=sections)


def _describe(path: Path, text: str, raw: dict[str, Any], item: ErrorDetails) -> str:
    """Say what is wrong with one key, for the person who can mend it."""
    section, *rest = [str(part) for part in item["loc"]]
    key = rest[0] if rest else ""
    name = f"[{section}] {key}".rstrip()
    where = f"{path} line {_line_of(text, section, key)}"
    if item["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(section) if key else _known_sections())
        return f"{where}: there is no {name}.\n  Known: {known}."
    value = raw.get(section)
    stands = bool(key)
    if key and isinstance(value, dict):
        stands = key in value  # else what is wrong is the default, beside the other keys
        value = value.get(key)
    shown = f" = {toml_value(value)}" if stands and not isinstance(value, dict) else ""
    what = item["msg"].removeprefix("Value error, ")
    wrong = _NOT_OF_TYPE.get(item["type"], f": {what[0].lower()}{what[1:]}")
    return f"{where}: {name}{shown}{wrong}.{_hint(section, key)}"


_NOT_OF_TYPE = {
    "int_type": " is not a whole number",
    "float_type": " is not a number",
    "bool_type": " is neither true nor false",
    "string_type": " is not a text in quotes",
    "path_type": " is not a path in quotes",
    "tuple_type": " is not a list",
    "model_type": " is not a section",
    "string_pattern_mismatch": " is too long, empty, or has characters that are not allowed",
}


def _known_sections() -> list[str]:
    return [f"[{name}]" for name in Config.model_fields]


def _known_keys(section: str) -> list[str]:
    return list(keys_of(section))


def _hint(section: str, key: str) -> str:
    field = keys_of(section).get(key)
    if field is None:
        return ""
    allowed = f" Allowed: {bounds}." if (bounds := bounds_of(field)) else ""
    return f"\n  {field.description}{allowed}"


def _line_of(text: str, section: str, key: str) -> int:
    """Return the 1-based line of `key` in `section`, or of the section when the key is absent."""
    current, found = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if table := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]", line):
            current = table[1]
            if current == section:
                found = number
        name = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line)
        if name and (
            (current == section and name[1] == key) or (not current and name[1] == section)
        ):
            return number
    return found
