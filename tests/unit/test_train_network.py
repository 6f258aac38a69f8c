"""The network that ships answers as the one that was trained, and a course can be interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.train import examples, plan_file
from tools.train.examples import Examples
from tools.train.plan import Plan, Stage

torch = pytest.importorskip("torch", reason="torch is in the train extra, which is not installed")


def small(name: str = "head-ct-hemorrhage", *, epochs: int = 2) -> Plan:
    """Return a plan of a network so small that it trains in a second."""
    plan = plan_file.read(name)
    return replace(
        plan,
        input=replace(plan.input, height=32, width=32),
        shape=replace(plan.shape, stem=4, stages=(Stage(8, 1, 2), Stage(8, 1, 2))),
        course=replace(plan.course, epochs=epochs, batch=8),
    )


def drawn(plan: Plan, *, count: int = 48) -> Examples:
    """Return pictures whose first label is a bright square in their middle."""
    rng = np.random.default_rng(1)
    windows = plan.input.channels // (2 * plan.input.neighbours + 1)
    image = rng.integers(0, 120, (count, windows, 32, 32)).astype(np.uint8)
    truth = np.zeros((count, len(plan.labels)), np.float32)
    truth[::2, 0] = 1
    image[::2, :, 10:22, 10:22] += 120
    names = np.array([f"{n:03d}" for n in range(count)])
    return Examples(
        digest=names,
        image=image,
        neighbour=np.repeat(examples.alone(count), 2 * plan.input.neighbours + 1, axis=1),
        group=names,
        study=names,
        truth=truth,
        teacher=examples.unknown(count, len(plan.labels)),
        age=examples.unknown(count),
        sex=np.array([""] * count),
    )


def stirred(plan: Plan, *, seed: int = 0) -> Any:
    """A network whose normalisations are not the identity."""
    from tools.train.fit import new_network  # noqa: PLC0415

    torch.manual_seed(seed)
    made = new_network(plan)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.1, 0.1)
    return made.eval()


def test_folding_the_normalisation_changes_no_answer() -> None:
    from tools.train.export import folded  # noqa: PLC0415
    from tools.train.network import Committee  # noqa: PLC0415

    plan = small()
    trained = Committee([stirred(plan), stirred(plan, seed=1)]).eval()
    picture = torch.rand(3, 6, 32, 32)
    with torch.inference_mode():
        logits = folded(trained, (2, 0))(picture)
        expected = trained(picture)[:, [2, 0]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", plan_file.known())
def test_every_shipped_network_is_small(name: str) -> None:
    from tools.train.fit import new_network  # noqa: PLC0415

    weights = sum(weight.numel() for weight in new_network(plan_file.read(name)).parameters())
    assert weights * 4 < 3_000_000


def test_a_course_that_was_cut_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    from tools.train import fit  # noqa: PLC0415

    plan, whole = small(), tmp_path / "whole.pt"
    shown = drawn(plan)
    rows = np.arange(len(shown))
    torch.use_deterministic_algorithms(True)
    straight = fit.train(shown, rows, plan, keep=whole, start=None, say=lambda _: None)

    class Cut(Exception):
        pass

    def cut(line: str) -> None:
        if line.startswith("epoch 1"):
            raise Cut

    keep = tmp_path / "cut.pt"
    with pytest.raises(Cut):
        fit.train(shown, rows, plan, keep=keep, start=None, say=cut)
    with pytest.raises(fit.FitError, match="1 of 2 epochs are done"):
        fit.load(keep, plan)
    said: list[str] = []
    resumed = fit.train(shown, rows, plan, keep=keep, start=None, say=said.append)
    assert said[0] == "goes on after epoch 1 of 2"
    for name, weight in straight.state_dict().items():
        torch.testing.assert_close(weight, resumed.state_dict()[name])


def test_members_are_taught_from_beginnings_of_their_own_and_judge_by_their_mean(
    tmp_path: Path,
) -> None:
    from tools.train import courses, fit  # noqa: PLC0415

    plan = small(epochs=1)
    assert list(courses.members(plan)) == [1, 2]
    shown = drawn(plan)
    rows = np.arange(len(shown))

    def keep(member: int) -> Path:
        return courses.checkpoint(plan, tmp_path, 1, member)

    both = courses.train(shown, rows, plan, keep=keep, start=None, say=lambda _: None)
    first, second = (fit.load(keep(member), plan) for member in (1, 2))
    assert not torch.equal(first.head.weight, second.head.weight)
    picture = torch.rand(2, 6, 32, 32)
    with torch.inference_mode():
        mean = (first.evidence(picture) + second.evidence(picture)) / 2
        features = both.features(picture)
        ours = torch.nn.functional.conv2d(features, both.weight, both.bias)
    torch.testing.assert_close(ours, mean, atol=1e-5, rtol=1e-4)
    again = courses.load(plan, tmp_path, 1)
    theirs = fit.logits(both, shown, rows)
    np.testing.assert_allclose(fit.logits(again, shown, rows), theirs, atol=1e-5)


def test_what_one_side_shows_reaches_the_places_of_the_other() -> None:
    plan = small()
    network = stirred(plan)
    picture = torch.full((1, 6, 32, 32), 0.4)
    marked = picture.clone()
    marked[..., 8:24, 28:] = 1.0  # on the right alone
    with torch.inference_mode():
        moved = (network.backbone(marked) - network.backbone(picture)).abs().sum(dim=1)[0]
    assert moved[:, 0].max() > 0


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    from tools.train import fit  # noqa: PLC0415

    plan = small(epochs=1)
    shown = drawn(plan)
    keep = tmp_path / "whole.pt"
    fit.train(shown, np.arange(len(shown)), plan, keep=keep, start=None, say=lambda _: None)
    with pytest.raises(fit.FitError, match="other settings"):
        fit.load(keep, replace(plan, settings="another"))


def test_augmentation_keeps_the_shape_and_the_range() -> None:
    from tools.train import augment  # noqa: PLC0415

    change = plan_file.read("chest-xray-pneumonia-children").change
    generator = torch.Generator().manual_seed(1)
    batch = torch.rand(8, 6, 32, 32, generator=generator)
    before = batch.clone()
    turned = augment.turn(augment.reorder(batch, 3, generator), change, generator)
    changed = augment.shade(turned, change, generator)
    torch.testing.assert_close(batch, before)
    assert changed.shape == batch.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_air_stays_air_and_bone_stays_bone_when_brightness_changes() -> None:
    from tools.train import augment  # noqa: PLC0415

    change = plan_file.read("head-ct-hemorrhage").change
    batch = torch.cat([torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)])
    changed = augment.shade(batch, change, torch.Generator().manual_seed(2))
    torch.testing.assert_close(changed, batch)


def test_a_stack_turned_upside_down_keeps_its_windows_apart() -> None:
    from tools.train import augment  # noqa: PLC0415

    batch = torch.arange(6.0).reshape(1, 6, 1, 1).repeat(64, 1, 1, 1)
    changed = augment.reorder(batch, 3, torch.Generator().manual_seed(3)).flatten(1)
    seen = {tuple(row.tolist()) for row in changed}
    assert seen == {(0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3), (1, 1, 1, 4, 4, 4)}
