"""Stored values to modality units, and the tables and windows of one frame, as data sets say them.

Sources: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.16.2.9 (pixel value
transformation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.imaging import groups
from edge.imaging.attributes import Attributes
from edge.imaging.bounds import Reason, UnreadableInstance
from edge.imaging.groups import FrameScope
from edge.imaging.voi import Curve, Plane, Table, Window

_INTERCEPT = 0x00281052
_SLOPE = 0x00281053
_MODALITY_LUT = 0x00283000
_VOI_LUT = 0x00283010
_LUT_DESCRIPTOR = 0x00283002
_LUT_DATA = 0x00283006
_LEVEL = 0x00281050
_WIDTH = 0x00281051
_CURVE = 0x00281056

WANTED = frozenset({_INTERCEPT, _SLOPE, _MODALITY_LUT, _VOI_LUT, _LEVEL, _WIDTH, _CURVE})
"""The tags that this module reads from a data set."""


@dataclass(frozen=True, slots=True)
class Rescale:
    """``slope * stored + intercept``."""

    slope: float
    intercept: float

    def apply(self, stored: NDArray[np.generic]) -> Plane:
        """Return stored values in modality units."""
        pixels = stored.astype(np.float32)
        if self.slope != 1.0:
            pixels *= np.float32(self.slope)
        if self.intercept != 0.0:
            pixels += np.float32(self.intercept)
        return pixels

    def ends(self, low: int, high: int) -> tuple[float, float]:
        """Return what the ends of the stored range become."""
        return self.slope * low + self.intercept, self.slope * high + self.intercept


@dataclass(frozen=True, slots=True, eq=False)
class ModalityTable:
    """A modality look-up table: entry 0 stands for the stored value `first`."""

    first: int
    entries: NDArray[np.float32]

    def apply(self, stored: NDArray[np.generic]) -> Plane:
        """Return stored values in the table's units; beyond its ends, the end values hold."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[places]

    def ends(self, low: int, high: int) -> tuple[float, float]:
        """Return the smallest and largest entry that stored values from `low` to `high` reach."""
        last = len(self.entries) - 1
        begin, end = (min(max(value - self.first, 0), last) for value in (low, high))
        reached = self.entries[begin : end + 1]
        return float(reached.min()), float(reached.max())


def modality_transform(
    scope: FrameScope, *, signed: bool, hounsfield: bool
) -> Rescale | ModalityTable:
    """Return what turns stored values of a frame into modality units.

    Parameters
    ----------
    scope : FrameScope
        The frame.
    signed : bool
        Whether stored values are signed.
    hounsfield : bool
        Whether the units must be HU, so that doing without a rescale is no choice.

    Raises
    ------
    UnreadableInstance
        If a table is damaged, or the units must be HU and cannot be.
    """
    item = scope.holding(groups.PIXEL_TRANSFORMATION, _MODALITY_LUT).first(_MODALITY_LUT)
    if item is not None:
        first, entries, _ = _table(item, signed=signed)
        return ModalityTable(first, entries)
    slope = scope.number(groups.PIXEL_TRANSFORMATION, _SLOPE)
    intercept = scope.number(groups.PIXEL_TRANSFORMATION, _INTERCEPT)
    if hounsfield and (not slope or intercept is None):
        raise UnreadableInstance(
            Reason.MISSING,
            "a CT without Rescale Slope (0028,1053) and Intercept (0028,1052) has no HU",
        )
    return Rescale(slope or 1.0, intercept or 0.0)


def look_of(
    scope: FrameScope, transform: Rescale | ModalityTable, *, signed: bool
) -> Window | Table | None:
    """Return the first VOI table or window of a frame, or None if it has no usable one.

    A table goes before a window (PS3.3 C.11.2.1 lets either be the default).

    Raises
    ------
    UnreadableInstance
        If a table is damaged.
    """
    item = scope.holding(groups.FRAME_VOI, _VOI_LUT).first(_VOI_LUT)
    if item is not None:
        below_zero = isinstance(transform, Rescale) and (signed or transform.intercept < 0)
        first, entries, bits = _table(item, signed=below_zero)
        return Table(first, entries / np.float32((1 << bits) - 1))
    holder = scope.holding(groups.FRAME_VOI, _LEVEL)
    level, width = holder.number(_LEVEL), holder.number(_WIDTH)
    named = holder.code(_CURVE)
    curve = Curve(named) if named in Curve.__members__ else Curve.LINEAR
    if level is None or width is None or width <= 0 or (curve is Curve.LINEAR and width < 1):
        return None
    return Window(level, width, curve)


def _table(item: Attributes, *, signed: bool) -> tuple[int, NDArray[np.float32], int]:
    """Return first value, entries and bits of a LUT item (PS3.3 C.11.1.1.1)."""
    span = item.span(_LUT_DESCRIPTOR)
    described = item.shorts(_LUT_DESCRIPTOR, signed=False)
    data = item.large(_LUT_DATA, max_bytes=2 * 65_536)
    if span is None or len(described) != 3:
        raise UnreadableInstance(Reason.MALFORMED, "a look-up table without its descriptor")
    if span.vr in (b"US", b"SS"):
        signed = span.vr == b"SS"
    count, first, bits = described[0] or 65_536, described[1], described[2]
    if signed and first > 0x7FFF:
        first -= 0x10000
    if not 1 <= bits <= 16:
        raise UnreadableInstance(Reason.MALFORMED, "a look-up table of impossible depth")
    if len(data) < 2 * count and bits <= 8 and len(data) >= count:
        entries = np.frombuffer(data, dtype=np.uint8, count=count)
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data, dtype=">u2" if item.walk.big else "<u2", count=count)
    else:
        raise UnreadableInstance(Reason.TRUNCATED, "a look-up table shorter than it says")
    return first, entries.astype(np.float32), bits
