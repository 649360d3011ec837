"""Evaluations or returns that repeat one value exactly: the policy does not change."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from ..beginning import beginning
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Severity, Skipped, number
from ..run import Run
from ..series import Series
from ..signals import Signal, actor, episodes, evaluation, is_of_evaluation
from ..signals.conditions import POLICY_FROZEN
from ..stats import Floats, level, median, spread

EVALUATIONS = int(POLICY_FROZEN.threshold("evaluations"))
"""Identical evaluations that are no coincidence: each is a sum over hundreds of steps."""
RETURNS = int(POLICY_FROZEN.threshold("critical"))
"""Identical training returns that are no coincidence: exploration noise makes every episode another."""
NEARLY_ALL = POLICY_FROZEN.threshold("nearly all")
"""Share of a reward of 1 a step above which a return may be the largest possible."""
SHARE = POLICY_FROZEN.threshold("share")
"""Share of a series, counted from its end, that must repeat when its beginning does not."""
SAME = POLICY_FROZEN.threshold("same")
"""Relative difference that float32 cannot resolve."""


@dataclass(frozen=True)
class Repeat:
    """The stretch of equal values at the end of a series."""

    series: Series
    start: int
    """Index of its first point."""
    value: float

    @property
    def count(self) -> int:
        return len(self.series) - self.start

    @property
    def from_the_start(self) -> bool:
        return self.start == 0


def repeat_at_end(s: Series) -> Repeat:
    """How many of the last values are equal."""
    value = float(s.value[-1])
    differs = np.abs(s.value - value) > SAME * max(abs(value), 1e-12)
    start = int(np.flatnonzero(differs)[-1]) + 1 if differs.any() else 0
    return Repeat(s, start, value)


_REWARD = re.compile(r"(^|/)(rewards?|returns?|scores?)$", re.I)


def unnamed_reward(run: Run) -> Series | None:
    """A series that is some reward by its name, where no return is logged; of what, its name does not say.

    A component of the reward, such as ``healthy_reward``, is none.
    """
    if run.get(episodes.RETURN, evaluation.RETURN) is not None:
        return None
    return next((s.finite for t, s in run.series.items() if _REWARD.search(t) and len(s.finite)), None)


def check(run: Run) -> Outcome:
    judged: list[str] = []
    named = [(evaluation.RETURN, EVALUATIONS, run.get(evaluation.RETURN))]
    named += [(episodes.RETURN, RETURNS, s) for s in (run.get(episodes.RETURN), unnamed_reward(run))]
    for signal, least, s in named:
        if s is None or len(s) < least:
            continue
        repeat = repeat_at_end(s)
        long = repeat.count >= max(least, SHARE * len(s))
        excuse = _excuse(run, signal, repeat) if long else ""
        if long and not excuse:
            return _finding(run, signal, repeat)
        judged.append(excuse or f"{s.tag} varies over its {len(s)} values")
    if not judged:
        return Skipped(
            f"fewer than {EVALUATIONS} evaluations and fewer than {RETURNS} returns are logged",
            run.tags_of(evaluation.RETURN) + run.tags_of(episodes.RETURN),
            "Log the return of every evaluation and of every training episode.",
        )
    return Clear("; ".join(judged))


def _excuse(run: Run, signal: Signal, repeat: Repeat) -> str:
    """Why a repeated value need not mean a frozen policy; empty when nothing excuses it."""
    s, value = repeat.series, repeat.value
    if value == 0:
        return f"{s.tag} is 0 throughout: no reward was met, which says nothing about the policy"
    if not repeat.from_the_start:
        before: Floats = s.value[: repeat.start]
        if value >= float(before.max()) - 0.05 * max(float(np.ptp(before)), 1e-12):
            return f"{s.tag} repeats its best value, {number(value)}: it has converged"
    success = run.get(evaluation.SUCCESS, episodes.SUCCESS)
    if success is not None and float(success.tail(0.25, 1).value.min()) in (1.0, 100.0):
        return f"{s.tag} repeats {number(value)}, and every episode succeeds"
    return _one_a_step(run, signal, s, 1.0) or _one_a_step(run, signal, s, -1.0)


def full_reward(run: Run, s: Series) -> str:
    """Why the returns of the last quarter may be all that there is to earn; empty where nothing says so.

    Many tasks give rewards of at most 1 a step, up to a time limit.
    """
    signal = evaluation.RETURN if is_of_evaluation(s.tag) else episodes.RETURN
    return _one_a_step(run, signal, s, 1.0) or _open(run, signal, repeat_at_end(s))


def _open(run: Run, signal: Signal, repeat: Repeat) -> str:
    """Why the log does not say what a value means that is the same on all rows; empty where it says enough.

    A task that is solved at once, and one whose episodes all run to their time limit with the same reward a
    step, give the same return again and again.  Such a value is a number that somebody typed, times a number
    of steps: it is whole, or has at most two digits.  Where the lengths are logged they tell.
    """
    lengths = run.get(evaluation.LENGTH if signal is evaluation.RETURN else episodes.LENGTH)
    value = repeat.value
    typed = abs(value - round(value)) <= SAME * abs(value) or math.isclose(
        value, float(f"{value:.1e}"), rel_tol=SAME
    )
    if not repeat.from_the_start or not typed or lengths is not None:
        return ""
    began = beginning(run)
    solved = (
        "" if began is not None and not began.trained else "the task was solved from the first row on, or "
    )
    return (
        f"{solved}every episode runs to its time limit with the same reward a step, or the policy does not "
        "change; the log does not say which"
    )


def _one_a_step(run: Run, signal: Signal, s: Series, reward: float) -> str:
    lengths = run.get(evaluation.LENGTH if signal is evaluation.RETURN else episodes.LENGTH)
    if lengths is None:
        return ""
    late = lengths.tail(0.25, 1)
    long, value = late.median(), s.tail(0.25, 1).median()
    if long <= 0 or float(np.ptp(late.value)) > 0:
        return ""
    share = value / long * reward
    if not (1 - SAME <= share <= 1 + SAME if reward < 0 else NEARLY_ALL <= share <= 1 + SAME):
        return ""
    much = "" if share > 1 - SAME else "nearly "
    return (
        f"{s.tag} stays at {number(value)}: {much}{reward:+.0f} in each of an episode's {number(long)} steps"
    )


def _finding(run: Run, signal: Signal, repeat: Repeat) -> Finding:
    s = repeat.series
    onset = run.env_step(s, repeat.start)
    what = "evaluations" if signal is evaluation.RETURN else "returns"
    evidence = [
        Evidence(
            s.tag,
            s.last.step,
            repeat.value,
            f"{s.tag} is {number(repeat.value)} exactly, {repeat.count} times in a row, from "
            f"{'episode' if s.axis == 'episode' else 'step'} {int(s.step[repeat.start]):,} to "
            f"{int(s.step[-1]):,}",
        )
    ]
    training = run.get(episodes.RETURN) if signal is evaluation.RETURN else None
    title = f"The {what} repeat one value exactly: the policy does not change"
    headline = f"The policy does not change: {evidence[0].text}"
    severity: Severity = CRITICAL
    confidence = 0.95 if repeat.count >= 2 * EVALUATIONS else 0.85
    learns = False
    if training is not None and len(training) >= 8:
        first, last = (level(x.value, training.value) for x in (training.head(0.25), training.tail(0.25)))
        scatter = max(spread(training.head(0.25).value), spread(training.tail(0.25).value))
        learns = last - first > max(2 * scatter, 0.2 * max(abs(first), abs(last)))
        evidence.append(
            Evidence(
                training.tag,
                training.last.step,
                last,
                f"meanwhile {training.tag} goes from {number(first)} to {number(last)} (the first "
                "and the last quarter)",
            )
        )
    for other in (actor.SATURATION, actor.LOSS):
        t = run.get(other)
        if (
            t is not None
            and len(t) >= 4
            and (other is actor.SATURATION or repeat_at_end(t).count > len(t) / 2)
        ):
            ending = median(t.tail(0.25).value)
            evidence.append(Evidence(t.tag, t.last.step, ending, f"{t.tag} ends at {number(ending)}"))
    if learns:
        severity = WARNING
        cause = (
            "The training returns improve while the evaluation never changes, so the evaluation does not "
            "use the policy that is trained: it holds a copy of the weights from before training, loads an "
            "old checkpoint, or its environment ignores the action."
        )
        fix = (
            "Evaluate the very network that the optimiser changes (or copy its weights before every "
            "evaluation), and check that two different policies get two different evaluation returns."
        )
    elif open_ := _open(run, signal, repeat):
        title = f"The {what} are the same on all rows"
        severity, confidence = WARNING, 0.6
        headline = f"{title}: {evidence[0].text}. Either {open_}"
        cause = f"Either {open_}."
        fix = (
            "Log the length of every episode, and compare the return with that of random actions and with "
            "the best that the task allows."
        )
    else:
        cause = (
            "The same actions are taken in every episode. The usual reasons: every action sits at its "
            "limit, where tanh passes no gradient; the actor's parameters are not in the optimiser or its "
            "loss is detached from them; the weights became NaN; or the environment ignores the action."
        )
        fix = (
            "Log the mean and the spread of each action and the share of |action| > 0.99. If the actions "
            "sit at their limits, see actor-saturated. If not, check after one update that each of the "
            "actor's parameters has changed, and check that two different actions lead to two different "
            "rewards."
        )
    return Finding(
        "policy-frozen",
        severity,
        title,
        evidence,
        cause,
        fix,
        confidence,
        headline=headline,
        onset=onset if repeat.start else None,
        plots=((s.tag,),),
    )


RULE = Rule(
    id="policy-frozen",
    title="Frozen policy",
    statement=(
        "A return is a sum over many steps of a policy that changes with every update. Where evaluations or "
        "training returns repeat one value to the last digit, and it is not the best value ever reached, "
        "the policy or its effect on the environment stands still."
    ),
    check=check,
    how="Log the return of every evaluation and of every training episode.",
    explains=("never-learns", "evaluation-gap", "reward-degrading", "episode-collapse"),
    order=11,
)
