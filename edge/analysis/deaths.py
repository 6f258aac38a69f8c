"""What follows when the worker dies on a study. Pure; the counts are in the journal.

It dies of a file that ends the decoder or the model, or is ended because it hangs. The image that
it was at is to blame, as far as can be known: one that ends it twice is left out and named, and the
rest is analysed. Once may have been anything else.

Where a series ends there is no image to blame, so that the study is given up at the second time. It
is also given up where image after image ends the worker: each death costs a start of the engines,
for which all other studies wait, and a hostile study would have thousands.
"""

from __future__ import annotations

from edge.store.records import Deaths, StoredInstance

LEFT_OUT = "analysis failed twice on it"
_AN_IMAGE = 2
_AT_AN_END = 2
_ALTOGETHER = 6


def is_left_out(instance: StoredInstance) -> bool:
    """Whether an image is not looked at any more."""
    return instance.deaths >= _AN_IMAGE


def is_given_up(deaths: Deaths) -> bool:
    """Whether a study is not looked at any more."""
    return deaths.at_an_end >= _AT_AN_END or deaths.altogether >= _ALTOGETHER


def named(number: int, images: int) -> str:
    """Say which image was left out: `number` is its place in the series, from 1."""
    return f"Image {number} of {images} was left out: {LEFT_OUT}."
