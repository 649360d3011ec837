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
                f"steps jump back from {before:,} to {after:,}; what was logged after the jump counts",
            )
            for before, after in run.resumed_at[:6]
        ],
        f"A resumed run starts at its checkpoint and logs the steps since then once more ({dropped:,} points "
        "were logged twice; the later ones count).",
        "Nothing, if you resumed it. SummaryWriter(purge_step=...) makes TensorBoard hide the old points.",
        0.95,
    )


RULE = Rule(
    id="run-resumed",
    title="Continued run",
    statement=("Where the steps of most series jump back together, the run was resumed from a checkpoint."),
    check=check,
    order=48,
)
