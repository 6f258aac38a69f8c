"""Where an attribute of one frame is found: its own functional group, the shared one, or the top.

Source: DICOM PS3.3 C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge.imaging.attributes import Attributes

SHARED = 0x52009229
PER_FRAME = 0x52009230
PLANE_POSITION = 0x00209113
PLANE_ORIENTATION = 0x00209116
PIXEL_MEASURES = 0x00289110
FRAME_VOI = 0x00289132
PIXEL_TRANSFORMATION = 0x00289145
_MACROS = frozenset(
    {PLANE_POSITION, PLANE_ORIENTATION, PIXEL_MEASURES, FRAME_VOI, PIXEL_TRANSFORMATION}
)

WANTED = frozenset({SHARED, PER_FRAME})
"""The tags that `frame_scopes` reads."""

Macros = Mapping[int, Attributes]


class FrameScope:
    """The attributes that hold for one frame."""

    __slots__ = ("_levels", "_top")

    def __init__(self, top: Attributes, levels: tuple[Macros, ...]) -> None:
        self._top = top
        self._levels = levels

    def holding(self, macro: int, tag: int) -> Attributes:
        """Return the item that holds `tag` for this frame; the data set itself if none does."""
        for level in self._levels:
            item = level.get(macro)
            if item is not None and tag in item:
                return item
        return self._top

    def vector(self, macro: int, tag: int, count: int) -> tuple[float, ...] | None:
        """Return exactly `count` finite numbers, or None."""
        return self.holding(macro, tag).vector(tag, count)

    def number(self, macro: int, tag: int) -> float | None:
        """Return the first number, None if absent or invalid."""
        return self.holding(macro, tag).number(tag)


def frame_scopes(top: Attributes) -> Iterator[FrameScope]:
    """Yield the scope of each frame that has functional groups of its own, and then for ever the
    scope of a frame that has none.
    """
    group = top.first(SHARED, wanted=_MACROS)
    shared = _macros(group) if group is not None else {}
    for item in top.items(PER_FRAME, wanted=_MACROS):
        yield FrameScope(top, (_macros(item), shared))
    while True:
        yield FrameScope(top, (shared,))


def _macros(group: Attributes) -> Macros:
    found = {tag: group.first(tag) for tag in _MACROS if tag in group}
    return {tag: item for tag, item in found.items() if item is not None}
