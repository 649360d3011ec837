"""Other systems: how their logs are recognised, and under which names they log the step and the time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Axis = Literal["step", "update", "episode", "epoch", "unknown"]
"""What an x-axis counts."""

Telltale = str | tuple[str, ...]
"""A tag, or several that must all be there."""

TELLTALES: dict[str, tuple[Telltale, ...]] = {
    "av-td3": (
        "gradients/actor_encoder_norm_before_clip",
        "gradients/actor_state_path_norm",
        "agent/saturation",
        "system/steps_per_s",  # from the first row on, before there are any gradients
        "system/restarts",
    ),
    "like av-td3's": (
        "gradients/actor_cnn_norm",
        "debug/actor_q_mean",
        "agent/actor_cnn_lr",
        "agent/is_training",
        "progress/speed_kmh",
    ),
    "rlkit": ("exploration/num steps total", "trainer/Q1 Predictions Mean", "trainer/QF1 Loss", "QF1 Loss"),
    "Spinning Up": ("TotalEnvInteracts", "AverageEpRet", "AverageTestEpRet"),
    "RLlib": (
        "timesteps_total",
        "episode_reward_mean",
        "ray/tune/episode_reward_mean",
        "env_runners/episode_return_mean",
        "num_env_steps_sampled_lifetime",
    ),
    "ML-Agents": ("Environment/Cumulative Reward",),
    "Coach": ("Training Reward", "ER #Transitions", "Evaluation Reward"),
    "Tianshou": (
        "update/loss/critic1",
        "update/critic1_loss",
        "train/returns_stat/mean",
        "test/returns_stat/mean",
        "train/n/ep",
        "save/env_step",
    ),
    "rl_games": ("rewards/step", "rewards/iter", "losses/a_loss", "losses/c_loss", "performance/step_fps"),
    "OpenAI baselines": (
        "total/steps",
        "rollout/return_history",
        "rollout/Q_mean",
        "eprewmean",
        "misc/total_timesteps",
        "reference_Q_mean",
        "EpRewMean",
    ),
    "PEBBLE": ("train/true_episode_reward", "true_episode_reward", "eval/true_episode_reward"),
    "DRL-robot-navigation": ("Av. Q", "Max. Q", "train/avg_Q"),
    "SheepRL": ("Rewards/rew_avg", "Game/ep_len_avg"),
    "PFRL": (("mean", "median", "stdev"), "average_q1_func1_loss", "average_q_func1_loss"),
    "rsl_rl": ("Train/mean_reward", "Train/mean_episode_length", "Policy/mean_noise_std"),
    "SKRL": ("Reward / Total reward (mean)", "Q-network / Q1 (mean)", "Loss / Critic loss"),
    "garage": ("Evaluation/AverageDiscountedReturn", "Evaluation/Iteration", "TotalEnvSteps"),
    "DreamerV3": ("train/loss/dyn", "train/dyn_loss", "loss/dyn", "train/rand/action", "fps/policy"),
    "Dopamine": ("Train/AverageReturns", "Eval/AverageReturns"),
    "Acme": ("actor_episodes", "evaluator_episodes", "learner_walltime"),
    "Stable-Baselines 2": (
        "ep_reward_mean",
        "loss/qf1_loss",
        "loss/value_function_loss",
        "input_info/rewards",
    ),
    "Stable-Baselines3": (
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "train/n_updates",
        "time/total_timesteps",
    ),
    "CleanRL": ("charts/episodic_return", "charts/SPS", "losses/qf1_values", "losses/qf_loss"),
    "TorchRL": (
        "losses/loss_qvalue",
        "losses/loss_actor",
        "train/loss_qvalue",
        "train/loss_actor",
        "loss_qvalue",
        "loss_actor",
    ),
    "DrQ-v2": ("train/critic_target_q", "train/batch_reward", "critic_target_q"),
    "FastTD3": ("qf_max", "buffer_rewards"),
    "pytorch_sac": ("train_critic/loss", "train_actor/loss"),
    "Sample-Factory": ("reward/reward", "perf/_fps"),
    "DRL-Pytorch": ("ep_r",),
    "Brax": ("training/sps", "training/v_loss", "eval/walltime", "eval/epoch_eval_time"),
}
"""System -> tags (or columns) of which it logs at least one and no other system here does."""

COUNTED: dict[str, Axis] = {
    "DRL-robot-navigation": "episode",  # the number of the training call, of which each episode makes one
    "rsl_rl": "epoch",
    "Dopamine": "epoch",
}
"""System -> what the step of its event files counts, where it is no environment step."""


def system_of(tags: Iterable[str]) -> str:
    """Which system wrote these tags, by its telltale names; "unknown" when none is there."""
    present = set(tags)
    for name, telltales in TELLTALES.items():
        if any(t in present if isinstance(t, str) else present.issuperset(t) for t in telltales):
            return name
    return "unknown"


def normalised(tag: str) -> str:
    """A tag in lower case, words joined by _: ``"Q1 Predictions Mean"`` becomes ``q1_predictions_mean``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", tag)
    words = re.sub(r"_+", "_", re.sub(r"[\s.\-#%()\[\]]+", "_", spaced.lower()))
    return re.sub(r"_*/_*", "/", words).strip("_")


# --- the x-axis -------------------------------------------------------------------------

STEP_NAMES = (
    "env_step",
    "env_steps",
    "environment_step",
    "environment_steps",
    "total_env_steps",
    "num_env_steps",
    "global_step",
    "global_steps",
    "total_timesteps",
    "time/total_timesteps",
    "misc/total_timesteps",
    "timesteps_total",
    "timesteps_so_far",
    "num_env_steps_sampled_lifetime",
    "env_runners/num_env_steps_sampled_lifetime",
    "num_env_steps_sampled",
    "total_env_interacts",
    "total_env_steps",
    "exploration/num_steps_total",
    "expl/num_steps_total",
    "number_of_env_steps_total",
    "total/steps",
    "total_steps",
    "total_num_steps",
    "num_steps_total",
    "n_total_steps",
    "save/env_step",
    "train/env_step",
    "actor_steps",
    "total_frames",
    "collected_frames",
    "timesteps",
    "timestep",
    "time_steps",
    "time_step",
    "steps",
    "step",
    "num_steps",
    "n_steps",
    "nb_steps",
    "t",
    "frames",
    "frame",
    "num_frames",
    "_step",
)
"""Names of a column that counts environment steps, normalised, the surest first.

DrQ-v2's ``frame`` counts steps of the simulator, its ``step`` those of the agent: ``step`` comes first.
"""
_STEP_WORDS = re.compile(
    r"((time|train|training|rollout|misc|info|counters)/)?"
    r"((total|global|env|environment|number_of|num|n|cumulative|cum|overall|all)_)+"
    r"(time_?)?(steps?|frames?|interactions?|interacts|samples)(_(total|so_far|count|taken|sampled))*"
)
"""Other names for the same count, put together from the same words: ``total_step``, ``global_env_steps``."""
UPDATE_NAMES = (
    "train/n_updates",
    "n_updates",
    "updates",
    "update",
    "gradient_steps",
    "gradient_step",
    "save/gradient_step",
    "train_steps",
    "learner_steps",
    "misc/nupdates",
    "training_iter",
    "trainer/num_train_calls",
)
EPISODE_NAMES = (
    "episode",
    "episodes",
    "episode_number",
    "num_episodes",
    "time/episodes",
    "episodes_total",
    "total/episodes",
    "episodes_so_far",
    "exploration/num_paths_total",
    "ep",
    "i_episode",
)
EPOCH_NAMES = (
    "epoch",
    "epochs",
    "total/epochs",
    "training_iteration",
    "iteration",
    "iterations",
    "iter",
    "itr",
)
WALL_NAMES = ("wall_time", "timestamp", "_timestamp", "datetime", "date")
"""Names of a column that holds the time of day in seconds, normalised."""
ELAPSED_NAMES = (
    "time_total_s",
    "time/time_elapsed",
    "time_elapsed",
    "time/total_s",
    "total/duration",
    "total_duration",
    "total_time",
    "elapsed",
    "wall_clock_time",
    "_runtime",
    "relative_time",
    "time",
)
"""Names of a column that holds the seconds since the start, normalised."""


@dataclass(frozen=True)
class AxisColumn:
    """A column of a table that is its x-axis."""

    index: int
    axis: Axis


def x_axis(header: Sequence[str]) -> AxisColumn | None:
    """The column that says where a row stands: environment steps if there are any, else what there is.

    None when no column does.  The number of a row is no number of steps.
    """
    names = [normalised(h) for h in header]
    kinds: tuple[tuple[tuple[str, ...], Axis], ...] = (
        (STEP_NAMES, "step"),
        (UPDATE_NAMES, "update"),
        (EPISODE_NAMES, "episode"),
        (EPOCH_NAMES, "epoch"),
    )
    for known, axis in kinds:
        for name in known:
            if name in names:
                return AxisColumn(names.index(name), axis)
        if axis == "step":
            found = next((i for i, name in enumerate(names) if _STEP_WORDS.fullmatch(name)), None)
            if found is not None:
                return AxisColumn(found, axis)
    return None


_AXES = frozenset((*STEP_NAMES, *UPDATE_NAMES, *EPISODE_NAMES, *EPOCH_NAMES, *WALL_NAMES, *ELAPSED_NAMES))


def is_axis(tag: str) -> bool:
    """Whether a tag or column only says where a point stands or when it was written."""
    name = normalised(tag)
    return name in _AXES or _STEP_WORDS.fullmatch(name) is not None


def clock(header: Sequence[str]) -> tuple[int | None, int | None]:
    """(column of the time of day, column of the seconds since the start), each None when absent."""
    names = [normalised(h) for h in header]

    def first(known: tuple[str, ...]) -> int | None:
        return next((names.index(n) for n in known if n in names), None)

    return first(WALL_NAMES), first(ELAPSED_NAMES)
