"""Room for a box, against a fine grid of points."""

from __future__ import annotations

import math

import numpy as np

from minicarla.geometry import Pose, compose, rotation_matrix
from minicarla.world.placement import overlaps


def covered(points: np.ndarray, centre: np.ndarray, extent: np.ndarray, yaw: float) -> np.ndarray:
    """Which points (n, 2) lie inside a box."""
    turn = math.radians(yaw)
    delta = points - centre[:2]
    along = delta @ [math.cos(turn), math.sin(turn)]
    across = delta @ [-math.sin(turn), math.cos(turn)]
    return (abs(along) < extent[0]) & (abs(across) < extent[1])


def test_agrees_with_a_grid_of_points() -> None:
    random = np.random.default_rng(1)
    axis = np.linspace(-6, 6, 241)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    centres = np.zeros((200, 3))
    centres[:, :2] = random.uniform(-4, 4, (200, 2))
    extents = random.uniform(0.3, 2.0, (200, 3))
    yaws = random.uniform(-180, 180, 200)
    own = np.array([1.8, 0.8, 0.7])
    mine = covered(points, np.zeros(3), own, 25.0)
    answers = overlaps((0.0, 0.0, 0.0), tuple(own), 25.0, centres, extents, yaws)
    expected = [
        bool((mine & covered(points, centre, extent, yaw)).any())
        for centre, extent, yaw in zip(centres, extents, yaws, strict=True)
    ]
    # The grid misses overlaps thinner than its cells.
    assert (answers[np.array(expected)]).all()
    assert (answers != expected).mean() < 0.03


def test_height_separates() -> None:
    box = (np.array([[0.0, 0.0, 2.0]]), np.array([[1.0, 1.0, 0.9]]), np.array([0.0]))
    assert not overlaps((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, *box).any()
    assert overlaps((0.0, 0.0, 0.2), (1.0, 1.0, 1.0), 0.0, *box).all()


def test_composition_is_that_of_the_matrices() -> None:
    random = np.random.default_rng(2)
    for _ in range(200):
        parent, child = (
            Pose(*random.uniform(-50, 50, 3).tolist(), *random.uniform(-89, 89, 3).tolist()) for _ in range(2)
        )
        turn = rotation_matrix(*parent[3:])
        done = compose(parent, child)
        np.testing.assert_allclose(done[:3], parent[:3] + turn @ child[:3], atol=1e-9)
        np.testing.assert_allclose(rotation_matrix(*done[3:]), turn @ rotation_matrix(*child[3:]), atol=1e-9)
