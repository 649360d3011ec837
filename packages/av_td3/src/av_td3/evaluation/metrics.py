"""The figures of an evaluation: how each is computed, and its confidence interval.

docs/evaluation.md has the formulas and says how to read the figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from av_td3.evaluation.rollout import TTC_CAP_S, EpisodeRecord, Evaluation
from av_td3.evaluation.statistics import (
    CONFIDENCE,
    ConfidenceInterval,
    Paired,
    mean_interval,
    overlap,
    paired,
    proportion_interval,
    ratio_interval,
)
from rundoctor.signals import evaluation as signals

Value = Callable[[EpisodeRecord], float]


@dataclass(frozen=True)
class Metric:
    """One figure.  A ratio is the sum of ``value`` over the episodes, divided by the sum of ``per``."""

    name: str
    title: str
    unit: str
    kind: Literal["mean", "share of episodes", "ratio", "rate of events"]
    value: Value
    per: Value | None = None
    higher_is_better: bool | None = True
    """Whether more is better; None for a figure that only describes."""
    bounds: tuple[float, float] | None = None

    def interval(
        self, evaluation: Evaluation, confidence: float = CONFIDENCE, seed: int = 0
    ) -> ConfidenceInterval:
        """The figure of one agent, with its confidence interval."""
        values = [float(self.value(e)) for e in evaluation.episodes]
        if self.kind == "share of episodes":
            return proportion_interval([v > 0 for v in values], confidence=confidence)
        if self.per is None:
            return mean_interval(values, bounds=self.bounds, confidence=confidence, seed=seed)
        return ratio_interval(
            values,
            [float(self.per(e)) for e in evaluation.episodes],
            events=self.kind == "rate of events",
            bounds=self.bounds,
            confidence=confidence,
            seed=seed,
        )


def _steps(e: EpisodeRecord) -> float:
    return float(e.steps)


def _km(e: EpisodeRecord) -> float:
    return e.distance_km


def _ticks(e: EpisodeRecord) -> float:
    return float(e.steps if e.ticks is None else e.ticks)


def _capped_ttc(e: EpisodeRecord) -> float:
    return TTC_CAP_S if e.min_time_to_collision_s is None else min(TTC_CAP_S, e.min_time_to_collision_s)


# The coefficients: https://leaderboard.carla.org/evaluation_v2_0 and https://leaderboard.carla.org/evaluation_v2_1
_PENALTY = {"walker": 0.50, "vehicle": 0.60, "static": 0.65, "red_light": 0.70}
_PENALTY_2_1 = {"walker": 1.00, "vehicle": 0.70, "static": 0.60, "red_light": 0.40}


def infractions(e: EpisodeRecord) -> dict[str, int]:
    """The infractions of the CARLA Leaderboard that this environment knows, by kind.

    Leaving the road is none of them: it lowers the route completion instead.  Stop signs, scenarios and
    emergency vehicles are not watched.  Records of older versions do not say what was hit: it counts as
    static.
    """
    static = e.collisions - e.vehicle_collisions - e.walker_collisions
    return {
        "walker": e.walker_collisions,
        "vehicle": e.vehicle_collisions,
        "static": static,
        "red_light": e.red_lights_run,
    }


def _completed_on_road(e: EpisodeRecord) -> float:
    """Route completion without the share of the drive that was off the road, as the Leaderboard counts."""
    off = min(1.0, e.off_road_steps / max(1.0, _ticks(e)))
    return e.route_completion * (1.0 - off)


def driving_score(e: EpisodeRecord) -> float:
    """0..1: route completion times a factor for each infraction (CARLA Leaderboard 1.0 and 2.0)."""
    score = _completed_on_road(e)
    for kind, count in infractions(e).items():
        score *= _PENALTY[kind] ** count
    return score


def driving_score_2_1(e: EpisodeRecord) -> float:
    """0..1: route completion / (1 + the sum of the infractions' weights) (CARLA Leaderboard 2.1)."""
    return _completed_on_road(e) / (1.0 + sum(_PENALTY_2_1[k] * n for k, n in infractions(e).items()))


METRICS: tuple[Metric, ...] = (
    Metric("route_completion", "route completion", "", "mean", lambda e: e.route_completion, bounds=(0, 1)),
    Metric("success_rate", "success", "", "share of episodes", lambda e: e.success, bounds=(0, 1)),
    Metric(
        "clean_success_rate", "success without a collision", "", "share of episodes",
        lambda e: e.success and not e.collisions, bounds=(0, 1),
    ),
    Metric("driving_score", "driving score", "", "mean", driving_score, bounds=(0, 1)),
    Metric("driving_score_2_1", "driving score 2.1", "", "mean", driving_score_2_1, bounds=(0, 1)),
    Metric("mean_reward", "return", "", "mean", lambda e: e.episode_return),
    Metric(
        "collisions_per_km", "collisions", "1/km", "rate of events", lambda e: e.collisions, _km, False
    ),
    Metric(
        "vehicle_collisions_per_km", "collisions with vehicles", "1/km", "rate of events",
        lambda e: e.vehicle_collisions, _km, False,
    ),
    Metric(
        "walker_collisions_per_km", "collisions with walkers", "1/km", "rate of events",
        lambda e: e.walker_collisions, _km, False,
    ),
    Metric(
        "static_collisions_per_km", "collisions with things", "1/km", "rate of events",
        lambda e: infractions(e)["static"], _km, False,
    ),
    Metric(
        "red_lights_per_km", "red lights run", "1/km", "rate of events", lambda e: e.red_lights_run, _km,
        False,
    ),
    Metric(
        "lane_invasions_per_km", "lane invasions", "1/km", "rate of events", lambda e: e.lane_invasions,
        _km, False,
    ),
    Metric(
        "off_road_share", "off the road", "", "ratio", lambda e: e.off_road_steps, _ticks, False, (0, 1)
    ),
    Metric("speed_kmh", "speed", "km/h", "ratio", lambda e: e.mean_speed_kmh * e.steps, _steps, None),
    Metric("jerk", "jerk", "m/s³", "ratio", lambda e: e.mean_abs_jerk * e.steps, _steps, False),
    Metric(
        "comfort_share", "comfortable", "", "ratio", lambda e: (e.comfortable_share or 0.0) * e.steps,
        lambda e: 0.0 if e.comfortable_share is None else e.steps, True, (0, 1),
    ),
    Metric(
        "lateral_deviation_m", "lateral deviation", "m", "ratio",
        lambda e: e.mean_abs_lateral_deviation_m * e.steps, _steps, False,
    ),
    Metric(
        "steer_change", "steer change", "", "ratio", lambda e: e.mean_abs_steer_change * e.steps, _steps,
        False, (0, 2),
    ),
    Metric("min_ttc_s", "least time to collision", "s", "mean", _capped_ttc, None, True, (0, TTC_CAP_S)),
    Metric(
        "low_ttc_share", "time exposed", "", "ratio", lambda e: e.low_ttc_steps, _steps, False, (0, 1)
    ),
    Metric("episode_length", "episode length", "steps", "mean", _steps, None, None),
    Metric("distance_km", "distance per episode", "km", "mean", _km, None, None),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}
PAIRED = ("route_completion", "mean_reward", "success_rate")
"""The figures by which agents are compared route by route."""


def summary(
    evaluation: Evaluation, confidence: float = CONFIDENCE, seed: int = 0
) -> dict[str, ConfidenceInterval]:  # fmt: skip
    """Every figure of one agent, by name."""
    return {m.name: m.interval(evaluation, confidence, seed) for m in METRICS}


def terminations(evaluation: Evaluation) -> dict[str, int]:
    """How the episodes ended, most frequent first."""
    return dict(Counter(e.termination for e in evaluation.episodes).most_common())


def scalars(evaluation: Evaluation) -> dict[str, float]:
    """``eval/...`` for TensorBoard: the means, and the ends of the intervals of the main figures.

    A figure that has no value (collisions per km of a car that never moved) is left out.
    """
    episodes, n = evaluation.episodes, len(evaluation.episodes)
    row = {
        signals.COLLISIONS.tag: sum(e.collisions for e in episodes) / n,
        signals.LANE_INVASIONS.tag: sum(e.lane_invasions for e in episodes) / n,
        signals.LENGTH.tag: sum(e.steps for e in episodes) / n,
        signals.EPISODES.tag: float(n),
        signals.SIMULATOR_FAULTS.tag: float(evaluation.simulator_faults),
    }
    for name, interval in summary(evaluation).items():
        headline = signals.HEADLINE.get(name)
        if name != "episode_length" and interval.estimate is not None:
            row[headline.tag if headline is not None else signals.FIGURE.of(name)] = interval.estimate
        if name in PAIRED and interval.low is not None and interval.high is not None:
            row[signals.LOW.of(name)], row[signals.HIGH.of(name)] = interval.low, interval.high
    return row


@dataclass(frozen=True)
class Pair:
    """Two agents on the routes that both drove."""

    first: str
    second: str
    routes: int
    metrics: dict[str, Paired]
    disjoint: dict[str, bool]
    """For each metric, whether the intervals of the two agents do not overlap."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "routes": self.routes,
            "metrics": {name: p.to_dict() for name, p in self.metrics.items()},
            "intervals_disjoint": self.disjoint,
        }


@dataclass(frozen=True)
class Comparison:
    """Several agents on the same held-out routes.  The first is compared with each other one."""

    evaluations: dict[str, Evaluation]
    summaries: dict[str, dict[str, ConfidenceInterval]]
    pairs: tuple[Pair, ...]
    """The comparisons of the first agent with each other one."""
    confidence: float = CONFIDENCE

    def clearly_better(self, other: str, metric: str = "route_completion") -> bool:
        """Whether the first agent is better than ``other``, and their intervals do not overlap."""
        names = list(self.evaluations)
        a, b = self.summaries[names[0]][metric], self.summaries[other][metric]
        if overlap(a, b) or a.estimate is None or b.estimate is None:
            return False
        better = BY_NAME[metric].higher_is_better is not False
        return a.estimate > b.estimate if better else a.estimate < b.estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, ``schema`` 1; every number is finite or null."""
        return {
            "schema": 1,
            "confidence": self.confidence,
            "agents": {
                name: {
                    "summary": {m: i.to_dict() for m, i in self.summaries[name].items()},
                    "terminations": terminations(evaluation),
                    **evaluation.to_dict(),
                }
                for name, evaluation in self.evaluations.items()
            },
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def compare(results: Mapping[str, Evaluation], confidence: float = CONFIDENCE, seed: int = 0) -> Comparison:
    """Figures of every agent, and the first one against each other on the routes both drove.

    Raises:
        ValueError: no agents.
    """
    if not results:
        raise ValueError("nothing to compare")
    names = list(results)
    summaries = {name: summary(results[name], confidence, seed) for name in names}
    pairs = [
        _pair(results, summaries, names[0], other, confidence, seed) for other in names[1:]
    ]  # fmt: skip
    return Comparison(dict(results), summaries, tuple(pairs), confidence)


def _pair(
    results: Mapping[str, Evaluation],
    summaries: Mapping[str, Mapping[str, ConfidenceInterval]],
    first: str,
    second: str,
    confidence: float,
    seed: int,
) -> Pair:
    mine = {e.seed: e for e in results[first].episodes}
    theirs = {e.seed: e for e in results[second].episodes}
    common = sorted(mine.keys() & theirs.keys())
    metrics = {}
    for name in PAIRED if common else ():
        metric = BY_NAME[name]
        metrics[name] = paired(
            [float(metric.value(mine[s])) for s in common],
            [float(metric.value(theirs[s])) for s in common],
            higher_is_better=metric.higher_is_better is not False,
            bounds=metric.bounds,
            confidence=confidence,
            seed=seed,
        )
    disjoint = {name: not overlap(summaries[first][name], summaries[second][name]) for name in PAIRED}
    return Pair(first, second, len(common), metrics, disjoint)
