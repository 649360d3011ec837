"""Tasks that become harder while the agent trains: returns of two levels of a task cannot be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .run import Run
from .series import Series
from .signals import episodes, normalised

_LEVEL = re.compile(r"(^|[/_ ])(lesson|curriculum|difficulty|stage|terrain|level)s?([/_ ]|$)")
_RATING = re.compile(r"(^|[/_ -])elo([/_ -]|$)")
SELDOM = 10
"""Rows a level lasts in the mean; what changes more often counts something."""


@dataclass(frozen=True)
class Lessons:
    """A level of difficulty that rose during the run."""

    series: Series
    changes: list[int]
    """Steps at which it changed, on its own axis."""

    def parts(self, run: Run, s: Series) -> list[Series]:
        """A series, cut where the level changed."""
        step = s.step if s.axis == self.series.axis else run.env_steps(s)
        which = np.searchsorted(np.asarray(self.changes), step, side="right")
        return [part for k in range(len(self.changes) + 1) if len(part := s.only(which == k))]

    def __str__(self) -> str:
        return f"{self.series.tag} rose to {self.series.last.value:g} at step {self.changes[-1]:,}"


def lessons(run: Run) -> Lessons | None:
    """The level of difficulty, if one is logged and rose: few whole numbers, each for many rows."""
    for tag, logged in run.series.items():
        s = logged.finite
        if _LEVEL.search(normalised(tag)) is None or len(s) < 2 or s.value[-1] <= s.value[0]:
            continue
        changed = np.flatnonzero(np.diff(s.value)) + 1
        if (s.value == np.round(s.value)).all() and len(changed) <= len(s) / SELDOM:
            return Lessons(s, [int(x) for x in s.step[changed]])
    return None


@dataclass(frozen=True)
class Judged:
    """What of a series can be judged as one, where the task may have become harder."""

    series: Series
    """The rows since the task last became harder, or all of them."""
    note: str
    """Since when; empty where the task stayed as it was."""
    mixed: bool
    """Whether rows of several levels are among them, because the last level has too few."""


def of_one_level(run: Run, s: Series, least: int) -> Judged:
    """The rows of the last level if there are so many, else all rows."""
    harder = lessons(run)
    if harder is None:
        return Judged(s, "", False)
    last = harder.parts(run, s)[-1]
    if len(last) < least:
        return Judged(s, str(harder), True)
    return Judged(last, f"since {harder}", False)


def is_rating(s: Series) -> bool:
    """Whether it is an Elo rating, whose level means nothing."""
    return _RATING.search(normalised(s.tag)) is not None


def skill(run: Run) -> Series | None:
    """The return of training episodes; in self-play the Elo rating, since one's gain is the other's loss."""
    rated = next((s.finite for s in run.series.values() if is_rating(s)), None)
    return rated if rated is not None and len(rated) else run.get(episodes.RETURN)
