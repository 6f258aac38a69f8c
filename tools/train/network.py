"""The network: a small residual net that says where it sees evidence, and how much in all.

Input is float32 (n, channels, size, size). A map of evidence for each label comes out at the
resolution that the strides leave; a label's logit is its map's mean weighted by the map's own
softmax, so that a small lesion is not averaged away by the healthy rest, and every step is one that
TensorRT and ONNX Runtime compute safely in half precision.

What ships holds the maps of the findings alone, its batch normalisations folded into the
convolutions; `tools.train.acquaint` adds how unlike the training pictures a picture is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines import InputSpec
from tools.train.plan import Shape

_SHARPNESS = 1.0
_SMOOTH = 3  # places over which the other side is averaged: no head lies quite straight


class Residual(nn.Module):  # type: ignore[misc]  # torch is not typed for this check
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        nn.init.zeros_(self.second_norm.weight)  # each block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class Backbone(nn.Module):  # type: ignore[misc]
    """From pixels to features, stage by stage.

    One stage may look at what is found on the other side as well: a head's two halves are alike,
    and what is on one of them alone is worth a look.

    Parameters
    ----------
    channels : int
        Of the input.
    shape : Shape
        Widths, blocks and strides.
    """

    def __init__(self, channels: int, shape: Shape) -> None:
        super().__init__()
        self.mirrored = shape.mirrored
        self.smooth: nn.Module = nn.AvgPool2d(_SMOOTH, 1, _SMOOTH // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, shape.stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(shape.stem),
            nn.ReLU(),
        )
        inputs, stages = shape.stem, []
        for number, stage in enumerate(shape.stages, start=1):
            if number == self.mirrored:
                inputs *= 2
            blocks = []
            for block in range(stage.blocks):
                blocks.append(Residual(inputs, stage.width, stage.stride if block == 0 else 1))
                inputs = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.width = inputs
        self.widths = (shape.stem, *(stage.width for stage in shape.stages))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to the output of the last stage, (n, width, h, w)."""
        found = self.stem(pixels)
        for number, stage in enumerate(self.stages, start=1):
            if number == self.mirrored:
                found = torch.cat([found, self.smooth(found).flip(3)], dim=1)
            found = stage(found)
        return found


def averaging(channels: int) -> nn.Conv2d:
    """Return what smooths the other side, as a convolution: the same sums.

    In bytes, ONNX Runtime is far slower at an average.
    """
    same = nn.Conv2d(channels, channels, _SMOOTH, padding=_SMOOTH // 2, groups=channels, bias=False)
    nn.init.constant_(same.weight, 1 / _SMOOTH**2)
    return same


def gridded(maps: Tensor, places: int) -> Tensor:
    """Average (n, c, h, w) into a grid of places, (n, c, places, places); 0 leaves it."""
    return functional.avg_pool2d(maps, maps.shape[-1] // places) if places else maps


def pooled(evidence: Tensor) -> Tensor:
    """Map evidence (n, outputs, h, w) to logits (n, outputs)."""
    flat = evidence.flatten(2)
    return (torch.softmax(flat * _SHARPNESS, dim=2) * flat).sum(dim=2)


class ScanNet(nn.Module):  # type: ignore[misc]
    """Evidence and logits for a picture, or for a slice and its neighbours.

    Parameters
    ----------
    spec : InputSpec
        What it looks at.
    shape : Shape
        Of the network.
    outputs : int
        Labels in training.
    """

    def __init__(self, spec: InputSpec, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.backbone = Backbone(spec.channels, shape)
        self.dropout = nn.Dropout2d(shape.dropout)
        self.places = shape.places
        self.head = nn.Conv2d(self.backbone.width, outputs, max(shape.places, 1))
        nn.init.constant_(self.head.bias, -2.0)  # most places are healthy

    def evidence(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to (n, outputs, h, w); 1 by 1 for a head by places."""
        return self.head(self.dropout(gridded(self.backbone(pixels), self.places)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to (n, outputs)."""
        return pooled(self.evidence(pixels))


class Committee(nn.Module):  # type: ignore[misc]
    """Networks that were taught alike from different beginnings; their evidence is averaged.

    What one of few networks takes for a bleed by chance, the others seldom do.

    Parameters
    ----------
    members : sequence of ScanNet
        Of one shape.
    """

    def __init__(self, members: Sequence[ScanNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.places = members[0].places
        with torch.no_grad():
            self.weight = torch.cat([one.head.weight for one in members], dim=1) / len(members)
            self.bias = torch.stack([one.head.bias for one in members]).mean(dim=0)

    def features(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to what the head weighs, every member's beside another."""
        found = [gridded(one.backbone(pixels), self.places) for one in self.members]
        return torch.cat(found, dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to logits (n, outputs)."""
        return pooled(functional.conv2d(self.features(pixels), self.weight, self.bias))


class Shipped(nn.Module):  # type: ignore[misc]
    """What ships: logits of the findings.

    Parameters
    ----------
    network : Committee
        Trained.
    columns : tuple of int
        The labels that become findings.
    """

    def __init__(self, network: Committee, columns: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        outputs, inputs, *size = network.weight[list(columns)].shape
        self.head = nn.Conv2d(inputs, outputs, size)
        with torch.no_grad():
            self.head.weight.copy_(network.weight[list(columns)])
            self.head.bias.copy_(network.bias[list(columns)])

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, channels, size, size) to logits (n, findings)."""
        return pooled(self.head(self.network.features(pixels)))
