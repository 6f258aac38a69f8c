"""Slices become a volume that lies in the patient where they lay, or it is said why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.imaging.geometry import slice_position
from edge.imaging.pixels import Slice
from edge.imaging.volume import NoVolume, assemble

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
ROWS, COLUMNS, COUNT = 6, 5, 10


def one(index: int, *, step: tuple[float, float, float] = (0, 0, 3.0), **changes: object) -> Slice:
    """Return slice `index`; its pixels hold their own row, column and index."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    made = Slice(
        position_mm=None,
        pixels=np.asarray(10000 * index + 100 * rows + columns, np.float32),
        frame=0,
        spacing=(2.0, 0.5),
        look=None,
        mirror=None,
        position=(
            -10.0 + index * step[0],
            -20.0 + index * step[1],
            30.0 + index * step[2],
        ),
        orientation=AXIAL,
    )
    made = replace(made, **changes)  # type: ignore[arg-type]
    if made.position is None or made.orientation is None:
        return made
    return replace(made, position_mm=slice_position(made.position, made.orientation))


def series(**changes: object) -> list[Slice]:
    return [one(index, **changes) for index in range(COUNT)]  # type: ignore[arg-type]


def test_every_voxel_lies_where_its_pixel_lay() -> None:
    slices = series()
    np.random.default_rng(1).shuffle(slices)  # type: ignore[arg-type]
    volume = assemble(slices)
    assert volume.voxels.shape == (COLUMNS, ROWS, COUNT)
    assert volume.voxels[3, 4, 7] == 70403
    # Column 3, row 4, slice 7: x = -10 + 3 * 0.5, y = -20 + 4 * 2, z = 30 + 7 * 3; RAS turns x, y.
    assert volume.affine @ [3, 4, 7, 1] == pytest.approx([8.5, 12.0, 51.0, 1.0])


def test_a_coronal_series_keeps_its_directions() -> None:
    volume = assemble(series(orientation=CORONAL, step=(0, 3.0, 0)))
    assert volume.affine @ [3, 4, 7, 1] == pytest.approx([8.5, 20 - 21.0, 30 - 8.0, 1.0])


def test_a_tilted_gantry_shears_the_volume() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.9659258, -0.258819)
    volume = assemble(series(orientation=tilted))
    begin, end = volume.affine @ [0, 0, 0, 1], volume.affine @ [0, 0, COUNT - 1, 1]
    assert end - begin == pytest.approx([0, 0, 27.0, 0])


def test_a_slice_that_came_twice_counts_once() -> None:
    assert assemble([*series(), one(4)]).voxels.shape[2] == COUNT


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda s: s[:4] + s[5:], "slices are missing"),
        (lambda s: s[:5], "too few"),
        (lambda s: [*s, replace(s[0], position=None, position_mm=None)], "where it lies"),
        (lambda s: [*s[:-1], replace(s[-1], pixels=np.zeros((4, 4), np.float32))], "one size"),
        (lambda s: [*s[:-1], replace(s[-1], orientation=None)], "which way"),
        (lambda s: [*s[:-1], replace(s[-1], spacing=None)], "how large"),
        (lambda s: [*s[:-1], replace(s[-1], spacing=(2.0, 0.6))], "pixels are not all"),
        (
            lambda s: [*s[:-1], replace(s[-1], orientation=CORONAL)],
            "one direction",
        ),
    ],
)
def test_slices_that_make_no_volume_are_refused_with_the_reason(spoil, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NoVolume, match=why):
        assemble(spoil(series()))
