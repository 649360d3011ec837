"""Signals that av-td3 does not have and other algorithms log: for their names, and to tell them apart."""

from __future__ import annotations

from .model import Alias, Signal, aliases

MINUS = "minus the entropy"
"""Note of a tag that holds the entropy with its sign reversed."""

ALPHA = Signal(
    "alpha",
    "",
    "coefficient of the entropy bonus (SAC)",
    healthy="neither 0 nor growing without limit",
    aliases=aliases(
        "train/ent_coef",
        "losses/alpha",
        "Coefficient / Entropy coefficient",
        Alias("temperature", only_in=("PFRL",)),
        "trainer/Alpha",
        "Alpha",
        "train_alpha/value",
        "alpha_value",
        "train/alpha",
        "loss/alpha_value",
        "update/alpha",
        "info/alpha",
        "alpha",
        "ent_coef",
        "Policy/Continuous Entropy Coeff",
        "Policy/Entropy Coeff",
    ),
)
ALPHA_LOSS = Signal(
    "alpha_loss",
    "",
    "loss of the entropy coefficient (SAC)",
    aliases=aliases(
        "train/ent_coef_loss",
        "losses/alpha_loss",
        "trainer/Alpha Loss",
        "train_alpha/loss",
        "alpha_loss",
        "loss/alpha",
        "update/loss/alpha",
        "update/alpha_loss",
        "ent_coef_loss",
    ),
)
LOG_PI = Signal(
    "log_pi",
    "",
    "mean log-probability of the policy's actions",
    "nat",
    aliases=aliases(
        "trainer/Log Pis Mean",
        "Log Pis Mean",
        "AverageLogPi",
        "LogPi",
        "actor_logprob",
        "train/actor_logprob",
    ),
)
ENTROPY = Signal(
    "entropy",
    "",
    "entropy of the policy",
    "nat",
    healthy="falls slowly, not to its floor at once",
    aliases=aliases(
        "Policy/Entropy",
        "losses/entropy",
        "train_actor/entropy",
        "actor_entropy",
        "Entropy/Mean",
        "Entropy",
        "loss/policy_entropy",
        "policy_entropy",
        "average_entropy",
        "entropy",
        "train/actor_ent",
        "info/learner/default_policy/learner_stats/entropy",
        "learners/default_policy/entropy",
        Alias("train/entropy_loss", MINUS),
    ),
)
VALUE_LOSS = Signal(
    "value_loss",
    "",
    "loss of the state-value function (PPO, A2C)",
    "reward²",
    aliases=aliases(
        "train/value_loss",
        "losses/value_loss",
        "loss/value_loss",
        "Losses/Value Loss",
        "Loss / Value loss",
        "Loss/value_function",
        "Loss/mean_value_loss",
        "loss/value_function_loss",
        "average_value_loss",
        Alias("losses/c_loss", on_policy=True),
        Alias("c_loss", on_policy=True),
        "LossV",
        "vf_loss",
        "value_loss",
        "Value Loss/Mean",
    ),
)
SURROGATE_LOSS = Signal(
    "surrogate_loss",
    "",
    "loss of the policy of an on-policy agent; it says little of learning",
    aliases=aliases(
        "train/policy_gradient_loss",
        Alias("loss/policy_loss", on_policy=True),
        Alias("losses/a_loss", on_policy=True),
        Alias("a_loss", on_policy=True),
        Alias("Losses/Policy Loss", on_policy=True),
        Alias("Loss / Policy loss", on_policy=True),
        "Loss/surrogate",
        "loss/policy_gradient_loss",
        Alias("losses/policy_loss", on_policy=True),
        Alias("LossPi", on_policy=True),
        Alias("train/policy_loss", on_policy=True),
        Alias("policy_loss", on_policy=True),
        Alias("Policy Loss", on_policy=True),
        Alias("Policy/AveragePolicyLoss", on_policy=True),
        Alias("pi_loss", on_policy=True),
    ),
)
TOTAL_LOSS = Signal(
    "total_loss",
    "",
    "weighted sum of the losses of an on-policy agent",
    aliases=aliases(
        "total_loss",
        Alias("train/loss", on_policy=True),
        Alias("losses/loss", on_policy=True),
        Alias("loss", on_policy=True),
        Alias("Loss/Mean", on_policy=True),
    ),
)
APPROX_KL = Signal(
    "approx_kl",
    "",
    "distance of the new policy from the one that collected the data (PPO, TRPO)",
    "nat",
    healthy="about 0.01",
    aliases=aliases(
        "train/approx_kl",
        "losses/approx_kl",
        "loss/approxkl",
        "loss/approximate_kullback-leibler",
        "approxkl",
        "approx_kl",
        "info/kl",
        "info/learner/default_policy/learner_stats/kl",
        "learners/default_policy/mean_kl_loss",
        "KL",
        "kl",
        "meankl",
    ),
)
CLIP_FRACTION = Signal(
    "clip_fraction",
    "",
    "share of samples at which PPO's clip acts",
    healthy="below 0.3",
    aliases=aliases(
        "loss/clip_factor",
        "train/clip_fraction",
        "losses/clipfrac",
        "loss/clipfrac",
        "clipfrac",
        "clip_fraction",
        "ClipFrac",
    ),
)
VALUE = Signal(
    "value_mean",
    "",
    "mean of the state-value function (PPO, A2C)",
    "reward",
    aliases=aliases(
        "Policy/Extrinsic Value Estimate", "Policy/Value Estimate", "AverageVVals", "VVals", "Values/Mean"
    ),
)
EPSILON = Signal(
    "epsilon",
    "",
    "share of random actions (DQN)",
    healthy="falls to a few per cent",
    aliases=aliases(
        "rollout/exploration_rate",
        "charts/epsilon",
        "epsilon",
        "% time spent exploring",
        "exploration_rate",
    ),
)
PARAMETER_NOISE = Signal(
    "parameter_noise",
    "",
    "distance of the perturbed policy from the policy (DDPG with parameter noise)",
    aliases=aliases("train/param_noise_distance", "trainer/param_noise_distance"),
)
