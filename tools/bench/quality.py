"""``scanside-bench quality``: how often the quality flags speak, on real images and worse copies.

Real images are those of ../shared/data, beside the checkout. Head CT is rebuilt from pairs of 8-bit
windows (`tools.scanner.slices`), chest radiographs and MR slices are 8-bit pictures, and of MR with
a place in the patient there are five volumes: what the figures are worth, docs/quality.md says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from edge.imaging.nifti import read_nifti
from edge.imaging.pixels import Slice
from edge.imaging.quality.flags import Flag, Stacked, flags
from edge.imaging.quality.measures import Anatomy, measure
from edge.imaging.quality.slice_measures import SliceMeasures
from edge.imaging.voi import Curve, Window
from tools.bench.degrade import blurred, moved_in_ct, moved_in_mr, shifted, smeared, turned
from tools.bench.report import Row
from tools.scanner.slices import ASSUMED_SPACING_MM, SLICE_SPACING_MM, read_slices, rebuild_hu
from tools.site import SiteError

DATA = Path("..") / "shared" / "data"
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SEED = 20_261_125
# The pictures are brightness as shown; a window over all of it leaves them as they are.
_AS_SHOWN = Window(0.5, 1.0, Curve.LINEAR_EXACT)

Plane = NDArray[np.float32]
Change = Callable[[Plane], Plane]


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a tenth of the images.

    Raises
    ------
    SiteError
        If the images are not there.
    """
    if not DATA.is_dir():
        raise SiteError(f"{DATA.resolve()} is not there: the real images are needed.")
    return [*_head_ct(quick), *_radiographs(quick), *_mr_pictures(quick), *_mr_volumes(quick)]


class Tally:
    """How many series carried which flag."""

    def __init__(self, short: str, of: str, names: Iterable[str]) -> None:
        self._short, self._of = short, of
        self._raised = dict.fromkeys(names, 0)
        self._any = 0
        self._count = 0

    def add(self, found: Sequence[Flag]) -> None:
        """Count one series."""
        self._count += 1
        self._any += bool(found)
        for flag in found:
            self._raised[flag.name] = self._raised.get(flag.name, 0) + 1

    def rows(self) -> list[Row]:
        """Return the share of series for each flag."""
        note = f"of {self._count} {self._of}"
        shares = [("any", self._any), *sorted(self._raised.items())]
        return [
            Row(f"flagged_{self._short}_{name}", _percent(number, self._count), "%", note=note)
            for name, number in shares
        ]


def _percent(number: int, of: int) -> float | None:
    return round(100 * number / of, 2) if of else None


class Detection:
    """Of how many worse copies the flag that should speak did."""

    def __init__(self, what: str, flag: str) -> None:
        self._what, self._flag = what, flag
        self._seen = self._count = 0

    def add(self, found: Sequence[Flag]) -> None:
        """Count one copy."""
        self._count += 1
        self._seen += any(flag.name == self._flag for flag in found)

    def row(self) -> Row:
        """Return the share that was noticed."""
        return Row(
            f"noticed_{self._what}",
            _percent(self._seen, self._count),
            "%",
            note=f"flag {self._flag!r} in {self._seen} of {self._count} copies",
        )


# Head CT


_CT_SLICES: dict[str, tuple[str, Change]] = {
    "ct_blur_1mm": ("blur", lambda hu: blurred(hu, 1.0 / ASSUMED_SPACING_MM)),
    "ct_moved_2mm": ("motion", lambda hu: moved_in_ct(hu, round(2.0 / ASSUMED_SPACING_MM))),
    "ct_moved_4mm": ("motion", lambda hu: moved_in_ct(hu, round(4.0 / ASSUMED_SPACING_MM))),
    "ct_no_rescale": ("wrong-intensity", lambda hu: hu + 1024),
    "ct_inverted": ("wrong-intensity", lambda hu: -hu),
    "ct_windowed": ("wrong-intensity", lambda hu: np.clip((hu + 20) * 255 / 120, 0, 255)),
    "ct_cut_by_40mm": ("cut-off", lambda hu: shifted(hu, 0, _towards_edge(hu, 40.0))),
    "ct_turned_25deg": ("rotated", lambda hu: turned(hu, 25.0)),
}


def _towards_edge(hu: Plane, beyond_mm: float) -> int:
    """Return by how many rows to move a head so that it reaches so far beyond the lower edge."""
    rows = np.nonzero((hu > -400).any(axis=1))[0]
    lowest = int(rows.max()) if rows.size else hu.shape[0] // 2
    return hu.shape[0] - 1 - lowest + round(beyond_mm / ASSUMED_SPACING_MM)


def _head_ct(quick: bool) -> list[Row]:
    patients = sorted(path for path in (DATA / "head-ct").iterdir() if path.is_dir())
    patients = patients[::10] if quick else patients
    worse = set(patients if quick else patients[::3])
    tally = Tally(
        "ct", "head CT series", ["blur", "cut-off", "motion", "rotated", "wrong-intensity"]
    )
    noticed = {name: Detection(name, flag) for name, (flag, _) in _CT_SLICES.items()}
    stacks = {
        "ct_one_slice_missing": Detection("ct_one_slice_missing", "missing-slices"),
        "ct_one_slice_twice": Detection("ct_one_slice_twice", "repeated-slices"),
        "ct_top_30mm_missing": Detection("ct_top_30mm_missing", "top-missing"),
        "ct_spacing_times_1_6": Detection("ct_spacing_times_1_6", "wrong-body-part"),
    }
    for folder in track(patients, "Head CT"):
        numbers, brain, bone = read_slices(folder)
        heights = [SLICE_SPACING_MM * number for number in numbers]
        hu = rebuild_hu(brain, bone).astype(np.float32)
        measured = [_ct(one, z) for one, z in zip(hu, heights, strict=True)]
        tally.add(_judge("CT", measured, heights))
        if folder not in worse:
            continue
        middle = len(hu) // 2
        part = slice(max(0, middle - 4), middle + 4)
        for name, (_, change) in _CT_SLICES.items():
            copies = list(measured)
            copies[part] = [
                _ct(change(one), z) for one, z in zip(hu[part], heights[part], strict=True)
            ]
            # What is wrong with the whole series is wrong with each slice of it.
            whole = copies[part] if name not in {"ct_moved_2mm", "ct_moved_4mm"} else copies
            shown = heights[part] if whole is not copies else heights
            noticed[name].add(_judge("CT", whole, shown))
        _spoil_stack(stacks, measured, heights, hu)
    return [
        *tally.rows(),
        *(one.row() for one in noticed.values()),
        *(one.row() for one in stacks.values()),
    ]


def _spoil_stack(
    stacks: dict[str, Detection],
    measured: list[SliceMeasures],
    heights: list[float],
    hu: NDArray[np.float32],
) -> None:
    at = len(measured) // 2
    even = [SLICE_SPACING_MM * number for number in range(len(measured))]
    without = [*measured[:at], *measured[at + 1 :]]
    stacks["ct_one_slice_missing"].add(_judge("CT", without, [*even[:at], *even[at + 1 :]]))
    twice = [*measured[:at], replace(measured[at - 1], height_mm=even[at]), *measured[at + 1 :]]
    stacks["ct_one_slice_twice"].add(_judge("CT", twice, even))
    stacks["ct_top_30mm_missing"].add(_judge("CT", measured[:-6], heights[:-6]))
    large = [_ct(one, z, 1.6 * ASSUMED_SPACING_MM) for one, z in zip(hu, heights, strict=True)]
    stacks["ct_spacing_times_1_6"].add(_judge("CT", large, heights))


def _ct(hu: Plane, z: float, spacing: float = ASSUMED_SPACING_MM) -> SliceMeasures:
    image = Slice(z, hu, 0, (spacing, spacing), None, None, (0.0, 0.0, z), _AXIAL)
    return measure(image, "CT", Anatomy.HEAD)


def _judge(
    modality: str, images: Sequence[SliceMeasures], positions: Sequence[float]
) -> tuple[Flag, ...]:
    return flags(Stacked(modality, images, positions, True))


# Chest radiographs


_RADIOGRAPHS: dict[str, tuple[str, Change]] = {
    "inverted": ("inverted", lambda image: 1 - image),
    "blurred": ("blur", lambda image: blurred(image, 2.5 * max(image.shape) / 512)),
    "moved": ("blur", lambda image: smeared(image, max(3, 11 * max(image.shape) // 512))),
    "window_too_narrow": (
        "wrong-window",
        lambda image: np.clip((image - 0.4) * 3 + 0.5, 0, 1),
    ),
    "window_too_wide": ("wrong-window", lambda image: 0.4 + image * 0.25),
}


def _radiographs(quick: bool) -> list[Row]:
    adults = sorted((DATA / "chest-xray").glob("*.jpg"))
    children = sorted((DATA / "chest-xray-pneumonia").glob("*/*.jpg"))
    chosen = random.Random(_SEED)  # noqa: S311
    children = chosen.sample(children, 50 if quick else 1000)
    adults = adults[::10] if quick else adults
    rows: list[Row] = []
    names = ["blur", "inverted", "wrong-body-part", "wrong-window"]
    for short, of, files in (("adult", "adults", adults), ("child", "children", children)):
        tally = Tally(short, f"chest radiographs of {of}", names)
        noticed = {
            name: Detection(f"{short}_{name}", flag) for name, (flag, _) in _RADIOGRAPHS.items()
        }
        worse = set(files if quick else files[::5])
        for file in track(files, f"Chest radiographs of {of}"):
            image = _picture(file)
            tally.add(_radiograph(image))
            if file in worse:
                for name, (_, change) in _RADIOGRAPHS.items():
                    noticed[name].add(_radiograph(np.asarray(change(image), np.float32)))
        rows += [*tally.rows(), *(one.row() for one in noticed.values())]
    others = {
        "xray_is_a_head_ct": sorted((DATA / "head-ct").glob("*/*-brain.jpg")),
        "xray_is_a_brain_mr": sorted((DATA / "brain-mri-tumor").glob("*/*.jpg")),
    }
    for name, files in others.items():
        seen = Detection(name, "wrong-body-part")
        for file in chosen.sample(files, 20 if quick else 300):
            found = _radiograph(_picture(file))
            # A head looks like the negative of a chest: either flag sends the technician to look.
            doubted = [flag for flag in found if flag.name in {"inverted", "wrong-body-part"}]
            seen.add([replace(flag, name="wrong-body-part") for flag in doubted])
        rows.append(seen.row())
    return rows


def _picture(file: Path) -> Plane:
    grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise SiteError(f"{file} cannot be read as a picture.")
    return np.asarray(grey, np.float32) / np.float32(255)


def _radiograph(image: Plane) -> tuple[Flag, ...]:
    one = Slice(None, image, 0, None, _AS_SHOWN, None)
    return _judge("DX", [measure(one, "DX", Anatomy.CHEST)], [])


# Brain MR


def _mr_pictures(quick: bool) -> list[Row]:
    files = sorted((DATA / "brain-mri-tumor").glob("*/*.jpg"))
    files = random.Random(_SEED).sample(files, 60 if quick else 600)  # noqa: S311
    tally = Tally("mr", "MR slices", ["blur", "inverted"])
    soft, negative = Detection("mr_blurred", "blur"), Detection("mr_inverted", "inverted")
    for file in track(files, "Brain MR slices"):
        image = _picture(file)
        tally.add(_mr_picture(image))
        soft.add(_mr_picture(blurred(image, 2.0)))
        negative.add(_mr_picture(1 - image))
    return [*tally.rows(), soft.row(), negative.row()]


def _mr_picture(image: Plane) -> tuple[Flag, ...]:
    one = Slice(None, image, 0, None, None, None)
    return _judge("MR", [measure(one, "MR", Anatomy.HEAD)], [])


def _mr_volumes(quick: bool) -> list[Row]:
    files = sorted((DATA / "brain-mri").glob("ms-*/study*_FLAIR.nii.gz"))
    tally = Tally("flair", "FLAIR series", ["blur", "cut-off", "inverted", "motion", "rotated"])
    changes: dict[str, tuple[Detection, Change]] = {
        "moved": (Detection("mr_moved_3mm", "motion"), lambda one: moved_in_mr(one, 4, _SEED)),
        "turned": (Detection("mr_turned_25deg", "rotated"), lambda one: turned(one, 25.0)),
        "soft": (Detection("mr_series_blurred", "blur"), lambda one: blurred(one, 2.5)),
    }
    for file in track(files[:1] if quick else files, "Brain MR series"):
        voxels, affine = read_nifti(file)
        down, across, step = (float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0, 2))
        planes = [np.ascontiguousarray(voxels[:, :, k].T) for k in range(voxels.shape[2])]
        heights = [step * k for k in range(len(planes))]
        tally.add(_mr_series(planes, heights, (down, across)))
        for noticed, change in changes.values():
            noticed.add(_mr_series([change(one) for one in planes], heights, (down, across)))
    return [*tally.rows(), *(noticed.row() for noticed, _ in changes.values())]


def _mr_series(
    planes: list[Plane], heights: list[float], spacing: tuple[float, float]
) -> tuple[Flag, ...]:
    images = [
        measure(Slice(z, one, 0, spacing, None, None, (0.0, 0.0, z), _AXIAL), "MR", Anatomy.HEAD)
        for one, z in zip(planes, heights, strict=True)
    ]
    return _judge("MR", images, heights)
