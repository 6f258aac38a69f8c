"""Changes to a batch that leave its meaning: geometry, brightness, noise, order."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tools.train.plan import Change


def turn(batch: Tensor, change: Change, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shift and mirror each sample of (n, c, h, w); outside is 0."""
    n = batch.shape[0]

    def around(middle: float, reach: float) -> Tensor:
        return middle + reach * (2 * torch.rand(n, generator=generator) - 1)

    angle = around(0.0, change.degrees * math.pi / 180)
    zoom = around(1.0, change.zoom)
    across, down = zoom * around(1.0, change.stretch), zoom * around(1.0, change.stretch)
    if change.mirror:
        across = torch.where(torch.rand(n, generator=generator) < 0.5, -across, across)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * across
    theta[:, 0, 1] = -torch.sin(angle) * down
    theta[:, 1, 0] = torch.sin(angle) * across
    theta[:, 1, 1] = torch.cos(angle) * down
    theta[:, 0, 2] = around(0.0, change.shift)
    theta[:, 1, 2] = around(0.0, change.shift)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, align_corners=False)


def shade(batch: Tensor, change: Change, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness, gamma, sharpness and noise, as machines and doses do."""
    n = batch.shape[0]

    def draw() -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator)

    moved = batch.clone()
    if change.gamma:
        moved.clamp_(1e-4, 1).pow_(torch.exp(change.gamma * (2 * draw() - 1)))
    soft = torch.nonzero(torch.rand(n, generator=generator) < change.blur).flatten()
    if len(soft):
        much = torch.rand(len(soft), 1, 1, 1, generator=generator)
        blurred = functional.avg_pool2d(moved[soft], 3, 1, 1, count_include_pad=False)
        moved[soft] = torch.lerp(moved[soft], blurred, much)
    gain = 1 + change.contrast * (2 * draw() - 1)
    shift = change.brightness * (2 * draw() - 1)
    grain = torch.randn(batch.shape, generator=generator).mul_(change.noise * draw())
    moved.sub_(0.45).mul_(gain).add_(0.45 + shift).add_(grain).clamp_(0, 1)
    if change.ends:
        # Air stays air and bone stays bone: only what lies inside the window moves.
        moved = torch.where((batch > 0.02) & (batch < 0.98), moved, batch)
    return moved


def erase(batch: Tensor, change: Change, generator: torch.Generator) -> Tensor:
    """Blank a rectangle of some samples with their mean (Zhong et al., AAAI 2020), in place."""
    n, _, height, width = batch.shape
    for i in torch.nonzero(torch.rand(n, generator=generator) < change.erase).flatten().tolist():
        a, b, c, d = torch.rand(4, generator=generator).tolist()
        tall, wide = int(height * (0.1 + 0.25 * a)), int(width * (0.1 + 0.25 * b))
        top, left = int((height - tall) * c), int((width - wide) * d)
        batch[i, :, top : top + tall, left : left + wide] = batch[i].mean()
    return batch


def reorder(batch: Tensor, slices: int, generator: torch.Generator) -> Tensor:
    """Turn half of the stacks upside down; repeat the centre in a tenth (a series' end).

    Parameters
    ----------
    batch : Tensor, shape (n, windows * slices, h, w)
        Window by window, slice by slice.
    slices : int
        An odd number.
    """
    n, channels, height, width = batch.shape
    stack = batch.reshape(n, channels // slices, slices, height, width)
    draw = torch.rand(n, 1, 1, 1, 1, generator=generator)
    stack = torch.where(draw < 0.5, stack.flip(2), stack)
    edge = torch.rand(n, 1, 1, 1, 1, generator=generator)
    middle = stack[:, :, slices // 2 : slices // 2 + 1].expand_as(stack)
    return torch.where(edge < 0.1, middle, stack).reshape(batch.shape)
