"""Keeps the console's catalogues in step with its texts.

    python -m tools.messages            bring every catalogue up to date; new texts are empty
    python -m tools.messages --check    say what is missing, superfluous or mistranslated

Texts are collected from templates (``_``, ``ngettext``) and from code (the calls in `_CALLS`). The
labels of model packages are not the console's own: `findings.po` is a glossary for them, kept by
hand, and `--check` names the labels of shipped packages that it lacks.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment
from jinja2.ext import extract_from_ast

from engines import load_package, shipped_packages

CONSOLE = Path(__file__).parents[1] / "edge" / "console"
LOCALES = CONSOLE / "locale"
FILE, GLOSSARY = "console.po", "findings.po"

# Functions and methods whose arguments, at these places, are texts; a pair is one and many.
_CALLS: dict[str, tuple[int | tuple[int, int], ...]] = {
    "_": (0,),
    "say": (0,),
    "speak": (0,),
    "count": ((0, 1),),
    "refuse": (1, 2),
}
_JINJA = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
_PLACEHOLDER = re.compile(r"%\(\w+\)s")
Text = str | tuple[str, str]


def collect() -> Catalog:
    """Return every text that the console can say, with where it is said."""
    catalog = Catalog(charset="utf-8")
    for file in sorted([*CONSOLE.rglob("*.py"), CONSOLE.parent / "feedback" / "inputs.py"]):
        for text, line in texts_of_code(file.read_text("utf-8")):
            _add(catalog, text, file, line)
    for file in sorted(CONSOLE.rglob("*.html")):
        source = file.read_text("utf-8")
        for line, _, found in extract_from_ast(_JINJA.parse(source)):
            _add(catalog, _one_or_both(found), file, line)
    return catalog


def labels_missing(folder: Path) -> list[str]:
    """Return the labels of shipped packages that a language's glossary lacks."""
    glossary = read(folder, GLOSSARY)
    packages = map(load_package, shipped())
    labels = {
        label
        for each in packages
        for label in [one.label for one in each.findings] + [one.label for one in each.volumes]
    }
    return sorted(label for label in labels if glossary is None or glossary.get(label) is None)


def shipped() -> list[Path]:
    """Return the folders of the model packages that ship with the product."""
    return sorted(folder for folder in shipped_packages().iterdir() if folder.is_dir())


def texts_of_code(source: str) -> Iterator[tuple[Text, int]]:
    """Yield the texts in Python code, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else name
        for place in _CALLS.get(name or "", ()):
            places = (place,) if isinstance(place, int) else place
            texts = [_constant(node.args[at]) for at in places if at < len(node.args)]
            if len(texts) == len(places) and all(texts):
                whole = [text for text in texts if text is not None]
                yield (whole[0] if len(whole) == 1 else (whole[0], whole[1])), node.lineno


def bring_up_to_date(folder: Path, wanted: Catalog) -> None:
    """Rewrite a language's catalogue: all that is said, nothing else, translations kept."""
    known = read(folder)
    fresh = _empty(folder.name)
    for message in wanted:
        if message.id:
            before = known.get(message.id) if known is not None else None
            string = before.string if before is not None else None
            fresh.add(message.id, string, locations=message.locations)
    output = BytesIO()
    write_po(output, fresh, width=100, sort_output=True, include_lineno=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(output.getvalue())


def problems(folder: Path, wanted: Catalog) -> Iterator[str]:
    """Yield what is wrong in a language's catalogue."""
    known = read(folder)
    if known is None:
        yield f"{folder / FILE} is missing"
        return
    for message in wanted:
        if not message.id:
            continue
        translated = known.get(message.id)
        if translated is None or not _complete(translated, known):
            yield f"not translated: {message.id!r} ({message.locations[0][0]})"
        elif not _same_placeholders(translated):
            yield f"other placeholders than the text: {message.id!r}"
    for message in known:
        if message.id and wanted.get(message.id) is None:
            yield f"nobody says any more: {message.id!r}"


def read(folder: Path, name: str = FILE) -> Catalog | None:
    """Return a language's catalogue, None where there is none."""
    file = folder / name
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return read_po(stream, locale=Locale.parse(folder.name))


def _one_or_both(found: str | tuple[str | None, ...] | None) -> Text | None:
    """Return what Jinja extracts, without the places of arguments that are no texts."""
    if found is None or isinstance(found, str):
        return found
    texts = [text for text in found if text is not None]
    if not texts:
        return None
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])


def _add(catalog: Catalog, text: Text | None, file: Path, line: int) -> None:
    if text is None:
        return
    place = file.relative_to(CONSOLE.parents[1]).as_posix()
    catalog.add(text, locations=[(place, line)])


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _empty(language: str) -> Catalog:
    return Catalog(
        locale=Locale.parse(language),
        project="scanside",
        header_comment="# The console's texts; docs/train-staff.md says how to edit them.",
        fuzzy=False,
    )


def _complete(message: Message, catalog: Catalog) -> bool:
    if message.fuzzy:
        return False
    if isinstance(message.string, str):
        return bool(message.string.strip())
    forms = message.string or ()
    return len(forms) == catalog.num_plurals and all(forms)


def _same_placeholders(message: Message) -> bool:
    said = message.string or ""
    strings = (said,) if isinstance(said, str) else tuple(said)
    ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
    wanted = {frozenset(_PLACEHOLDER.findall(text)) for text in ids}
    # A form for exactly one or two may say the number in words.
    fewer = len(strings) > 1
    return all(
        frozenset(_PLACEHOLDER.findall(text)) in wanted
        or (fewer and frozenset(_PLACEHOLDER.findall(text)) < max(wanted, key=len))
        for text in strings
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the catalogues up to date, or check them."""
    parser = argparse.ArgumentParser(prog="python -m tools.messages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when out of step")
    options = parser.parse_args(arguments)
    wanted = collect()
    failed = False
    for folder in sorted(LOCALES.iterdir()):
        if not options.check:
            bring_up_to_date(folder, wanted)
        for problem in problems(folder, wanted):
            print(f"{folder.name}: {problem}")
            failed = True
        for label in labels_missing(folder):
            print(f"{folder.name}: {GLOSSARY} has no word for {label!r}; it is said in English")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
