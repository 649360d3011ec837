"""What decides was not logged."""

from __future__ import annotations

from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule
from ..run import Run

# What each metric decides; without it the most important question stays open.
DECISIVE: tuple[tuple[str, str], ...] = (
    ("policy_q_mean|actor_loss", "Q of the policy's own action: half of the test for a gradient leak"),
    ("q1_mean|target_q_mean", "Q of the replayed action: the other half"),
    ("saturation|action_1_mean|grad_actor_head", "whether the actor is saturated"),
    ("reward_max|reward_bound|q_bound", "the bound that |Q| must respect"),
    (
        "grad_actor_encoder_before|grad_actor_encoder|grad_actor_total",
        "whether the gradient clip acts and holds",
    ),
    ("critic_loss|td_error", "whether the critic learns"),
    ("episode_return", "whether the policy gets better"),
    ("episode_length", "whether episodes collapse"),
    ("eval_return|eval_success", "what the policy does without noise"),
)


def check(run: Run) -> Outcome:
    absent = [(need, why) for need, why in DECISIVE if not run.has(need)]
    if not absent:
        return Clear(f"all {len(DECISIVE)} metrics that decide most are logged")
    return Finding(
        "metric-missing",
        INFO,
        f"{len(absent)} of {len(DECISIVE)} metrics that decide most are not logged",
        [
            Evidence(run.tags_of(need)[0], None, None, f"{' or '.join(run.tags_of(need))}: {why}")
            for need, why in absent
        ],
        "These were not written, or under names nobody knows.",
        "Log them; docs/diagnosis.md says what each makes possible.",
        1.0,
    )


RULE = Rule(
    id="metric-missing",
    title="Metrics not logged",
    statement="A question whose metric was not logged stays open.",
    check=check,
    order=60,
)
