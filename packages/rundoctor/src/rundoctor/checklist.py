"""The check-list of a run that may go on: each line passed, failed or not judged, with figures.

The lines are the criteria of the validation gates (Q within limits, no alert, critic learning, return
rising, episodes not collapsing, evaluation present) and what makes these mean something.

A line fails only where a finding above info says so.  The check-list and the verdict are thus never at
odds: what looks doubtful, and is no finding, is "not judged" and shows its figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .algorithm import ACTOR_THROUGH_Q, Q
from .chance import rise
from .evidence import everything
from .lessons import of_one_level, skill
from .measures import another_unit, critic_error, q_gap
from .model import ChecklistItem, Finding, Severity, count, number
from .run import Run
from .signals import Signal, actor, alerts, critic, episodes, evaluation, gradients
from .signals.conditions import POLICY_Q_GAP, Q_ABOVE_REWARD_BOUND, STATE_GRADIENT_LEAK
from .stats import level, level_name

Figures = tuple[bool | None, str]


@dataclass(frozen=True)
class _CheckLine:
    """One line: what it says, which findings fail it, and what to show when none does."""

    name: str
    fails_by: tuple[str, ...]
    look: Callable[[Run], Figures]
    """Passed or not judged, and the figures."""
    requires: tuple[str, ...] = ()
    """What the algorithm must have for the line to make sense."""
    opened_by: tuple[str, ...] = ()
    """Findings that make a pass worth nothing."""


def checklist(run: Run, findings: list[Finding]) -> list[ChecklistItem]:
    """Judge every line that makes sense for the run's algorithm."""
    found = {f.id: f for f in everything(findings) if f.severity > Severity.INFO}
    out: list[ChecklistItem] = []
    for line in _LINES:
        if run.algorithm.lacks(line.requires):
            continue
        bad = next((found[i] for i in line.fails_by if i in found), None)
        if bad is not None:
            figures = bad.evidence[0].text if bad.evidence else bad.title
            if any(item.figures == figures for item in out):
                figures = line.look(run)[1]  # a finding that fails two lines is reported once
            out.append(ChecklistItem(line.name, False, figures))
        else:
            passed, figures = line.look(run)
            doubt = next((found[i] for i in line.opened_by if i in found), None)
            if doubt is not None:
                passed, figures = None, f"{figures}; {doubt.title[0].lower()}{doubt.title[1:]}"
            out.append(ChecklistItem(line.name, passed, figures))
    return out


def _finite(run: Run) -> Figures:
    held = sum(s.count - s.nonfinite for s in run.series.values())
    empty = sum(s.nonfinite for s in run.series.values())
    return True, f"{held:,} values" + (f"; {empty:,} more rows hold none" if empty else "")


def _state_path(run: Run) -> Figures:
    s = run.get(gradients.STATE_PATH)
    if s is None or s.highest is None:
        return None, f"{gradients.STATE_PATH.tag} is not logged"
    return True if STATE_GRADIENT_LEAK.level(
        s.highest.value
    ) == "ok" else None, f"at most {number(s.highest.value)}"


def _gap(run: Run) -> Figures:
    gap = q_gap(run)
    if gap is None or len(gap.step) < 2:
        return None, "Q(policy) and Q(data) are not both logged"
    late = float(np.median(gap.ratio[-max(2, len(gap.ratio) // 4) :]))
    figures = (
        f"{number(float(gap.policy[-1]))} beside {number(float(gap.data[-1]))}: apart by {number(late)} of "
        "Q's scale"
    )
    return True if POLICY_Q_GAP.level(late) == "ok" else None, figures


def _q_limits(run: Run) -> Figures:
    mean, most = run.policy_q, run.get(actor.Q.max)
    if mean is None:
        return None, "Q(policy) is not logged"
    top = float(np.abs(mean.value).max())
    peak = float(np.abs(most.value).max()) if most is not None else math.nan
    figures = f"|mean| at most {number(top)}"
    if most is not None:
        figures += f", |max| at most {number(peak)}"
    limit = run.q_limit
    if limit is not None:
        most_q = max(top, peak if math.isfinite(peak) else 0)
        within = Q_ABOVE_REWARD_BOUND.level(most_q, limit[0]) == "ok"
        return True if within else None, f"{figures}; reward bound {number(limit[0])}"
    # without a reward bound a larger Q may be right for larger rewards
    within = top < Q_ABOVE_REWARD_BOUND.threshold(
        "unknown, mean"
    ) and not peak >= Q_ABOVE_REWARD_BOUND.threshold("unknown, largest")
    return True if within else None, f"{figures}; no reward bound is known"


def _alerts(run: Run) -> Figures:
    logged = [t for t in run.series if alerts.is_alert(t)]
    if not logged:
        return None, "no alerts are logged"
    return True, f"{len(logged)} alerts, all silent"


def _median(*needs: Signal) -> Callable[[Run], Figures]:
    """Passed as soon as one of the series is there."""

    def look(run: Run) -> Figures:
        s = run.get(*needs)
        if s is None:
            return None, f"{' or '.join(run.tags_of(needs[0]))} is not logged"
        return True, f"{s.tag}: median {number(s.median())}"

    return look


def _falls(signal: Signal) -> Callable[[Run], Figures]:
    def look(run: Run) -> Figures:
        s = run.get(signal)
        if s is None:
            return None, f"{run.tags_of(signal)[0]} is not logged"
        if len(s) < 4:
            return None, f"only {count(len(s), 'point')}"
        first, last = s.head(0.25).median(), s.tail(0.25).median()
        figures = f"{number(first)} -> {number(last)} (medians of the first and the last quarter)"
        if last <= first:
            return True, figures
        return None, f"{figures}; grows no more than the values that it estimates"

    return look


def _explains(run: Run) -> Figures:
    error = critic_error(run)
    if error is None:
        return None, f"{critic.TD_ERROR_RELATIVE.tag} is not logged"
    return True if error.level == "ok" else None, error.text


def _returns(run: Run) -> Figures:
    logged = skill(run)
    if logged is None:
        return None, f"{run.tags_of(episodes.RETURN)[0]} is not logged"
    if len(logged) < 8:
        return None, f"only {count(len(logged), 'return')}"
    judged = of_one_level(run, logged, 8)
    s = judged.series
    first, last = (level(part.value, s.value) for part in (s.head(1 / 3), s.tail(1 / 3)))
    figures = f"{number(first)} -> {number(last)} ({level_name(s.value)} of the first and the last third)"
    figures += f", {judged.note}" if judged.note else ""
    rises = last > first and rise(s.value) is not None
    return True if rises else None, figures


def _causes(run: Run) -> Figures:
    if any("termination_" in tag for tag in run.series):
        return True, episodes.TERMINATION.tag
    return _median(episodes.LANE_INVASIONS, episodes.COLLISIONS)(run)


def _evaluation(run: Run) -> Figures:
    s = run.get(evaluation.RETURN, evaluation.SUCCESS)
    if s is None:
        return None, "no evaluation"
    times = "once" if s.count == 1 else f"{s.count} times"
    return True, f"{times}; {s.tag} {number(s.last.value)} at step {s.last.step:,}"


def _evaluation_agrees(run: Run) -> Figures:
    training, evaluated = run.get(episodes.RETURN), run.get(evaluation.RETURN)
    if training is None or evaluated is None:
        return None, "returns of training and evaluation are not both logged"
    other = another_unit(run, training, evaluated)
    if other:
        return None, other
    late, beside = (number(level(s.tail(0.25).value, s.value)) for s in (evaluated, training))
    return True, f"{evaluated.tag} {late} beside {training.tag} {beside}"


def _complete(run: Run) -> Figures:
    planned = run.hyper("steps")
    if planned is None:
        return None, f"{run.amount}; how many were planned is not known"
    done = run.last_step >= 0.99 * planned.value
    return True if done else None, f"{run.last_step:,} of {planned.value:,.0f} steps"


_LINES = (
    _CheckLine("all values are finite", ("nan-or-inf",), _finite),
    _CheckLine(
        "no gradient through the state input", ("state-gradient-leak",), _state_path, (ACTOR_THROUGH_Q,)
    ),
    _CheckLine("Q(policy) stays beside Q(data)", ("state-gradient-leak",), _gap, (ACTOR_THROUGH_Q,)),
    _CheckLine("Q is within limits", ("q-explosion", "q-above-reward-bound"), _q_limits, (Q,)),
    _CheckLine(
        "the actor is not saturated",
        ("actor-saturated",),
        _median(actor.SATURATION, gradients.AFTER["actor_head"], actor.ACTION_MEAN[1]),
        (ACTOR_THROUGH_Q,),
    ),
    _CheckLine(
        "the gradient clip holds",
        ("clip-not-applied",),
        _median(gradients.AFTER["actor_encoder"], gradients.AFTER["critic_encoder"]),
    ),
    _CheckLine("no alert fired", ("alerts-raised",), _alerts, opened_by=("alert-unreachable",)),
    _CheckLine("the critic's loss falls", ("critic-divergence",), _falls(critic.LOSS), (Q,)),
    _CheckLine("the TD error falls", ("critic-divergence",), _falls(critic.TD_ERROR), (Q,)),
    _CheckLine("the critic explains its targets", ("critic-not-learning",), _explains, (Q,)),
    _CheckLine("the return rises", ("reward-degrading", "restart-collapse", "never-learns"), _returns),
    _CheckLine(
        "the policy changes",
        ("policy-frozen", "parameters-frozen"),
        _median(evaluation.RETURN, episodes.RETURN),
    ),
    _CheckLine("episodes do not collapse", ("episode-collapse",), _median(episodes.LENGTH)),
    _CheckLine("episodes end for several reasons", ("single-cause-termination",), _causes),
    _CheckLine("the policy was evaluated", ("evaluation-missing",), _evaluation),
    _CheckLine("evaluation agrees with training", ("evaluation-gap",), _evaluation_agrees),
    _CheckLine("the run is complete", ("run-interrupted", "run-frozen"), _complete),
)
