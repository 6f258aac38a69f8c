"""Templates, in every language. They are files; the console has no build step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge.console.language import LANGUAGES, language

FOLDER = Path(__file__).parent


class Pages:
    """Renders templates. Threads may share it."""

    def render(self, template: str, values: Mapping[str, object], code: str) -> str:
        """Return a template filled in, in the language `code`."""
        return _environment(code).get_template(template).render(values)

    def warm(self) -> None:
        """Compile every template, so that the first visitor does not wait for it."""
        for code in LANGUAGES:
            environment = _environment(code)
            for name in environment.list_templates():
                environment.get_template(name)


@cache
def _environment(code: str) -> Environment:
    # One for each language: the translations belong to the environment.
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    spoken = language(code)
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        spoken.translations.gettext, spoken.translations.ngettext, newstyle=True
    )
    environment.filters |= {
        "number": spoken.number,
        "percent": spoken.percent,
        "clock": spoken.time,
        "date": spoken.date,
        "moment": spoken.moment,
        "said": spoken.say,
    }
    return environment
