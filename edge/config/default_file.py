"""The commented default file, made from the sections, so that no key is documented elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config.sections import Config, keys_of


def default_toml() -> str:
    """Return a configuration file with every key, its meaning and its default."""
    return "\n".join(_default_lines()) + "\n"


def _default_lines() -> Iterator[str]:
    yield "# Scanside's configuration. Every key is here; a line that starts with '#' and a"
    yield "# key is unset or at its default. Check your changes with: scanside check --config FILE"
    for name, field in Config.model_fields.items():
        yield ""
        yield f"# {(type(field.default).__doc__ or '').strip()}"
        yield f"[{name}]"
        for key, spec in keys_of(name).items():
            yield from _wrapped(spec.description or "")
            example = "" if spec.default is None else toml_value(spec.default)
            yield f"{key} = {example}" if example else f"# {key} ="


def _wrapped(text: str, width: int = 92) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + len(word) >= width:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def toml_value(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
