"""A clip that is active on every update."""

from __future__ import annotations

import math

import numpy as np

from ..measures import Clip, clips, is_summed, log_span
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..signals import critic, gradients
from ..signals.conditions import CLIP_ALWAYS_ACTIVE

ACTIVE, HARD = CLIP_ALWAYS_ACTIVE.threshold("warning"), CLIP_ALWAYS_ACTIVE.threshold("cut")


def check(run: Run) -> Outcome:
    known = clips(run)
    if not known:
        return Skipped(
            "no gradient norms with a known clip limit",
            (gradients.BEFORE["actor_encoder"].tag, gradients.CLIP_RATIO["actor"].tag),
            "Log the norm before and after the clip; state the limits with --assume actor_clip_norm=...",
        )
    evidence: list[Evidence] = []
    severity = INFO
    clear = []
    who: list[str] = []
    for c in known:
        share, hard, found = _activity(run, c)
        if share is None:
            clear.append(f"the {c.who}'s clip leaves no trace that could be judged")
        elif share < ACTIVE:
            clear.append(f"the {c.who}'s clip is active on {share:.0%} of the rows")
        else:
            evidence += found
            who.append(c.who)
            if c.who == "actor" and hard:
                severity = WARNING
    if not evidence:
        return Clear("; ".join(clear))
    names = " and the ".join(who)
    logged = any(run.get(gradients.BEFORE[f"{name}_{part}"]) for name in who for part in ("encoder", "head"))
    return Finding(
        "clip-always-active",
        severity,
        f"The gradient clip of the {names} is active on every update",
        evidence,
        "The gradient before the clip is above the limit on every update, so the clip decides how long each "
        "step is, and the part with the largest gradient (mostly the encoder) takes nearly all of it. For "
        "the critic this is common in correct runs and harmless with Adam. For the actor it can leave the "
        "head without a gradient.",
        ("" if logged else "Log the norms before the clip. ")
        + "Make the gradient smaller at its source: rewards of about 1 a step, LayerNorm on the features. "
        "Where the loss itself is large (penalties in units of Q), set the limit above the usual norm; "
        "elsewhere a higher limit leaves the gradient as large. Clip encoder and head separately if the "
        "head gets nothing.",
        0.85,
        plots=tuple(tuple(dict.fromkeys(e.tag for e in evidence if c in e.tag)) for c in who),
    )


def _activity(run: Run, c: Clip) -> tuple[float | None, bool, list[Evidence]]:
    """Share of rows on which the clip was active, whether it cut by more than 10, evidence."""
    encoder = run.get(gradients.BEFORE[f"{c.who}_encoder"])
    head = run.get(gradients.BEFORE[f"{c.who}_head"])
    first = encoder or head
    if first is not None:
        total = first.value**2
        if encoder is not None and head is not None:
            total = total + np.nan_to_num(head.at(first.step)) ** 2
        before = np.sqrt(total)
        share = float((before > c.limit).mean())
        cut = float(np.median(before)) / c.limit
        text = (
            f"the {c.who}'s gradient before the clip is {number(float(np.median(before)))} in the median, "
            f"{times(cut)} the limit {c.limit:g}; above it on {share:.0%} of {len(before)} rows"
        )
        return share, cut > HARD, [Evidence(first.tag, int(first.step[-1]), float(before[-1]), text)]
    s = c.encoder
    if s is None or len(s) < 3:
        return None, False, []
    if is_summed(c):
        # sum <= sqrt(n) * L2: a sum this large needs an L2 norm near the limit; that it does not
        # move while what it is proportional to does shows who sets it
        drive = _driver(run, c)
        evidence = [
            Evidence(
                s.tag,
                s.last.step,
                s.last.value,
                f"{s.tag} keeps within {number(float(s.value.min()))} .. {number(float(s.value.max()))}"
                + (f" while {drive[0]} spans {times(10 ** drive[1])}" if drive else "")
                + ": only a clip that acts on every update holds it there",
            )
        ]
        head_series = c.head
        share = float((s.value > c.limit).mean())
        starved = False
        if head_series is not None:
            part = float(np.median(head_series.value)) / max(s.median(), 1e-30)
            starved = part < 0.01
            evidence.append(
                Evidence(
                    head_series.tag,
                    head_series.last.step,
                    head_series.last.value,
                    f"the gradient norm of the {c.who}'s head is {number(part)} times its encoder's"
                    if part
                    else f"the gradient of the {c.who}'s head is 0",
                )
            )
        return share, starved, evidence
    _, joint = c.joint
    at_limit = np.abs(joint / c.limit - 1) < 1e-2
    share = float(at_limit.mean())
    if share < ACTIVE:
        return share, False, []
    text = f"the {c.who}'s joint norm is the limit {c.limit:g} itself on {share:.0%} of {len(joint)} rows"
    return share, False, [Evidence(s.tag, s.last.step, float(joint[-1]), text)]


def _driver(run: Run, c: Clip) -> tuple[str, float] | None:
    """What the unclipped gradient is proportional to, and how many decades it spans."""
    s = run.policy_q if c.who == "actor" else run.get(critic.LOSS)
    if s is None:
        return None
    span = log_span(s.value)
    return (s.tag, span) if math.isfinite(span) and span > 0.5 else None


RULE = Rule(
    id="clip-always-active",
    title="Permanently active clip",
    statement=(
        "A gradient grows and shrinks with its loss. A norm that stays at the clip's limit (or in a narrow "
        "band above it, where norms are added up) while the loss changes by orders of magnitude is set by "
        "the clip alone."
    ),
    check=check,
    order=32,
)
