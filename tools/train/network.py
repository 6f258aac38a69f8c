"""The network: a small residual net that says where it sees evidence, and how much in all.

Input is float32 (n, 3, size, size): the slice below, the slice itself, the slice above. A map of
evidence comes out at an eighth of the resolution; the slice's logit is its mean weighted
by its own softmax, so that a small bleed is not averaged away by the healthy rest, and every step
is one that TensorRT and ONNX Runtime compute safely in half precision. During training there are
six maps (any hemorrhage, then the five kinds, which help to learn); what ships is the first alone,
with its batch normalisations folded into the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (24, 48, 80, 112)
BLOCKS = (1, 2, 2, 1)
STRIDES = (1, 2, 2, 1)
_SHARPNESS = 1.0


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


def pooled(evidence: Tensor) -> Tensor:
    """Map evidence (n, outputs, h, w) to logits (n, outputs)."""
    flat = evidence.flatten(2)
    return (torch.softmax(flat * _SHARPNESS, dim=2) * flat).sum(dim=2)


class SliceNet(nn.Module):  # type: ignore[misc]
    """Evidence and logits for a slice and its neighbours.

    Parameters
    ----------
    outputs : int
        Maps in training; the first is "any hemorrhage".
    """

    def __init__(self, outputs: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        ]
        inputs = WIDTHS[0]
        for width, blocks, stride in zip(WIDTHS, BLOCKS, STRIDES, strict=True):
            for block in range(blocks):
                layers.append(Residual(inputs, width, stride if block == 0 else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(inputs, outputs, 1)
        nn.init.constant_(self.head.bias, -2.0)  # most places are healthy

    def evidence(self, slices: Tensor) -> Tensor:
        """Map (n, 3, size, size) to (n, outputs, size / 8, size / 8)."""
        return self.head(self.dropout(self.features(slices)))

    def forward(self, slices: Tensor) -> Tensor:
        """Map (n, 3, size, size) to (n, outputs)."""
        return pooled(self.evidence(slices))


class FirstLogit(nn.Module):  # type: ignore[misc]
    """What ships: the network with only its first logit, (n, 3, size, size) to (n, 1)."""

    def __init__(self, network: SliceNet) -> None:
        super().__init__()
        self.features = network.features
        self.head = nn.Conv2d(network.head.in_channels, 1, 1)
        with torch.no_grad():
            self.head.weight.copy_(network.head.weight[:1])
            self.head.bias.copy_(network.head.bias[:1])

    def forward(self, slices: Tensor) -> Tensor:
        """Map (n, 3, size, size) to (n, 1)."""
        return pooled(self.head(self.features(slices)))
