"""Evaluations: the policy without exploration noise, on routes or seeds of their own."""

from __future__ import annotations

from .model import Alias, Signal, aliases

_EPOCH = "a mean over the evaluation episodes of one epoch"
PREFIX = "eval/"
"""What the tag of every evaluation signal begins with."""
FIGURES = (
    "clean_success_rate",
    "driving_score",
    "driving_score_2_1",
    "collisions_per_km",
    "vehicle_collisions_per_km",
    "walker_collisions_per_km",
    "static_collisions_per_km",
    "lane_invasions_per_km",
    "red_lights_per_km",
    "off_road_share",
    "speed_kmh",
    "jerk",
    "comfort_share",
    "lateral_deviation_m",
    "steer_change",
    "min_ttc_s",
    "low_ttc_share",
    "distance_km",
)
"""Figures of driving (``av_td3.evaluation.metrics.METRICS``) beside the headline figures below."""
HEADLINES = ("route_completion", "mean_reward", "success_rate")
"""Figures that are logged with their confidence interval."""

RETURN = Signal(
    "eval_return",
    "eval/mean_reward",
    "mean undiscounted return of the evaluation episodes",
    "reward",
    "evaluation",
    "rises, and stays near the training return",
    aliases(
        "eval/episode_reward",
        "eval/true_episode_reward",
        "eval/episodic_return",
        "eval/reward",
        "eval/return",
        "evaluation/return",
        "eval/mean_return",
        "eval/avg_reward",
        "eval/return_history",
        "test/reward",
        "test/returns_stat/mean",
        Alias("evaluation/Returns Mean", _EPOCH),
        Alias("evaluation/Average Returns", _EPOCH),
        Alias("evaluation/AverageReturn", _EPOCH),
        Alias("eval/Returns Mean", _EPOCH),
        Alias("Evaluation/AverageReturn", _EPOCH),
        Alias("Test Returns Mean", _EPOCH),
        Alias("AverageTestEpRet", _EPOCH),
        "TestEpRet",
        "evaluation/episode_reward_mean",
        "evaluation/env_runners/episode_return_mean",
        "evaluation/env_runners/episode_reward_mean",
        "ray/tune/evaluation/episode_reward_mean",
        "Evaluation Reward",
        Alias("Eval/AverageReturns", _EPOCH),
        Alias("mean", "PFRL: the mean over the evaluation episodes", only_in=("PFRL",)),
        Alias("environment", "d3rlpy: the mean over the evaluation episodes", unsure=True),
        "eval_episode/score",
        "eval_reward",
        "eval_return",
        "evaluation_reward",
        "evaluation_return",
        "test_reward",
        "test_return",
    ),
)
LENGTH = Signal(
    "eval_length",
    "eval/avg_episode_length",
    "mean length of the evaluation episodes",
    "steps",
    "evaluation",
    "",
    aliases(
        "eval/mean_ep_length",
        "eval/episode_length",
        "test/length",
        "test/lens_stat/mean",
        Alias("evaluation/path length Mean", _EPOCH),
        Alias("eval/path length Mean", _EPOCH),
        "evaluation/episode_len_mean",
        "evaluation/env_runners/episode_len_mean",
        "TestEpLen",
        "eval_length",
    ),
)
SUCCESS = Signal(
    "eval_success",
    "eval/success_rate",
    "share of evaluation episodes that reached their goal",
    "",
    "evaluation",
    "rises",
    aliases("test/success_rate", "Evaluation/SuccessRate", "eval/true_episode_success", "eval/avg_goal"),
)
ROUTE_COMPLETION = Signal(
    "eval_route_completion",
    "eval/route_completion",
    "mean share of the route that was driven, 0 to 1",
    "",
    "evaluation",
    "rises",
)
COLLISIONS = Signal(
    "eval_collisions",
    "eval/avg_collisions",
    "mean number of collisions in an evaluation episode",
    "",
    "evaluation",
    "falls",
    aliases("eval/avg_col", "eval/collisions"),
)
LANE_INVASIONS = Signal(
    "eval_lane_invasions",
    "eval/avg_lane_invasions",
    "mean number of touched lane markings in an evaluation episode",
    "",
    "evaluation",
    "falls",
)
FIGURE = Signal(
    "eval_figure",
    "eval/<figure>",
    "a figure of driving over all evaluation episodes; docs/evaluation.md defines each",
    "in the name",
    "evaluation",
    choices=FIGURES,
)
LOW = Signal(
    "eval_low",
    "eval/<figure>_low",
    "lower end of the figure's 95 % confidence interval",
    "as the figure",
    "evaluation",
    choices=HEADLINES,
)
HIGH = Signal(
    "eval_high",
    "eval/<figure>_high",
    "upper end of the figure's 95 % confidence interval",
    "as the figure",
    "evaluation",
    choices=HEADLINES,
)
EPISODES = Signal("eval_episodes", "eval/episodes", "number of evaluation episodes", "", "evaluation")
SIMULATOR_FAULTS = Signal(
    "eval_simulator_faults",
    "eval/simulator_faults",
    "evaluation episodes that a failure of the simulator cut off; they count in no other figure",
    "",
    "evaluation",
    "0",
)
HEADLINE = {"route_completion": ROUTE_COMPLETION, "mean_reward": RETURN, "success_rate": SUCCESS}
