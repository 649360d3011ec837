"""Names that people make up for returns, lengths and successes: what the words of a tag say.

No list holds them all: ``avg_return``, ``eval_mean_reward``, ``EpisodeReturn``, ``test/score``.  They are
put together from a few words, in any order, joined by ``_``, ``/``, blanks or capitals::

    (evaluation)? (episode)? (mean or sum)? (return | length | success)

A tag that has any other word means something else: ``best_return``, ``reward_loss``, ``rew_dof_vel``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .systems import normalised

EVALUATION_WORDS = frozenset(
    {
        "eval",
        "evals",
        "evaluate",
        "evaluation",
        "evaluations",
        "evaluator",
        "test",
        "testing",
        "validation",
        "valid",
        "val",
    }
)
"""Words that say that a tag, a file or a folder is of evaluations."""
_OTHERWISE_VALUE = frozenset({"val", "valid"})
"""Of these, those that mean something else unless they begin a part of a tag: ``q_val``, ``is_valid``."""

_EPISODE = frozenset({"episode", "episodes", "episodic", "ep", "eps"})
_SUM = frozenset({"total", "sum", "cumulative", "cum", "accumulated", "undiscounted"})
_MEAN = frozenset(
    {"mean", "avg", "average", "averaged", "running", "moving", "rolling", "smoothed", "smooth", "ma"}
)
_FILLING = frozenset(
    {
        *("", "train", "trainer", "training", "rollout", "rollouts", "expl", "exploration", "env", "runners"),
        *("environment", "chart", "charts", "info", "log", "logs", "metric", "metrics", "stat", "stats"),
        *("statistics", "result", "results", "monitor", "performance", "summary", "per", "of"),
    }
)
"""Words that say where or how something is logged, not what it is."""
_WINDOW = frozenset({"last", "past", "over", "window"})
_RETURN = frozenset({"return", "returns", "ret", "rets"})
_SCORE = frozenset({"score", "scores"})
_REWARD = frozenset({"reward", "rewards", "rew", "rews"})
_LENGTH = frozenset({"length", "lengths", "len", "lens"})
_SUCCESS = frozenset({"success", "successes"})
_OF_SUCCESS = frozenset({"rate", "ratio", "is", "share", "percent", "percentage", "pct"})

A_MEAN = "a mean over several episodes, by its name"
A_REWARD = "one unnamed reward: taken for the return of an episode"
A_MEAN_REWARD = "a mean of rewards, by its name: taken for the mean return of episodes"


@dataclass(frozen=True)
class Reading:
    """What the words of a tag say that it is."""

    name: str
    """Canonical name of the signal, in training."""
    rank: float = 0.0
    """The lower, the surer: of several tags for one signal the surest is used."""
    note: str = ""
    """How the meaning may differ from the signal's."""


def words_of(tag: str) -> list[str]:
    """The words and numbers of a tag in lower case."""
    return re.findall(r"[a-z]+|\d+", normalised(tag))


def is_of_evaluation(tag: str) -> bool:
    """Whether a tag says by one of its words that it is of evaluations."""
    return without_evaluation(normalised(tag)) != normalised(tag)


def without_evaluation(name: str) -> str:
    """A normalised tag without the words that say that it is of evaluations.

    ``eval_mean_reward`` and ``evaluation/mean_reward`` become ``mean_reward``.
    """
    parts = []
    for part in name.split("/"):
        words = part.split("_")
        kept = [w for i, w in enumerate(words) if w not in EVALUATION_WORDS or (i and w in _OTHERWISE_VALUE)]
        if kept:
            parts.append("_".join(kept))
    return "/".join(parts)


_PERCENT = re.compile(r"[\s_/(\[]*(%|(?<![a-z])(pct|percent(age)?)(?![a-z]))[\s_)\]]*", re.I)


def says_percent(tag: str) -> bool:
    """Whether a tag names per cent as its unit."""
    return _PERCENT.search(tag) is not None


def without_percent(tag: str) -> str:
    """A tag without the unit: ``success_rate (%)`` becomes ``success_rate``."""
    return _PERCENT.sub("_", tag).strip("_")


def reading(name: str) -> Reading | None:
    """What the words of a tag say; None where one of them says that it is something else.

    Args:
        name: the tag without the words for evaluations.
    """
    words = set(words_of(name)) - _FILLING
    mean = bool(words & _MEAN)
    if mean:  # over the last 100 episodes
        words = {w for w in words - _WINDOW if not w.isdigit()}
    episode, total = bool(words & _EPISODE), bool(words & _SUM)
    core = words - _EPISODE - _SUM - _MEAN
    if not core:
        return None
    if core <= _LENGTH and episode:
        return Reading("episode_length", 0.5 * mean, A_MEAN if mean else "")
    if core <= _SUCCESS | _OF_SUCCESS and core & _SUCCESS:
        return Reading("success")
    if not core <= _RETURN | _SCORE | _REWARD:
        return None
    sure = episode or total or bool(core & _RETURN)
    rank = 0 if episode else 1 if sure else 2 if core & _SCORE else 3
    if mean:
        return Reading("episode_return", rank + 0.5, A_MEAN if rank < 3 else A_MEAN_REWARD)
    return Reading("episode_return", rank, "" if rank < 3 else A_REWARD)


def names_an_episode(name: str) -> bool:
    """Whether a part of a tag speaks of episodes, so that it is clear without what stands before it."""
    return bool(_EPISODE & set(words_of(name)))
