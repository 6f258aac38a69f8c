"""Pictures that no model of this product should judge, made by arithmetic or taken from elsewhere.

A model that meets one of them must abstain. They are grey pictures from 0 to 1 and become what the
model is fed as a mistaken image would: through the same scaling, cutting and fitting.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.imaging.prepare import prepare_for, window
from engines import InputSpec
from tools.scanner.brain_mri import draw_brain_mri
from tools.scanner.chest_xray import draw_chest_xray
from tools.scanner.head_ct import draw_head_ct
from tools.scanner.slices import read_slices, rebuild_hu
from tools.train.examples import as_bytes

Picture = NDArray[np.float32]

_SIDE = 256
_CT_WINDOWS = {  # level and width in HU
    "brain": (40, 80),
    "stroke": (35, 40),
    "subdural": (75, 215),
    "bone": (700, 3200),
    "whole": (1000, 4096),
}


def drawn(count: int, *, seed: int) -> dict[str, list[Picture]]:
    """Return `count` pictures of each kind that needs no file."""
    rng = np.random.default_rng(seed)
    return {
        "noise": [_noise(rng) for _ in range(count)],
        "blank": [np.full((_SIDE, _SIDE), rng.uniform(0, 1), np.float32) for _ in range(count)],
        "ramp": [_ramp(rng) for _ in range(count)],
        "quality phantom": [_phantom(rng) for _ in range(count)],
        "photograph": [_scene(rng) for _ in range(count)],
        "page of text": [_page(rng) for _ in range(count)],
        "drawn knee": [_knee(rng) for _ in range(count)],
    }


def other_bodies(count: int, *, but: str, seed: int) -> dict[str, list[Picture]]:
    """Return drawn scans of what the model is not for; `but` is the modality that it is for."""
    found: dict[str, list[Picture]] = {}
    if but not in ("CR", "DX"):
        chests = (draw_chest_xray(i % 2 == 0, seed + i).pixels for i in range(count))
        found["drawn chest X-ray"] = [_grey(chest) for chest in chests]
    if but != "MR":
        brain = draw_brain_mri(lesion=True, slices=count, seed=seed).signal
        found["drawn brain MRI"] = [_grey(one) for one in brain]
    if but != "CT":
        head = draw_head_ct(lesion=True, slices=count, seed=seed).hu
        found["drawn head CT"] = [_grey(np.clip(one, -100, 200)) for one in head]
    return found


def from_folder(folder: Path, count: int, *, half: int | None = None) -> list[Picture]:
    """Return up to `count` pictures of another collection, evenly drawn from its files.

    `half` takes them from the first half of the files (0) or from the second (1): to learn from
    some patients and to measure on others.
    """
    files = sorted(folder.rglob("*.jp*g"))
    if half is not None:
        middle = len(files) // 2
        files = files[middle:] if half else files[:middle]
    files = files[:: max(len(files) // count, 1)][:count]
    read = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files)
    return [np.asarray(one / 255, np.float32) for one in read if one is not None]


def head_cts(folder: Path, count: int, *, half: int) -> dict[str, list[Picture]]:
    """Return real head CT slices in every window that a viewer has for them.

    Parameters
    ----------
    folder : Path
        Laid out as ``head-ct``: a folder for each patient, two windows of each slice.
    count : int
        Pictures of each window, at most.
    half : int
        Of the patients: 0 the first, 1 the second.
    """
    patients = sorted(place for place in folder.iterdir() if place.is_dir())
    middle = len(patients) // 2
    patients = patients[middle:] if half else patients[:middle]
    found: dict[str, list[Picture]] = {f"head CT, {name} window": [] for name in _CT_WINDOWS}
    each = max(1, count // max(len(patients), 1))
    for patient in patients:
        _, brain, bone = read_slices(patient)
        volume = rebuild_hu(brain, bone)
        for share in (np.arange(each) + 0.5) / each:
            plane = volume[int(share * len(volume))].astype(np.float32)
            for name, (level, width) in _CT_WINDOWS.items():
                found[f"head CT, {name} window"].append(window(plane, level, width))
    return {kind: pictures[:count] for kind, pictures in found.items()}


def as_input(pictures: list[Picture], spec: InputSpec) -> NDArray[np.float32]:
    """Return what the model would be fed, float32 (n, channels, height, width).

    Where the model asks for Hounsfield units, black is air and white is bone.
    """
    slices = 2 * spec.neighbours + 1
    fed = []
    for picture in pictures:
        pixels = picture * 2000 - 1000 if spec.windows else picture
        planes = as_bytes(prepare_for(spec, pixels.astype(np.float32))) / np.float32(255)
        fed.append(np.repeat(planes, slices, axis=0))
    return np.stack(fed)


def _grey(pixels: NDArray[np.generic]) -> Picture:
    values = pixels.astype(np.float32)
    return np.asarray((values - values.min()) / max(float(np.ptp(values)), 1e-6), np.float32)


def _noise(rng: np.random.Generator) -> Picture:
    sigma = float(rng.uniform(0, 4))
    white = rng.normal(0, 1, (_SIDE, _SIDE)).astype(np.float32)
    return _grey(cv2.GaussianBlur(white, (0, 0), sigma) if sigma > 0.5 else white)


def _ramp(rng: np.random.Generator) -> Picture:
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    angle = rng.uniform(0, 2 * np.pi)
    return _grey(rows * np.sin(angle) + columns * np.cos(angle))


def _phantom(rng: np.random.Generator) -> Picture:
    """A cylinder of water with inserts, as physicists scan it."""
    picture = np.zeros((_SIDE, _SIDE), np.float32)
    cv2.circle(picture, (128, 128), int(rng.uniform(85, 120)), 0.5, -1)
    for place in range(8):
        angle = place * np.pi / 4 + rng.uniform(-0.1, 0.1)
        x, y = 128 + 60 * np.cos(angle), 128 + 60 * np.sin(angle)
        shade = float(rng.uniform(0, 1))
        cv2.circle(picture, (int(x), int(y)), int(rng.uniform(4, 14)), shade, -1)
    grain = rng.normal(0, 0.02, picture.shape)
    return np.asarray(np.clip(picture + grain * (picture > 0), 0, 1), np.float32)


def _scene(rng: np.random.Generator) -> Picture:
    """Light falling over a hundred blocks and discs on a ground of clouds: edges as in a photo."""
    cloud = cv2.GaussianBlur(rng.normal(0, 1, (_SIDE, _SIDE)).astype(np.float32), (0, 0), 20)
    picture = _grey(cloud)
    for _ in range(100):
        shade = float(rng.uniform(0, 1))
        x, y, wide, tall = (int(v) for v in rng.integers(4, _SIDE, 4))
        if rng.random() < 0.5:
            cv2.rectangle(picture, (x, y), (x + wide // 5, y + tall // 5), shade, -1)
        else:
            cv2.circle(picture, (x, y), wide // 10, shade, -1)
    return np.asarray(np.clip(picture + rng.normal(0, 0.02, picture.shape), 0, 1), np.float32)


def _page(rng: np.random.Generator) -> Picture:
    page = np.full((_SIDE, _SIDE), 240, np.uint8)  # OpenCV writes on bytes alone
    for line in range(14):
        words = "".join(chr(int(c)) for c in rng.integers(97, 123, 22))
        place = (8, 16 + 17 * line)
        cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 10, 1, cv2.LINE_AA)
    return np.asarray(page / 255, np.float32)


def _knee(rng: np.random.Generator) -> Picture:
    """Two long bones that meet at a joint, in soft tissue, as a radiograph shows them."""
    picture = np.zeros((_SIDE, _SIDE), np.float32)
    half = int(rng.uniform(45, 70))
    cv2.rectangle(picture, (128 - half, 0), (128 + half, _SIDE), 0.35, -1)
    shaft, joint = int(rng.uniform(18, 26)), int(rng.uniform(118, 138))
    for end, way in ((0, -1), (_SIDE, 1)):
        cv2.rectangle(
            picture, (128 - shaft, min(end, joint)), (128 + shaft, max(end, joint)), 0.8, -1
        )
        cv2.ellipse(picture, (128, joint + 14 * way), (half - 8, 20), 0, 0, 360, 0.85, -1)
    cv2.line(picture, (128 - half, joint), (128 + half, joint), 0.3, 4)
    soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(2, 4)))
    return np.asarray(np.clip(soft + rng.normal(0, 0.015, picture.shape), 0, 1), np.float32)
