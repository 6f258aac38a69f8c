"""Reading small TOML files written by hand, with errors that name file, key and remedy.

Bounded: a file is at most 1 MB, a text at most 20,000 characters.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE = 1_000_000  # bytes
MAX_TEXT = 20_000  # characters
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class CourseError(ValueError):
    """A course or a case cannot be used; the text says where, what is wrong and what is right."""


@dataclass
class Table:
    """A TOML table that remembers what was asked of it, so that a misspelt key is found.

    Parameters
    ----------
    where : str
        The file, and the table in it.
    values : dict
        As TOML gave them.
    """

    where: str
    values: dict[str, Any]
    _asked: set[str] = field(default_factory=set)

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self._get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
            raise self.wrong(key, f"is not a text of 1 to {MAX_TEXT} characters")
        return value.strip()

    def name(self, key: str) -> str:
        """Return a name that can stand in an address: small letters, digits, hyphens."""
        value = self.text(key)
        if not _NAME.fullmatch(value):
            raise self.wrong(key, "is not a name of small letters, digits and hyphens")
        return value

    def number(self, key: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(key, f"is not a whole number from {low} to {high}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, at least one, none twice."""
        value = self._get(key)
        good = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
        if not good or not all(0 < len(one.strip()) <= MAX_TEXT for one in value):
            raise self.wrong(key, "is not a list of texts")
        texts = tuple(one.strip() for one in value)
        if len(set(texts)) != len(texts):
            raise self.wrong(key, "has the same text twice")
        return texts

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """Return a text that is one of `allowed`."""
        value = self.text(key)
        if value not in allowed:
            raise self.wrong(key, f"is not one of {', '.join(allowed)}")
        return value

    def choices(self, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Return a list of texts that are all among `allowed`."""
        values = self.texts(key)
        if not set(values) <= set(allowed):
            raise self.wrong(key, f"has something else than {', '.join(allowed)}")
        return values

    def table(self, key: str) -> Table:
        """Return a table inside this one."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "is not a table")
        return Table(f"{self.where} [{key}]", value)

    def tables(self, key: str, most: int) -> list[Table]:
        """Return a list of tables, at least one and at most `most`."""
        value = self._get(key)
        good = isinstance(value, list) and all(isinstance(one, dict) for one in value)
        if not good or not 1 <= len(value) <= most:
            raise self.wrong(key, f"is not 1 to {most} tables [[{key}]]")
        return [Table(f"{self.where} [[{key}]] {n}", one) for n, one in enumerate(value, start=1)]

    def nothing_else(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.values:
            if key not in self._asked:
                raise self.wrong(key, "is not known here; is it misspelt?")

    def wrong(self, key: str, what: str) -> CourseError:
        """Return the error that a key is not as it should be."""
        return CourseError(f"{self.where}: {key} {what}.")

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        if key not in self.values:
            raise self.wrong(key, "is missing")
        return self.values[key]


def read_table(file: Path) -> Table:
    """Read a TOML file; raises `CourseError`."""
    try:
        return Table(str(file), tomllib.loads(read_text(file)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CourseError(f"{file}: not TOML: {error}") from error


def read_text(file: Path) -> str:
    """Read a text file in UTF-8; raises `CourseError`."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise CourseError(f"{file}: {error.strerror}. Every language has this file.") from error
    if len(data) > MAX_FILE:
        raise CourseError(f"{file}: larger than {MAX_FILE} bytes.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CourseError(f"{file}: not UTF-8, at byte {error.start}.") from error
