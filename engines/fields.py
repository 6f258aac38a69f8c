"""Read a TOML table so that every mistake names the file, the key, the value and what is allowed.

A `Table` hands out its values one by one, checked, and `close` then refuses whatever nobody asked
for. Nothing here knows what a model package is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class FieldError(ValueError):
    """A value in a TOML file is missing, unknown or not allowed."""


class Unfilled(FieldError):
    """A value is still to be written by a person: the file is a draft."""


_REQUIRED = object()
TO_FILL_IN = "FILL IN"
"""How a text begins that stands for what a person has yet to write."""


class Table:
    """One TOML table with the names to blame.

    Parameters
    ----------
    values : mapping
        What the file holds here.
    file : pathlib.Path
        Named in every message.
    where : str
        The table as the file writes it, such as ``[input]`` or ``[[finding]] number 2``.
    """

    def __init__(self, values: Mapping[str, Any], file: Path, where: str) -> None:
        self._values = values
        self._file = file
        self._where = where
        self._asked: set[str] = set()

    def refuse(self, key: str, allowed: str) -> FieldError:
        """Return the error that says the value of `key` is not what is allowed."""
        value = repr(self._values.get(key))
        shown = value if len(value) <= 80 else value[:77] + "..."
        return FieldError(f"{self._file}: {self._where} {key} = {shown} is not {allowed}.")

    def has(self, key: str) -> bool:
        """Whether the key is written at all."""
        return key in self._values

    def text(self, key: str, default: Any = _REQUIRED, *, longest: int = 20_000) -> str:
        """Return a text that is not empty, of at most `longest` characters."""
        allowed = f"a text of 1 to {longest} characters"
        value = self._take(key, default, allowed)
        if value is default:
            return str(default)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= longest:
            raise self.refuse(key, allowed)
        return value.strip()

    def choice(self, key: str, allowed: Sequence[str], default: Any = _REQUIRED) -> str:
        """Return one of the allowed words."""
        words = "one of " + ", ".join(f'"{word}"' for word in allowed)
        value = self._take(key, default, words)
        if not isinstance(value, str) or value not in allowed:
            raise self.refuse(key, words)
        return value

    def flag(self, key: str, *, default: Any = _REQUIRED) -> bool:
        """Return true or false."""
        value = self._take(key, default, "true or false")
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def whole(self, key: str, low: int, high: int, default: Any = _REQUIRED) -> int:
        """Return a whole number from `low` to `high`."""
        allowed = f"a whole number from {low} to {high}"
        value = self._take(key, default, allowed)
        # bool is an int in Python, not in TOML.
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(key, allowed)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return a finite number from `low` to `high`."""
        allowed = f"a number from {low:g} to {high:g}"
        value = self._take(key, _REQUIRED, allowed)
        if not _is_number(value) or not low <= value <= high:
            raise self.refuse(key, allowed)
        return float(value)

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """Return a finite number from `low` to `high`, or None where the key is left out."""
        if not self.has(key):
            self._asked.add(key)
            return None
        return self.number(key, low, high)

    def pair(self, key: str, low: float, high: float) -> tuple[float, float]:
        """Return two finite numbers, each from `low` to `high`."""
        allowed = f"two numbers from {low:g} to {high:g}, as in [a, b]"
        value = self._take(key, _REQUIRED, allowed)
        if not _is_pair(value) or not all(low <= item <= high for item in value):
            raise self.refuse(key, allowed)
        return float(value[0]), float(value[1])

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """Return a list of `count` finite numbers, each from `low` to `high`."""
        allowed = f"a list of {count} numbers from {low:g} to {high:g}"
        value = self._take(key, _REQUIRED, allowed)
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(_is_number(item) and low <= item <= high for item in value)
        ):
            raise self.refuse(key, allowed)
        return tuple(float(item) for item in value)

    def wholes(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return a list of one or more whole numbers, each once, from `low` to `high`."""
        allowed = f"a list of one or more whole numbers from {low} to {high}, each once"
        value = self._take(key, _REQUIRED, allowed)
        if (
            not isinstance(value, list)
            or not value
            or any(isinstance(item, bool) or not isinstance(item, int) for item in value)
            or not low <= min(value) <= max(value) <= high
            or len(set(value)) != len(value)
        ):
            raise self.refuse(key, allowed)
        return tuple(value)

    def pairs(self, key: str, allowed: str) -> tuple[tuple[float, float], ...]:
        """Return one or more pairs of finite numbers."""
        value = self._take(key, _REQUIRED, allowed)
        if not isinstance(value, list) or not value or not all(_is_pair(item) for item in value):
            raise self.refuse(key, allowed)
        return tuple((float(first), float(second)) for first, second in value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; an absent key is an empty list."""
        value = self._take(key, [], "a list of texts")
        if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
            raise self.refuse(key, "a list of texts")
        return tuple(value)

    def raw(self, key: str) -> Any:
        """Return what is written under `key`, unchecked: for a reader that checks it later."""
        return self._take(key, _REQUIRED, "a table")

    def table(self, key: str) -> Table:
        """Return the table under `key`."""
        value = self._take(key, _REQUIRED, "a table")
        if not isinstance(value, dict):
            raise self.refuse(key, "a table")
        return Table(value, self._file, self._inner(key))

    def tables(self, key: str, *, least: int = 1) -> tuple[Table, ...]:
        """Return the tables of an array of tables, at least `least` of them."""
        allowed = f"{least} or more tables written [[{self._name(key)}]]"
        value = self._take(key, [] if least == 0 else _REQUIRED, allowed)
        if (
            not isinstance(value, list)
            or len(value) < least
            or not all(isinstance(item, dict) for item in value)
        ):
            raise self.refuse(key, allowed)
        heading = f"[[{self._name(key)}]]"
        return tuple(
            Table(item, self._file, f"{heading} number {number}")
            for number, item in enumerate(value, start=1)
        )

    def close(self) -> None:
        """Refuse every key that was never asked for."""
        unknown = sorted(set(self._values) - self._asked)
        if unknown:
            known = ", ".join(sorted(self._asked))
            raise FieldError(
                f"{self._file}: {self._where} {unknown[0]} is not a known key. Known are: {known}."
            )

    def _take(self, key: str, default: Any, allowed: str) -> Any:
        self._asked.add(key)
        if key in self._values:
            value = self._values[key]
            if isinstance(value, str) and value.startswith(TO_FILL_IN):
                raise Unfilled(
                    f"{self._file}: {self._where} {key} is still to be filled in. "
                    f"It is {allowed}. The draft says: {value}."
                )
            return value
        if default is _REQUIRED:
            raise FieldError(f"{self._file}: {self._where} {key} is missing. It is {allowed}.")
        return default

    def _name(self, key: str) -> str:
        outer = self._where.strip("[]")
        return key if outer == "top level" else f"{outer}.{key}"

    def _inner(self, key: str) -> str:
        return f"[{self._name(key)}]" if "number" not in self._where else f"{self._where} {key}"


def read_table(file: Path) -> Table:
    """Read a whole TOML file as a `Table`.

    Raises
    ------
    FieldError
        As `read_toml`.
    """
    return Table(read_toml(file), file, "top level")


def read_toml(file: Path) -> dict[str, Any]:
    """Read a whole TOML file as it is.

    Raises
    ------
    FieldError
        If the file is absent, unreadable, not UTF-8 or not TOML (the message has the line).
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise FieldError(f"{file}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FieldError(f"{file}: byte {error.start} is not UTF-8, as TOML must be.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FieldError(f"{file}: not valid TOML: {error}.") from error


def left_to_fill_in(file: Path) -> str:
    """Return a sentence: how many values of a draft a person has yet to write, on which lines."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = [(number, line.count(f'"{TO_FILL_IN}')) for number, line in enumerate(lines, start=1)]
    numbers = [number for number, count in found if count]
    total = sum(count for _, count in found)
    if total == 1:
        return "It is the last one."
    return f"In all {total} values say {TO_FILL_IN}, on lines {spans(numbers)}."


def spans(numbers: Sequence[int]) -> str:
    """Return rising numbers as people write them: ``1, 4 to 6, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_number(item) for item in value)
