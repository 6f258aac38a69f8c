"""JSON from outside, without the numbers and texts that no other program would take."""

from __future__ import annotations

import json
import math
from typing import Any


def read_json(text: bytes) -> Any:
    """Return what a text says, as `json.loads` does, but for what is no number and no Unicode.

    Python takes ``NaN`` and ``Infinity``, which RFC 8259 section 6 does not, makes ``1e999``
    infinite, and takes half of a surrogate pair (section 8.2); no schema says what becomes of them.

    Raises
    ------
    ValueError, RecursionError
        If it is not JSON, or holds one of them.
    """
    document = json.loads(text, parse_constant=_finite, parse_float=_finite)
    if rb"\u" in text:  # only an escape can make half of a pair
        json.dumps(document, ensure_ascii=False).encode()
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = "a number that is not finite"
        raise ValueError(msg)
    return number
