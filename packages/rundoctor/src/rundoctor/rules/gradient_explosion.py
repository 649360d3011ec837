"""Gradients that are orders of magnitude beyond their clip, or that grow by orders of magnitude."""

from __future__ import annotations

import numpy as np

from ..measures import clips, first_crossing
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..signals import gradients
from ..signals.conditions import GRADIENT_EXPLOSION
from ..stats import trend

GROWN = GRADIENT_EXPLOSION.threshold("growth")


def check(run: Run) -> Outcome:
    beyond = _beyond_the_clip(run)
    if beyond is not None:
        return beyond
    signals = (
        gradients.BEFORE["actor_encoder"],
        gradients.BEFORE["critic_encoder"],
        gradients.TOTAL["actor"],
        gradients.TOTAL["critic"],
    )
    series = [s for s in (run.get(signal) for signal in signals) if s is not None and len(s) >= 8]
    if not clips(run):
        more = (run.get(gradients.AFTER[f"{who}_encoder"]) for who in gradients.WHO)
        series += [s for s in more if s is not None and len(s) >= 8]
    if not series:
        return Skipped(
            "no gradient norm before the clip is logged",
            tuple(gradients.BEFORE[f"{who}_encoder"].tag for who in gradients.WHO),
            "Log the true L2 norm before the clip, per parameter group.",
        )
    for s in series:
        early, late = s.head(0.25).median(), s.tail(0.25).median()
        rising = trend(s.step, np.log(np.maximum(s.value, 1e-30)))
        if late > GROWN * max(early, 1e-12) and rising.rising and early > 0:
            return Finding(
                "gradient-explosion",
                WARNING,
                "A gradient grows without bound",
                [
                    Evidence(
                        s.tag,
                        s.last.step,
                        s.last.value,
                        f"{s.tag}: median {number(early)} over the first quarter, {number(late)} over the "
                        f"last ({times(late / early)})",
                    )
                ],
                "A gradient grows with its loss, so Q or the TD error grows too.",
                "Find out why Q grows: compare Q(policy) with Q(data), and |Q| with r_max/(1-gamma). The "
                "finding that names the cause says what to do.",
                0.75,
                onset=first_crossing(s.step, s.value > 10 * early),
                plots=((s.tag,),),
            )
    return Clear(
        "; ".join(
            f"{s.tag} {number(s.head(0.25).median())} -> {number(s.tail(0.25).median())}" for s in series[:2]
        )
    )


def _beyond_the_clip(run: Run) -> Finding | None:
    """Judged like av-td3's alert, where the norm before the clip is logged in units of its limit."""
    for who, signal in gradients.CLIP_RATIO.items():
        s = run.get(signal)
        if s is None or len(s) < 8:
            continue
        late = s.tail(0.25).median()
        level = GRADIENT_EXPLOSION.level(late)
        if level == "ok":
            continue
        limit = GRADIENT_EXPLOSION.threshold("warning")
        text = f"{s.tag} is {number(late)} over the last quarter; it should stay below {limit:g}"
        return Finding(
            "gradient-explosion",
            CRITICAL if level == "critical" else WARNING,
            f"The {who}'s gradient is {times(late)} its clip",
            [Evidence(s.tag, s.last.step, s.last.value, text)],
            "A gradient is proportional to the scale of its loss: that of Q or of the TD error is far from "
            "what the clip was chosen for.",
            "Find what inflates Q: compare Q(policy) with Q(data), and |Q| with r_max/(1-gamma). If Q is "
            "sound, scale the rewards down.",
            0.85,
            onset=first_crossing(s.step, s.value >= limit),
            plots=((s.tag,),),
        )
    return None


RULE = Rule(
    id="gradient-explosion",
    title="Exploding gradient",
    statement=(
        "The gradient norm before the clip is more than a hundred times the clip's limit, or grows steadily "
        "to more than a thousand times what it was."
    ),
    check=check,
    order=15,
)
