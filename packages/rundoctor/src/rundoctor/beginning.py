"""Whether a run began with an untrained agent, as far as its logs show it.

Flat returns mean one thing where the agent was untrained at first, and another where it was loaded from a
checkpoint and good already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .model import Evidence, number
from .run import Run
from .series import Series
from .signals import critic, networks, others
from .stats import median

LEAST = 10
"""Rows of a series before its beginning is compared with its end."""
FROM_NOTHING = 0.1
"""A Q below this share of its later size has just begun to learn: networks start near 0."""
RANDOM = 0.5
"""Share of random actions that only a beginning has."""
SELDOM_RANDOM = 0.15
WIDE = 0.5
"""SAC's entropy coefficient starts at 1 and falls by orders of magnitude."""
NOTHING_EXPLAINED, MUCH_EXPLAINED = 0.2, 0.5
"""Explained variance of a value function at its first update, and of one that was trained before."""
CARRIED_ON = 10.0
"""A counter of updates was begun by an earlier run if its first row is above so many rows' updates."""


@dataclass(frozen=True)
class Beginning:
    """How the agent was when the log begins."""

    trained: bool
    evidence: Evidence


def beginning(run: Run) -> Beginning | None:
    """What the first rows say of the agent; None where they say nothing."""
    for look in _LOOKS:
        found = look(run)
        if found is not None:
            return found
    return None


def _counter(run: Run) -> Beginning | None:
    s = run.get(networks.UPDATES)
    if s is None or len(s) < LEAST:
        return None
    a_row = median(np.diff(s.value))
    if s.value[0] <= CARRIED_ON * a_row or a_row <= 0:
        return None
    return _said(s, True, f"{s.tag} is {number(float(s.value[0]))} on the first row: an earlier run began it")


def _random_actions(run: Run) -> Beginning | None:
    s = run.get(others.EPSILON)
    if s is None or len(s) < LEAST:
        return None
    first, last = float(s.value[0]), float(s.value[-1])
    if first >= RANDOM and last < first:
        return _said(s, False, f"{s.tag} starts at {number(first)}: nearly all actions were random")
    if first <= SELDOM_RANDOM:
        return _said(s, True, f"{s.tag} is {number(first)} from the first row on")
    return None


def _entropy_coefficient(run: Run) -> Beginning | None:
    s = run.get(others.ALPHA)
    if s is None or len(s) < LEAST or s.value[0] < WIDE or s.value[-1] > 0.5 * s.value[0]:
        return None
    text = f"{s.tag} starts at {number(float(s.value[0]))} and falls: the agent was untrained"
    return _said(s, False, text)


def _value_function(run: Run) -> Beginning | None:
    s = run.get(critic.EXPLAINED_VARIANCE)
    if s is None or len(s) < LEAST:
        return None
    first, late = median(s.value[:3]), s.tail(0.5).median()
    text = f"{s.tag} starts at {number(first)}"
    if first < NOTHING_EXPLAINED and late > first + NOTHING_EXPLAINED:
        return _said(s, False, f"{text} and rises to {number(late)}: the value function was untrained")
    if first >= MUCH_EXPLAINED:
        return _said(s, True, f"{text}: the value function was trained before")
    return None


def _q(run: Run) -> Beginning | None:
    s = run.get(critic.Q1.mean, critic.TARGET.mean) or run.policy_q
    if s is None or len(s) < LEAST:
        return None
    first, late = abs(float(s.value[0])), abs(s.tail(0.25).median())
    if first > FROM_NOTHING * late:
        return None
    text = f"|Q| starts at {number(first)} and reaches {number(late)} ({s.tag}): the critic was untrained"
    return _said(s, False, text)


def _said(s: Series, trained: bool, text: str) -> Beginning:
    return Beginning(trained, Evidence(s.tag, s.first.step, s.first.value, text))


_LOOKS: tuple[Callable[[Run], Beginning | None], ...] = (
    _counter,
    _random_actions,
    _value_function,
    _q,
    _entropy_coefficient,
)
