"""|Q| above r_max / (1 - gamma)."""

from __future__ import annotations

import numpy as np

from ..algorithm import Q
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series
from ..signals import actor, critic, replay
from ..signals.conditions import Q_ABOVE_REWARD_BOUND

# The bound from rewards seen in batches misses rarer ones; from a documented bound it is exact.
SLACK_EXACT, TWICE = Q_ABOVE_REWARD_BOUND.threshold("warning"), Q_ABOVE_REWARD_BOUND.threshold("critical")
SLACK_SEEN = Q_ABOVE_REWARD_BOUND.threshold("estimated, warning")
FAR_ABOVE = Q_ABOVE_REWARD_BOUND.threshold("estimated, critical")


_BOUND_TAG = replay.REWARD_BOUND.tags[0]


def check(run: Run) -> Outcome:
    limit = run.q_limit
    if limit is None:
        return Skipped(
            "no reward bound is known",
            (_BOUND_TAG, replay.REWARD.max.tag, replay.REWARD.min.tag),
            "Log the largest and smallest reward of each batch, or the reward's documented bound "
            f"({_BOUND_TAG}), and gamma.",
        )
    bound, text, exact = limit
    slack = SLACK_EXACT if exact else SLACK_SEEN
    candidates: list[Series] = []
    for signal in (
        actor.Q.max,
        critic.Q1.max,
        critic.Q2.max,
        critic.TARGET.max,
        critic.Q1.min,
        critic.TARGET.min,
        critic.Q1.mean,
    ):
        s = run.get(signal)
        if s is not None:
            candidates.append(s)
    if run.policy_q is not None:
        candidates.append(run.policy_q)
    if exact:
        # a terminal reward is a value, too: one above the bound contradicts the bound or the scale
        candidates += [s for s in (run.get(replay.REWARD.max), run.get(replay.REWARD.min)) if s is not None]
    if not candidates:
        return Skipped("no Q is logged", run.tags_of((critic.Q1.mean, actor.Q.mean)), "Log Q on replay.")
    worst, worst_share = None, 0.0
    top = max(candidates, key=lambda s: float(np.abs(s.value).max()))
    for s in candidates:
        late = s.tail(0.25, 2)
        share = float((np.abs(late.value) > slack * bound).mean())
        if share > 0.5 and (
            worst is None or np.abs(late.value).max() > np.abs(worst.tail(0.25, 2).value).max()
        ):
            worst, worst_share = s, share
    if worst is None:
        return Clear(
            f"the largest |Q|, {number(float(np.abs(top.value).max()))}, lies within r_max/(1-gamma) = {text}"
        )
    size = np.abs(worst.value)
    factor = float(np.median(np.abs(worst.tail(0.25, 2).value))) / bound
    onset = int(worst.step[int(np.argmax(size > slack * bound))])
    i = int(np.argmax(size))
    evidence = [
        Evidence(
            worst.tag,
            int(worst.step[i]),
            float(worst.value[i]),
            f"{'a reward of' if 'reward' in worst.tag else '|Q| of'} {number(float(size[i]))} at step "
            f"{int(worst.step[i]):,}; no sum of discounted rewards exceeds the bound, {text}",
        ),
        Evidence(
            worst.tag,
            onset,
            float(size[int(np.argmax(size > slack * bound))]),
            f"above it since step {onset:,}, on {worst_share:.0%} of the late rows, by {times(factor)}",
        ),
    ]
    reward = run.reward_limit
    if reward is not None:
        evidence.append(reward[1])
    return Finding(
        "q-above-reward-bound",
        CRITICAL if factor > FAR_ABOVE or (exact and factor > TWICE) else WARNING,
        "Q lies above what any rewards can add up to",
        evidence,
        "No sum of rewards can be that large, so these values are wrong: the critic diverges, or it is "
        "asked about features that it was never trained on.",
        "Find out why Q grows. Compare Q(policy) with Q(data): if only Q(policy) is too large, look for a "
        "gradient leak. If both are, check the targets and the handling of terminal transitions, then the "
        "learning rates and the scale of the reward.",
        0.95 if exact else 0.8,
        onset=onset,
        plots=((worst.tag,),),
        bounds=(("r_max/(1-gamma)", bound),),
    )


RULE = Rule(
    id="q-above-reward-bound",
    title="Q above the reward bound",
    statement=(
        "Discounted rewards of at most r_max add up to at most r_max/(1-gamma) (the soft-divergence test of "
        "van Hasselt et al. 2018)."
    ),
    check=check,
    requires=(Q,),
    explains=("reward-degrading", "episode-collapse"),
    order=12,
    decisive=True,
)
