"""The evaluations of a run, and what several runs say together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import t

from av_td3.evaluation.statistics import ConfidenceInterval


@dataclass(frozen=True)
class EvaluationPoint:
    """Episodes without noise at one point of training."""

    step: int
    returns: list[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))


@dataclass
class SeedCurve:
    """One training run."""

    agent: str
    seed: int
    points: list[EvaluationPoint] = field(default_factory=list)
    updates: int = 0
    learning_s: float = 0.0
    """Wall-clock seconds from the first update on, without evaluations."""

    @property
    def maximum(self) -> float:
        """Largest mean return over the evaluations, as in the paper."""
        return max(point.mean for point in self.points)

    @property
    def final(self) -> float:
        """Mean return of the last evaluation."""
        return self.points[-1].mean

    @property
    def updates_per_second(self) -> float | None:
        """With the environment's steps and the replay; None before the first update."""
        return self.updates / self.learning_s if self.learning_s else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "maximum": self.maximum if self.points else None,
            "final": self.final if self.points else None,
            "updates": self.updates,
            "updates_per_second": self.updates_per_second,
            "evaluations": [
                {"step": point.step, "mean": point.mean, "returns": point.returns} for point in self.points
            ],
        }


def seed_interval(values: list[float], confidence: float = 0.95) -> ConfidenceInterval:
    """Student's t interval of the mean over seeds; without ends for a single seed.

    A bootstrap of three numbers is far too narrow; t assumes that the returns of seeds are roughly normal.
    """
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return ConfidenceInterval(mean, None, None, n, "none")
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return ConfidenceInterval(mean, mean - half, mean + half, n, "t")


def summary(curves: list[SeedCurve]) -> dict[str, Any]:
    """One agent's runs as a tree for JSON."""
    known = [curve for curve in curves if curve.points]
    tree: dict[str, Any] = {"runs": [curve.to_dict() for curve in curves]}
    if known:
        tree["maximum"] = seed_interval([curve.maximum for curve in known]).to_dict()
        tree["final"] = seed_interval([curve.final for curve in known]).to_dict()
    return tree
