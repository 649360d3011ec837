"""Gradient norms logged as sums of per-tensor norms."""

from __future__ import annotations

import math

import numpy as np

from ..measures import ENCODER_TENSORS, MOST_TENSORS, Clip, clips
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run

HOLDS = 1.0 + 1e-3
"""A clip holds up to rounding."""


def check(run: Run) -> Outcome:
    known = [c for c in clips(run) if c.encoder is not None]
    if not known:
        return Skipped(
            "the encoder's gradient norm after the clip, or the clip's limit, is not known",
            ("gradients/actor_cnn_norm", "gradients/critic_cnn_norm"),
            "Log the L2 norm of each group after the clip; state the limits with --assume "
            "actor_clip_norm=... "
            "--assume critic_clip_norm=... where no configuration is beside the events.",
        )
    summed = [c for c in known if is_summed(c)]
    if not summed:
        figures = "; ".join(
            f"{c.encoder.tag} median {number(c.encoder.median())} against the limit {c.limit:g}"
            for c in known
            if c.encoder is not None
        )
        return Clear(f"the logged norms are not explained by summing: {figures}")
    evidence = []
    for c in summed:
        s = c.encoder
        assert s is not None and s.lowest is not None and s.highest is not None
        top = c.limit * math.sqrt(ENCODER_TENSORS)
        evidence.append(
            Evidence(
                s.tag,
                s.highest.step,
                s.highest.value,
                f"{s.tag} {number(s.lowest.value)} .. {number(s.highest.value)} lies above the limit "
                f"{c.limit:g} "
                f"({c.source}) on {float((s.value > c.limit * HOLDS).mean()):.0%} of {s.count} rows, and "
                "within "
                f"{c.limit:g} .. {number(top)} = c .. c*sqrt({ENCODER_TENSORS}), where the SUM of "
                f"{ENCODER_TENSORS} "
                "clipped tensors' norms must lie",
            )
        )
    return Finding(
        "grad-norm-summed",
        WARNING,
        "Gradient norms are logged as sums of per-tensor norms; the clip held",
        evidence,
        "The logging adds up the norms of the tensors instead of taking the norm of all of them "
        "together. For n "
        "tensors clipped jointly to an L2 norm c the sum lies in [c, c*sqrt(n)]: the figures are what a "
        "working clip "
        "gives, not a violation of it.",
        "Log the true global norm sqrt(sum(norm_i**2)), before and after the clip, per parameter group. "
        "Do not "
        "touch the clip because of these figures.",
        0.85 if len(summed) > 1 else 0.7,
        plots=tuple((c.encoder.tag,) for c in summed if c.encoder is not None),
        bounds=tuple((f"{c.who} clip {c.limit:g}", c.limit) for c in summed),
    )


def is_summed(c: Clip) -> bool:
    """Above the limit, but never above what summing explains, and in as narrow a band."""
    s = c.encoder
    if s is None or len(s) < 3:
        return False
    value = s.value[np.isfinite(s.value)]
    above = float((value > c.limit * HOLDS).mean())
    band = float(value.max() / max(value.min(), 1e-30))
    return (
        above > 0.5
        and float(value.max()) <= c.limit * math.sqrt(ENCODER_TENSORS) * HOLDS
        and band <= math.sqrt(MOST_TENSORS)
    )


RULE = Rule(
    id="grad-norm-summed",
    title="Gradient norms that are sums",
    statement=(
        "For n tensors clipped jointly to an L2 norm c the sum of their norms lies in [c, c*sqrt(n)] "
        "(Cauchy-Schwarz). "
        "Figures that fill that band and never leave it are sums, and the clip holds."
    ),
    check=check,
    order=30,
)
