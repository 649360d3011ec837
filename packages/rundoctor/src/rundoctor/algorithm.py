"""Which algorithm wrote a run's logs, and which questions make sense for it.

The names of the logged series tell first (:mod:`rundoctor.signals.algorithms`): only SAC tunes an entropy
coefficient, only PPO clips a probability ratio.  Where they do not decide, the configuration and the run's
name do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .signals import normalised
from .signals.algorithms import LARGEST_SURROGATE, Speaks, spoken_for

Q = "a Q function"
ACTOR = "an actor"
ACTOR_THROUGH_Q = "an actor that is trained through Q"
ACTION_NOISE = "noise that is added to the actions"
TWINS = "two critics"
ON_POLICY = "a policy that learns from its own latest data alone"


@dataclass(frozen=True)
class Algorithm:
    """An algorithm and what it has.

    A rule names what the algorithm must have (``Rule.requires``); a rule whose requirement is not
    met is ruled out, and its metrics are not asked for.
    """

    name: str
    has: frozenset[str]
    reason: str = ""
    """How it was recognised, in words."""
    entropy: bool = False
    """Whether Q includes an entropy bonus, so that it may exceed every sum of rewards."""

    def lacks(self, traits: Iterable[str]) -> str:
        """The first of the traits that this algorithm does not have; empty when it has all."""
        return next((t for t in traits if t not in self.has), "")


_ALL = frozenset({Q, ACTOR, ACTOR_THROUGH_Q, ACTION_NOISE, TWINS})
_ACTS_ON_POLICY = frozenset({ACTOR, ON_POLICY})
_KNOWN: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm("TD3", _ALL),
        Algorithm("DDPG", _ALL - {TWINS}),
        Algorithm("TD3 or DDPG", _ALL),
        Algorithm("DrQ-v2", _ALL),
        Algorithm("SAC", _ALL - {ACTION_NOISE}, entropy=True),
        Algorithm("DQN", frozenset({Q})),
        Algorithm("PPO", _ACTS_ON_POLICY),
        Algorithm("A2C", _ACTS_ON_POLICY),
        Algorithm("PPO or A2C", _ACTS_ON_POLICY),
        Algorithm("DreamerV3", frozenset({ACTOR})),
    )
}
UNKNOWN = Algorithm("unknown", _ALL)
"""Nothing is known, so every question is asked."""

# Names as they stand in configurations, experiment names and folders.
_WORDS: dict[str, str] = {
    **dict.fromkeys(("td3", "fasttd3"), "TD3"),
    "ddpg": "DDPG",
    "drqv2": "DrQ-v2",
    **dict.fromkeys(("sac", "redq", "tqc", "drq", "curl"), "SAC"),
    **dict.fromkeys(("dqn", "ddqn", "rainbow", "c51"), "DQN"),
    **dict.fromkeys(("ppo", "ppo2", "appo", "trpo"), "PPO"),
    **dict.fromkeys(("a2c", "a3c", "impala"), "A2C"),
    **dict.fromkeys(("dreamer", "dreamerv2", "dreamerv3"), "DreamerV3"),
}
_CONFIG_KEYS = ("algorithm", "algo", "algo_name", "agent", "alg", "exp_name", "_target_")


def recognise(
    sizes: Mapping[str, float], config: Mapping[str, object], names: Iterable[str], system: str
) -> Algorithm:
    """Tell the algorithm: a stated name is believed unless the tags decide otherwise.

    Args:
        sizes: largest absolute value of each logged series, by its tag; without those that hold no number.
        config: the flattened configuration.
        names: names of the run and of its folders, nearest first.
        system: the software that wrote the logs.
    """
    spoken = spoken_for(sizes, [tag for tag, size in sizes.items() if size > LARGEST_SURROGATE])
    if system == "DrQ-v2" or _is_drqv2(sizes):
        spoken = Speaks("DrQ-v2")
    stated = _stated(config, names)
    if stated is not None and stated.name in (spoken.name, *spoken.allowed):
        return stated
    if not spoken.name:
        return _known("TD3", "tags of av-td3") if system == "av-td3" else UNKNOWN
    return _known(spoken.name, "the names of its series")


def _known(name: str, reason: str) -> Algorithm:
    return replace(_KNOWN[name], reason=reason)


def _is_drqv2(tags: Iterable[str]) -> bool:
    return {"actor_ent", "actor_logprob"} <= {normalised(t).rsplit("/", 1)[-1] for t in tags}


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
    named = {_WORDS[p] for p in joined if p in _WORDS}
    return named.pop() if len(named) == 1 else None  # a comparison of several names none
