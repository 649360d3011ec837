"""Gradient norms logged as sums of per-tensor norms."""

from __future__ import annotations

import math

import numpy as np

from ..measures import ENCODER_TENSORS, HOLDS, Clip, clips, is_summed
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, percent
from ..run import Run
from ..signals import gradients


def check(run: Run) -> Outcome:
    known = [c for c in clips(run) if c.encoder is not None]
    if not known:
        return Skipped(
            "the encoder's gradient norm after the clip, or the clip's limit, is not known",
            tuple(gradients.AFTER[f"{who}_encoder"].tag for who in gradients.WHO),
            "Log the L2 norm of each group after the clip; state the limits with --assume "
            "actor_clip_norm=... --assume critic_clip_norm=... where no configuration is beside the events.",
        )
    summed = [c for c in known if is_summed(c)]
    if not summed:
        figures = "; ".join(
            f"{c.encoder.tag} median {number(c.encoder.median())} against the limit {c.limit:g}"
            for c in known
            if c.encoder is not None
        )
        return Clear(f"the logged norms are not explained by summing: {figures}")
    evidence = [e for c in summed for e in _evidence(c)]
    return Finding(
        "grad-norm-summed",
        WARNING,
        "Gradient norms are logged as sums of per-tensor norms; the clip held",
        evidence,
        "The logging adds up the norms of the single tensors instead of taking the norm of all of them "
        "together. When n tensors are clipped together to a norm of c, that sum lies between c and "
        "c*sqrt(n). So these figures are what a working clip gives.",
        "Log the norm sqrt(sum(norm_i**2)) of each parameter group, before and after the clip. Do not "
        "change the clip because of these figures.",
        0.85 if len(summed) > 1 else 0.7,
        plots=tuple((c.encoder.tag,) for c in summed if c.encoder is not None),
        bounds=tuple((f"{c.who} clip {c.limit:g}", c.limit) for c in summed),
    )


def _evidence(c: Clip) -> list[Evidence]:
    grown = []
    for after, before in ((c.encoder, c.encoder_before), (c.head, c.head_before)):
        if after is None or before is None or not c.true_norms:
            continue
        ratio = after.value / np.maximum(before.at(after.step), 1e-30)
        if float((ratio > 1.05).mean()) > 0.5:
            text = (
                f"{after.tag} is {number(float(np.nanmedian(ratio)))} times {before.tag} in the median: a "
                "clip only shrinks, so one of them is no L2 norm"
            )
            grown.append(Evidence(after.tag, after.last.step, after.last.value, text))
    if grown:
        return grown
    s = c.encoder
    assert s is not None and s.lowest is not None and s.highest is not None
    top = c.limit * math.sqrt(ENCODER_TENSORS)
    text = (
        f"{s.tag} {number(s.lowest.value)} .. {number(s.highest.value)} lies above the limit {c.limit:g} "
        f"({c.source}) on {percent(float((s.value > c.limit * HOLDS).mean()))} of {s.count} rows, and below "
        f"c*sqrt({ENCODER_TENSORS}) = {number(top)}: where the SUM of {ENCODER_TENSORS} clipped tensors' "
        "norms must lie"
    )
    return [Evidence(s.tag, s.highest.step, s.highest.value, text)]


RULE = Rule(
    id="grad-norm-summed",
    title="Gradient norms that are sums",
    statement=(
        "When n tensors are clipped together to an L2 norm of c, the sum of their norms lies between c and "
        "c*sqrt(n) (Cauchy-Schwarz). Figures that stay in that range are such sums, and the clip holds."
    ),
    check=check,
    order=30,
)
