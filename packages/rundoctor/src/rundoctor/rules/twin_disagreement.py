"""The two critics do not agree."""

from __future__ import annotations

import numpy as np

from ..algorithm import TWINS
from ..measures import first_crossing
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import critic, replay
from ..signals.conditions import TWIN_DISAGREEMENT

# The minimum of two estimates corrects an over-estimation of about their difference; when that is
# half of Q's own scale the target is mostly the correction.
APART, FAR_APART = TWIN_DISAGREEMENT.threshold("warning"), TWIN_DISAGREEMENT.threshold("critical")


def check(run: Run) -> Outcome:
    q1, q2, gap = run.get(critic.Q1.mean), run.get(critic.Q2.mean), run.get(critic.TWIN_GAP)
    if q1 is None or (q2 is None and gap is None):
        return Skipped(
            "the twins' Q are not both logged",
            run.tags_of(critic.Q1.mean) + run.tags_of(critic.Q2.mean),
            f"Log mean Q1 and mean Q2 on replay, and the mean of |Q1 - Q2| ({critic.TWIN_GAP.tag}).",
        )
    if len(q1) < 4:
        return Skipped(f"only {len(q1)} rows", (q1.tag,))
    at = q1.step
    scale = np.abs(q1.value)
    for signal in (critic.Q2.mean, critic.Q1.std, critic.Q2.std, critic.TARGET.std, replay.REWARD.std):
        other = run.get(signal)
        if other is not None and other.axis == q1.axis:
            scale = np.fmax(scale, np.abs(other.at(at)))
    scale = np.maximum.accumulate(np.maximum(scale, 1e-12))
    if gap is not None:
        difference, tag = gap.at(at), gap.tag
    else:
        assert q2 is not None
        difference, tag = np.abs(q1.value - q2.at(at)), q2.tag
    ratio = difference / scale
    keep = np.isfinite(ratio)
    ratio, at, difference = ratio[keep], at[keep], difference[keep]
    if len(ratio) < 4:
        return Skipped("the twins' Q are not logged at the same steps", (q1.tag, tag))
    late = float(np.median(ratio[-max(2, len(ratio) // 4) :]))
    if late < APART:
        return Clear(f"the twins differ by {late:.1%} of Q's scale")
    onset = first_crossing(at, ratio >= APART)
    i = len(at) - 1
    return Finding(
        "twin-disagreement",
        CRITICAL if late > FAR_APART else WARNING,
        "The twin critics disagree",
        [
            Evidence(
                tag,
                int(at[i]),
                float(difference[i]),
                f"|Q1 - Q2| is {number(float(difference[i]))} at step {int(at[i]):,}: {late:.0%} of Q's "
                "scale over the last quarter",
            ),
            Evidence(q1.tag, q1.last.step, q1.last.value, f"Q1 {number(q1.last.value)}"),
        ]
        + (
            [Evidence(q2.tag, q2.last.step, q2.last.value, f"Q2 {number(q2.last.value)}")]
            if q2 is not None
            else []
        ),
        "One critic is not trained on the same targets as the other (it is missing from the optimiser, from "
        "the loss or from the target update), or both are asked about actions that they have not seen.",
        "Check that the parameters of both critics are in the optimiser and in the target update, and that "
        "both losses use the same target. Then lower the critic's learning rate.",
        0.8,
        onset=onset,
        plots=((q1.tag, q2.tag) if q2 is not None else (tag,),),
    )


RULE = Rule(
    id="twin-disagreement",
    title="Disagreeing twin critics",
    statement=(
        "Both critics learn the same targets from the same data, so their values differ by a small share of "
        "Q's size."
    ),
    check=check,
    requires=(TWINS,),
    explains=(),
    order=16,
)
