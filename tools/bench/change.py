"""``scanside-bench change``: lesion change in two patients whose change is known.

Each of the two patients is measured with the package that ships, and with the threshold that is
best on the other one: only the second says what a third may expect. The alignment is held against
the transforms that came with the data (Lesjak et al., Neuroinformatics 14(4), 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.imaging.conform import Affine, resampled
from edge.imaging.nifti import read_nifti
from edge.imaging.pair import grid_between, halfway, pair
from edge.imaging.registration import Alignment, align
from edge.imaging.volume import LPS_RAS, Volume
from engines import ModelPackage, amount, changed, load_engine, load_package, shipped_packages
from tools.bench.report import Row
from tools.train.change_package import NAME, SHIPPED

DATA = Path("../shared/data/brain-mri")
_PATIENTS = ("ms-01", "ms-12")
_NOISES = (3.0, 4.0, 5.0, 6.0, 7.0)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A patient: two studies, the readers' change, and what the data say of the alignment."""

    name: str
    current: Volume
    prior: Volume
    truth: Volume
    common_to_current: Affine
    common_to_prior: Affine

    @property
    def to_prior(self) -> Affine:
        """From the current study to the prior, as the data have it."""
        return np.asarray(self.common_to_prior @ np.linalg.inv(self.common_to_current))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What the package answered of a patient, on its grid, and what is true there."""

    known: Known
    alignment: Alignment
    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]

    def dice(self, package: ModelPackage, noises: float) -> float:
        """Return the overlap with the readers' change, had the threshold been another."""
        found = self.found(package, noises)
        return float(2 * (found & self.truth).sum() / max(1, found.sum() + self.truth.sum()))

    def found(self, package: ModelPackage, noises: float) -> NDArray[np.bool_]:
        """Return all that changed, brighter or darker."""
        spacing = spacing_of(package)
        brighter, darker = (changed(one, self.moved(noises), spacing) for one in package.volumes)
        return brighter | darker

    def moved(self, noises: float) -> NDArray[np.float32]:
        """Return the scores as they are with another threshold."""
        step = np.array([0, *([noises - SHIPPED.noises] * 2)], np.float32)
        return self.scores - step[:, None, None, None]


def run(quick: bool) -> list[Row]:
    """Measure; `quick` leaves the second patient out, and so the choice on the other."""
    if not DATA.is_dir():
        return [Row("change.dice", None, "", note=f"{DATA} is not here: no patient to measure")]
    package = load_package(shipped_packages() / NAME)
    patients = [ask(read(DATA / name), package) for name in _PATIENTS[: 1 if quick else 2]]
    rows: list[Row] = []
    for number, one in enumerate(patients):
        rows += _rows(one, package)
        if len(patients) == 2:
            other = patients[1 - number]
            best = max(_NOISES, key=lambda noises: other.dice(package, noises))
            note = f"{other.known.name} chose a threshold of {best:g} noises"
            name = f"change.{one.known.name}.dice_chosen_on_other"
            rows.append(Row(name, one.dice(package, best), "", note=note))
    return rows


def read(folder: Path) -> Known:
    """Read a patient's folder."""
    one, other, truth = (
        Volume(*read_nifti(folder / file))
        for file in ("study1_FLAIR.nii.gz", "study2_FLAIR.nii.gz", "gt.nii.gz")
    )
    first, second = (
        read_transform(folder / f"study{number}_FLAIR_to_common_space.txt") for number in (1, 2)
    )
    return Known(folder.name, other, one, truth, second, first)


def read_transform(file: Path) -> Affine:
    """Read an affine of the Insight Toolkit: from the common space to the study, mm, RAS+."""
    lines = dict(line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line)
    values = np.array(lines["Parameters"].split(), np.float64)
    centre = np.array(lines["FixedParameters"].split(), np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    matrix[:3, 3] = values[9:] + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS_RAS @ matrix @ LPS_RAS)


def ask(known: Known, package: ModelPackage) -> Asked:
    """Align a patient's studies and have the package look at them."""
    assert package.prior is not None  # noqa: S101  # it is the two-study package
    spec = package.input
    alignment = align(known.current, known.prior, least=package.prior.least_similarity)
    engine = load_engine(package, threads=1)
    inputs = {spec.tensor: pair(known.current, known.prior, alignment, spec)[None]}
    scores = engine.infer(inputs)[package.output.tensor][0]
    engine.close()
    grid = np.linalg.inv(halfway(alignment)) @ grid_between(known.current, alignment, spec)
    way = np.linalg.inv(known.common_to_current @ known.truth.affine) @ grid
    return Asked(known, alignment, scores, resampled(known.truth.voxels, way, spec.sizes) > 0.5)


def spacing_of(package: ModelPackage) -> tuple[float, float, float]:
    """Return the size of the grid's voxels, mm."""
    assert package.input.spacing_mm is not None  # noqa: S101  # a volume's input has one
    return package.input.spacing_mm


def error_mm(asked: Asked) -> float:
    """Return the mean distance, over the head, between where the two alignments put a point."""
    voxels = asked.known.current.voxels
    head = np.argwhere(voxels > 0.15 * np.percentile(voxels, 99))[::1000]
    points = asked.known.current.affine @ np.c_[head, np.ones(len(head))].T
    apart = (asked.alignment.to_prior - asked.known.to_prior) @ points
    return float(np.linalg.norm(apart[:3], axis=0).mean())


def _rows(one: Asked, package: ModelPackage) -> list[Row]:
    name = f"change.{one.known.name}"
    voxel = float(np.prod(spacing_of(package))) / 1000
    truth = float(one.truth.sum()) * voxel
    amounts = [amount(spec, one.scores, spacing_of(package)) for spec in package.volumes]
    readers = ("the readers", truth)
    found = one.found(package, SHIPPED.noises)
    rows = [
        Row(f"{name}.registration_error", error_mm(one), "mm", note="from the given transform"),
        Row(f"{name}.correlation", one.alignment.after, "", "before", one.alignment.before),
        Row(f"{name}.dice", one.dice(package, SHIPPED.noises), ""),
        Row(f"{name}.false", float((found & ~one.truth).sum()) * voxel, "ml"),
        Row(f"{name}.changed", sum(part.ml for part in amounts), "ml", *readers),
        Row(f"{name}.changed_low", sum(part.low for part in amounts), "ml", *readers),
        Row(f"{name}.changed_high", sum(part.high for part in amounts), "ml", *readers),
    ]
    for spec, part in zip(package.volumes, amounts, strict=True):
        word = spec.label.split()[0].lower()
        bounds = f"{part.low:.2f} to {part.high:.2f} ml"
        rows.append(Row(f"{name}.{word}", part.ml, "ml", note=bounds))
    return rows
