"""What the tags of different systems mean, in one vocabulary.

A canonical name is what rules ask for.  Each has tags in order of preference.  Where a
system's tag means something slightly else, the note says so, and the report repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """One way in which a canonical series is logged."""

    tag: str
    note: str = ""


def _a(*tags: str | Alias) -> tuple[Alias, ...]:
    return tuple(t if isinstance(t, Alias) else Alias(t) for t in tags)


_SB3_MEAN = "Stable-Baselines3 logs the mean over the last 100 episodes, so this curve lags behind"
_SB3_FPS = "Stable-Baselines3 logs the average since the start, not the present rate"
_SAC_LIKE = "mean over the replay batch"

CANONICAL: dict[str, tuple[Alias, ...]] = {
    # episodes and evaluation
    "episode_return": _a(
        "train/episode_reward",
        "charts/episodic_return",
        Alias("rollout/ep_rew_mean", _SB3_MEAN),
        "train/episode_return",
        "episode/return",
        "train/reward_episode",
        Alias("train/reward", "TorchRL's scripts log the return of finished episodes under this name"),
        "reward/episode",
        "rollout/episode_reward",
        "episode_reward",
        "episodic_return",
        "ep_rew_mean",
    ),
    "episode_length": _a(
        "train/episode_length",
        "charts/episodic_length",
        Alias("rollout/ep_len_mean", _SB3_MEAN),
        "episode/length",
        "rollout/episode_length",
        "train/step_count",
        "episode_length",
        "episodic_length",
        "ep_len_mean",
    ),
    "eval_return": _a(
        "eval/mean_reward",
        "eval/episode_reward",
        "eval/episodic_return",
        "eval/reward",
        "eval/return",
        "evaluation/return",
        "eval/mean_return",
        "eval/avg_reward",
    ),
    "eval_length": _a("eval/avg_episode_length", "eval/mean_ep_length", "eval/episode_length"),
    "eval_success": _a("eval/success_rate"),
    "eval_collisions": _a("eval/avg_collisions"),
    "eval_lane_invasions": _a("eval/avg_lane_invasions"),
    "eval_route_completion": _a("eval/route_completion"),
    "success": _a(Alias("rollout/success_rate", _SB3_MEAN), "train/success_rate"),
    "route_completion": _a("train/route_completion"),
    "collisions": _a("train/collisions_per_episode"),
    "lane_invasions": _a("train/lane_invasions_per_episode"),
    "episode_steps": _a("progress/episode_steps"),
    "speed": _a("progress/speed_kmh"),
    "current_reward": _a("progress/current_reward"),
    # critic
    "q1_mean": _a(
        Alias("train/q1_value", _SAC_LIKE),
        Alias("losses/qf1_values", _SAC_LIKE),
        Alias("train/critic_q1", _SAC_LIKE),
        Alias("losses/pred_value", _SAC_LIKE),
        Alias("train/pred_value", _SAC_LIKE),
        Alias("pred_value", _SAC_LIKE),
        "debug/q1_mean",
        "train/q1",
        "train/qf1_values",
        "qf1_values",
        "critic_q1",
    ),
    "q2_mean": _a(
        "train/q2_value",
        "losses/qf2_values",
        "train/critic_q2",
        "debug/q2_mean",
        "train/q2",
        "train/qf2_values",
        "qf2_values",
        "critic_q2",
    ),
    "q1_max": _a("debug/q1_max", "qf_max", "train/qf_max"),
    "q1_min": _a("debug/q1_min", "qf_min", "train/qf_min"),
    "q1_std": _a("debug/q1_std"),
    "q2_max": _a("debug/q2_max"),
    "q2_min": _a("debug/q2_min"),
    "q2_std": _a("debug/q2_std"),
    "target_q_mean": _a(
        "debug/target_q_mean",
        "train/critic_target_q",
        "losses/target_value",
        "train/target_value",
        "target_value",
        "critic_target_q",
    ),
    "target_q_max": _a("debug/target_q_max"),
    "target_q_min": _a("debug/target_q_min"),
    "target_q_std": _a("debug/target_q_std"),
    "td_error": _a("debug/td_error_q1", "train/td_error", "losses/td_error", "td_error"),
    "td_error_2": _a("debug/td_error_q2"),
    "twin_gap": _a("debug/twin_gap"),
    "critic_loss": _a(
        "train/critic_loss",
        "losses/qf_loss",
        "losses/loss_qvalue",
        "train/loss_qvalue",
        "train/qf_loss",
        "train/q_loss",
        "losses/critic_loss",
        "loss_qvalue",
        "qf_loss",
        "critic_loss",
    ),
    # policy
    "policy_q_mean": _a(
        "debug/actor_q_mean",
        "losses/state_action_value_actor",
        "train/state_action_value_actor",
        "state_action_value_actor",
        "train/actor_q",
        "train/actor_q_value",
    ),
    "policy_q_own": _a(
        Alias("debug/policy_q_mean", "Q1 of the policy's action on the critic's own features")
    ),
    "policy_q_max": _a("debug/actor_q_max"),
    "policy_q_min": _a("debug/actor_q_min"),
    "policy_q_std": _a("debug/actor_q_std"),
    "actor_loss": _a(
        "train/actor_loss",
        "losses/actor_loss",
        "losses/loss_actor",
        "train/loss_actor",
        "loss_actor",
        "actor_loss",
    ),
    # gradients
    "grad_actor_encoder": _a("gradients/actor_encoder_norm_after_clip", "gradients/actor_cnn_norm"),
    "grad_actor_head": _a("gradients/actor_head_norm_after_clip", "gradients/actor_mlp_norm"),
    "grad_critic_encoder": _a("gradients/critic_encoder_norm_after_clip", "gradients/critic_cnn_norm"),
    "grad_critic_head": _a("gradients/critic_head_norm_after_clip", "gradients/critic_mlp_norm"),
    "grad_actor_encoder_before": _a("gradients/actor_encoder_norm_before_clip"),
    "grad_actor_head_before": _a("gradients/actor_head_norm_before_clip"),
    "grad_critic_encoder_before": _a("gradients/critic_encoder_norm_before_clip"),
    "grad_critic_head_before": _a("gradients/critic_head_norm_before_clip"),
    "grad_actor_total": _a("actor_grad_norm", "train/actor_grad_norm", "losses/actor_grad_norm"),
    "grad_critic_total": _a("critic_grad_norm", "train/critic_grad_norm", "losses/critic_grad_norm"),
    "clip_ratio_actor": _a("gradients/actor_clip_ratio"),
    "clip_ratio_critic": _a("gradients/critic_clip_ratio"),
    "grad_state_path": _a("gradients/actor_state_path_norm"),
    "encoder_share": _a("gradients/actor_encoder_share"),
    # agent
    "saturation": _a("agent/saturation"),
    "pre_tanh": _a("agent/pre_tanh_abs_mean"),
    "action_1_mean": _a("agent/action_steer_mean", "debug/action_steering_mean"),
    "action_1_std": _a("agent/action_steer_std", "debug/action_steering_std"),
    "action_2_mean": _a("agent/action_throttle_mean", "debug/action_throttle_mean"),
    "action_2_std": _a("agent/action_throttle_std", "debug/action_throttle_std"),
    "lr_actor": _a("agent/actor_lr", "train/actor_lr", "train/learning_rate", "charts/learning_rate"),
    "lr_critic": _a("agent/critic_lr", "train/critic_lr", "train/learning_rate", "charts/learning_rate"),
    "lr_actor_encoder": _a("agent/actor_cnn_lr"),
    "lr_critic_encoder": _a("agent/critic_cnn_lr"),
    "actor_encoder_std": _a("agent/actor_cnn_param_std"),
    "actor_encoder_mean": _a("agent/actor_cnn_param_mean"),
    "actor_head_std": _a("agent/actor_param_std"),
    "actor_head_mean": _a("agent/actor_param_mean"),
    "critic_encoder_std": _a("agent/critic_cnn_param_std"),
    "critic_encoder_mean": _a("agent/critic_cnn_param_mean"),
    "critic_head_std": _a("agent/critic_param_std"),
    "critic_head_mean": _a("agent/critic_param_mean"),
    "updates": _a("agent/total_iterations", "train/n_updates"),
    "target_drift": _a("agent/target_drift", "agent/target_drift_critic"),
    "update_to_weight_actor": _a("agent/update_to_weight_ratio_actor"),
    "update_to_weight_critic": _a("agent/update_to_weight_ratio_critic"),
    "feature_norm_actor": _a("agent/feature_norm_actor"),
    "feature_norm_critic": _a("agent/feature_norm_critic"),
    "feature_rank_actor": _a("agent/feature_rank_actor", "agent/feature_rank"),
    "feature_rank_critic": _a("agent/feature_rank_critic", "agent/feature_rank"),
    "dead_units_actor": _a("agent/dead_units_actor", "agent/dead_units"),
    "dead_units_critic": _a("agent/dead_units_critic", "agent/dead_units"),
    "exploration_noise": _a("train/exploration_noise", "charts/exploration_noise", "train/exploration_std"),
    # replay and reward
    "reward_mean": _a("debug/reward_mean", "train/batch_reward", "buffer_rewards", "batch_reward"),
    "reward_max": _a("debug/reward_max"),
    "reward_min": _a("debug/reward_min"),
    "reward_std": _a("debug/reward_std"),
    "reward_bound": _a("debug/reward_bound"),
    "q_bound": _a("debug/q_bound"),
    "done_ratio": _a("debug/done_ratio"),
    "effective_discount": _a("debug/effective_discount"),
    "buffer_size": _a("progress/buffer_size", "buffer_size", "train/buffer_size"),
    "buffer_utilization": _a("agent/buffer_utilization"),
    # system
    "fps": _a(
        "system/steps_per_s",
        Alias("time/fps", _SB3_FPS),
        Alias("charts/SPS", "CleanRL logs the average since the start, not the present rate"),
        "train/fps",
        "fps",
        "SPS",
    ),
    "updates_per_s": _a("system/updates_per_s"),
    "rss": _a("system/rss_mb"),
    "gpu": _a("system/gpu_mb"),
    "restarts": _a("system/restarts"),
}

# Patterns for tags that nobody listed: the last part of the name decides, whatever the prefix.
_LAST_PARTS: dict[str, str] = {}
for _name, _aliases in CANONICAL.items():
    for _alias in _aliases:
        _part = _alias.tag.rsplit("/", 1)[-1].lower()
        if _part not in ("reward", "return", "q1", "q2", "length", "episode"):
            _LAST_PARTS.setdefault(_part, _name)

# Names whose meaning a prefix changes: never matched by their last part alone.
_PREFIX_MATTERS = re.compile(r"(^|/)(eval|test|evaluation|validation|target)[^/]*/", re.I)
_EVAL_NAMES = {"eval_return", "eval_length", "eval_success", "eval_collisions", "eval_lane_invasions"}


@dataclass(frozen=True)
class Match:
    """A canonical name found under some tag."""

    name: str
    tag: str
    note: str = ""
    guessed: bool = False


def resolve(tags: Iterable[str]) -> tuple[dict[str, list[Match]], list[str]]:
    """Find the canonical series among tags: exact names, then case, then last part.

    Returns:
        matches per canonical name, best first; the tags that mean nothing to us.
    """
    present = list(tags)
    known = set(present)
    lower = {t.lower(): t for t in present}
    found: dict[str, list[Match]] = {}
    used: set[str] = set()
    for name, aliases in CANONICAL.items():
        for alias in aliases:
            tag = alias.tag if alias.tag in known else lower.get(alias.tag.lower())
            if tag is not None:
                found.setdefault(name, []).append(Match(name, tag, alias.note))
                used.add(tag)
    for tag in present:
        if tag in used:
            continue
        part = tag.rsplit("/", 1)[-1].lower().replace(" ", "_")
        guess = _LAST_PARTS.get(part)
        if guess is None or guess in found:
            continue
        if bool(_PREFIX_MATTERS.search(tag)) != (guess in _EVAL_NAMES):
            continue
        found[guess] = [Match(guess, tag, f"recognised by its last part {part!r}", guessed=True)]
        used.add(tag)
    return found, [t for t in present if t not in used]


_TELLTALES: dict[str, tuple[str, ...]] = {
    "av-td3": (
        "gradients/actor_encoder_norm_before_clip",
        "gradients/actor_state_path_norm",
        "agent/saturation",
    ),
    "the recorded predecessor": (
        "gradients/actor_cnn_norm",
        "debug/actor_q_mean",
        "agent/actor_cnn_lr",
        "agent/is_training",
        "progress/speed_kmh",
    ),
    "Stable-Baselines3": ("rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/n_updates"),
    "CleanRL": ("charts/episodic_return", "charts/SPS", "losses/qf1_values", "losses/qf_loss"),
    "TorchRL": (
        "losses/loss_qvalue",
        "losses/loss_actor",
        "train/loss_qvalue",
        "train/loss_actor",
        "loss_qvalue",
        "loss_actor",
    ),
    "DrQ-v2": ("train/critic_target_q", "train/batch_reward"),
    "FastTD3": ("qf_max", "buffer_rewards"),
}


def system_of(tags: Iterable[str]) -> str:
    """Which system wrote these tags, by its telltale names."""
    present = set(tags)
    for name, telltales in _TELLTALES.items():
        if any(t in present for t in telltales):
            return name
    return "unknown"
