"""The run was continued, and logged some steps twice."""

from __future__ import annotations

from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule
from ..run import Run


def check(run: Run) -> Outcome:
    if not run.resumed_at:
        return Clear("no step was logged twice")
    dropped = sum(s.overridden for s in run.series.values())
    return Finding(
        "run-resumed",
        INFO,
        f"The run was continued {len(run.resumed_at)} time{'s' if len(run.resumed_at) > 1 else ''} from an "
        "earlier step",
        [
            Evidence(
                "step",
                after,
                float(before),
                f"steps jump back from {before:,} to {after:,}; what was logged after the jump holds",
            )
            for before, after in run.resumed_at[:6]
        ],
        f"A continuation starts at its checkpoint and logs the steps since then again ({dropped:,} points "
        "overridden).",
        "Nothing, if the continuation was meant. With SummaryWriter(purge_step=...) TensorBoard hides the "
        "old points.",
        0.95,
    )


RULE = Rule(
    id="run-resumed",
    title="Continued run",
    statement="Steps that jump back in most series together are a continuation from a checkpoint.",
    check=check,
    order=48,
)
