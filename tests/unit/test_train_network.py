"""The network that ships answers as the one that was trained."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the train extra, which is not installed")


def network() -> Any:
    """A network whose normalisations are not the identity."""
    from tools.train.network import SliceNet  # noqa: PLC0415

    torch.manual_seed(0)
    made = SliceNet()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.1, 0.1)
    return made.eval()


def test_folding_the_normalisation_changes_no_answer() -> None:
    from tools.train.export import folded  # noqa: PLC0415

    trained = network()
    picture = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = trained(picture)[:, :1]
        shipped = folded(trained)(picture)
    torch.testing.assert_close(shipped, expected, atol=1e-4, rtol=1e-4)


def test_the_network_is_small_enough_to_ship() -> None:
    weights = sum(weight.numel() for weight in network().parameters())
    assert weights * 4 < 4_000_000


def test_augmentation_keeps_the_shape_and_the_range() -> None:
    from tools.train import augment  # noqa: PLC0415

    generator = torch.Generator().manual_seed(1)
    batch = torch.rand(8, 3, 32, 32, generator=generator)
    changed = augment.shade(augment.turn(augment.reorder(batch, generator), generator), generator)
    assert changed.shape == batch.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_air_stays_air_and_bone_stays_bone_when_brightness_changes() -> None:
    from tools.train import augment  # noqa: PLC0415

    batch = torch.cat([torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)])
    torch.testing.assert_close(augment.shade(batch, torch.Generator().manual_seed(2)), batch)
