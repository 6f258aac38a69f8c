"""How much of an instance may be read, and what is said of one that cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why an instance cannot be read; the value is safe as a metric's label."""

    NOT_DICOM = "not-dicom"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    PIXELS_SHORT = "pixels-short"
    MISSING = "missing-attribute"
    BAD_UID = "bad-uid"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    NO_PIXELS = "no-pixels"
    UNDECODABLE = "undecodable"


class UnreadableInstance(ValueError):
    """An instance that cannot be read.

    Parameters
    ----------
    reason : Reason
        The kind of trouble.
    what : str
        What is wrong and where. It names tags and byte offsets, never a value of the data set,
        so it may be logged.
    """

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(reason, what)
        self.reason = reason
        self.what = what

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.what}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold for every instance, whoever sends it.

    Parameters
    ----------
    max_bytes : int
        Size of the instance as received, and again after inflating a deflated one.
    max_elements : int
        Data elements, items and fragments walked over; bounds the time of reading.
    max_nesting : int
        Depth of sequences within sequences.
    max_value_bytes : int
        Size of one attribute that the header or the pixel description needs.
    max_rows, max_columns : int
        Size of one frame in pixels.
    max_frames : int
        Frames in one instance.
    max_samples : int
        Samples of all frames together once decoded; four bytes of memory each.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_elements: int = 500_000
    max_nesting: int = 32
    max_value_bytes: int = 64 * 1024
    max_rows: int = 16_384
    max_columns: int = 16_384
    max_frames: int = 4_096
    max_samples: int = 128 * 1024 * 1024
