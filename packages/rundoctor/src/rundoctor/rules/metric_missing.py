"""What decides was not logged."""

from __future__ import annotations

from dataclasses import dataclass

from ..algorithm import ACTOR_THROUGH_Q, Q
from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule
from ..run import Need, Run
from ..signals import actor, critic, episodes, evaluation, gradients, replay


@dataclass(frozen=True)
class _DecisiveMetric:
    need: Need
    decides: str
    """The question that stays open without it."""
    requires: tuple[str, ...] = ()
    """What the algorithm must have for the question to arise."""


DECISIVE = (
    _DecisiveMetric(
        (actor.Q.mean, actor.LOSS),
        "Q of the policy's own action: half of the test for a gradient leak",
        (ACTOR_THROUGH_Q,),
    ),
    _DecisiveMetric((critic.Q1.mean, critic.TARGET.mean), "Q of the replayed action: the other half", (Q,)),
    _DecisiveMetric(
        (actor.SATURATION, actor.ACTION_MEAN[1], gradients.AFTER["actor_head"]),
        "whether the actor is saturated",
        (ACTOR_THROUGH_Q,),
    ),
    _DecisiveMetric(
        (replay.REWARD.max, replay.REWARD_BOUND, critic.Q_BOUND), "the bound that |Q| must respect", (Q,)
    ),
    _DecisiveMetric(
        (gradients.BEFORE["actor_encoder"], gradients.AFTER["actor_encoder"], gradients.TOTAL["actor"]),
        "whether the gradient clip acts and holds",
        (ACTOR_THROUGH_Q,),
    ),
    _DecisiveMetric((critic.LOSS, critic.TD_ERROR), "whether the critic learns", (Q,)),
    _DecisiveMetric(episodes.RETURN, "whether the policy gets better"),
    _DecisiveMetric(episodes.LENGTH, "whether episodes collapse"),
    _DecisiveMetric((evaluation.RETURN, evaluation.SUCCESS), "what the policy does without noise"),
)


def check(run: Run) -> Outcome:
    asked = [m for m in DECISIVE if not run.algorithm.lacks(m.requires)]
    absent = [m for m in asked if not run.has(m.need)]
    if not absent:
        return Clear(f"all {len(asked)} metrics that decide most are logged")
    return Finding(
        "metric-missing",
        INFO,
        f"Not logged: {len(absent)} of the {len(asked)} metrics that decide most",
        [
            Evidence(run.tags_of(m.need)[0], None, None, f"{' or '.join(run.tags_of(m.need))}: {m.decides}")
            for m in absent
        ],
        "They were not logged, or under names that are not known.",
        'Log them, or say what the tags are called: --map "TAG=NAME" (--names lists the names). '
        "docs/diagnosis.md says what each of them makes possible.",
        1.0,
    )


RULE = Rule(
    id="metric-missing",
    title="Metrics not logged",
    statement="Each metric answers a question about the training. Without it the question stays open.",
    check=check,
    order=60,
)
