"""The critic does not explain its targets."""

from __future__ import annotations

from ..algorithm import Q
from ..measures import critic_error
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
from ..signals import critic
from ..signals.conditions import CRITIC_NOT_LEARNING

LEAST = 8
"""Rows after the first updates before the critic is judged."""


def check(run: Run) -> Outcome:
    error = critic_error(run)
    if error is None or len(error.series) < LEAST:
        return Skipped(
            f"fewer than {LEAST} values of the TD error, divided by the spread of its targets, are logged "
            f"after {CRITIC_NOT_LEARNING.threshold('settled'):,.0f} updates",
            (critic.TD_ERROR_RELATIVE.tag, critic.EXPLAINED_VARIANCE.tag),
            "Log the TD error divided by the standard deviation of the targets.",
        )
    s = error.series
    if error.level == "ok":
        return Clear(error.text)
    severity: Severity = CRITICAL if error.level == "critical" else WARNING
    explained = run.get(critic.EXPLAINED_VARIANCE)
    evidence = [Evidence(s.tag, s.last.step, error.value, error.text)]
    if explained is not None and explained.tag != s.tag:
        late = explained.tail(0.25, 2).median()
        evidence.append(
            Evidence(
                explained.tag, explained.last.step, late, f"{explained.tag}: {number(late)} (1 is perfect)"
            )
        )
        if late >= CRITIC_NOT_LEARNING.threshold("explained variance"):
            severity = INFO
    return Finding(
        "critic-not-learning",
        severity,
        "The critic does not explain its targets",
        evidence,
        "The critic is little better than a constant, so the policy follows noise. The usual reasons: a "
        "learning rate that is too low or too high, targets that change faster than the critic follows "
        "(tau, a terminal flag, a reward that the observation does not show), or features that carry "
        "nothing of the state.",
        "Freeze the targets and fit one batch: the error must fall towards 0. If it does, lower tau or "
        "raise the critic's learning rate; if it does not, look at the observation and at the encoder's "
        "gradient.",
        0.8,
        onset=None,
        plots=((s.tag,),),
    )


RULE = Rule(
    id="critic-not-learning",
    title="Critic that does not learn",
    statement=(
        "Values grow while an agent learns, and so do losses and errors. The error divided by the spread "
        "of the targets falls: sound critics reach 0.1 within their first thousand updates. At 0.4 and "
        "more a quarter of the variance stays unexplained; at 1 a constant would do as well."
    ),
    check=check,
    requires=(Q,),
    needs=((critic.TD_ERROR_RELATIVE, critic.EXPLAINED_VARIANCE),),
    how="Log the TD error divided by the standard deviation of the targets.",
    explains=("never-learns",),
    order=15,
)
