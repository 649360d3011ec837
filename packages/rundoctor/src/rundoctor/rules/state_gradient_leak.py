"""The policy gradient reaches the critic's state input."""

from __future__ import annotations

import math

import numpy as np

from ..algorithm import ACTOR_THROUGH_Q
from ..groups import trained_elsewhere
from ..measures import QGap, first_crossing, q_gap
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..signals import actor, critic, gradients, networks
from ..signals.conditions import POLICY_Q_GAP, STATE_GRADIENT_LEAK
from ..stats import Floats, trend

# At the same states one action's Q differs from another's by at most a one-step advantage, a
# fraction of Q's own size and spread: correct agents measured 1.0 .. 1.2.  Ten times the
# scale is out of reach of any advantage; three times while growing is on its way there.
LIKELY, CERTAIN = POLICY_Q_GAP.threshold("warning"), POLICY_Q_GAP.threshold("critical")
BEYOND_DOUBT = POLICY_Q_GAP.threshold("beyond doubt")
"""One row is enough."""
STATE_PATH = STATE_GRADIENT_LEAK.threshold("rounding")
"""Share of the actor encoder's gradient below which a gradient is rounding."""

CAUSE = (
    "In the actor's loss the critic judges the actor's own features, with gradient: -Q1(actor_features, "
    "actor(actor_features)). So the actor's encoder is trained to change the critic's STATE input until Q1 "
    "is large, instead of to choose better actions. Nothing keeps those features from growing. The critic "
    "is never trained on them, which is why its Q of the replayed data stays normal."
)
FIX = (
    "Let the critic judge the action on its own features, detached: q = "
    "critic.q1(critic_encoder(obs).detach(), actor(actor_encoder(obs))). Then check that the gradient "
    "through the critic's state input is 0 and that Q(policy) / Q(data) stays near 1. Gradient clipping, a "
    "clamp on Q, lower learning rates, less target noise, another tau or another gamma do not close the "
    "leak."
)
EXPLAINS = (
    "q-explosion",
    "q-above-reward-bound",
    "head-starved",
    "gradient-explosion",
    "representation-collapse",
    "reward-degrading",
    "episode-collapse",
    "nan-or-inf",
    "alerts-raised",
    "never-learns",
)


def check(run: Run) -> Outcome:
    path = run.get(gradients.STATE_PATH)
    if path is not None:
        found = _from_gradient(run)
        if found is not None:
            return found
    else:
        found = _from_head(run)
        if found is not None:
            return found
    gap = q_gap(run)
    if gap is None:
        if path is not None:
            return Clear(f"the gradient through the state path is 0 on all {path.count:,} rows")
        return Skipped(
            "the policy's Q and the data's Q are not both logged",
            run.tags_of((actor.Q.mean, actor.LOSS)) + run.tags_of((critic.Q1.mean, critic.TARGET.mean)),
            "Log mean Q1 of the policy's action and mean Q1 of the replayed action on the same states "
            f"({actor.Q.mean.tag}, {critic.Q1.mean.tag}), and the gradient through the critic's state input "
            f"({gradients.STATE_PATH.tag}).",
        )
    if len(gap.step) < 3 and float(gap.ratio.max()) < BEYOND_DOUBT:
        return Skipped(
            f"only {len(gap.step)} rows hold both the policy's and the data's Q", (gap.policy_tag,)
        )
    found = _from_ratio(run)
    if found is not None:
        return found
    if (
        gap.from_loss
        and not _grew(gap)
        and float(np.median(gap.ratio[-max(2, len(gap.ratio) // 4) :])) >= LIKELY
    ):
        return Clear(
            f"minus {gap.policy_tag} exceeds {gap.data_tag} without growing: the loss has another term"
        )
    last = gap.ratio[-max(1, len(gap.ratio) // 4) :]
    reason = (
        f"Q(policy) {number(gap.policy[-1])} lies beside Q(data) {number(gap.data[-1])} at step "
        f"{int(gap.step[-1]):,}; the difference is {number(float(np.median(last)))} of Q's own scale"
    )
    if path is not None:
        reason += f"; the gradient through the state path is {number(float(path.value.max()))}"
    return Clear(reason)


def _from_gradient(run: Run) -> Finding | None:
    path = run.get(gradients.STATE_PATH)
    assert path is not None
    whole = run.get(gradients.BEFORE["actor_encoder"], gradients.AFTER["actor_encoder"])
    scale = float(np.median(whole.value)) if whole is not None else 1.0
    threshold = STATE_PATH * max(scale, 1e-12)
    leaking = path.value > threshold
    if leaking.mean() < 0.2 or path.highest is None:
        return None
    onset = int(path.step[int(np.argmax(leaking))])
    evidence = [
        Evidence(
            path.tag,
            path.highest.step,
            path.highest.value,
            "the gradient that reaches the actor through the critic's state input is not 0: up to "
            f"{number(path.highest.value)} at step {path.highest.step:,}, on {leaking.mean():.0%} of the "
            "rows",
        )
    ]
    by_ratio = _from_ratio(run)
    if by_ratio is not None:
        evidence += by_ratio.evidence
    return Finding(
        "state-gradient-leak",
        CRITICAL,
        "The policy gradient reaches the critic's state input",
        evidence,
        CAUSE,
        FIX,
        0.99,
        onset=onset,
        plots=((path.tag,), *(by_ratio.plots if by_ratio else ())),
    )


def _from_head(run: Run) -> Finding | None:
    """The encoder's gradient did not come through the action, since nothing passed the head.

    By the chain rule what reaches the encoder through the action is the head's gradient, carried on
    through its weights.  Where the head gets 0, that part of the encoder's gradient is 0 too.
    """
    head = run.get(gradients.BEFORE["actor_head"], gradients.AFTER["actor_head"])
    encoder = run.get(gradients.BEFORE["actor_encoder"], gradients.AFTER["actor_encoder"])
    if head is None or encoder is None or len(head) < 2 or trained_elsewhere(run, "actor_encoder"):
        return None
    beside = encoder.at(head.step)
    known = np.isfinite(beside) & (beside > 0)
    cut = known & (head.value <= STATE_PATH * np.where(known, beside, 1))
    if known.sum() < 2 or cut.sum() < 2 or _head_moves(run, head.step[cut]):
        return None
    # A saturated actor passes no gradient either, to head and encoder alike; here the encoder has some.
    late = cut[-max(2, len(cut) // 4) :]
    if late.mean() < 0.5:
        return None
    first = int(np.argmax(cut))
    i = int(np.flatnonzero(cut)[-1])
    text = (
        f"the gradient of the actor's head is {number(float(head.value[i]))} at step {int(head.step[i]):,} "
        f"while its encoder's is {number(float(beside[i]))}: what does not pass the head did not come "
        f"through the action ({int(cut.sum())} of {int(known.sum())} rows)"
    )
    evidence = [
        Evidence(head.tag, int(head.step[i]), float(head.value[i]), text),
        Evidence(
            encoder.tag,
            int(head.step[i]),
            float(beside[i]),
            f"{encoder.tag} is {number(float(beside[i]))} at the same step",
        ),
    ]
    by_ratio = _from_ratio(run)
    if by_ratio is not None and by_ratio.severity == CRITICAL:
        # the clearest figure comes first; this one supports it
        by_ratio.evidence += evidence
        by_ratio.confidence = max(by_ratio.confidence, 0.97)
        return by_ratio
    gap = q_gap(run)
    if by_ratio is not None:
        evidence += by_ratio.evidence
    elif gap is not None and gap.policy[-1] > LIKELY * abs(gap.data[-1]):
        evidence.append(
            Evidence(
                gap.policy_tag,
                int(gap.step[-1]),
                float(gap.policy[-1]),
                f"the policy's Q is {number(float(gap.policy[-1]))} beside {number(float(gap.data[-1]))} for "
                "the replayed actions",
            )
        )
    return Finding(
        "state-gradient-leak",
        CRITICAL,
        "The policy gradient reaches the critic's state input",
        evidence,
        CAUSE + " (An auxiliary loss on the actor's encoder, such as a reconstruction, would give it a "
        "gradient too; without one, only this path is left.)",
        FIX,
        0.95,
        headline=f"The policy gradient reaches the critic's state input: {text}",
        onset=int(head.step[first]),
        plots=((head.tag, encoder.tag), *(by_ratio.plots if by_ratio else ())),
    )


def _head_moves(run: Run, steps: Floats) -> bool:
    """Whether the head's weights change at these steps: then its gradient is not 0, but logged wrongly."""
    late = steps[len(steps) // 2 :]
    for s in (run.get(networks.WEIGHT_MEAN["actor_head"]), run.get(networks.WEIGHT_STD["actor_head"])):
        if s is not None and len(late) >= 2:
            values = s.at(late)
            if float(np.ptp(values)) > 1e-2 * max(abs(float(values[-1])), 1e-12):
                return True
    return False


def _grew(gap: QGap) -> bool:
    """Whether the policy's Q grew as a leak makes it grow: with every update, far beyond where it began."""
    rows = len(gap.policy)
    first = float(np.median(gap.policy[: max(1, rows // 10)]))
    return bool(np.abs(gap.policy[-max(2, rows // 4) :]).max() >= LIKELY * abs(first))


def _from_ratio(run: Run) -> Finding | None:
    gap = q_gap(run)
    if gap is None or (len(gap.step) < 3 and float(gap.ratio.max()) < BEYOND_DOUBT):
        return None
    ratio = gap.ratio
    late = ratio[-max(2, len(ratio) // 4) :]
    level = float(np.median(late))
    if level < LIKELY:
        return None
    rising = trend(gap.step, np.log(np.maximum(ratio, 1e-9)))
    growing = rising.tau > 0.5 and rising.p < 0.05
    grown = gap.policy[-1] / max(abs(gap.policy[0]), 1e-12)
    data_grown = gap.scale[-1] / gap.scale[0]
    if level < CERTAIN and not growing:
        return None
    # A loss may have other terms, or be divided by Q as in TD3+BC: an excess that was there from the start.
    if gap.from_loss and not _grew(gap):
        return None
    # Q of the data that follows Q of the policy is an over-estimating critic, not a leak.
    if level < CERTAIN and data_grown > 0.3 * grown:
        return None
    above = ratio > LIKELY
    onset = first_crossing(gap.step, above) or int(gap.step[0])
    i = len(gap.step) - 1
    plain = abs(gap.policy[i]) / max(abs(gap.data[i]), 1e-12)
    name = "Q(policy), taken as minus the actor's loss," if gap.from_loss else "Q(policy)"
    evidence = [
        Evidence(
            gap.policy_tag,
            int(gap.step[i]),
            float(-gap.policy[i] if gap.from_loss else gap.policy[i]),
            f"{name} is {number(gap.policy[i])} at step {int(gap.step[i]):,}"
            + (
                f", {times(grown)} its first {number(gap.policy[0])} at step {int(gap.step[0]):,}"
                if grown > 1.5
                else ""
            ),
        ),
        Evidence(
            gap.data_tag,
            int(gap.step[i]),
            float(gap.data[i]),
            f"Q(data) on the same batches is {number(gap.data[i])}: Q(policy) is {times(plain)} that; "
            f"throughout, Q(data) stays within {number(float(gap.data.min()))} .. "
            f"{number(float(gap.data.max()))}",
        ),
    ]
    positive = (gap.policy > 0) & (gap.step > 0)
    updates = run.get(networks.UPDATES)
    if positive.sum() >= 5 and updates is not None:
        u = updates.at(gap.step)
        use = positive & (u > 0)
        if use.sum() >= 5:
            power = trend(np.log(u[use]), np.log(gap.policy[use])).slope
            if power > 1:
                evidence.append(
                    Evidence(
                        gap.policy_tag,
                        int(gap.step[i]),
                        round(power, 2),
                        f"Q(policy) grows as the power {power:.1f} of the number of updates: several stacked "
                        "layers moving together, not a value being learned",
                    )
                )
    weights = run.get(networks.WEIGHT_STD["actor_encoder"])
    if weights is not None and weights.first.value > 0 and weights.last.value / weights.first.value > 1.5:
        evidence.append(
            Evidence(
                weights.tag,
                weights.last.step,
                weights.last.value,
                f"the actor encoder's weights grow with it: spread {number(weights.first.value)} to "
                f"{number(weights.last.value)}",
            )
        )
    # A larger excess, over more rows, is more certain.
    confidence = 0.65 + 0.35 * min(1.0, math.log10(max(level, 1) / LIKELY) / 2)
    if len(gap.step) < 6:
        confidence -= 0.1
    plots = ((weights.tag,),) if weights is not None else ()
    return Finding(
        "state-gradient-leak",
        CRITICAL if level >= CERTAIN or grown > CERTAIN * max(data_grown, 1.0) else WARNING,
        "The policy gradient reaches the critic's state input",
        evidence,
        CAUSE,
        FIX,
        min(confidence, 0.97),
        headline=(
            f"The policy gradient reaches the critic's state input: at step {int(gap.step[i]):,} the "
            f"policy's Q is {number(float(gap.policy[i]))} where the same critic gives the replayed data "
            f"{number(float(gap.data[i]))}, {times(plain)} as much"
            if gap.data[i] > 0
            else ""
        ),
        onset=onset,
        plots=plots,
    )


RULE = Rule(
    id="state-gradient-leak",
    title="Policy gradient through the critic's state input",
    statement=(
        "At the same states, Q of the policy's action and Q of the replayed action differ by one action's "
        "advantage at most. Where Q(policy) exceeds Q(data) by many times Q's own size while Q(data) stays "
        "where it was, the two are not computed on the same features: the actor's loss raises Q through the "
        "critic's state input. A second proof needs gradients only: an encoder that has a gradient while "
        "the actor's head has none did not get it through the action."
    ),
    check=check,
    explains=EXPLAINS,
    requires=(ACTOR_THROUGH_Q,),
    order=0,
    decisive=True,
)
