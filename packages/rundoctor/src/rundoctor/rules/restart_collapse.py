"""The return falls where the run was restarted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..measures import Restart, restarts
from ..model import (
    CRITICAL,
    INFO,
    WARNING,
    Clear,
    Evidence,
    Finding,
    Outcome,
    Rule,
    Severity,
    Skipped,
    number,
)
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation
from ..signals.conditions import RESTART_COLLAPSE
from ..stats import Floats, coarse, level, levels, separation, uncertainty

LEAST, MOST = 5, 30
"""Returns on each side of a restart that are compared."""
LOST = RESTART_COLLAPSE.threshold("warning")
"""Share of what had been gained before the restart."""
OF_LEVEL = RESTART_COLLAPSE.threshold("level")
SCATTERS = RESTART_COLLAPSE.threshold("scatters")
SOON = RESTART_COLLAPSE.threshold("soon")
"""Share of the returns after a restart within which a lost level may come back without a warning."""


@dataclass(frozen=True)
class _Fall:
    restart: Restart
    before: float
    after: float
    end: float
    """Level at the end of the stretch that the restart began."""
    back: float
    """Share of that stretch after which the level was back; infinite when it never was."""
    points: int


def check(run: Run) -> Outcome:
    found = restarts(run)
    if not found:
        return Clear("the run was not restarted")
    s = run.get(episodes.RETURN, evaluation.RETURN)
    if s is None:
        return Skipped("no returns are logged", run.tags_of(episodes.RETURN), "Log the return of episodes.")
    steps = run.env_steps(s)
    if not np.isfinite(steps).all():
        return Skipped(f"{s.tag} is not on the step axis", (s.tag,))
    falls = []
    for i, restart in enumerate(found):
        end = found[i + 1].step if i + 1 < len(found) else math.inf
        fall = _fall(s, steps, restart, float(end))
        if fall is not None:
            falls.append(fall)
    if not falls:
        where = ", ".join(f"{r.step:,}" for r in found[:4])
        return Clear(f"{s.tag} goes on at its level after the restart at step {where}")
    return _finding(s, falls)


def _fall(s: Series, steps: Floats, restart: Restart, end: float) -> _Fall | None:
    first = s.value[steps <= restart.step]
    stretch = s.value[(steps >= restart.after) & (steps <= end)]
    # Few enough of each side that what was learned meanwhile does not blur the two levels.
    before = first[-_some(len(first)) :]
    after = stretch[: _some(len(stretch))]
    if len(before) < LEAST or len(after) < LEAST:
        return None
    high, low = levels((before, after), s.value)
    start = level(first[: max(3, len(first) // 10)], s.value)
    lost = high - low
    delta, p = separation(before, after)
    chance = max(uncertainty(before), uncertainty(after))
    if (
        (delta > -0.9 and not coarse(s.value))
        or p > 0.01
        or lost < LOST * max(high - start, 0.0)
        or lost < OF_LEVEL * max(abs(high), abs(low))
        or lost < SCATTERS * chance
    ):
        return None
    line = high - 0.25 * lost
    # A single success is 1: coarse returns are back where some of them are together.
    width = LEAST if coarse(s.value) else 1
    back = np.flatnonzero(np.convolve(stretch, np.full(width, 1 / width), "valid") >= line)
    share = float(back[0]) / len(stretch) if len(back) else math.inf
    end_level = level(stretch[-max(3, len(stretch) // 4) :], s.value)
    return _Fall(restart, high, low, end_level, share, len(stretch))


def _some(count: int) -> int:
    return max(LEAST, min(MOST, count // 4))


def _finding(s: Series, falls: list[_Fall]) -> Finding:
    worst = max(falls, key=lambda f: (f.back, f.before - f.after))
    lasting = worst.end < worst.before - 0.5 * (worst.before - worst.after)
    severity: Severity = WARNING
    if worst.back <= SOON:
        severity = INFO
    elif lasting and worst.points >= 20:
        severity = CRITICAL
    text = (
        f"{s.tag} is {number(worst.before)} before the restart at step {worst.restart.step:,} and "
        f"{number(worst.after)} after it"
    )
    if not lasting:
        text += f"; it ends at {number(worst.end)}"
    evidence = [
        Evidence(s.tag, worst.restart.step, worst.after, text),
        Evidence(worst.restart.tag, worst.restart.step, None, worst.restart.text),
    ]
    evidence += [
        Evidence(
            s.tag,
            f.restart.step,
            f.after,
            f"the same at step {f.restart.step:,}: {number(f.before)} before, {number(f.after)} after",
        )
        for f in falls
        if f is not worst
    ][:4]
    return Finding(
        "restart-collapse",
        severity,
        f"The return collapses at the restart at step {worst.restart.step:,}",
        evidence,
        "The restart did not bring back everything that training had built up. The usual gaps: an empty "
        "replay buffer that is filled with a poor policy's data, an optimiser or a target network that "
        "starts anew, normalisation statistics that were not saved, or random warm-up actions and full "
        "exploration once more.",
        "Save and restore all of it together: networks, target networks, optimisers, replay buffer, "
        "normalisation statistics, step counter and exploration schedule. Test it by stopping and resuming "
        "a short run: the first evaluation after the resume must equal the last one before. For this run, "
        "go back to the checkpoint from before the restart.",
        0.9,
        headline=f"The return collapses at a restart: {text}",
        onset=worst.restart.step,
        plots=((s.tag,),),
    )


RULE = Rule(
    id="restart-collapse",
    title="Collapse at a restart",
    statement=(
        "A run that is resumed from a complete checkpoint goes on at the level at which it stopped. Where "
        "the returns fall at the very step of a restart, by more than their scatter, the restart lost "
        "something."
    ),
    check=check,
    explains=("reward-degrading", "episode-collapse", "never-learns", "critic-divergence"),
    order=9,
)
