"""Actors: the critic's value of their actions, the actions themselves, exploration."""

from __future__ import annotations

from .model import Alias, Moments, Signal, aliases

_BOTH_KINDS = "named alike for on-policy and off-policy agents"

LOSS = Signal(
    "actor_loss",
    "train/actor_loss",
    "-mean Q1 of the policy's action, and the penalty on the pre-tanh activation",
    "reward",
    healthy="falls as the return rises",
    aliases=aliases(
        "losses/actor_loss",
        "losses/loss_actor",
        "train/loss_actor",
        "loss_actor",
        "actor_loss",
        "train_actor/loss",
        "trainer/Policy Loss",
        "loss/actor",
        "losses/actor",
        "update/loss/actor",
        "update/actor_loss",
        "actor/loss",
        Alias("Policy Loss", _BOTH_KINDS, on_policy=False),
        Alias("LossPi", _BOTH_KINDS, on_policy=False),
        Alias("Losses/Policy Loss", _BOTH_KINDS, on_policy=False),
        Alias("Loss / Policy loss", _BOTH_KINDS, on_policy=False),
        Alias("loss/policy_loss", _BOTH_KINDS, on_policy=False),
        Alias("Policy/AveragePolicyLoss", _BOTH_KINDS, on_policy=False),
        Alias("train/policy_loss", _BOTH_KINDS, on_policy=False),
        Alias("losses/policy_loss", _BOTH_KINDS, on_policy=False),
        Alias("policy_loss", _BOTH_KINDS, on_policy=False),
        Alias("pi_loss", _BOTH_KINDS, on_policy=False),
        Alias("a_loss", _BOTH_KINDS, on_policy=False),
    ),
)
Q = Moments(
    Signal(
        "policy_q_mean",
        "debug/actor_q_mean",
        "Q1 of the policy's own action on the replayed states, with the critic's own features",
        "reward",
        healthy="near `train/q1_value`; a large distance is a sign of a gradient leak",
        aliases=aliases(
            "losses/state_action_value_actor",
            "train/state_action_value_actor",
            "state_action_value_actor",
            "train/actor_q",
            "train/actor_q_value",
            "reference_actor_Q_mean",
        ),
        also=("debug/policy_q_mean",),
    ),
    Signal("policy_q_min", "debug/actor_q_min", "smallest Q1 of the policy's actions in a batch", "reward"),
    Signal(
        "policy_q_max",
        "debug/actor_q_max",
        "largest Q1 of the policy's actions in a batch",
        "reward",
        healthy="below `debug/q_bound`",
    ),
    Signal(
        "policy_q_std",
        "debug/actor_q_std",
        "standard deviation of Q1 of the policy's actions over a batch",
        "reward",
        aliases=aliases("reference_actor_Q_std"),
    ),
)
SATURATION = Signal(
    "saturation",
    "agent/saturation",
    "share of the policy's action entries beyond 0.99 in size, where tanh passes under 2 % of a gradient",
    healthy="below 0.5",
    aliases=aliases("train/saturation", "action_saturation"),
)
PRE_TANH = Signal(
    "pre_tanh",
    "agent/pre_tanh_abs_mean",
    "mean size of the actor's output before the tanh",
    healthy="below 3",
)
ACTION_MEAN = {
    1: Signal(
        "action_1_mean",
        "agent/action_steer_mean",
        "mean steering of the policy on a batch, -1 to 1",
        healthy="not at a limit",
        aliases=aliases(
            "debug/action_steering_mean",
            "trainer/Policy Action Mean",
            "Policy Action Mean",
            "rollout/actions_mean",
            "exploration/Actions Mean",
            "actions/Mean",
            "action/steer",
            "actions/steer",
            "control/steer",
            "action_steer",
            "steer_mean",
            "steer",
            "steering",
        ),
    ),
    2: Signal(
        "action_2_mean",
        "agent/action_throttle_mean",
        "mean throttle (positive) or brake (negative) of the policy on a batch, -1 to 1",
        healthy="not at a limit",
        aliases=aliases(
            "debug/action_throttle_mean",
            "action/throttle",
            "actions/throttle",
            "control/throttle",
            "action_throttle",
            "throttle_mean",
            "throttle",
            "accel",
            "acceleration_command",
        ),
    ),
    3: Signal(
        "action_3_mean",
        "",
        "mean brake, where it is an action of its own",
        healthy="not at a limit",
        aliases=aliases(
            "action/brake", "actions/brake", "control/brake", "action_brake", "brake_mean", "brake"
        ),
    ),
}
ACTION_STD = {
    1: Signal(
        "action_1_std",
        "agent/action_steer_std",
        "standard deviation of the policy's steering over a batch",
        healthy="well above 0",
        aliases=aliases(
            "debug/action_steering_std",
            "trainer/Policy Action Std",
            "Policy Action Std",
            "rollout/actions_std",
            "exploration/Actions Std",
            "actions/Stdev",
            "steer_std",
        ),
    ),
    2: Signal(
        "action_2_std",
        "agent/action_throttle_std",
        "standard deviation of the policy's throttle over a batch",
        healthy="well above 0",
        aliases=aliases("debug/action_throttle_std", "throttle_std"),
    ),
    3: Signal(
        "action_3_std",
        "",
        "standard deviation of the brake, where it is an action of its own",
        healthy="well above 0",
        aliases=aliases("brake_std"),
    ),
}
TAKEN_STEER = Signal(
    "taken_steer",
    "agent/taken_steer_mean",
    "mean steering that was sent to the car, exploration included, -1 to 1",
)
TAKEN_THROTTLE = Signal(
    "taken_throttle",
    "agent/taken_throttle_mean",
    "mean throttle or brake that was sent to the car, exploration included, -1 to 1",
)
NOISE = Signal(
    "exploration_noise",
    "train/exploration_noise",
    "standard deviation of the exploration noise on the actions",
    "",
    "last",
    "0.1 or more for most of the run",
    aliases("charts/exploration_noise", "train/exploration_std", "exploration_noise", "action_noise"),
)
