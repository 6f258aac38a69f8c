"""Languages: what a page says in each of them, and how it writes numbers and times.

Texts in templates and code are English and go through `_()` (gettext). The catalogues are
`locale/CODE/*.po`, one for each part of the console; they are read when a language is first
used, so nothing is compiled beforehand and a hospital can mend a word with a text editor.
"""

from __future__ import annotations

import gettext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Literal

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

DEFAULT = "en"
# The place decides how numbers and dates are written.
_LOCALES = {"en": Locale("en", "GB"), "ar": Locale("ar", "IQ")}
LANGUAGES = tuple(_LOCALES)
# CLDR says how ar-IQ writes numbers. Babel takes the signs from there, but never the digits.
_NUMBERS: dict[str, Literal["latn", "arab"]] = {"en": "latn", "ar": "arab"}
_DIGITS = {"ar": str.maketrans("0123456789%", "٠١٢٣٤٥٦٧٨٩٪")}


@dataclass(frozen=True)
class Language:
    """One language, ready to write a page in.

    Parameters
    ----------
    code : str
        As in the ``lang`` attribute.
    name : str
        As its speakers call it.
    direction : str
        ``ltr`` or ``rtl``.
    translations : gettext.NullTranslations
    """

    code: str
    name: str
    direction: str
    translations: gettext.NullTranslations

    def say(self, text: str, **values: object) -> str:
        """Return a text in this language; ``%(name)s`` in it is replaced by a value."""
        said = self.translations.gettext(text) if text else ""
        return said % values if values else said

    def count(self, one: str, many: str, number: int) -> str:
        """Return a text for so many; ``%(num)s`` in it is the number, as this language writes."""
        return self.translations.ngettext(one, many, number) % {"num": self.number(number)}

    def number(self, value: float, pattern: str | None = None) -> str:
        """Return a number; `pattern` is CLDR's, such as ``0.0``."""
        numbers = _NUMBERS[self.code]
        return self._digits(
            format_decimal(value, pattern, locale=_LOCALES[self.code], numbering_system=numbers)
        )

    def percent(self, share: float) -> str:
        """Return a share of 1 in whole percent."""
        numbers = _NUMBERS[self.code]
        return self._digits(
            format_percent(share, locale=_LOCALES[self.code], numbering_system=numbers)
        )

    def time(self, seconds: float) -> str:
        """Return the local time of day, with seconds; `seconds` since the epoch."""
        moment = datetime.fromtimestamp(seconds).astimezone()
        return self._digits(format_time(moment, "HH:mm:ss", locale=_LOCALES[self.code]))

    def date(self, seconds: float) -> str:
        """Return the local date."""
        moment = datetime.fromtimestamp(seconds).astimezone()
        return self._digits(format_date(moment, "medium", locale=_LOCALES[self.code]))

    def day(self, seconds: float) -> str:
        """Return the local day and month: a board may stand for more than a day."""
        moment = datetime.fromtimestamp(seconds).astimezone()
        return self._digits(format_skeleton("MMMd", moment, locale=_LOCALES[self.code]))

    def month(self, seconds: float, *, short: bool) -> str:
        """Return the month: short for the axis of a plot, or with its year."""
        moment = datetime.fromtimestamp(seconds).astimezone()
        pattern = "LLL" if short else "LLLL y"
        return self._digits(format_date(moment, pattern, locale=_LOCALES[self.code]))

    def moment(self, seconds: float) -> str:
        """Return local date and time."""
        moment = datetime.fromtimestamp(seconds).astimezone()
        return self._digits(format_datetime(moment, "medium", locale=_LOCALES[self.code]))

    def _digits(self, text: str) -> str:
        digits = _DIGITS.get(self.code)
        return text if digits is None else text.translate(digits)


@cache
def language(code: str) -> Language:
    """Return a language by its code; the default one for a code that is not known."""
    locale = _LOCALES.get(code)
    if locale is None:
        return language(DEFAULT)
    return Language(
        code=code,
        name=(locale.get_language_name(locale) or code).capitalize(),
        direction=locale.text_direction,
        translations=_translations(code),
    )


def preferred(accepted: str) -> str:
    """Return the first language of an Accept-Language header that is known, or the default.

    Source: RFC 9110 section 12.5.4. The order of the header is taken for the preference, which
    is how browsers write it.
    """
    for item in accepted.split(","):
        code = item.split(";")[0].strip().split("-")[0].lower()
        if code in _LOCALES:
            return code
    return DEFAULT


def _translations(code: str) -> gettext.NullTranslations:
    """Return the catalogues of a language as one; what none of them has is said in English."""
    whole = Catalog(locale=_LOCALES[code])
    folder = files("edge.console") / "locale" / code
    found = (
        sorted(
            (one for one in folder.iterdir() if one.name.endswith(".po")), key=lambda one: one.name
        )
        if folder.is_dir()
        else []
    )
    for file in found:
        for message in read_po(BytesIO(file.read_bytes()), locale=_LOCALES[code]):
            if message.id and message.string and not message.fuzzy:
                whole[message.id] = message
    if not found:
        return gettext.NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, whole)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
