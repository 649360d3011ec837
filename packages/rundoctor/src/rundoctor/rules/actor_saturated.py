"""Actions pinned at their limits, where tanh passes no gradient."""

from __future__ import annotations

import re

import numpy as np

from ..algorithm import ACTOR, ACTOR_THROUGH_Q
from ..measures import action_columns, first_crossing
from ..model import CRITICAL, Clear, Evidence, Finding, Outcome, Rule, Severity, Skipped, number
from ..run import Run
from ..series import Series
from ..signals import actor, episodes, gradients, networks
from ..signals.conditions import ACTOR_SATURATED
from .never_learns import learned

SATURATED = ACTOR_SATURATED.threshold("critical")
PINNED_MEAN, PINNED_STD = ACTOR_SATURATED.threshold("mean action"), ACTOR_SATURATED.threshold("spread")
VANISHED = ACTOR_SATURATED.threshold("head's gradient")
LEAST = 10
"""Rows of a column before it is judged."""
AT_LIMIT = 0.01
ROUNDED = 0.02
"""Distance from 1 at which shares, each rounded to two digits or more, may still add up to it."""
_PEDAL = re.compile(r"throttle|accel|gas|brake", re.I)

CAUSE = (
    "The actor's last layer puts out values so large that tanh turns all of them into -1 or 1. There tanh's "
    "derivative is 0, so no gradient reaches the actor's head any more, and the actor cannot recover by "
    "itself. Large rewards, high learning rates and features without normalisation drive it there within "
    "some hundred updates, with or without a gradient leak."
)
FIX = (
    "Start anew with: rewards of about 1 a step; LayerNorm and tanh on the features; a small initial last "
    "layer of the actor; a penalty of 0.01 times the mean square of the value before tanh; an actor "
    "learning rate near 1e-4; and the critic trained alone for the first 500 updates. Log the share of "
    "|action| > 0.99 to see whether it works."
)
HOW = (
    f"Log the share of |action| > 0.99 ({actor.SATURATION.tag}) and mean and spread of each action of the "
    f"policy ({actor.ACTION_MEAN[1].tag}, ...), or the gradient norms of the actor's head and encoder."
)


def check(run: Run) -> Outcome:
    direct = _direct(run)
    if direct is not None:
        return direct
    pinned = _pinned(run)
    if isinstance(pinned, Finding):
        return pinned
    columns = _columns(run)
    if isinstance(columns, Finding):
        return columns
    inferred = _inferred(run)
    if inferred is not None:
        return inferred
    if ACTOR_THROUGH_Q not in run.algorithm.has:
        return columns or Clear(f"{run.algorithm.name} has no actor that is trained through Q")
    return (
        pinned
        or columns
        or Skipped(
            "neither actions nor the gradient of the actor's head are logged",
            (actor.SATURATION.tag, actor.ACTION_MEAN[1].tag, gradients.AFTER["actor_head"].tag),
            HOW,
        )
    )


def _direct(run: Run) -> Outcome | None:
    share = run.get(actor.SATURATION)
    if share is None:
        return None
    level = share.tail(0.25, 2).median()
    if level < SATURATED:
        return Clear(
            f"{level:.0%} of the policy's actions lie beyond 0.99 (a usable gradient needs < {SATURATED:.0%})"
        )
    onset = first_crossing(share.step, share.value >= SATURATED)
    evidence = [
        Evidence(
            share.tag,
            share.last.step,
            share.last.value,
            f"{level:.0%} of the policy's actions lie beyond 0.99 in size, from step "
            f"{onset or share.first.step:,} on",
        )
    ]
    pre = run.get(actor.PRE_TANH)
    if pre is not None:
        evidence.append(
            Evidence(
                pre.tag,
                pre.last.step,
                pre.last.value,
                f"mean |pre-tanh| {number(pre.first.value)} -> {number(pre.last.value)}; tanh' there is "
                f"{1 - np.tanh(pre.last.value) ** 2:.1e}",
            )
        )
    head = run.get(gradients.AFTER["actor_head"])
    if head is not None:
        evidence.append(
            Evidence(
                head.tag, head.last.step, head.last.value, f"gradient of the head: {number(head.last.value)}"
            )
        )
    return _finding(CRITICAL, evidence, 0.97, onset, (share.tag,))


def _pinned(run: Run) -> Outcome | None:
    means = [run.get(actor.ACTION_MEAN[i]) for i in (1, 2)]
    spreads = [run.get(actor.ACTION_STD[i]) for i in (1, 2)]
    seen = [(m, s) for m, s in zip(means, spreads, strict=True) if m is not None]
    if not seen:
        return None
    pinned = [
        (m, s)
        for m, s in seen
        if abs(m.tail(0.25, 2).median()) >= PINNED_MEAN
        and (len(seen) > 1 or (s is not None and s.tail(0.25, 2).median() <= PINNED_STD))
    ]
    figures = ", ".join(f"{m.tag} {m.tail(0.25, 2).median():+.2f}" for m, _ in seen)
    if len(pinned) < len(seen):
        return Clear(f"the policy's mean actions are not at their limits: {figures}")
    m, _ = pinned[0]
    onset = first_crossing(m.step, np.abs(m.value) >= PINNED_MEAN)
    evidence = [
        Evidence(m.tag, m.last.step, m.last.value, f"mean action {m.last.value:+.3f} at step {m.last.step:,}")
        for m, _ in pinned
    ]
    return _finding(CRITICAL, evidence, 0.85, onset, tuple(m.tag for m, _ in pinned))


def _columns(run: Run) -> Outcome | None:
    """From columns such as Steer or Brake, whose limits are 1 and -1, or 0 where they are never negative."""
    columns = _without_shares([s for s in action_columns(run) if len(s) >= LEAST])
    if not columns:
        return None
    pinned = {s.tag: at for s in columns if (at := _pinned_from(s)) is not None}
    figures = ", ".join(f"{s.tag} {number(s.tail(0.25, 2).median())}" for s in columns)
    # Full throttle and no brake may be right; a steering wheel at its limit never is.
    free = [s for s in columns if _PEDAL.search(s.tag) is None]
    steered = bool(free) and all(s.tag in pinned for s in free)
    returns = run.get(episodes.RETURN)
    idle = len(pinned) == len(columns) > 1 and returns is not None and not learned(returns)
    if not steered and not idle:
        return Clear(f"the actions are not all at their limits: {figures}")
    late = [s for s in columns if s.tag in pinned]
    onset = max(int(s.step[pinned[s.tag]]) for s in late)
    evidence = [
        Evidence(
            s.tag,
            s.last.step,
            s.last.value,
            f"{s.tag} is {number(float(s.value[-1]))}, at its limit, on every row from step "
            f"{int(s.step[pinned[s.tag]]):,} on",
        )
        for s in sorted(late, key=lambda s: -abs(s.last.value))
    ]
    if returns is not None and len(returns) >= LEAST:
        head, tail = returns.head(0.25).median(), returns.tail(0.25).median()
        evidence.append(
            Evidence(
                returns.tag,
                returns.last.step,
                tail,
                f"{returns.tag} goes from {number(head)} to {number(tail)} (first and last quarter)",
            )
        )
    found = _finding(CRITICAL, evidence, 0.9, onset, tuple(s.tag for s in late))
    found.explains = ("agent-standstill",)
    return found


def _without_shares(columns: list[Series]) -> list[Series]:
    """The columns without those that say how often each of several actions is taken: they add up to 1."""
    pedals = [s for s in columns if _PEDAL.search(s.tag) is not None]
    others = [s for s in columns if _PEDAL.search(s.tag) is None]
    if len(others) < 2 or any(len(s) != len(others[0]) or s.value.min() < 0 for s in others):
        return columns
    total = np.sum([s.value for s in others], axis=0)
    if float(np.mean(np.abs(total - 1) <= ROUNDED)) < SATURATED:
        return columns
    return pedals


def _pinned_from(s: Series) -> int | None:
    """Index from which on a component of the action stays at one limit; None when it does not."""
    late = s.value[-max(LEAST // 2, round(0.25 * len(s))) :]
    at = float(np.median(late))
    low = 0.0 if float(s.value.min()) >= 0 else -1.0
    if min(abs(at - 1.0), abs(at - low), abs(at + 1.0)) > AT_LIMIT:
        return None
    near = np.abs(s.value - at) <= AT_LIMIT
    if near[-len(late) :].mean() < SATURATED:
        return None
    away = np.flatnonzero(~near)
    # one stray row does not begin it anew
    k = max(1, round((1 - SATURATED) * len(s)))
    return int(away[-min(k, len(away))]) + 1 if len(away) else 0


def _inferred(run: Run) -> Outcome | None:
    """From the head's gradient alone: it dies while Q still differs and the encoder's lives."""
    head, encoder = run.get(gradients.AFTER["actor_head"]), run.get(gradients.AFTER["actor_encoder"])
    if head is None or encoder is None or len(head) < 3:
        return None
    share = head.value / np.maximum(encoder.at(head.step), 1e-30)
    late = float(np.median(share[-max(2, len(share) // 4) :]))
    first = float(np.median(share[: max(1, len(share) // 10)]))
    dead = float((head.value == 0).mean())
    if not (late < VANISHED and (dead > 0.5 or late < 0.1 * first or late < VANISHED**2)):
        return Clear(f"the head's gradient is {number(late)} of the encoder's and has not died away")
    moving = _head_moves(run)
    if dead == 1.0 and moving:
        return None  # weights that move have gradients: the norm was taken too late
    onset = first_crossing(head.step, share < VANISHED)
    evidence = [
        Evidence(
            head.tag,
            head.last.step,
            head.last.value,
            f"gradient of the actor's head: {number(head.first.value)} at step {head.first.step:,}, "
            f"{number(head.last.value)} at step {head.last.step:,}"
            + (f"; exactly 0 on {dead:.0%} of the rows" if dead else ""),
        ),
        Evidence(
            encoder.tag,
            encoder.last.step,
            encoder.last.value,
            f"the encoder's gradient stays at {number(encoder.last.value)}, so the actor's loss still has a "
            "gradient: what stops it at the head is tanh's derivative",
        ),
    ]
    weights = run.get(networks.WEIGHT_MEAN["actor_head"])
    if weights is not None and len(weights) >= 4:
        still = weights.tail(0.25, 3)
        scale = max(abs(weights.last.value), 1e-12)
        if float(still.value.max() - still.value.min()) < 1e-3 * scale:
            evidence.append(
                Evidence(
                    weights.tag,
                    weights.last.step,
                    weights.last.value,
                    f"the head's weights stand still: mean {weights.last.value:.6g} over the last "
                    f"{len(still)} rows",
                )
            )
    sure = 0.8 if dead > 0.3 or late < VANISHED**2 else 0.65
    return _finding(CRITICAL, evidence, sure, onset, (head.tag, encoder.tag), inferred=True)


def _head_moves(run: Run) -> bool:
    for s in (run.get(networks.WEIGHT_MEAN["actor_head"]), run.get(networks.WEIGHT_STD["actor_head"])):
        if s is not None and len(s) >= 4:
            tail = s.tail(0.5, 3).value
            if float(tail.max() - tail.min()) > 1e-2 * max(abs(float(tail[-1])), 1e-12):
                return True
    return False


def _finding(
    severity: Severity,
    evidence: list[Evidence],
    confidence: float,
    onset: int | None,
    tags: tuple[str, ...],
    inferred: bool = False,
) -> Finding:
    return Finding(
        "actor-saturated",
        severity,
        "The actor is saturated" + (" (inferred: actions were not logged)" if inferred else ""),
        evidence,
        CAUSE,
        FIX,
        confidence,
        onset=onset,
        plots=(tags,),
    )


RULE = Rule(
    id="actor-saturated",
    title="Saturated actor",
    statement=(
        "The policy's action is tanh of the last layer. Where nearly all actions lie at the limits, or the "
        "head's gradient dies while the encoder's does not, tanh's derivative is 0 and the policy has "
        "stopped learning."
    ),
    check=check,
    how=HOW,
    explains=(
        "head-starved",
        "reward-degrading",
        "episode-collapse",
        "parameters-frozen",
        "policy-frozen",
        "never-learns",
    ),
    order=5,
    decisive=True,
    requires=(ACTOR,),
)
