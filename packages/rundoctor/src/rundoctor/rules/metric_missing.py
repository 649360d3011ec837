"""What decides was not logged."""

from __future__ import annotations

from dataclasses import dataclass

from ..algorithm import ACTOR_THROUGH_Q, Q
from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule
from ..run import Run


@dataclass(frozen=True)
class _Metric:
    need: str
    decides: str
    """The question that stays open without it."""
    requires: tuple[str, ...] = ()
    """What the algorithm must have for the question to arise."""


DECISIVE = (
    _Metric(
        "policy_q_mean|actor_loss",
        "Q of the policy's own action: half of the test for a gradient leak",
        (ACTOR_THROUGH_Q,),
    ),
    _Metric("q1_mean|target_q_mean", "Q of the replayed action: the other half", (Q,)),
    _Metric("saturation|action_1_mean|grad_actor_head", "whether the actor is saturated", (ACTOR_THROUGH_Q,)),
    _Metric("reward_max|reward_bound|q_bound", "the bound that |Q| must respect", (Q,)),
    _Metric(
        "grad_actor_encoder_before|grad_actor_encoder|grad_actor_total",
        "whether the gradient clip acts and holds",
        (ACTOR_THROUGH_Q,),
    ),
    _Metric("critic_loss|td_error", "whether the critic learns"),
    _Metric("episode_return", "whether the policy gets better"),
    _Metric("episode_length", "whether episodes collapse"),
    _Metric("eval_return|eval_success", "what the policy does without noise"),
)


def check(run: Run) -> Outcome:
    asked = [m for m in DECISIVE if not run.algorithm.lacks(m.requires)]
    absent = [m for m in asked if not run.has(m.need)]
    if not absent:
        return Clear(f"all {len(asked)} metrics that decide most are logged")
    return Finding(
        "metric-missing",
        INFO,
        f"{len(absent)} of {len(asked)} metrics that decide most are not logged",
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
