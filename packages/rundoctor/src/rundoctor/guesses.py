"""What an unknown tag may stand for, judged by the words in its name.

A guess is only offered to the user, who confirms it with ``--map "TAG=NAME"``. No rule uses it.
"""

from __future__ import annotations

import re

_EVALUATION = {"eval", "evaluation", "evaluate", "test", "testing", "valid", "validation", "deterministic"}
_LOSS = {"loss", "losses", "error", "err", "mse", "bellman", "cost"}
_CRITIC = {"critic", "critics", "q", "qf", "q1", "q2", "qf1", "qf2", "value", "vf", "bellman", "mse"}
_ACTOR = {"actor", "policy", "pi", "pg"}
_RETURN = {
    *("return", "returns", "reward", "rewards", "rew", "rews", "ret", "score", "scores"),
    *("epret", "eprew", "eprewmean", "epr"),
}
_Q = {"q", "qf", "q1", "q2", "qf1", "qf2", "qvalue", "qvalues", "qval", "qvals", "value", "values", "critic"}
_LENGTH = {"length", "lengths", "len", "duration", "eplen", "eplenmean"}
_EPISODE = {"episode", "episodes", "ep", "path", "rollout", "trajectory"}
_TARGET = {"target", "targets", "tgt"}


def guess(tag: str) -> str | None:
    """The canonical name that a tag most probably stands for; None where its words say nothing."""
    words = _words(tag)
    evaluation = bool(words & _EVALUATION)
    if words & _LOSS:
        if words & {"td"}:
            return "td_error"
        if words & _ACTOR:
            return "actor_loss"
        named = words - _LOSS - {"train", "training", "mean", "avg", "average", "av", "total", "trainer"}
        return "critic_loss" if words & _CRITIC or not named else None
    if words & {"success", "successes", "solved"}:
        return "eval_success" if evaluation else "success"
    if words & _LENGTH and not words & {"queue", "buffer"}:
        return "eval_length" if evaluation else "episode_length"
    if words & _RETURN:
        return "eval_return" if evaluation else "episode_return"
    if words & _Q:
        if words & _TARGET:
            return "target_q_mean"
        if words & {"max", "maximum", "highest"}:
            return "q1_max"
        if words & {"min", "minimum", "lowest"}:
            return "q1_min"
        if words & {"std", "var", "variance"}:
            return "q1_std"
        return "policy_q_mean" if words & _ACTOR else "q1_mean"
    if words & {"fps", "sps"}:
        return "fps"
    if words & {"rss", "memory", "mem", "ram"} and not words & {"gpu", "cuda", "replay"}:
        return "rss"
    return None


def _words(tag: str) -> set[str]:
    """The words of a tag in lower case; capitals inside a word begin a new one: ``AverageEpRet``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", tag)
    return {w for w in re.split(r"[^a-z0-9]+", spaced.lower()) if w}
