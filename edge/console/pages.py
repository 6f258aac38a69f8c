"""Templates, in every language. They are files; the console has no build step."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge.console import sentences, words
from edge.console.cards import Card
from edge.console.gone import Gone
from edge.console.language import LANGUAGES, language

FOLDER = Path(__file__).parent
_CARDS = 512


class Pages:
    """Renders templates. Threads may share it.

    Parameters
    ----------
    gone : Gone
        Studies of which no card is kept.
    """

    def __init__(self, gone: Gone) -> None:
        self._gone = gone
        self._lock = threading.Lock()  # guards what is kept
        self._cards: OrderedDict[tuple[Card, str, bool, bool], str] = OrderedDict()

    def render(self, template: str, values: Mapping[str, object], code: str) -> str:
        """Return a template filled in, in the language `code`."""
        return _environment(code).get_template(template).render(values)

    def card(self, card: Card, code: str, *, named: bool, may_acknowledge: bool) -> str:
        """Return a card's piece of the page; eight open boards are one rendering."""
        place = (card, code, named, may_acknowledge)
        with self._lock:
            known = self._cards.get(place)
            if known is not None:
                self._cards.move_to_end(place)
                return known
        values = {
            "card": card,
            "language": language(code),
            "words": words,
            "named": named,
            "may_acknowledge": may_acknowledge,
        }
        piece = self.render("card.html", values, code)
        with self._lock:
            if card.study not in self._gone:
                self._cards[place] = piece
            while len(self._cards) > _CARDS:
                self._cards.popitem(last=False)
        return piece

    def forget(self, study: int) -> None:
        """Let go of the cards of a study that is gone."""
        with self._lock:
            for place in [one for one in self._cards if one[0].study == study]:
                del self._cards[place]

    def warm(self) -> None:
        """Compile every template and sentence, so that the first visitor does not wait for it."""
        sentences.warm()
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
        "day": spoken.day,
        "date": spoken.date,
        "moment": spoken.moment,
        "said": spoken.say,
    }
    return environment
