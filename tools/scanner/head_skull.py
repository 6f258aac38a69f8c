"""The head around the brain: scalp, skull, skull base, face and neck.

Millimetres in the patient's frame: x to the left, y to the back, z to the head, with z = 0 near
the orbitomeatal line. The vertex is at about z = 118.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.scanner.drawing import (
    Place,
    Plane,
    Texture,
    band,
    capsule,
    ellipsoid,
    inside,
    join,
    level_distance,
    paint,
    square,
)

WIDTH_MM = 230.4
SIZE = 256
PIXEL_MM = WIDTH_MM / SIZE


@dataclass(frozen=True, slots=True)
class Palette:
    """What each tissue looks like: HU for CT, signal for MR."""

    air: float
    fat: float
    skin: float
    muscle: float
    bone: float
    marrow: float
    petrous: float
    csf: float
    grey: float
    white: float
    deep: float
    dura: float
    vessel: float
    calcium: float
    vitreous: float
    lens: float
    rest: float | None = None
    """The head rest's shell; None where it does not show."""


class Skull:
    """One person's head without the brain, drawn plane by plane.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides size, asymmetry, tilt and textures.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._scale = rng.uniform(0.96, 1.02)
        self._turn = np.deg2rad(rng.uniform(-3.0, 3.0))
        self._lean = np.deg2rad(rng.uniform(-2.0, 2.0))
        self._shift = np.array([0.0, 5.0]) + rng.uniform(-4.0, 4.0, size=2)
        # Left-right asymmetry: harmonics of the outline's angle, all small.
        self._waves = [(k, rng.uniform(0.002, 0.008), rng.uniform(0, 6.28)) for k in (2, 3, 5)]
        self._thick = rng.uniform(5.0, 6.8)
        self._sway = rng.uniform(-1.5, 1.5)
        self._hollows = Texture(rng, 18.0)
        self._bony = Texture(rng, 8.0)
        self._cells = Texture(rng, 4.5)
        self._x, self._y = square(SIZE, WIDTH_MM)
        # An open trough under the head: straight sides, round bottom, fixed to the table.
        wide = np.maximum(np.abs(self._x) - 30, 0)
        deep = np.maximum(self._y - 30, 0)
        self._rest = band(np.sqrt(wide**2 + deep**2) - 79.0, 0.9) * inside(20.0 - self._y)

    def place(self, z_mm: float) -> Place:
        """Return patient coordinates of the plane's pixels: turned, leaning, off centre."""
        x, y = self._x - self._shift[0], self._y - self._shift[1]
        cos, sin = np.cos(self._turn), np.sin(self._turn)
        turned_x, turned_y = cos * x + sin * y, cos * y - sin * x
        z = z_mm + np.tan(self._lean) * turned_x
        s = np.float32(1 / self._scale)
        return Place(
            np.asarray(turned_x * s, np.float32),
            np.asarray(turned_y * s, np.float32),
            np.asarray(z * s, np.float32),
        )

    def scanner_position(self, point: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return where a point of the patient's frame lies in the scanner's."""
        x, y, z = (value * self._scale for value in point)
        cos, sin = np.cos(self._turn), np.sin(self._turn)
        return (
            float(cos * x - sin * y + self._shift[0]),
            float(sin * x + cos * y + self._shift[1]),
            float(z - np.tan(self._lean) * x),
        )

    def midline(self, at: Place) -> Plane:
        """Return x of the falx: nearly straight, never quite."""
        return np.asarray(self._sway * np.sin(at.y / 45 + 0.6), dtype=np.float32)

    def inner_table(self, at: Place) -> Plane:
        """Distance to the inner face of the vault, negative inside."""
        angle = np.arctan2(at.x, -at.y)
        wave = sum(a * np.sin(k * angle + p) for k, a, p in self._waves)
        v = (at.y - 2.0) / 83.0
        width = 66.5 * (1.0 + 0.08 * v - 0.05 * v * v)
        u = at.x / width
        w = (at.z - 40.0) / 73.0
        # A power above 2 makes temples and forehead fuller than an ellipse.
        across = (np.abs(u) ** 2.3 + np.abs(v) ** 2.3) ** (2 / 2.3)
        f = np.sqrt(across / (1.0 + wave) ** 2 + w * w)
        slope = np.sqrt((u / width) ** 2 + (v / 83.0) ** 2 + (w / 73.0) ** 2)
        return np.asarray((f - 1) * f / np.maximum(slope, 3e-3), dtype=np.float32)

    def floor(self, at: Place) -> Plane:
        """Height z of the skull base under each pixel: three fossae, sella and petrous ridges."""
        ax = np.abs(at.x)
        dome = np.exp(-(((ax - 30) / 15) ** 2) - ((at.y + 56) / 26) ** 2)
        front = 17.0 + 13.0 * dome + np.maximum(0, -(at.y + 62)) * 0.5 + (ax / 40) ** 2 * 3
        middle = -2.0 + 16.0 * (((ax - 38) / 24) ** 2 + ((at.y + 12) / 30) ** 2)
        middle = np.minimum(middle, 24.0)
        middle = middle + (1 - _step(ax - 14, 5.0)) * (13.0 - middle)
        back = -30.0 + 34.0 * ((ax / 46) ** 2 + ((at.y - 40) / 42) ** 2)
        wing = _step(at.y + 33 - 0.3 * ax - 3.0 * np.cos((ax - 12) / 8), 6.0)
        ridge = _step(at.y - 3 - 0.62 * np.maximum(ax - 14, 0) - 2.0 * np.sin(ax / 7), 5.0)
        return np.asarray(front + wing * (middle - front) + ridge * (back - middle), np.float32)

    def cavity(self, at: Place) -> Plane:
        """Distance to the inside of the skull, vault and base, negative where the brain lies."""
        return np.asarray(np.maximum(self.inner_table(at), self.under(at)))

    def under(self, at: Place) -> Plane:
        """Distance to the space above the skull base, negative in it, square to the bone."""
        height = self.floor(at)
        dy, dx = np.gradient(height, PIXEL_MM)
        steep = np.minimum(dx * dx + dy * dy, 4.0)
        magnum = np.maximum(np.sqrt(at.x**2 + (at.y - 30) ** 2) - 15.0, at.z + 14)
        return np.asarray(np.minimum((height - at.z) / np.sqrt(1.0 + steep), magnum))

    def draw(self, z_mm: float, thickness_mm: float, tissue: Palette) -> tuple[Plane, Place]:
        """Return the plane with everything but the brain, and where its pixels are."""
        at = self.place(z_mm)
        table = self.inner_table(at)
        bony = self._hollows.at(z_mm, SIZE)
        # Towards the vertex the surface lies flat in the slice: thicker partial volume.
        steep = np.clip(np.abs(at.z - 40.0) / 73.0, 0, 1)
        edge = np.asarray(1.2 + 0.8 * thickness_mm * steep, dtype=np.float32)
        thick = (
            self._thick + 0.6 * bony + 3.0 * np.exp(-(((at.x / 14) ** 2) + ((at.y - 88) / 12) ** 2))
        )
        image = np.full((SIZE, SIZE), tissue.air, dtype=np.float32)
        if tissue.rest is not None:
            paint(image, tissue.rest, self._rest)
        skin = self._skin(at, table - thick)
        paint(image, tissue.skin, inside(skin, edge))
        paint(image, tissue.fat, 0.95 * inside(skin + 3.0, 1.4))
        paint(image, tissue.muscle, 0.9 * inside(table - thick - 1.0, 1.4))
        if z_mm < 62:
            self._muscles(image, at, z_mm, outer=table - thick, skin=skin, tissue=tissue)
        self._vault(image, at, table=table, thick=thick, edge=edge, tissue=tissue)
        if z_mm < 40:
            self._base(image, at, z_mm, table, tissue)
            self._face(image, at, z_mm, skin, tissue)
        return image, at

    def _skin(self, at: Place, outer: Plane) -> Plane:
        """Distance to the skin: scalp over the vault, face in front, neck behind."""
        flat = Place(at.x, at.y, np.zeros_like(at.z))
        scalp = outer - 6.0
        face = np.maximum(ellipsoid(flat, (0, -30, 0), (63, 62, 1e3)), at.z - 34)
        neck = np.maximum(ellipsoid(flat, (0, 30, 0), (58, 52, 1e3)), at.z + 8)
        nose = capsule(at, (0, -86, 22), (0, -94, -22), 5.0, 11.0)
        ears = ellipsoid(at.mirrored(), (77, 24, 2), (4, 12, 26))
        head = join(join(scalp, face, 14), neck, 16)
        return join(join(head, nose, 8), ears, 3)

    def _muscles(
        self, image: Plane, at: Place, z_mm: float, *, outer: Plane, skin: Plane, tissue: Palette
    ) -> None:
        """Temporalis, the muscles of mastication and of the neck, fat between them."""
        side = at.mirrored()
        planes = level_distance(self._bony.at(z_mm, SIZE), PIXEL_MM)
        temple = np.maximum(ellipsoid(side, (68, -30, 10), (26, 36, 50)), skin + 3.0)
        bulk = np.maximum(skin + 6.0, at.z - 6)
        # Fat lies between the muscles, more of it in the cheeks.
        lean = 1.0 + 1.4 * _step(-50 - at.y, 20)
        fleshy = inside(join(temple, bulk), 2.0) * (0.7 + 0.3 * inside(lean - planes, 1.6))
        paint(image, tissue.muscle, inside(np.maximum(temple, -outer)))
        paint(image, tissue.muscle, fleshy)
        for x in (1.0, 18.0, 36.0):  # the nuchal muscles part along sheets
            sheet = np.abs(side.x - x - 0.25 * (at.y - 50)) - 0.7
            sheet = np.maximum(np.maximum(sheet, skin + 5), np.maximum(38 - at.y, at.z - 2))
            paint(image, tissue.fat, 0.6 * inside(sheet, 1.6))

    def _vault(
        self, image: Plane, at: Place, *, table: Plane, thick: Plane, edge: Plane, tissue: Palette
    ) -> None:
        below = 24.0 - 46.0 * _step(at.y + 14, 36.0) - at.z  # the vault ends at the base
        shell = np.maximum(np.maximum(table - thick, -table), below * 0.7)
        paint(image, tissue.bone, inside(shell, edge))
        diploe = np.maximum(np.abs(table - thick * 0.5) - thick * 0.2, below)
        paint(image, tissue.marrow, 0.85 * inside(diploe, 1.6))

    def _base(self, image: Plane, at: Place, z_mm: float, table: Plane, tissue: Palette) -> None:
        side = at.mirrored()
        cells = self._cells.at(z_mm, SIZE)
        plate = np.maximum(np.abs(self.under(at) - 1.4) - 1.6, table - 4)
        paint(image, tissue.bone, inside(plate, 2.0))
        ridge = join(
            capsule(side, (12, 2, 6), (60, 34, 8), 9.0, 12.0),
            capsule(at, (0, -4, 12), (0, 16, -26), 7.0),
            5,
        )
        paint(image, tissue.petrous, inside(ridge, 1.8))
        wing = capsule(side, (8, -20, 24), (50, -36, 30), 2.6, 2.0)
        paint(image, tissue.bone, inside(wing, 1.6))
        condyle = np.abs(np.sqrt(at.x**2 + (at.y - 30) ** 2) - 20) - 5.0
        condyle = np.maximum(condyle, at.z + 22)
        paint(image, tissue.bone, inside(condyle, 1.6))
        jaw = capsule(side, (50, -6, -12), (46, -22, -60), 6.0, 5.0)
        arch = capsule(side, (62, -4, -4), (54, -58, -8), 3.2)
        paint(image, tissue.bone, inside(join(jaw, arch), 1.6))
        mastoid = ellipsoid(side, (56, 38, -2), (13, 15, 18))
        paint(image, tissue.bone, inside(np.maximum(mastoid, table - 14), 1.6))
        air = np.maximum(mastoid + 2.5, -0.6 * cells)
        canal = capsule(side, (40, 18, 1), (84, 20, 0), 2.4, 3.2)
        middle_ear = ellipsoid(side, (42, 18, 3), (4, 5, 6))
        paint(image, tissue.air, inside(join(join(air, canal), middle_ear), 1.4))

    def _face(self, image: Plane, at: Place, z_mm: float, skin: Plane, tissue: Palette) -> None:
        side = at.mirrored()
        cells = self._cells.at(z_mm, SIZE)
        orbit = capsule(side, (32, -76, 6), (14, -32, 12), 17.0, 3.0)
        paint(image, tissue.bone, band(orbit - 1.2, 1.6) * inside(at.y + 24) * inside(skin + 9))
        paint(image, tissue.fat, inside(np.maximum(orbit, skin + 3)))
        nerve = capsule(side, (31, -70, 6), (12, -32, 13), 2.2)
        rectus = join(
            capsule(side, (41, -66, 6), (18, -34, 11), 2.6, 1.6),
            capsule(side, (22, -66, 6), (13, -36, 11), 2.4, 1.6),
        )
        paint(image, tissue.muscle, inside(join(nerve, rectus)))
        globe = ellipsoid(side, (32, -77, 6), (12.2, 12.4, 12.2))
        paint(image, tissue.skin, inside(globe))
        paint(image, tissue.vitreous, inside(globe + 1.2))
        paint(image, tissue.lens, inside(ellipsoid(side, (32, -86, 6), (4.5, 2.2, 4.5))))
        boxes = (
            (ellipsoid(side, (6, -52, 10), (9, 27, 16)), True),
            (ellipsoid(side, (8, -18, 2), (9.5, 13, 9)), False),
            (ellipsoid(side, (26, -52, -28), (15, 19, 18)), False),
            (ellipsoid(side, (7, -56, -28), (9, 28, 18)), True),
            (ellipsoid(side, (9, -84, 31), (10, 4, 9)), False),
        )
        for shape, divided in boxes:
            hollow = np.maximum(shape, skin + 6)
            paint(image, tissue.bone, inside(hollow - 1.4, 1.6))
            paint(image, tissue.air, inside(hollow))
            if divided:
                walls = np.maximum(np.abs(cells) * 3.0 - 0.55, hollow)
                paint(image, tissue.marrow * 0.6, 0.8 * inside(walls, 1.4))
        septum = np.maximum(np.abs(at.x - 0.8) - 0.8, np.maximum(at.z - 26, at.y + 30))
        paint(image, tissue.marrow, 0.8 * inside(np.maximum(septum, skin + 7)))
        throat = ellipsoid(at, (0, -16, -44), (13, 10, 26))
        paint(image, tissue.air, inside(throat))


def _step(value: Plane, width: float) -> Plane:
    """0 below zero, 1 above, smooth over `width`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * value / width, -30, 30))), dtype=np.float32)
