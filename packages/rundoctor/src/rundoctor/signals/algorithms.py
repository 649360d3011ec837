"""Which algorithm the names of a run's series speak for.

Some names decide: only PPO clips a ratio, only SAC tunes an entropy coefficient, and what has a Q function
is no on-policy agent.  Others say nothing: any agent may log an ``actor_loss`` and a ``critic_loss``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .systems import normalised
from .words import words_of

AlgorithmName = Literal[
    "PPO", "A2C", "PPO or A2C", "SAC", "TD3", "DDPG", "TD3 or DDPG", "DrQ-v2", "DQN", "DreamerV3", ""
]
ON_POLICY: tuple[AlgorithmName, ...] = ("PPO", "A2C", "PPO or A2C")
_THROUGH_Q: tuple[AlgorithmName, ...] = ("TD3", "DDPG", "SAC", "DrQ-v2")
"""Algorithms with an actor that is trained through Q."""
_OFF_POLICY: tuple[AlgorithmName, ...] = (*_THROUGH_Q, "DQN")
_ANY: tuple[AlgorithmName, ...] = ("PPO", "A2C", *_OFF_POLICY, "DreamerV3")

_NAMES = {
    # Each pattern is searched for in the normalised tags (see normalised), one at a time.
    "clipped ratio": (
        r"(^|/)(approx_?kl|clip_?frac(tion)?|clip_range|losses/a_loss|cur_kl_coeff|loss/clip|learner_stats/kl"
        r"|mean_kl_loss|policy/epsilon|loss/surrogate|approximate_kullback_leibler|loss/clip_factor)$"
        r"|^training/v_loss$"  # Brax, which has no A2C
    ),
    "world model": r"(^|/)((loss/)?(dyn|rep)|(dyn|rep)_loss|rand/action)$",
    "state value": (
        r"(^|/)(policy_gradient_loss|vf_loss|losses/c_loss|value_loss|v_loss|loss_?v|valuelosses)$"
    ),
    "entropy coefficient": (
        r"(^|/)(ent_coef(_loss)?|alpha(_loss|_value)?|train_alpha/(value|loss)|log_pis?(_mean)?"
        r"|average_?log_?pi|(continuous_)?entropy_coeff)$"
    ),
    "entropy": r"(^|/)((mean|average|policy)_)?entropy(_mean|/mean)?$|(^|/)train/entropy_loss$",
    "twin critics": (
        r"(^|/)(q2_value|qf2_(values|loss)|critic_q2|q2_predictions_mean|average_?q2_?vals|critic_?2_loss"
        r"|loss/critic2|qf2)$"
    ),
    "random actions": r"(^|/)(exploration_rate|td_loss|q_values|epsilon|time_spent_exploring)$",
    "parameter noise": r"(^|/)(param_noise_distance|reference_actor_q_mean)$",
    "replay": r"(^|[/_])(replay|buffer)_?(buffer|memory)?[/_]?(size|len(gth)?)$|(^|/)er_transitions$",
    "actor": (
        r"(^|/)(actor_?loss|loss_?actor|policy_loss|pi_loss|loss_?pi|loss/actor|train_actor/loss|a_loss)$"
    ),
    # components of an action that DQN, which picks one of a few actions, does not have
    "continuous action": r"(^|[/_])(steer(ing)?|throttle|accel(eration)?|brake)([/_]|$)",
}
_PATTERNS = {what: re.compile(pattern) for what, pattern in _NAMES.items()}
LARGEST_SURROGATE = 100.0
"""An on-policy actor's loss is a mean of advantages, which are normalised and so of size 1; a loss far above
that is minus a Q."""
_Q_WORDS = {"q", "qf", "qs", "qval", "qvals", "qvalue", "qvalues", "qfunction", "qfunc"}
_OF_ATTENTION = {"proj", "attn", "attention"}
"""Words of tags in which q is a query."""


@dataclass(frozen=True)
class Speaks:
    """What the names of a run's series speak for."""

    name: AlgorithmName
    """What they say alone; empty: nothing."""
    allowed: tuple[AlgorithmName, ...] = ()
    """What it may be called as well, where the configuration or the run's name says so."""


def spoken_for(tags: Iterable[str], large: Iterable[str] = ()) -> Speaks:
    """Weigh what the tags say.

    They say by which rules a run can be judged, not what its authors called it: SAC that logs no entropy
    coefficient looks like TD3.

    Args:
        large: those of the tags that hold values beyond :data:`LARGEST_SURROGATE`.
    """
    present = {normalised(t) for t in tags}
    found = {what for what, pattern in _PATTERNS.items() if any(map(pattern.search, present))}
    actor = "actor" in found
    has_q = bool(found & {"twin critics", "parameter noise"}) or any(map(_is_q, present))
    if "clipped ratio" in found and not has_q:
        return Speaks("PPO")
    if "world model" in found:
        return Speaks("DreamerV3")
    if "entropy coefficient" in found:
        return Speaks("SAC")
    if "state value" in found and not has_q:
        # Stable-Baselines3 calls PPO's policy loss policy_gradient_loss.
        a2c = {"train/value_loss", "train/policy_loss"} <= present
        return Speaks("A2C" if a2c else "PPO or A2C", ("PPO", "A2C"))
    if "random actions" in found and not actor and "continuous action" not in found:
        return Speaks("DQN")
    off_policy = has_q or found & {"replay", "random actions"} or any(map(_is_actors, large))
    if "entropy" in found and not off_policy:
        return Speaks("PPO or A2C", _ANY)
    if "twin critics" in found:
        return Speaks("TD3", _THROUGH_Q)
    if "parameter noise" in found:
        return Speaks("DDPG")
    if actor:
        return Speaks("TD3 or DDPG", _THROUGH_Q if has_q else _ANY)
    return Speaks("", _OFF_POLICY if has_q else _ANY)


def algorithm_of(tags: Iterable[str]) -> AlgorithmName:
    """Which algorithm the tags speak for by themselves; empty when they do not say."""
    return spoken_for(tags).name


def _is_actors(tag: str) -> bool:
    return _PATTERNS["actor"].search(normalised(tag)) is not None


def _is_q(name: str) -> bool:
    """Whether a normalised tag is a value or a loss of a Q function."""
    words = set(words_of(name.rsplit("/", 1)[-1]))
    return bool(words & _Q_WORDS) and not words & _OF_ATTENTION
