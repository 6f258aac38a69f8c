"""Two studies of one head are brought together, and what changed between them is measured."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from pairs import RADIUS_MM, draw_head, rigid

from edge.imaging.pair import halfway, pair
from edge.imaging.registration import CannotAlign, align
from edge.imaging.volume import Volume
from engines import Amount, amount, load_engine, load_package, shipped_packages

PACKAGE = load_package(shipped_packages() / "brain-flair-change")
MOTION = rigid(6.0, (5.0, -7.0, 6.0))
BALL_ML = 4 / 3 * np.pi * RADIUS_MM**3 / 1000
HEAD = np.array([[0, 0, 0], [60, 0, 0], [0, 70, 0], [0, 0, 50]], np.float64)


def least() -> float:
    assert PACKAGE.prior is not None
    return PACKAGE.prior.least_similarity


def measure(current: Volume, prior: Volume) -> tuple[Amount, ...]:
    spec = PACKAGE.input
    assert spec.spacing_mm is not None
    eaten = pair(current, prior, align(current, prior, least=least()), spec)
    with closing(load_engine(PACKAGE)) as engine:
        scores = engine.infer({spec.tensor: eaten[None]})[PACKAGE.output.tensor][0]
    return tuple(amount(one, scores, spec.spacing_mm) for one in PACKAGE.volumes)


def test_a_known_motion_is_found_to_a_fraction_of_a_voxel() -> None:
    current, prior = draw_head(lesion=True), draw_head(lesion=False, motion=MOTION, seed=1)
    found = align(current, prior, least=least())
    points = np.c_[HEAD, np.ones(len(HEAD))].T
    apart = np.linalg.norm(((found.to_prior - MOTION) @ points)[:3], axis=0)
    assert apart.max() < 1.0  # a quarter of a slice
    assert found.after > 0.95 > found.before
    half = halfway(found)
    assert np.allclose(half @ half, found.to_prior, atol=1e-3)


def test_a_lesion_that_came_is_found_in_its_size_and_nothing_else() -> None:
    brighter, darker = measure(
        draw_head(lesion=True), draw_head(lesion=False, motion=MOTION, seed=1)
    )
    assert brighter.low <= brighter.ml <= brighter.high
    # Its soft edge counts too, as far as it stands out of the noise.
    assert 0.7 * BALL_ML < brighter.ml < 1.7 * BALL_ML
    assert darker.ml < 0.1


def test_nothing_is_claimed_where_nothing_changed() -> None:
    found = measure(draw_head(lesion=True), draw_head(lesion=True, motion=MOTION, seed=1))
    assert [one.low for one in found] == [0.0, 0.0]
    assert max(one.ml for one in found) < 0.1


def test_another_head_is_refused_with_the_reason() -> None:
    with pytest.raises(CannotAlign, match="could not be aligned: they correlate by 0"):
        align(draw_head(lesion=True), draw_head(lesion=True, other=True, seed=1), least=least())


def test_an_empty_study_is_refused() -> None:
    empty = draw_head(lesion=False)
    with pytest.raises(CannotAlign, match="empty"):
        align(empty, Volume(np.zeros_like(empty.voxels), empty.affine), least=least())
