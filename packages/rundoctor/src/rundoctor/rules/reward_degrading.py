"""The episodes' return falls while the agent trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..algorithm import Q
from ..chance import fall, rise
from ..lessons import of_one_level, skill
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, count, number
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation
from ..signals.conditions import REWARD_DEGRADING
from ..stats import coarse, level_name, levels, parts, scatter, separation, settles_below, trend, uncertainty

LEAST = 20
DROP = REWARD_DEGRADING.threshold("warning")
"""Of the larger level: below that a drift of smoothed or scattered returns looks the same."""


def check(run: Run) -> Outcome:
    trained = skill(run)
    returns = trained
    if trained is None or len(trained) < LEAST:
        returns = run.get(evaluation.RETURN) or trained
    assert returns is not None
    if len(returns) < LEAST:
        return Skipped(
            f"only {count(len(returns), 'return')} logged", (returns.tag,), "Let the run finish 20 episodes."
        )
    judged = of_one_level(run, returns, LEAST)
    found = _judge(run, judged.series, judged.note)
    if judged.mixed and isinstance(found, Finding) and found.severity > INFO:
        cause = (
            f"{judged.note}: the task is harder than before, and returns of two levels cannot be compared."
        )
        return replace(
            found, severity=INFO, cause=cause, fix="Look again when the new level has been trained."
        )
    return found


def _judge(run: Run, returns: Series, when: str) -> Clear | Finding:
    thirds = parts(returns.value, 3)
    first, middle, last = levels(thirds, returns.value)
    delta, p = separation(thirds[0], thirds[2])
    whole = trend(returns.step, returns.value)
    tail = returns.tail(1 / 3, 5)
    recovering = trend(tail.step, tail.value)
    size = max(abs(first), abs(middle), abs(last))
    drop = first - last
    falling = (
        delta <= -0.5
        and p < 1e-3
        and whole.falling
        and drop > max(DROP * size, scatter(thirds[0]) * 0.5)
        and not recovering.rising
        and fall(returns.value) is not None
    )
    peak = _lost_peak(returns)
    if not falling and peak is None:
        below = _below_random(run, returns)
        if below is not None:
            return below
        return Clear(
            f"{returns.tag}: {level_name(returns.value)} of the thirds {number(first)}, {number(middle)}, "
            f"{number(last)}" + (f" {when}" if when else "")
        )
    if falling:
        text = (
            f"{returns.tag}: {level_name(returns.value)[:-1]} {number(first)} over the first third, "
            f"{number(last)} over the last ({-drop / max(abs(first), 1e-12):+.0%})"
        )
        if whole.slope:
            unit = "episode" if returns.axis == "episode" else "step"
            text += f"; Theil-Sen slope {whole.slope:.3g} per {unit}"
        line = (first + last) / 2
    else:
        assert peak is not None
        best, now, line = peak
        text = f"{returns.tag}: from a best window of {number(best)} back to {number(now)}"
    onset = run.env_step(returns, settles_below(returns.value, line, mean=coarse(returns.value)))
    note = ", ".join(x for x in (run.note_of(returns), when) if x)
    evidence = [
        Evidence(returns.tag, returns.last.step, returns.last.value, text + (f" ({note})" if note else ""))
    ]
    return Finding(
        "reward-degrading",
        WARNING,
        "The return falls while the agent trains",
        evidence,
        *_advice(run),
        0.85 if falling and p < 1e-6 else 0.7,
        onset=onset,
        plots=((returns.tag,),),
    )


def _advice(run: Run) -> tuple[str, str]:
    """Cause and fix, in terms of what the algorithm has."""
    then = (
        "Compare the return with that of random actions. Go on from the best checkpoint, not from the last."
    )
    worse = "The policy gets worse while it learns, so what it maximises is not the return."
    if run.algorithm.lacks((Q,)):
        return (
            f"{worse} If no other finding names the cause, an on-policy agent has usually made updates that "
            "were too large, and then learned from what the worse policy collected.",
            "Make the updates smaller: a target for the KL divergence, a lower learning rate that falls, "
            "fewer epochs a batch, a smaller clip range. Look at the entropy and the explained variance "
            f"where the fall begins. {then}",
        )
    return (
        f"{worse} If no other finding names the cause, suspect the reward, old or overwritten data in the "
        "replay buffer, or too little exploration.",
        "Compare Q(policy) with Q(data), and look at the share of actions at their limits and at the "
        f"components of the reward. {then}",
    )


def _below_random(run: Run, returns: Series) -> Finding | None:
    """The policy does far worse than the random actions that filled the replay first."""
    split = run.split_at_policy(returns)
    if split is None:
        return None
    random, policy = split
    before, after = levels(split, returns.value)
    delta, p = separation(random, policy)
    if delta > -0.6 or p > 1e-3 or before - after < DROP * max(abs(before), abs(after)):
        return None
    return Finding(
        "reward-degrading",
        INFO,
        "The policy does worse than random actions",
        [
            Evidence(
                returns.tag,
                returns.last.step,
                after,
                f"{returns.tag}: {number(before)} over the {len(random)} episodes of random actions, "
                f"{number(after)} over the {len(policy)} since",
            )
        ],
        "For a while after learning begins a policy may do worse than random actions. It must not stay that "
        "way.",
        "Compare Q(policy) with Q(data) and look at the share of actions at their limits. If nothing is "
        "odd, train on and look again.",
        0.8,
        onset=int(run.env_steps(returns)[len(random)]),
        plots=((returns.tag,),),
    )


def _lost_peak(returns: Series) -> tuple[float, float, float] | None:
    """(best, now, midway) when most of what was gained is lost again for good."""
    if len(returns) < 60:
        return None
    windows = parts(returns.value, 6)
    level = levels(windows, returns.value)
    best = int(np.argmax(level[:5]))
    gained = level[best] - level[0]
    lost = level[best] - level[5]
    if best == 0 or gained <= 0 or lost < 0.7 * gained or lost < DROP * max(abs(x) for x in level):
        return None
    chance = max(uncertainty(windows[best]), uncertainty(windows[5]))
    until, since = np.concatenate(windows[: best + 1]), np.concatenate(windows[best:])
    if lost < 2 * chance or rise(until) is None or fall(since) is None:
        return None
    return level[best], level[5], (level[best] + level[5]) / 2


RULE = Rule(
    id="reward-degrading",
    title="Falling return",
    statement=(
        "The returns of the last third lie below those of the first (Mann-Whitney), by more than chance for "
        "returns that scatter and follow one another as these do; their trend falls (Theil-Sen, "
        "Mann-Kendall), what is lost is a third of their level, and they do not recover."
    ),
    check=check,
    needs=((episodes.RETURN, evaluation.RETURN),),
    how="Log the return of every finished episode.",
    explains=("never-learns",),
    order=24,
)
