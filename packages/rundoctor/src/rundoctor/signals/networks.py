"""Networks: weights, learning rates, target copies, features."""

from __future__ import annotations

from .gradients import GROUPS, WHO
from .model import Alias, Signal, aliases

NETWORKS = ("actor_encoder", "actor", "critic_encoder", "critic")
TRAINED_BY = {
    "actor_encoder": "actor_encoder",
    "actor": "actor_head",
    "critic_encoder": "critic_encoder",
    "critic": "critic_head",
}
"""Network -> the group of parameters (``gradients.GROUPS``) that trains it."""
_TAGS = {
    "actor_encoder": "actor_cnn",
    "actor_head": "actor",
    "critic_encoder": "critic_cnn",
    "critic_head": "critic",
}
_ONE_RATE = "one rate for all networks"


def _spoken(group: str) -> str:
    return group.replace("_", "'s ", 1) if "_" in group else group


WEIGHT_MEAN = {
    group: Signal(
        f"{group}_mean",
        f"agent/{_TAGS[group]}_param_mean",
        f"mean of the weights of the {_spoken(group)}",
        "",
        "last",
        "moves",
    )
    for group in GROUPS
}
WEIGHT_STD = {
    group: Signal(
        f"{group}_std",
        f"agent/{_TAGS[group]}_param_std",
        f"standard deviation of the weights of the {_spoken(group)}",
        "",
        "last",
        "moves, and grows slowly if at all",
    )
    for group in GROUPS
}
RATE = {
    "actor": Signal(
        "lr_actor",
        "agent/actor_lr",
        "learning rate of the actor's head",
        "",
        "last",
        "1e-4 to 1e-3",
        aliases(
            "train/actor_lr",
            Alias("train/learning_rate", _ONE_RATE),
            Alias("charts/learning_rate", _ONE_RATE),
            "actor_lr",
            Alias("info/last_lr", _ONE_RATE),
            Alias("Policy/Learning Rate", _ONE_RATE),
            Alias("cur_lr", _ONE_RATE),
        ),
    ),
    "critic": Signal(
        "lr_critic",
        "agent/critic_lr",
        "learning rate of the critic's head",
        "",
        "last",
        "1e-4 to 1e-3",
        aliases(
            "train/critic_lr",
            Alias("train/learning_rate", _ONE_RATE),
            Alias("charts/learning_rate", _ONE_RATE),
            "critic_lr",
            Alias("info/last_lr", _ONE_RATE),
            Alias("Policy/Learning Rate", _ONE_RATE),
            Alias("cur_lr", _ONE_RATE),
        ),
    ),
    "actor_encoder": Signal(
        "lr_actor_encoder",
        "agent/actor_cnn_lr",
        "learning rate of the actor's encoder; 0 where the critic trains a shared encoder",
        "",
        "last",
        "1e-4 to 1e-3, or 0",
    ),
    "critic_encoder": Signal(
        "lr_critic_encoder",
        "agent/critic_cnn_lr",
        "learning rate of the critic's encoder",
        "",
        "last",
        "1e-4 to 1e-3",
    ),
}
GAMMA = Signal("gamma", "agent/gamma", "discount factor that the update uses", "", "last", "0.98 to 0.995")
TAU = Signal(
    "tau",
    "agent/tau",
    "share of a network that its target copy takes over in each update",
    "",
    "last",
    "0.005",
)
UPDATES = Signal(
    "updates",
    "agent/total_iterations",
    "gradient steps of the critic so far",
    "updates",
    "last",
    "rises with the steps",
    aliases(
        "train/n_updates", "misc/nupdates", "trainer/num train calls", "save/gradient_step", "learner_steps"
    ),
)
IS_TRAINING = Signal("is_training", "agent/is_training", "1 once updates have begun, else 0", "", "last")
TARGET_DRIFT = {
    network: Signal(
        f"target_drift_{network}",
        f"agent/target_drift_{network}",
        f"distance of the {_spoken(network)} from its target copy, divided by its own length",
        "",
        "last",
        "small, but not 0",
    )
    for network in NETWORKS
}
UPDATE_TO_WEIGHT = {
    name: Signal(
        f"update_to_weight_{name}",
        f"agent/update_to_weight_ratio_{name}",
        f"length of one update of the {_spoken(name)}, divided by the length of its weights",
        "",
        "mean",
        "about 0.001; neither 0 nor above 0.01",
    )
    for name in (*WHO, *GROUPS)
}
FEATURE_NORM = {
    who: Signal(
        f"feature_norm_{who}",
        f"agent/feature_norm_{who}",
        f"mean length of the features that the {who}'s encoder gives",
        "",
        "last",
        "of a steady size",
    )
    for who in WHO
}
FEATURE_RANK = {
    who: Signal(
        f"feature_rank_{who}",
        f"agent/feature_rank_{who}",
        f"effective rank of the features of the {who}'s encoder over a batch (Roy and Vetterli 2007)",
        "",
        "last",
        "well above 1",
        aliases("agent/feature_rank"),
    )
    for who in WHO
}
DEAD_UNITS = {
    who: Signal(
        f"dead_units_{who}",
        f"agent/dead_units_{who}",
        f"share of the features of the {who}'s encoder that are the same for every picture of a batch",
        "",
        "last",
        "well below 1",
        aliases("agent/dead_units"),
    )
    for who in WHO
}
