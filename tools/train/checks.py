"""Drawn pictures to compare engines with: no patient is in a model package.

The simulated scanner draws them (`tools.scanner`), half with something to find. They look like what
the model is for closely enough that the network is busy; they say nothing about how well it judges
patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.imaging.prepare import prepare_for
from engines import InputSpec
from tools.scanner.brain_mri import draw_brain_mri
from tools.scanner.chest_xray import draw_chest_xray
from tools.scanner.head_ct import draw_head_ct
from tools.train.examples import as_bytes

_CHECKS = 16


def pictures(spec: InputSpec, modality: str, *, seed: int) -> NDArray[np.uint8]:
    """Return drawn inputs of a model, uint8 (16, channels, height, width), 255 for 1."""
    half = _CHECKS // 2
    if modality in ("CR", "DX"):
        pixels = [draw_chest_xray(place % 2 == 1, seed + place).pixels for place in range(_CHECKS)]
        return np.stack([_planes(one, spec) for one in pixels])
    stacks: list[NDArray[np.uint8]] = []
    for lesion in (False, True):
        if modality == "CT":
            volume: NDArray[np.generic] = draw_head_ct(lesion=lesion, slices=half, seed=seed).hu
        else:
            volume = draw_brain_mri(lesion, half, seed).signal
        planes = np.stack([_planes(one, spec) for one in volume])
        reach = range(-spec.neighbours, spec.neighbours + 1)
        around = [np.clip(np.arange(half) + step, 0, half - 1) for step in reach]
        # Window by window, and within a window from the lowest slice to the highest.
        stack = np.stack([planes[rows] for rows in around], axis=2)
        stacks.append(stack.reshape(half, -1, *planes.shape[2:]))
    return np.concatenate(stacks)


def _planes(pixels: NDArray[np.generic], spec: InputSpec) -> NDArray[np.uint8]:
    return as_bytes(prepare_for(spec, pixels.astype(np.float32)))
