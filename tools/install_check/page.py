"""The commands that stand in docs/install.md, as the page has them.

Pure. A command is an indented line, or several that end in a backslash; the section is the
heading above it, the step the number of the list's item, 0 where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# What a person puts in: a word in capitals, which no program here has for a name.
_PLACEHOLDER = re.compile(r"(?<![\w$./-])[A-Z][A-Z_]{3,}(?:\.[a-z]+)?(?![\w=-])")


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the page.

    Parameters
    ----------
    section : str
        The heading above it.
    step : int
        The number of the step, 0 outside a numbered list.
    text : str
        As it stands there, without the indent.
    """

    section: str
    step: int
    text: str

    @property
    def placeholders(self) -> frozenset[str]:
        """What a person puts something in for."""
        return frozenset(_PLACEHOLDER.findall(self.text))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the text with its placeholders filled.

        Raises
        ------
        KeyError
            When `values` lacks one: the page asks for something that nobody knows of.
        """
        return _PLACEHOLDER.sub(lambda found: values[found[0]], self.text)


def commands(page: str) -> tuple[Command, ...]:
    """Return the commands of a page in their order; what a file is to hold is none."""
    return tuple(_commands(page))


def packages(page: str) -> tuple[str, ...]:
    """Return every package that the page has apt-get install."""
    installing = (one.text for one in commands(page) if one.text.startswith("apt-get install "))
    return tuple(name for text in installing for name in text.split()[2:])


def _commands(page: str) -> Iterator[Command]:
    section, step, block = "", 0, list[str]()
    for line in [*page.splitlines(), ""]:
        if block and not (line.startswith("    ") and line.strip()):
            yield from (Command(section, step, text) for text in _joined(block))
            block = []
        if line.startswith("#"):
            section, step = line.lstrip("# "), 0
        elif found := re.match(r"(\d+)\. ", line):
            step = int(found[1])
        elif line.startswith("    ") and line.strip():
            block.append(line)
        elif line and not line.startswith(" "):
            step = 0


def _joined(block: list[str]) -> Iterator[str]:
    # The text of a list's item is less deep and so no block.
    if block[0].lstrip().startswith("["):  # a section of a unit: what a file is to hold
        return
    whole = "\n".join(line.strip() for line in block)
    yield from re.sub(r"\s*\\\n\s*", " ", whole).split("\n")
