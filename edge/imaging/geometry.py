"""Where slices lie in the patient, in which order, and whether one is missing.

Pure arithmetic on what headers say. Sources: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.2.1.1
(position and orientation in the patient's coordinate system: x to the left, y to the back,
z to the head, in mm).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SAME_PLACE_MM = 0.01
"""Two slices nearer than this are the same slice sent twice; no scanner steps so little."""

JITTER_MM = 0.05
JITTER_SHARE = 0.01
"""Table positions are rounded: each is off by as much as 0.05 mm, and a step by 1 %."""

_BLOCK = 3
_PARALLEL = math.cos(math.radians(1.0))


@dataclass(frozen=True, slots=True)
class Placement:
    """What orders one slice.

    Parameters
    ----------
    position_mm : float or None
        Along the slice normal, from `slice_position`.
    instance_number : int or None
        As the sender numbered it.
    """

    position_mm: float | None
    instance_number: int | None


@dataclass(frozen=True, slots=True)
class Stack:
    """What a set of slice positions looks like.

    Parameters
    ----------
    count : int
        Positions given, repeats among them.
    median_spacing_mm : float
        Median distance of neighbouring places; 0 with fewer than two places.
    largest_gap_mm : float
        How much the widest opening exceeds the spacing around it; 0 when the stack is even.
    duplicates : int
        Slices beyond the first at a place.
    orientation_consistent : bool
        Whether all orientations given are parallel within one degree.
    """

    count: int
    median_spacing_mm: float
    largest_gap_mm: float
    duplicates: int
    orientation_consistent: bool


def slice_normal(orientation: Sequence[float]) -> tuple[float, float, float]:
    """Return the unit normal of a slice: row direction x column direction (PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    orientation : sequence of 6 float
        Image Orientation (Patient) (0020,0037).

    Raises
    ------
    ValueError
        If it is not six finite numbers that span a plane.
    """
    if len(orientation) != 6 or not all(map(math.isfinite, orientation)):
        raise ValueError("an orientation is six finite direction cosines")
    a, b, c, d, e, f = orientation
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(x, y, z)
    if length < 1e-6:
        raise ValueError("the row and column directions of the orientation are parallel")
    return x / length, y / length, z / length


def slice_position(position: Sequence[float], orientation: Sequence[float]) -> float:
    """Return where a slice lies along its own normal, in mm.

    Parameters
    ----------
    position : sequence of 3 float
        Image Position (Patient) (0020,0032) in mm.
    orientation : sequence of 6 float
        Image Orientation (Patient) (0020,0037).

    Returns
    -------
    float
        Signed distance from the origin of the frame of reference. With a tilted gantry, slices
        that step along the table are a constant distance apart here too.

    Raises
    ------
    ValueError
        If either is not finite numbers of the right count, or the orientation spans no plane.
    """
    if len(position) != 3 or not all(map(math.isfinite, position)):
        raise ValueError("a position is three finite coordinates in mm")
    return sum(p * n for p, n in zip(position, slice_normal(orientation), strict=True))


def order(placements: Sequence[Placement]) -> tuple[int, ...]:
    """Return the indices of the slices in order along the normal.

    Position decides if every slice has one: numbers may run either way and restart. Otherwise
    the instance number decides, and slices without one come last. Ties keep the order of arrival.
    """
    placed = all(one.position_mm is not None for one in placements)

    def rank(index: int) -> tuple[float, float, int]:
        one = placements[index]
        number = math.inf if one.instance_number is None else float(one.instance_number)
        return (one.position_mm or 0.0) if placed else 0.0, number, index

    return tuple(sorted(range(len(placements)), key=rank))


def describe_stack(
    positions: Sequence[float], *, orientations: Sequence[Sequence[float]] = ()
) -> Stack:
    """Measure the spacing of a stack and its largest gap.

    A missing slice is one opening wider than its surroundings. A protocol that changes its step
    on the way, 2.5 mm through the skull base and 5 mm above, is not: each step is kept up for a
    while. So the spacings are cut into runs of equal steps. A run of three or more is a block,
    and every opening is compared with the wider of the blocks on either side of it; the joint
    between two blocks may have any width up to that. A stack too short or too irregular to have
    a block is compared with its smallest step, so that doubt leaves the series open.

    A loss of every second slice from some place on looks like a change of step and cannot be
    told from it by position alone.

    Parameters
    ----------
    positions : sequence of float
        From `slice_position`, in mm, in any order.
    orientations : sequence of sequence of 6 float, optional
        Of the same slices.

    Raises
    ------
    ValueError
        If a position is not finite.
    """
    if not all(map(math.isfinite, positions)):
        raise ValueError("slice positions must be finite")
    steps: list[float] = []
    duplicates = 0
    last: float | None = None
    for position in sorted(positions):
        if last is not None and position - last < SAME_PLACE_MM:
            duplicates += 1
            continue
        if last is not None:
            steps.append(position - last)
        last = position
    return Stack(
        count=len(positions),
        median_spacing_mm=statistics.median(steps) if steps else 0.0,
        largest_gap_mm=_largest_gap(steps),
        duplicates=duplicates,
        orientation_consistent=_parallel(orientations),
    )


def _tolerance(step: float) -> float:
    return max(2 * JITTER_MM, JITTER_SHARE * step)  # both ends of a step are off


def _largest_gap(steps: Sequence[float]) -> float:
    expected = _expected(steps)
    gaps = [
        step - usual
        for step, usual in zip(steps, expected, strict=True)
        if step - usual > _tolerance(usual)
    ]
    return max(gaps, default=0.0)


def _expected(steps: Sequence[float]) -> list[float]:
    """Return for each step how wide it may be, from the blocks of equal steps around it."""
    blocks: list[tuple[int, int, float]] = []
    begin = 0
    for index in range(1, len(steps) + 1):
        if index < len(steps) and abs(steps[index] - steps[begin]) <= _tolerance(steps[begin]):
            continue
        if index - begin >= _BLOCK:
            blocks.append((begin, index, statistics.median(steps[begin:index])))
        begin = index
    if not blocks:
        return [min(steps)] * len(steps) if steps else []
    expected = []
    behind, ahead = 0, 0
    for index in range(len(steps)):
        while behind + 1 < len(blocks) and blocks[behind + 1][0] <= index:
            behind += 1
        while ahead + 1 < len(blocks) and blocks[ahead][1] <= index:
            ahead += 1
        expected.append(max(blocks[behind][2], blocks[ahead][2]))
    return expected


def _parallel(orientations: Sequence[Sequence[float]]) -> bool:
    if not orientations:
        return True
    first = orientations[0]
    return all(
        _cosine(first[:3], other[:3]) > _PARALLEL and _cosine(first[3:], other[3:]) > _PARALLEL
        for other in orientations[1:]
    )


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0
