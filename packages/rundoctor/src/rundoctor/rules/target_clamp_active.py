"""A clamp on Q that is active, and passes no gradient."""

from __future__ import annotations

import numpy as np

from ..algorithm import ACTOR_THROUGH_Q
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Severity, Skipped, number
from ..run import Run
from ..series import Series
from ..signals import actor, critic, gradients, replay

PINNED = 0.8
LEAST = 5


def check(run: Run) -> Outcome:
    clamp = run.hyper("actor_q_clamp")
    policy = run.policy_q
    if clamp is not None and policy is not None:
        late = policy.tail(0.5, 2)
        share = float((np.abs(late.value) >= 0.99 * clamp.value).mean())
        if share >= 0.5:
            return _finding(
                policy,
                f"|Q(policy)| is at or above the clamp {clamp.value:g} ({clamp.source}) on {share:.0%} of "
                "the late rows",
                CRITICAL,
                0.95,
                clamp.value,
                run,
            )
    means = [s for s in (policy, run.get(critic.TARGET.mean)) if s is not None]
    extremes = [s for s in (run.get(signal) for signal in (actor.Q.max, actor.Q.min)) if s is not None]
    # An extreme target is a terminal reward, the same in batch after batch, in sound runs too.
    extremes += [
        s
        for s, reward in (
            (run.get(critic.TARGET.max), run.get(replay.REWARD.max)),
            (run.get(critic.TARGET.min), run.get(replay.REWARD.min)),
        )
        if s is not None and reward is not None and not _same(s, reward)
    ]
    if not means:
        return Skipped(
            "no Q is logged", run.tags_of((actor.Q.mean, actor.LOSS)), "Log Q of the policy's actions."
        )
    for s in means:
        value = _pinned(s)
        if value is not None:
            text = f"{s.tag} is exactly {number(value)} on most of its late rows: every sample is at a limit"
            return _finding(s, text, CRITICAL, 0.85, value, run)
    for s in extremes:
        value = _pinned(s)
        if value is not None:
            text = f"{s.tag} is exactly {number(value)} on most of its late rows: a clamp cuts it there"
            return _finding(s, text, WARNING, 0.8, value, run)
    return Clear("no Q is pinned to one value")


def _pinned(s: Series) -> float | None:
    """The one value that most late points have, if it is a limit of the series."""
    late = s.tail(0.5, LEAST).value
    if len(late) < LEAST:
        return None
    values, counts = np.unique(np.round(late.astype(np.float32), 4), return_counts=True)
    k = int(np.argmax(counts))
    if counts[k] < PINNED * len(late) or values[k] == 0:
        return None
    same = np.isclose(late, late[np.argmin(np.abs(late - values[k]))], rtol=1e-6, atol=0)
    value = float(late[np.argmax(same)])
    whole = s.value
    limit = value >= whole.max() * (1 - 1e-6) if value > 0 else value <= whole.min() * (1 - 1e-6)
    # constant from its first point on it is no clamp that something ran into
    moved = float(np.abs(whole - value).max()) > 1e-6 * abs(value)
    return value if same.mean() >= PINNED and limit and moved else None


def _same(a: Series, b: Series) -> bool:
    other = b.at(a.step)
    return float(np.isclose(a.value, other, rtol=1e-3).mean()) > 0.3


def _finding(s: Series, text: str, severity: Severity, confidence: float, value: float, run: Run) -> Finding:
    evidence = [Evidence(s.tag, s.last.step, s.last.value, text)]
    reached = np.abs(s.value) >= 0.99 * abs(value)
    onset = int(s.step[int(np.argmax(reached))])
    for signal in (gradients.AFTER["actor_head"], gradients.AFTER["actor_encoder"]):
        g = run.get(signal)
        if g is not None:
            after = g.value[g.step >= onset]
            if len(after) and (after == 0).mean() > 0.5:
                evidence.append(
                    Evidence(
                        g.tag,
                        g.last.step,
                        g.last.value,
                        f"{g.tag} is exactly 0 on {(after == 0).mean():.0%} of the rows since",
                    )
                )
    return Finding(
        "target-clamp-active",
        severity,
        f"A clamp on Q is active at {number(value)}",
        evidence,
        "Beyond its limit a clamp has the derivative 0. Once every sample is there, the actor's gradient is "
        "exactly 0 and stays so. The clamp hides why Q grows, and stops the actor from learning.",
        "Remove the clamp and find out why Q grows (compare Q(policy) with Q(data)). If values must be "
        "bounded, clamp the critic's targets to r_max/(1-gamma) instead.",
        confidence,
        onset=onset,
        plots=((s.tag,),),
        bounds=(("clamp", value),),
    )


RULE = Rule(
    id="target-clamp-active",
    title="Active clamp on Q",
    statement=(
        "Where the mean or an extreme of Q repeats one exact value on row after row, and no value lies "
        "beyond it, a clamp cuts Q there."
    ),
    check=check,
    requires=(ACTOR_THROUGH_Q,),
    explains=("head-starved", "actor-saturated", "gradient-missing"),
    order=4,
)
