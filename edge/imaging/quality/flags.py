"""From what was measured of a series' images to what the technician is told.

Pure. A flag says what was measured, in which unit, and from which value on it is said; it never
says what to do with the patient. `docs/quality.md` gives the rates at which each threshold speaks.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge.imaging.geometry import describe_stack
from edge.imaging.quality.slice_measures import SliceMeasures

# Chosen on real images and on copies made worse; `scanside-bench quality` measures them.
EDGE_MM = 2.6
STREAKS_HU = 6.0
BLUR_MR = 0.45
BLUR_RADIOGRAPH = 0.6
GHOSTS = 0.05
CUT = 0.03
TOP = 0.9
ROLL_DEG = 15.0
TILT_DEG = 30.0
HEAD_MM = (110.0, 230.0)
AIR_HU = -700.0
BACKGROUND = 1.0
COLUMN = 0.0
LIKENESS = 0.1
WHITE = 0.05
SPREAD = 0.3

_NEIGHBOURS = 3
_NEAR_WIDEST = 0.93  # of the largest: there the skin stands upright and its edge is sharp
_LEAST_STACK = 8


@dataclass(frozen=True, slots=True)
class Flag:
    """One measured doubt about the images.

    Parameters
    ----------
    name : str
        Stable, lower case, words joined by hyphens.
    value : float
        As measured.
    unit : str
        Of value and threshold; "1" for a share.
    threshold : float
        Beyond this it is said.
    text : str
        For the technician.
    """

    name: str
    value: float
    unit: str
    threshold: float
    text: str


@dataclass(frozen=True, slots=True)
class Stacked:
    """The images of a series, for judging them together.

    Parameters
    ----------
    modality : str
        Modality (0008,0060).
    images : sequence of SliceMeasures
        In any order; of those that could be read.
    positions_mm : sequence of float
        Along the slice normal, of all that came.
    complete : bool
        Whether all have come: before that, nothing is missing yet.
    """

    modality: str
    images: Sequence[SliceMeasures]
    positions_mm: Sequence[float]
    complete: bool


def flags(stacked: Stacked) -> tuple[Flag, ...]:
    """Return what is to be said of the images of one series, the gravest first."""
    found = (judge(stacked) for judge in _JUDGES)
    return tuple(flag for flag in found if flag is not None)


def _missing(stacked: Stacked) -> Flag | None:
    if not stacked.complete or len(stacked.positions_mm) < 3:
        return None
    stack = describe_stack(stacked.positions_mm)
    if stack.largest_gap_mm <= 0 or stack.median_spacing_mm <= 0:
        return None
    gap = stack.largest_gap_mm
    slices = gap / stack.median_spacing_mm
    return Flag(
        "missing-slices",
        round(gap, 2),
        "mm",
        0.0,
        f"Slices are missing: one gap is {gap:.1f} mm wider than the steps around it"
        f" (about {max(1, round(slices))} slices).",
    )


def _repeated(stacked: Stacked) -> Flag | None:
    same_place = describe_stack(stacked.positions_mm).duplicates if stacked.positions_mm else 0
    pictures = (image.fingerprint for image in stacked.images)
    counted = Counter(picture for picture in pictures if picture is not None)
    same_picture = sum(count - 1 for count in counted.values())
    repeated = max(same_place, same_picture)
    if not repeated:
        return None
    return Flag(
        "repeated-slices",
        float(repeated),
        "images",
        0.0,
        f"{repeated} images repeat another: the same place or the same pixels twice.",
    )


def _wrong_scale(stacked: Stacked) -> Flag | None:
    background = _median(image.background for image in stacked.images)
    if background is None or stacked.modality != "CT" or background <= AIR_HU:
        return None
    return Flag(
        "wrong-intensity",
        round(background, 1),
        "HU",
        AIR_HU,
        f"The background measures {background:.0f} HU; air is -1000 HU (limit {AIR_HU:.0f})."
        " The values are not Hounsfield units, or the image is inverted or windowed.",
    )


def _inverted(stacked: Stacked) -> Flag | None:
    background = _median(image.background for image in stacked.images)
    if stacked.modality == "MR" and background is not None and background > BACKGROUND:
        return Flag(
            "inverted",
            round(background, 2),
            "1",
            BACKGROUND,
            f"The frame is {background:.1f} times as bright as the image on average: black and"
            " white are exchanged, or the head fills the frame.",
        )
    column = _median(image.column for image in stacked.images)
    if column is None or column >= COLUMN:
        return None
    return Flag(
        "inverted",
        round(column, 2),
        "1",
        COLUMN,
        f"The middle of the image is darker than its frame (by {-column:.2f} of 1): black and white"
        " are exchanged, or it is no frontal chest radiograph.",
    )


def _wrong_part(stacked: Stacked) -> Flag | None:
    sizes = [image.body_mm for image in stacked.images if image.body_mm is not None]
    heads = [image for image in stacked.images if image.cut is not None]
    if heads and sizes and stacked.complete:
        widest = max(sizes)
        low, high = HEAD_MM
        if len(stacked.images) >= _LEAST_STACK and not low <= widest <= high:
            return Flag(
                "wrong-body-part",
                round(widest, 1),
                "mm",
                low if widest < low else high,
                f"The widest slice measures {widest:.0f} mm across; a head is {low:.0f} to"
                f" {high:.0f} mm. Check the body part and the pixel spacing.",
            )
    likeness = _median(image.likeness for image in stacked.images)
    column = _median(image.column for image in stacked.images)
    # A negative is unlike a chest for another reason, and is told of as one.
    if likeness is None or likeness >= LIKENESS or (column is not None and column < COLUMN):
        return None
    return Flag(
        "wrong-body-part",
        round(likeness, 2),
        "1",
        LIKENESS,
        f"The image does not look like a frontal chest radiograph (likeness {likeness:.2f}, limit"
        f" {LIKENESS}).",
    )


def _cut(stacked: Stacked) -> Flag | None:
    cuts = [image.cut for image in stacked.images if image.cut is not None]
    if not cuts:
        return None
    # One slice may graze the frame; a body that is cut is cut in several.
    worst = sorted(cuts)[-min(_NEIGHBOURS, len(cuts))]
    if worst <= CUT:
        return None
    return Flag(
        "cut-off",
        round(100 * worst, 1),
        "%",
        100 * CUT,
        f"The edge of the field of view cuts the head: {100 * worst:.0f} % of its outline in"
        f" several slices (limit {100 * CUT:.0f} %).",
    )


def _top(stacked: Stacked) -> Flag | None:
    sizes = [
        (image.height_mm, image.body_mm)
        for image in stacked.images
        if image.cut is not None and image.height_mm is not None and image.body_mm is not None
    ]
    if not stacked.complete or len(sizes) < _LEAST_STACK:
        return None
    share = max(sizes)[1] / max(size for _, size in sizes)
    if share <= TOP:
        return None
    return Flag(
        "top-missing",
        round(100 * share, 1),
        "%",
        100 * TOP,
        f"The topmost slice is {100 * share:.0f} % as wide as the widest (limit"
        f" {100 * TOP:.0f} %): the top of the head may lie outside the scan.",
    )


def _motion(stacked: Stacked) -> Flag | None:
    streaks = _worst(stacked.images, lambda image: image.streaks_hu)
    if streaks is not None and streaks > STREAKS_HU:
        return Flag(
            "motion",
            round(streaks, 1),
            "HU",
            STREAKS_HU,
            f"Streaks of {streaks:.1f} HU run into the air around the head (limit"
            f" {STREAKS_HU:.0f} HU): the patient may have moved, or there is metal.",
        )
    ghosts = _worst(stacked.images, lambda image: image.ghosts)
    if ghosts is not None and ghosts > GHOSTS:
        return Flag(
            "motion",
            round(100 * ghosts, 1),
            "%",
            100 * GHOSTS,
            f"Ghosts of {100 * ghosts:.1f} % of the tissue's signal lie beside the head (limit"
            f" {100 * GHOSTS:.0f} %): the patient may have moved.",
        )
    return None


def _blurred(stacked: Stacked) -> Flag | None:
    edge = _sharpest(image.edge_mm for image in _near_widest(stacked.images))
    if edge is not None and edge > EDGE_MM:
        return Flag(
            "blur",
            round(edge, 2),
            "mm",
            EDGE_MM,
            f"Edges are {edge:.1f} mm wide (limit {EDGE_MM} mm): movement, or a very smooth"
            " reconstruction.",
        )
    limit = BLUR_MR if stacked.modality == "MR" else BLUR_RADIOGRAPH
    blur = _median(image.blur for image in stacked.images)
    if blur is None or blur <= limit:
        return None
    return Flag(
        "blur",
        round(blur, 2),
        "1",
        limit,
        f"The image is blurred ({blur:.2f} of 1, limit {limit}): movement, or out of focus.",
    )


def _rolled(stacked: Stacked) -> Flag | None:
    roll = _median(image.roll_deg for image in _near_widest(stacked.images))
    if roll is None or abs(roll) <= ROLL_DEG:
        return None
    return Flag(
        "rotated",
        round(roll, 1),
        "deg",
        ROLL_DEG,
        f"The head is turned by {abs(roll):.0f} degrees in the image (limit {ROLL_DEG:.0f}):"
        " left and right are hard to compare.",
    )


def _tilted(stacked: Stacked) -> Flag | None:
    tilt = _median(image.tilt_deg for image in stacked.images if image.cut is not None)
    if tilt is None or tilt <= TILT_DEG:
        return None
    return Flag(
        "tilt",
        round(tilt, 1),
        "deg",
        TILT_DEG,
        f"The slices are tilted by {tilt:.0f} degrees against the body (limit {TILT_DEG:.0f}).",
    )


def _wrong_window(stacked: Stacked) -> Flag | None:
    white = _median(image.white for image in stacked.images)
    if white is not None and white > WHITE:
        return Flag(
            "wrong-window",
            round(100 * white, 1),
            "%",
            100 * WHITE,
            f"{100 * white:.0f} % of the image is pure white (limit {100 * WHITE:.0f} %): the"
            " window or the exposure is wrong.",
        )
    spread = _median(image.spread for image in stacked.images)
    if spread is not None and spread < SPREAD:
        return Flag(
            "wrong-window",
            round(spread, 2),
            "1",
            SPREAD,
            f"The image uses {100 * spread:.0f} % of the brightness there is (at least"
            f" {100 * SPREAD:.0f} %): the window is too wide.",
        )
    return None


_JUDGES: tuple[Callable[[Stacked], Flag | None], ...] = (
    _missing,
    _wrong_part,
    _wrong_scale,
    _inverted,
    _motion,
    _blurred,
    _cut,
    _top,
    _repeated,
    _wrong_window,
    _rolled,
    _tilted,
)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _sharpest(widths: Iterable[float | None]) -> float | None:
    """Return the lower quartile: thick slices blur where the skin slopes, a kernel everywhere."""
    known = sorted(width for width in widths if width is not None)
    return known[len(known) // 4] if known else None


def _near_widest(images: Sequence[SliceMeasures]) -> list[SliceMeasures]:
    widest = max((image.body_mm or 0.0 for image in images), default=0.0)
    return [image for image in images if (image.body_mm or 0.0) >= _NEAR_WIDEST * widest]


def _worst(
    images: Sequence[SliceMeasures], of: Callable[[SliceMeasures], float | None]
) -> float | None:
    """Return the worst that three neighbouring images have in common: one alone may be chance."""
    placed = sorted(images, key=lambda image: image.height_mm or 0.0)
    values = [value for image in placed if (value := of(image)) is not None]
    if not values:
        return None
    run = min(_NEIGHBOURS, len(values))
    starts = range(len(values) - run + 1)
    return max(min(values[start : start + run]) for start in starts)
