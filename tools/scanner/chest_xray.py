"""A drawn frontal chest X-ray, with a consolidation on request.

What is drawn is attenuation: each organ adds what it would take from the beam, and the image is
the logarithm of what is left, as a flat-panel detector shows it after processing. Millimetres at
the detector: x to the patient's left (the image's right), y to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from tools.scanner.drawing import Plane, detector_noise, inside, join, rise, square
from tools.scanner.series import Exam, Subject, dx_image

PIXELS = 1024
WIDTH_MM = 380.0
SPACING_MM = WIDTH_MM / PIXELS
WINDOW = (2048, 4096)


@dataclass(frozen=True, slots=True)
class ChestXray:
    """A drawn image, uint16 of shape (rows, columns) in 0..4095, and the truth about it."""

    pixels: NDArray[np.uint16]
    truth: dict[str, object]


def chest_xray_series(
    lesion: bool, seed: int = 0, *, when: datetime | None = None
) -> list[FileDataset]:
    """Return a study of one image; the same seed is the same person."""
    return as_series(draw_chest_xray(lesion, seed), seed, when)


def as_series(chest: ChestXray, seed: int, when: datetime | None = None) -> list[FileDataset]:
    """Return the drawn image as a DX instance for presentation."""
    number = f"{seed:04d}"
    image = dx_image(
        chest.pixels,
        Subject(f"Phantom^Chest {number}", f"PHANTOM-CHEST-{number}", "FM"[seed % 2], 50),
        Exam("CHEST", "Chest PA", "Chest PA", when or datetime.now().astimezone()),
        SPACING_MM,
        WINDOW,
    )
    return [image]


def draw_chest_xray(lesion: bool, seed: int = 0) -> ChestXray:
    """Draw the image; equal arguments give bit-equal pixels.

    The lesion is a lobar consolidation or a nodule, as the seed decides.
    """
    body = _Body(np.random.default_rng([seed, 0]))
    density = body.draw()
    truth: dict[str, object] = {"kind": "chest-xray", "seed": seed, "lesion": None}
    if lesion:
        cover, found = _lesion(np.random.default_rng([seed, 2]), body)
        density += cover
        truth["lesion"] = found
    return ChestXray(_detect(density, np.random.default_rng([seed, 1])), truth)


class _Body:
    """One person's chest, as densities from 0 (the beam is not held back) to about 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.x, self.y = square(PIXELS, WIDTH_MM)
        self.x = self.x - rng.uniform(-4, 4) + 0.01 * rng.uniform(-1, 1) * self.y
        self._wide = rng.uniform(0.94, 1.04)
        self._heart = rng.uniform(0.9, 1.08)
        self._breath = rng.uniform(-8, 8)
        self.lungs = inside(self.lung_distance(), 5.0)

    def cage(self) -> Plane:
        """Distance to the inside of the rib cage, negative inside."""
        u, v = self.x / (141 * self._wide), (self.y - 72) / 232
        f = (np.abs(u) ** 2.3 + np.abs(v) ** 2.5) ** (1 / 2.4)
        return np.asarray((f - 1) * 120)

    def diaphragm(self) -> Plane:
        """Distance below the domes: the right one (left in the image) stands higher."""
        right = 84 + 0.0085 * (self.x + 72) ** 2
        left = 97 + 0.0085 * (self.x - 78) ** 2
        return np.asarray(self.y - np.where(self.x < 5, right, left) - self._breath)

    def heart(self) -> Plane:
        """Distance to heart, great vessels and upper mediastinum, negative inside."""
        tilt = np.deg2rad(38)
        dx, dy = self.x - 24, self.y - 52
        u = (np.cos(tilt) * dx + np.sin(tilt) * dy) / (78 * self._heart)
        v = (-np.sin(tilt) * dx + np.cos(tilt) * dy) / (57 * self._heart)
        muscle = (np.sqrt(u * u + v * v) - 1) * 62
        knob = np.hypot(self.x - 24, self.y + 62) - 21
        artery = np.hypot(self.x - 38, self.y + 24) - 17
        atrium = np.hypot((self.x + 8) / 0.8, (self.y - 48) / 1.2) - 40
        trunk = np.abs(self.x - 2) - 27 - 5 * np.exp(-(((self.y + 110) / 40) ** 2))
        whole = join(join(muscle, knob, 22), join(artery, atrium, 14), 18)
        return np.asarray(join(whole, trunk, 20))

    def lung_distance(self) -> Plane:
        """Distance to the aerated lungs, negative inside."""
        closed = np.maximum(np.maximum(self.cage(), self.diaphragm()), -self.heart())
        # Under the domes and behind the heart there is lung too, but it does not look it.
        return np.asarray(closed + 0.8)

    def draw(self) -> Plane:
        """Return the densities without a lesion."""
        x, y = self.x, self.y
        shoulder = 172 + 46 * rise(-y, 40, 120) - 190 * rise(-y, 152, 186) ** 0.8
        trunk = inside(np.abs(x) - np.maximum(shoulder, 52), 6)
        density = trunk * (0.46 + 0.10 * rise(y, -100, 200) - 0.14 * (np.abs(x) / 205) ** 3)
        chest = np.maximum(self.cage(), self.diaphragm())
        deep = np.clip(-self.heart() / 45, 0, 1)
        density += (0.05 + 0.15 * np.sqrt(deep)) * inside(self.heart(), 6) * inside(chest, 4)
        domed = 0.06 + 0.10 * np.sqrt(rise(self.diaphragm(), 0, 60))
        density += domed * inside(-self.diaphragm(), 4) * inside(self.cage() - 8, 14)
        bubble = np.hypot((x - 66) / 1.7, y - 122 - self._breath) - 15
        density -= 0.16 * inside(bubble, 5)
        airy = 0.155 + 0.05 * rise(y, -60, 100) + 0.04 * np.exp(-((np.abs(x) - 45) ** 2) / 900)
        # The wall of the chest is seen edge-on at the sides.
        airy = airy + 0.11 * np.exp(np.minimum(self.cage(), 0) / 12)
        density += self.lungs * (airy - density)
        density += 0.07 * self._vessels() * np.clip(self.lungs + 0.15, 0, 1)
        density += self._bones()
        windpipe = np.maximum(np.abs(x - 2) - 9, y + 46)
        bronchi = np.abs(np.abs(x - 2) - 0.75 * (y + 52)) - 5.5
        bronchi = np.maximum(bronchi, np.maximum(-50 - y, y - 2))
        density -= 0.11 * inside(join(windpipe, bronchi, 3), 4) * trunk
        return np.asarray(density)

    def _vessels(self) -> Plane:
        """The branching of the pulmonary vessels, from the hila outwards."""
        image = np.zeros((PIXELS, PIXELS), dtype=np.float32)
        for side in (-1.0, 1.0):
            for _ in range(26):
                start = (side * self._rng.uniform(34, 52), self._rng.uniform(-28, 34))
                angle = self._rng.uniform(-1.25, 1.25)
                self._branch(image, start, side, angle, self._rng.uniform(3.0, 5.5))
        hila = np.zeros_like(image)
        for side in (-1.0, 1.0):
            hila += np.exp(-(((self.x - side * 44) / 15) ** 2 + ((self.y - 2) / 26) ** 2))
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.6) + 0.8 * hila)

    def _branch(
        self, image: Plane, root: tuple[float, float], side: float, angle: float, thick: float
    ) -> None:
        """Draw one vessel and what parts from it; it ends where it is thinner than 0.8 mm."""
        ahead = [(root, angle, thick)]
        while ahead:
            (x, y), heading, width = ahead.pop()
            if width < 0.8 or abs(x) > 150 or abs(y) > 160:
                continue
            length = 7.0 + 4.0 * width
            end = (x + side * np.cos(heading) * length, y + np.sin(heading) * length)
            ends = [_pixel(*point) for point in ((x, y), end)]
            left, top = (max(0, min(pair) - 16) for pair in zip(*ends, strict=True))
            right, bottom = (max(pair) + 16 for pair in zip(*ends, strict=True))
            box = image[top:bottom, left:right]
            line = np.zeros(box.shape, dtype=np.float32)
            start, stop = ((column - left, row - top) for column, row in ends)
            cv2.line(line, start, stop, 1.0, max(1, round(width / SPACING_MM)), cv2.LINE_AA)
            np.maximum(box, line * min(1.0, 0.25 + width / 5), out=box)
            heading += self._rng.normal(0, 0.22)
            ahead.append((end, heading, width * 0.86))
            if self._rng.random() < 0.42:
                ahead.append((end, heading + self._rng.choice((-0.6, 0.6)), width * 0.66))

    def _bones(self) -> Plane:
        """Ribs, clavicles, shoulder blades, arms and spine, as added density."""
        x, y = self.x, self.y
        bones = np.zeros((PIXELS, PIXELS), dtype=np.float32)
        for side in (-1.0, 1.0):
            for number in range(10):
                back, front = self._rib(number, side)
                bones += 0.085 * self._bone(back, 8.0)
                if number < 7:
                    bones += 0.055 * self._bone(front, 10.0)
            clavicle = [(10, -132), (50, -136), (95, -150), (158, -152)]
            bones += 0.12 * self._bone([(side * a, b) for a, b in clavicle], 11.0)
            blade = [(150, -140), (128, -60), (140, -14), (172, -70), (184, -130), (150, -140)]
            bones += 0.05 * self._bone([(side * a, b) for a, b in blade], 5.0)
            arm = [(184, -128), (198, -20)]
            bones += 0.12 * self._bone([(side * a, b) for a, b in arm], 26.0)
        bones = np.asarray(cv2.GaussianBlur(bones, (0, 0), 2.0))
        column = inside(np.abs(x - 1) - 17, 5)
        discs = 0.5 + 0.5 * np.cos(2 * np.pi * (y + 8) / 25)
        bones += 0.05 * column * (1 - 0.5 * discs**4)
        process = np.hypot(x - 1, np.mod(y + 16, 25) - 12.5) - 4
        return np.asarray(bones + 0.03 * inside(process, 3))

    def _rib(
        self, number: int, side: float
    ) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """The back and the front arc of a rib: they meet at the side wall."""
        top = -158 + 25.5 * number
        wall = self._wide * 141 * np.sqrt(max(0.05, 1 - ((top + 42 - 72) / 240) ** 2))
        t = np.linspace(0, 1, 24)
        back_x = 17 + (wall - 17) * np.sin(t * np.pi / 2)
        back_y = top - 10 * np.sin(t * np.pi * 0.8) + (30 + 2.4 * number) * t**2.2
        front_x = wall - (wall - 42) * t**1.15
        front_y = back_y[-1] + 44 * np.sin(t * np.pi / 2)
        return (
            [(side * a, b) for a, b in zip(back_x, back_y, strict=True)],
            [(side * a, b) for a, b in zip(front_x, front_y, strict=True)],
        )

    def _bone(self, points: list[tuple[float, float]], thick_mm: float) -> Plane:
        """A bone along points: marrow, with a brighter cortex at its edges."""
        image = np.zeros((PIXELS, PIXELS), dtype=np.float32)
        path = np.array([_pixel(a, b) for a, b in points], dtype=np.int32)
        for value, part in ((1.0, 1.0), (0.6, 0.62)):
            width = max(1, round(thick_mm * part / SPACING_MM))
            cv2.polylines(image, [path], False, value, width, cv2.LINE_AA)
        return image


def _lesion(rng: np.random.Generator, body: _Body) -> tuple[Plane, dict[str, object]]:
    """Return added density and what it is."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    cloud = cv2.GaussianBlur(rng.standard_normal((PIXELS, PIXELS), dtype=np.float32), (0, 0), 18)
    cloud = np.asarray(cloud / cloud.std())
    if rng.random() < 0.6:
        name, semi = "lobar consolidation", (rng.uniform(34, 42), rng.uniform(34, 46))
        centre = (side * rng.uniform(78, 92), rng.uniform(34, 52))
        strength, edge, rough = 0.26, 22.0, 7.0
    else:
        radius = rng.uniform(9, 14)
        name, semi = "pulmonary nodule", (radius, radius)
        centre = (side * rng.uniform(72, 96), rng.uniform(-70, -10))
        strength, edge, rough = 0.15, 9.0, 1.0
    u, v = (body.x - centre[0]) / semi[0], (body.y - centre[1]) / semi[1]
    shape = (np.sqrt(u * u + v * v) - 1) * min(semi) + rough * cloud
    cover = inside(shape, edge) * body.lungs
    cover = np.sqrt(cover) * cover
    area = float(cover.sum()) * SPACING_MM**2
    column, row = _pixel(*centre)
    return np.asarray(strength * cover * (1 + 0.12 * cloud)), {
        "type": name,
        "centre_px": [column, row],
        "semi_axes_mm": [round(float(a), 1) for a in semi],
        "area_mm2": round(area),
        "side": "right" if side < 0 else "left",
    }


def _detect(density: Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Blur of the focal spot, quantum noise, and the edge enhancement that rooms use."""
    image = cv2.GaussianBlur(np.asarray(density, np.float32), (0, 0), 1.2)
    image += 0.006 * detector_noise(rng, PIXELS, 0.8) * (0.6 + image)
    image += 0.5 * (image - cv2.GaussianBlur(image, (0, 0), 6.0))
    # A gentle S-curve, as the film it replaced: lungs and mediastinum both keep detail.
    curve = 1 / (1 + np.exp(-6.0 * (image - 0.42)))
    return np.asarray(np.rint(np.clip(curve * 1.06 - 0.06, 0, 1) * 4095), dtype=np.uint16)


def _pixel(x_mm: float, y_mm: float) -> tuple[int, int]:
    """Column and row of a point."""
    half = (PIXELS - 1) / 2
    return round(x_mm / SPACING_MM + half), round(y_mm / SPACING_MM + half)
