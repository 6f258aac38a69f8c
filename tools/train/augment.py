"""Changes to a batch that leave its meaning: geometry, brightness, noise, order."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def turn(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shift and mirror each sample of (n, c, h, w); outside is air (0)."""
    n = batch.shape[0]

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle = uniform(-14, 14) * (math.pi / 180)
    zoom_x, zoom_y = uniform(0.88, 1.14), uniform(0.88, 1.14)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * zoom_x * mirror
    theta[:, 0, 1] = -torch.sin(angle) * zoom_y
    theta[:, 1, 0] = torch.sin(angle) * zoom_x * mirror
    theta[:, 1, 1] = torch.cos(angle) * zoom_y
    theta[:, 0, 2] = uniform(-0.1, 0.1)
    theta[:, 1, 2] = uniform(-0.1, 0.1)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, align_corners=False)


def shade(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness and noise, as scanners, doses and kernels do."""
    n = batch.shape[0]
    gain = 1 + 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    shift = 0.1 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    noise = 0.03 * torch.rand(n, 1, 1, 1, generator=generator)
    grain = torch.randn(batch.shape, generator=generator) * noise
    # Air stays air and bone stays bone: only what lies inside the window moves.
    inside = ((batch > 0.02) & (batch < 0.98)).float()
    moved = (batch - 0.45) * gain + 0.45 + shift + grain
    return torch.clamp(batch * (1 - inside) + moved * inside, 0, 1)


def reorder(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Swap the neighbours in half of the samples; repeat the centre in a tenth (a series edge)."""
    draw = torch.rand(batch.shape[0], 1, 1, 1, generator=generator)
    batch = torch.where(draw < 0.5, batch.flip(1), batch)
    edge = torch.rand(batch.shape[0], 1, 1, 1, generator=generator)
    return torch.where(edge < 0.1, batch[:, 1:2].expand_as(batch), batch)
