"""Draws the training's practice cases: phantoms with a known truth, and what the model says.

    python -m tools.practice [FOLDER]

Run when a phantom, a case or the shipped model changes; the result is small and is kept in the
tree. Nothing is made up: each score is the shipped model's on the very volume that is shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.analysis.trial import Answer, answers, input_of
from edge.imaging.pixels import Slice
from edge.imaging.prepare import window
from edge.training.cases import SHIPPED_CASES
from engines import Engine, ModelPackage, load_engine, load_package, shipped_packages
from tools.scanner.drawing import paint
from tools.scanner.head_ct import SPACING_MM, HeadCt, draw_head_ct

Volume = NDArray[np.float32]
"""HU, shape (slices, 512, 512), foot to head."""

SLICES = 24
SIDE = 320  # pixels of a drawn image
LEVEL_WIDTH = (40.0, 80.0)
QUALITY = 82  # WebP; the noise of a CT costs most of it
_PACKAGE = "head-ct-hemorrhage"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A volume, and the numbers of the slices that show the finding (from 1; none without one)."""

    volume: Volume
    shown: frozenset[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case is drawn.

    Parameters
    ----------
    source : str
        In words, for the page.
    draw : callable
        Returns the volume.
    images : range
        Which slices are shown, from 1.
    """

    source: str
    draw: Callable[[], Drawn]
    images: range


@dataclass(frozen=True, slots=True)
class Practice:
    """A drawn case: its images (8 bit) and its truth as TOML."""

    images: tuple[NDArray[np.uint8], ...]
    truth: str


def plain(seed: int, *, bleed: bool) -> Drawn:
    """Return a head as the scanner's phantom draws it."""
    return _drawn(draw_head_ct(bleed, SLICES, seed))


def faint(seed: int, strength: float) -> Drawn:
    """Return a head with an epidural bleed of a fraction of its contrast, as after some days."""
    without = plain(seed, bleed=False).volume
    with_bleed = _drawn(draw_head_ct(True, SLICES, seed, bleed="epidural"))
    volume = without + np.float32(strength) * (with_bleed.volume - without)
    return Drawn(volume, with_bleed.shown)


def calcified(seed: int, strength: float = 1.0) -> Drawn:
    """Return a head without a bleed, with a calcified falx: 18 mm across, at most 150 HU."""
    head = draw_head_ct(False, SLICES, seed)
    hu = head.hu.astype(np.float32)
    rows, columns = np.mgrid[:512, :512].astype(np.float32)
    x, y = (columns - 256) * SPACING_MM / 9, (rows - 170) * SPACING_MM / 9
    for plane, z in zip(hu, head.grid.positions_mm, strict=True):
        distance = np.sqrt(x**2 + y**2 + ((z - 60) / 9) ** 2)
        paint(plane, 150, strength * np.clip((1 - distance) * 6 + 0.5, 0, 1))
    return Drawn(hu, frozenset())


def moved(seed: int) -> Drawn:
    """Return a head without a bleed that nodded while it was scanned: smeared over 4.5 mm."""
    kernel = np.full((11, 1), 1 / 11, np.float32)
    volume = plain(seed, bleed=False).volume
    return Drawn(np.stack([cv2.filter2D(plane, -1, kernel) for plane in volume]), frozenset())


def _drawn(head: HeadCt) -> Drawn:
    lesion = head.truth["lesion"]
    shown = lesion["instances"] if isinstance(lesion, dict) else ()
    return Drawn(head.hu.astype(np.float32), frozenset(shown))


# A slice is 6.7 mm; from 9 to 19 the brain is large and the base of the skull is past.
PLANS = {
    "01-clear-bleed": Plan(
        "drawn head CT, seed 9, bleed from the putamen",
        lambda: plain(9, bleed=True),
        range(10, 19),
    ),
    "02-missed-bleed": Plan(
        "drawn head CT, seed 13, epidural bleed at 32 % of its contrast",
        lambda: faint(13, 0.32),
        range(10, 19),
    ),
    "03-calcified": Plan(
        "drawn head CT, seed 11, calcified falx", lambda: calcified(11), range(11, 20)
    ),
    "04-uncertain": Plan(
        "drawn head CT, seed 11, falx calcified a little",
        lambda: calcified(11, 0.18),
        range(11, 20),
    ),
    "05-motion": Plan(
        "drawn head CT, seed 12, nothing in it, moved", lambda: moved(12), range(10, 19)
    ),
    "06-quiet": Plan(
        "drawn head CT, seed 13, nothing in it", lambda: plain(13, bleed=False), range(10, 19)
    ),
}


def make(plan: Plan, engine: Engine, package: ModelPackage) -> Practice:
    """Draw a case and ask the model about it."""
    drawn = plan.draw()
    answer = ask(drawn.volume, engine, package)
    shown = [place for place, n in enumerate(plan.images, start=1) if n in drawn.shown]
    truth = (
        "# Written by tools.practice.\n"
        f'source = "{plan.source}"\n'
        f'said = "{answer.verdict.replace(" ", "_")}"\n'
        f"score = {min(99, max(1, round(100 * answer.value)))}\n"  # no model is certain
        f"threshold = {round(100 * package.findings[0].threshold)}\n"
        f'model = "{package.name} {package.version}"\n'
        f"shown_from = {shown[0] if shown else 0}\n"
        f"shown_to = {shown[-1] if shown else 0}\n"
    )
    return Practice(tuple(_image(drawn.volume[n - 1]) for n in plan.images), truth)


def ask(volume: Volume, engine: Engine, package: ModelPackage) -> Answer:
    """Return what the model says of a volume, of its first finding, as the worker computes it."""
    slices = [
        Slice(float(place), plane, 0, (SPACING_MM, SPACING_MM), None, None)
        for place, plane in enumerate(volume)
    ]
    return answers(engine, package, input_of(package, slices))[0]


def _image(plane: Volume) -> NDArray[np.uint8]:
    small = cv2.resize(window(plane, *LEVEL_WIDTH), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(small * 255), dtype=np.uint8)


def load_model() -> tuple[Engine, ModelPackage]:
    """Return the shipped model that the cases are asked of."""
    package = load_package(shipped_packages() / _PACKAGE)
    return load_engine(package), package


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw every case into the folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.practice", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED_CASES)
    options = parser.parse_args(arguments)
    engine, package = load_model()
    for name, plan in PLANS.items():
        practice = make(plan, engine, package)
        folder: Path = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(practice.images, start=1):
            coded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
            (folder / f"{number:02d}.webp").write_bytes(coded.tobytes())
        (folder / "truth.toml").write_text(practice.truth, encoding="utf-8")
        print(f"{name}: {len(practice.images)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
