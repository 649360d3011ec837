"""Which algorithm wrote a run's logs, and which questions make sense for it.

The names of the logged series tell: only SAC tunes an entropy coefficient, only PPO clips a
probability ratio.  Where they do not decide, the configuration and the run's name do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Q = "a Q function"
ACTOR_THROUGH_Q = "an actor that is trained through Q"
ACTION_NOISE = "noise that is added to the actions"
TWINS = "two critics"


@dataclass(frozen=True)
class Algorithm:
    """An algorithm and what it has.

    A rule names what the algorithm must have (``Rule.requires``); a rule whose requirement is not
    met is ruled out, and its metrics are not asked for.
    """

    name: str
    has: frozenset[str]
    reason: str = ""
    """The tag or text that says so."""
    entropy: bool = False
    """Whether Q includes an entropy bonus, so that it may exceed every sum of rewards."""

    def lacks(self, traits: Iterable[str]) -> str:
        """The first of the traits that this algorithm does not have; empty when it has all."""
        return next((t for t in traits if t not in self.has), "")


_ALL = frozenset({Q, ACTOR_THROUGH_Q, ACTION_NOISE, TWINS})
_KNOWN: dict[str, Algorithm] = {
    "TD3": Algorithm("TD3", _ALL),
    "DDPG": Algorithm("DDPG", _ALL - {TWINS}),
    "TD3 or DDPG": Algorithm("TD3 or DDPG", _ALL),
    "DrQ-v2": Algorithm("DrQ-v2", _ALL),
    "SAC": Algorithm("SAC", _ALL - {ACTION_NOISE}, entropy=True),
    "DQN": Algorithm("DQN", frozenset({Q})),
    "PPO": Algorithm("PPO", frozenset()),
    "A2C": Algorithm("A2C", frozenset()),
    "TRPO": Algorithm("TRPO", frozenset()),
}
UNKNOWN = Algorithm("unknown", _ALL)
"""Nothing is known, so every question is asked."""

# Names as they stand in configurations, experiment names and folders.
_WORDS: dict[str, str] = {
    "td3": "TD3",
    "fasttd3": "TD3",
    "ddpg": "DDPG",
    "drqv2": "DrQ-v2",
    "sac": "SAC",
    "redq": "SAC",
    "tqc": "SAC",
    "drq": "SAC",
    "curl": "SAC",
    "dqn": "DQN",
    "ddqn": "DQN",
    "rainbow": "DQN",
    "c51": "DQN",
    "ppo": "PPO",
    "ppo2": "PPO",
    "appo": "PPO",
    "a2c": "A2C",
    "a3c": "A2C",
    "impala": "A2C",
    "trpo": "TRPO",
}
_CONFIG_KEYS = ("algorithm", "algo", "algo_name", "agent", "alg", "exp_name", "_target_", "name")

# Last parts of tags, lower case, words joined by "_".
_ENTROPY = {
    "alpha",
    "log_alpha",
    "alpha_loss",
    "loss_alpha",
    "alpha_value",
    "ent_coef",
    "ent_coef_loss",
    "log_pis_mean",
    "log_pi_mean",
    "logpi",
    "target_entropy",
    "temperature_loss",
    "actor_entropy",
}
_ALPHA = re.compile(r"(^|[/_ ])(log_?)?(alpha|ent_coef)([/_ ]|$)")
_RATIO = {
    "approx_kl",
    "approxkl",
    "old_approx_kl",
    "clip_fraction",
    "clipfrac",
    "clip_frac",
    "cur_kl_coeff",
    "mean_kl_loss",
    "policy_clipfrac",
}
_TRUST_REGION = {"backtrackiters", "line_search", "cg_residual", "is_line_search_success"}
_VALUE_LOSS = {
    "value_loss",
    "vf_loss",
    "loss_vf",
    "lossv",
    "c_loss",
    "critic_value_loss",
    "value_function_loss",
}
_POLICY_LOSS = {
    "policy_loss",
    "policy_gradient_loss",
    "pg_loss",
    "losspi",
    "a_loss",
    "actor_loss",
    "loss_actor",
    "lossactor",
}
_POLICY_ENTROPY = {"entropy", "entropy_loss", "policy_entropy", "loss_entropy"}
_VALUES_OF_ACTIONS = {"q_values", "td_loss", "exploration_rate", "mean_q", "%_time_spent_exploring"}
_ACTOR = re.compile(r"(^|[/_ ])(actor|policy)[/_ ]?(loss|q)|loss[/_ ]?(actor|pi)\b|loss/actor")
_TWIN = re.compile(r"(^|[/_ ])(qf?2|critic_?2|critic_q2|q2vals|twin_gap)([/_ ]|$|vals)")
_CRITIC = re.compile(r"critic|(^|[/_ ])qf?[12]?[_ ]?(loss|value|values|mean)|loss[_ ]?q|q[_ ]?loss|qf_loss")


def _last(tag: str) -> str:
    return re.sub(r"[\s-]+", "_", tag.rsplit("/", 1)[-1].strip().lower())


def algorithm_of(
    tags: Iterable[str], config: Mapping[str, object], names: Iterable[str], system: str
) -> Algorithm:
    """Tell the algorithm from tags first, then from the configuration, then from names.

    Args:
        tags: names of the logged series.
        config: the flattened configuration.
        names: names of the run and of its folders, nearest first.
        system: the software that wrote the logs.
    """
    present = list(tags)
    by_tags = _from_tags(present)
    stated = _stated(config, names)
    if by_tags is not None and (stated is None or not _refines(stated.name, by_tags.name)):
        return by_tags
    if stated is not None:
        return stated
    if system == "av-td3":
        return _known("TD3", "tags of av-td3")
    return by_tags or UNKNOWN


def _known(name: str, reason: str) -> Algorithm:
    known = _KNOWN[name]
    return Algorithm(known.name, known.has, reason, known.entropy)


def _refines(stated: str, by_tags: str) -> bool:
    """Whether a stated name may be believed beside what the tags show."""
    if by_tags == "TD3 or DDPG":
        return stated in ("TD3", "DDPG", "DrQ-v2")
    return stated == by_tags or (stated, by_tags) == ("DrQ-v2", "TD3")


def _from_tags(tags: list[str]) -> Algorithm | None:
    last = {_last(t): t for t in tags}

    def one_of(words: set[str]) -> str | None:
        return next((last[w] for w in sorted(words) if w in last), None)

    actor = next((t for t in tags if _ACTOR.search(t.lower())), None)
    value, policy = one_of(_VALUE_LOSS), one_of(_POLICY_LOSS)
    region, ratio = one_of(_TRUST_REGION), one_of(_RATIO)
    if region is not None:
        return _known("TRPO", region)
    if ratio is not None or ("kl" in last and value is not None):
        return _known("PPO", ratio or last["kl"])
    if {"clip", "vf", "ent"} <= last.keys():  # Tianshou
        return _known("PPO", last["clip"])
    entropy = one_of(_ENTROPY) or next((t for t in tags if _ALPHA.search(t.lower())), None)
    critic = next((t for t in tags if _CRITIC.search(t.lower())), None)
    if entropy is not None and (actor is not None or policy is not None or critic is not None):
        return _known("SAC", entropy)
    if value is not None and policy is not None and one_of(_POLICY_ENTROPY) is not None:
        return _known("A2C", value)
    if actor is not None and critic is not None:
        if "actor_ent" in last and "actor_logprob" in last:
            return _known("DrQ-v2", last["actor_logprob"])
        twin = next((t for t in tags if _TWIN.search(t.lower())), None)
        return _known("TD3", twin) if twin is not None else _known("TD3 or DDPG", actor)
    greedy = one_of(_VALUES_OF_ACTIONS)
    if actor is None and value is None and greedy is not None and ("loss" in last or "td_loss" in last):
        return _known("DQN", greedy)
    return None


def _stated(config: Mapping[str, object], names: Iterable[str]) -> Algorithm | None:
    for key, value in config.items():
        if key.rsplit(".", 1)[-1].lower() in _CONFIG_KEYS and isinstance(value, str):
            found = _word(value)
            if found is not None:
                return _known(found, f"{key}: {value}")
    for name in names:
        found = _word(name)
        if found is not None:
            return _known(found, f"the name {name}")
    return None


def _word(text: str) -> str | None:
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    joined = [*parts, *(a + b for a, b in itertools.pairwise(parts))]
    return next((_WORDS[p] for p in joined if p in _WORDS), None)
