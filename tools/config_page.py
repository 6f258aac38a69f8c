"""Writes docs/configure.md from the configuration's own sections, or says that it is out of step.

``python -m tools.config_page`` writes it; ``--check`` is for ``tools/check.sh``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.config.default_file import toml_value
from edge.config.sections import Config, bounds_of, keys_of

PAGE = Path(__file__).parents[1] / "docs" / "configure.md"

_HEAD = """\
# Configuration

One TOML file holds every setting. `scanside config init FILE` writes it with each key explained
and at its default; `scanside check --config FILE` says what is in order and what is not. A wrong
key or value is refused before anything starts, with its line and what is allowed:

    scanside: config.toml line 14: [broker] port = "mqtt" is not a whole number.
      8883 with TLS, usually 1883 without. Allowed: 1 to 65535.

A relative path starts at the file's own folder. The daemon reads the file once, when it starts.
"""


def page() -> str:
    """Return the page, in Markdown."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    for name, field in Config.model_fields.items():
        yield f"## [{name}]\n"
        yield f"{(type(field.default).__doc__ or '').strip()}\n"
        yield "| key | default | what it is |"
        yield "|---|---|---|"
        for key, spec in keys_of(name).items():
            default = "unset" if spec.default is None else f"`{toml_value(spec.default)}`"
            allowed = f" Allowed: {bounds}." if (bounds := bounds_of(spec)) else ""
            yield f"| `{key}` | {default} | {spec.description}{allowed} |"
        yield ""


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with ``--check`` compare it; return 0 when it is in step."""
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is not what the configuration says. Write it: python -m tools.config_page")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
