"""Small generated runs of the shape of the recorded ones, with the same faults.

They stand for the recorded runs (``docs/history.md``) where those are not at hand.  Episodes are on an
axis of their own; a row of figures comes every 100 steps from 1,100 on.  Gradient norms are logged as sums
over tensors, the policy's Q leaves the data's, the head's gradient dies, the alerts cannot fire, and the
first lane invasion ends every episode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .synthetic import START, Points, write_events


@dataclass(frozen=True)
class Shape:
    """What tells one recorded run from another."""

    steps: int
    episodes: int
    speed: float
    """Steps per second."""
    growth: float
    """Q(policy) over Q(data) at the end."""
    gamma: float | None
    """None: the discount is not logged."""
    evaluates: bool = False


SHAPES = {
    "day18-run1": Shape(1800, 66, 8.2, 40, None),
    "day20-run1": Shape(1700, 59, 5.9, 32, 0.9),
    "day20-run2": Shape(5000, 479, 5.0, 1.17e5, 0.99, evaluates=True),
    "day20-run3": Shape(3700, 176, 5.1, 1.12e11, 0.99),
}


def recorded(name: str, seed: int = 0) -> Points:
    """The series of a run in the shape of the recorded run of that name."""
    shape, rng = SHAPES[name], np.random.default_rng(seed)
    rows = range(1100, shape.steps + 1, 100)
    points: Points = {}

    def wall(step: float) -> float:
        return START + step / shape.speed

    def put(tag: str, values: list[float]) -> None:
        points[tag] = [(s, wall(s), v) for s, v in zip(rows, values, strict=True)]

    n = len(rows)
    progress = [i / (n - 1) for i in range(n)]
    data = [16 + 6 * p + float(rng.normal(0, 0.5)) for p in progress]
    policy = [0.14 * q * (shape.growth / 0.14) ** (p**0.5) for q, p in zip(data, progress, strict=True)]
    put("train/q1_value", data)
    put("train/q2_value", [q + 0.05 for q in data])
    put("train/actor_loss", [-q for q in policy])
    put("train/critic_loss", [76 * math.exp(-p) * math.exp(float(rng.normal(0, 0.1))) for p in progress])
    if shape.gamma is not None:
        put("debug/actor_q_mean", policy)
        put("debug/actor_q_max", [1.1 * q for q in policy])
        put("debug/q1_max", [2 * q for q in data])
        put("debug/q1_std", [7.0 for _ in data])
        done = [float(rng.binomial(256, 0.03)) / 256 for _ in data]
        put("debug/done_ratio", done)
        put("debug/effective_discount", [shape.gamma * (1 - d) for d in done])
        put("debug/td_error_q1", [6 * math.exp(-p) for p in progress])
    for who, limit in (("actor", 1.0), ("critic", 10.0)):
        put(f"gradients/{who}_cnn_norm", [limit * float(rng.uniform(1.9, 2.4)) for _ in data])
    put("gradients/actor_mlp_norm", [1e-4 * 10 ** (-3 * p) for p in progress])
    put("gradients/critic_mlp_norm", [float(rng.uniform(2, 5)) for _ in data])
    for level in ("warning", "critical"):
        put(f"alerts/gradient_explosion_{level}", [0.0 for _ in data])
    for rate, value in (("actor_lr", 3e-4), ("critic_lr", 3e-4), ("actor_cnn_lr", 1e-5)):
        put(f"agent/{rate}", [value for _ in data])
    put("agent/total_iterations", [float(s - 1000) for s in rows])
    every = range(100, shape.steps + 1, 100)
    points["progress/buffer_size"] = [(s, wall(s), float(s)) for s in every]
    points["progress/speed_kmh"] = [(s, wall(s), 15 + float(rng.normal(0, 3))) for s in every]
    ends = np.linspace(20, shape.steps, shape.episodes)
    lengths = np.diff(ends, prepend=0)
    for tag, values in (
        ("reward", [700 * math.exp(-4 * i / shape.episodes) + 7 for i in range(shape.episodes)]),
        ("length", [float(max(2, round(x))) for x in 2 * lengths * np.linspace(1.6, 0.4, shape.episodes)]),
    ):
        points[f"train/episode_{tag}"] = [(i, wall(ends[i]), v) for i, v in enumerate(values)]
    for tag, value in (("collisions", 0.0), ("lane_invasions", 1.0)):
        points[f"train/{tag}_per_episode"] = [(i, wall(ends[i]), value) for i in range(shape.episodes)]
    if shape.evaluates:
        points["eval/mean_reward"] = [(s, wall(s) + 1, 60.0) for s in (3000, 5000)]
    return points


def write_recorded(folder: Path, name: str) -> Path:
    """An event file in the shape of a recorded run; returns the folder ``folder/name``."""
    write_events(folder / name / f"events.out.tfevents.{int(START)}.host.1.0", recorded(name))
    return folder / name
