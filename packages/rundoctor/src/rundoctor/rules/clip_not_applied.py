"""A gradient clip that did not hold."""

from __future__ import annotations

import math

import numpy as np

from ..measures import HOLDS, MOST_TENSORS, Clip, clips, is_summed
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series
from ..signals import gradients


def check(run: Run) -> Outcome:
    known = clips(run)
    if not known:
        return Skipped(
            "no gradient norms after the clip with a known limit",
            tuple(gradients.AFTER[f"{who}_encoder"].tag for who in gradients.WHO),
            "Log L2 norms after the clip; state the limits with --assume actor_clip_norm=1 --assume "
            "critic_clip_norm=10.",
        )
    evidence: list[Evidence] = []
    certain = False
    tags: list[str] = []
    clear = []
    onset: int | None = None
    for c in known:
        found = _violation(c)
        if found is None:
            clear.append(_held(c))
            continue
        step, text, series, value, sure = found
        evidence.append(Evidence(series.tag, step, value, text))
        tags.append(series.tag)
        certain |= sure
        onset = step if onset is None else min(onset, step)
    if not evidence:
        return Clear("; ".join(clear))
    return Finding(
        "clip-not-applied",
        CRITICAL if certain else WARNING,
        "The gradient clip did not hold",
        evidence,
        "The clip is not called, is called after the optimiser's step, is followed by another backward "
        "pass, or leaves some parameters out."
        if certain
        else "Either no clip acts on these parameters, or the norm was measured before the clip.",
        "Call clip_grad_norm_ once, after backward() and before step(), with all parameters of that "
        "optimiser, encoder and head. Log the norm after it, and let the run fail when it exceeds the "
        "limit.",
        0.95 if certain else 0.65,
        onset=onset,
        plots=tuple((t,) for t in tags),
        bounds=tuple((f"{c.who} clip {c.limit:g}", c.limit) for c in known),
    )


def _violation(c: Clip) -> tuple[int, str, Series, float, bool] | None:
    """(step, text, series, value, certain) of a norm that no holding clip allows."""
    if c.true_norms:
        step, joint = c.joint
        above = joint > c.limit * HOLDS
        if above.mean() <= 0.05 or is_summed(c):
            return None
        i = int(np.argmax(joint))
        worst = max((s for s in (c.encoder, c.head) if s is not None), key=lambda s: float(s.value.max()))
        text = (
            f"the {c.who}'s norm after the clip is {number(float(joint[i]))} at step {int(step[i]):,}, "
            f"{times(float(joint[i]) / c.limit)} the limit {c.limit:g}, above it on {above.mean():.0%} of "
            f"the rows; {worst.tag} carries it"
        )
        return int(step[int(np.argmax(above))]), text, worst, float(joint[i]), True
    most = c.limit * math.sqrt(MOST_TENSORS)
    for s in (c.encoder, c.head):
        if s is None:
            continue
        above = s.value > most * HOLDS
        if above.mean() <= 0.05:
            continue
        i = int(np.argmax(s.value))
        text = (
            f"{s.tag} is {number(float(s.value[i]))} at step {int(s.step[i]):,}; with a clip at {c.limit:g} "
            f"({c.source}) even a sum over {MOST_TENSORS} tensors stays below {number(most)}"
        )
        return int(s.step[int(np.argmax(above))]), text, s, float(s.value[i]), False
    return None


def _held(c: Clip) -> str:
    parts = [s for s in (c.encoder, c.head) if s is not None]
    s = max(parts, key=lambda x: float(x.value.max()))
    top = float(s.value.max())
    if top <= c.limit * HOLDS:
        return f"the {c.who}'s clip held: {s.tag} never exceeds {number(top)} (limit {c.limit:g})"
    return (
        f"the {c.who}'s clip held: {s.tag} reaches {number(top)}, within what sums of clipped tensors' norms "
        f"can be (c*sqrt(n) = {number(c.limit * math.sqrt(MOST_TENSORS))} for n = {MOST_TENSORS})"
    )


RULE = Rule(
    id="clip-not-applied",
    title="Gradient clip that did not hold",
    statement=(
        "After a clip at c the L2 norm of all clipped parameters together is at most c, and the sum of n "
        "tensors' norms at most c*sqrt(n). Only a larger figure shows that the clip failed."
    ),
    check=check,
    explains=("clip-always-active",),
    order=8,
)
