"""Sentences that the analysis wrote in English, said in the visitor's language.

An alert carries them as texts, with figures in them. `say` recognises a sentence by its form,
takes the figures out, writes them as the language does, and puts them into the translated form.
One that is not known, of a later version or a site's own package, stays as it was written.
"""

from __future__ import annotations

import re
from functools import cache

from edge.console.language import Language


def _(text: str) -> str:
    return text


# Places that hold words, each said by itself; a model's name and a sentence within another are said
# otherwise, and all others hold figures.
_WORDS = {"label": None, "also": None, "labels": ", ", "cause": ", ", "sides": ", ", "words": " "}
_MODEL, _SENTENCE = "model", "sentence"
_CHANCES = frozenset({"before", "after"})
_CHANCE = re.compile("(over |under )?([0-9]+)%")  # as `edge.alerts.chance` writes it
_OVER, _UNDER = _("over %(share)s"), _("under %(share)s")

FORMS = (
    # What could not be looked at
    _("%(some)s of %(all)s images could not be read."),
    _("%(some)s of %(all)s images could not be read: %(cause)s"),
    _("no image could be read: %(cause)s"),
    _("Image %(number)s of %(all)s was left out: analysis failed twice on it."),
    _(
        "%(some)s of %(all)s images do not look like what the model knows; what they seem to show is not counted as found."
    ),
    _(
        "%(some)s of %(all)s images do not show the part of the body that the model judges; nothing is said of them."
    ),
    _("Not reliable enough to flag: %(labels)s."),
    # Of one of several models: what it did not look at, and what is odd about what it did
    _("Not analysed by %(model)s: %(sentence)s"),
    _("For %(model)s: %(sentence)s"),
    # Image quality
    _(
        "Slices are missing: one gap is %(mm)s mm wider than the steps around it (about %(count)s slices)."
    ),
    _("%(count)s images repeat another: the same place or the same pixels twice."),
    _(
        "The background measures %(hu)s HU; air is -1000 HU (limit %(limit)s). The values are not Hounsfield units, or the image is inverted or windowed."
    ),
    _(
        "The frame is %(times)s times as bright as the image on average: black and white are exchanged, or the head fills the frame."
    ),
    _(
        "The middle of the image is darker than its frame (by %(by)s of 1): black and white are exchanged, or it is no frontal chest radiograph."
    ),
    _(
        "The widest slice measures %(mm)s mm across; a head is %(low)s to %(high)s mm. Check the body part and the pixel spacing."
    ),
    _(
        "The image does not look like a frontal chest radiograph (likeness %(value)s, limit %(limit)s)."
    ),
    _(
        "The edge of the field of view cuts the head: %(share)s %% of its outline in several slices (limit %(limit)s %%)."
    ),
    _(
        "The topmost slice is %(share)s %% as wide as the widest (limit %(limit)s %%): the top of the head may lie outside the scan."
    ),
    _(
        "Streaks of %(hu)s HU run into the air around the head (limit %(limit)s HU): the patient may have moved, or there is metal."
    ),
    _(
        "Ghosts of %(share)s %% of the tissue's signal lie beside the head (limit %(limit)s %%): the patient may have moved."
    ),
    _("Edges are %(mm)s mm wide (limit %(limit)s mm): movement, or a very smooth reconstruction."),
    _("The image is blurred (%(value)s of 1, limit %(limit)s): movement, or out of focus."),
    _(
        "The head is turned by %(deg)s degrees in the image (limit %(limit)s): left and right are hard to compare."
    ),
    _("The slices are tilted by %(deg)s degrees against the body (limit %(limit)s)."),
    _(
        "%(share)s %% of the image is pure white (limit %(limit)s %%): the window or the exposure is wrong."
    ),
    _(
        "The image uses %(share)s %% of the brightness there is (at least %(least)s %%): the window is too wide."
    ),
    # Change since an earlier study
    _("%(label)s: %(then)s ml then, %(now)s ml now; within what two scans of one brain differ by."),
    _("%(label)s: %(then)s ml then, %(now)s ml now."),
    _("%(label)s: probability %(before)s then, %(after)s now; flagged now and not then."),
    _("%(label)s: probability %(before)s then, %(after)s now; flagged then and not now."),
    _(
        "%(label)s: probability %(before)s then, %(after)s now; flagged both times. A probability is no measure of size."
    ),
    _(
        "%(label)s: probability %(before)s then, %(after)s now; not flagged both times. A probability is no measure of size."
    ),
    _(
        "%(label)s: %(ml)s ml (%(low)s to %(high)s); %(also)s: %(ml2)s ml (%(low2)s to %(high2)s). The bounds are of the threshold alone; a physician compares the images."
    ),
    _(
        "%(label)s: %(ml)s ml (%(low)s to %(high)s); %(also)s: %(ml2)s ml (%(low2)s to %(high2)s). Not clear of what two scans of one brain differ by."
    ),
    _(
        "the two studies could not be aligned: they correlate by %(value)s where one head gives %(least)s or more"
    ),
    # Where a finding is seen
    _("patient's %(sides)s"),
    _("%(words)s of the image"),
)
COMMA = _(", ")
WHOLE = (
    _("The image does not look like what the model knows, so the model abstains."),
    _("No earlier study to compare with."),
    _("Compared with an earlier study; nothing else was looked for."),
    _("no earlier study to compare with"),
    _("analysis failed twice on it"),
    _("the two studies could not be aligned: they show no common part"),
    _("the two studies could not be aligned: one of them is empty"),
    _("left"),
    _("right"),
    _("front"),
    _("back"),
    _("upper"),
    _("lower"),
    _("middle"),
)


def say(text: str, speak: Language) -> str:
    """Return a sentence in a language; one that is not known as it is."""
    for form in FORMS:
        found = _pattern(form).fullmatch(text)
        if found is not None:
            values = {name: _value(name, part, speak) for name, part in found.groupdict().items()}
            return speak.say(form, **values)
    return speak.say(text)


def chance(text: str, speak: Language) -> str:
    """Return a probability that `edge.alerts.chance` wrote in a language."""
    found = _CHANCE.fullmatch(text)
    if found is None:
        return text
    word, number = found.groups()
    share = speak.percent(int(number) / 100)
    return speak.say(_OVER if word == "over " else _UNDER, share=share) if word else share


def warm() -> None:
    """Compile every pattern, so that the first visitor does not wait for it."""
    for form in FORMS:
        _pattern(form)


@cache
def _pattern(form: str) -> re.Pattern[str]:
    pieces = re.split(r"%\((\w+)\)s", form)
    texts = [re.escape(piece.replace("%%", "%")) for piece in pieces[::2]]
    groups = [f"(?P<{name}>{_part(name)})" for name in pieces[1::2]]
    return re.compile("".join(a + b for a, b in zip(texts, [*groups, ""], strict=True)))


def _part(name: str) -> str:
    """Return the regular expression of what stands in a place."""
    if name == _MODEL:
        return "[a-z0-9]+(?:-[a-z0-9]+)*"
    if name in _CHANCES:
        return "(?:over |under )?[0-9]+%"
    return ".+?" if name in _WORDS or name == _SENTENCE else "-?[0-9]+(?:[.][0-9]+)?"


def _value(name: str, part: str, speak: Language) -> str:
    if name == _MODEL:
        return part
    if name == _SENTENCE:
        return say(part, speak)
    if name in _CHANCES:
        return chance(part, speak)
    if name in _WORDS:
        between = _WORDS[name]
        if between is None:
            return speak.say(part)
        joint = between if between == " " else speak.say(COMMA)
        return joint.join(speak.say(word) for word in part.split(between))
    decimals = len(part.partition(".")[2])
    return speak.number(float(part), "0." + "0" * decimals if decimals else "0")
