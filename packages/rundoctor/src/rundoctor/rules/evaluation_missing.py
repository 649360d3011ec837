"""The policy was never evaluated without noise."""

from __future__ import annotations

from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, count, shortened
from ..run import Run
from ..signals import evaluation, is_of_evaluation

_SIGNALS = (evaluation.RETURN, evaluation.SUCCESS, evaluation.LENGTH, evaluation.ROUTE_COMPLETION)


def check(run: Run) -> Outcome:
    series = [s for s in (run.get(signal) for signal in _SIGNALS) if s is not None]
    interval = run.hyper("evaluation_interval")
    if series:
        s = series[0]
        overdue = interval is not None and run.last_step - s.last.step > 2.5 * interval.value
        if not overdue or interval is None:
            return Clear(f"{count(s.count, 'evaluation')}, the last at step {s.last.step:,}")
        return _finding(
            run,
            f"the last evaluation was at step {s.last.step:,} of {run.last_step:,}; one every "
            f"{interval.value:,.0f} steps was planned ({interval.source})",
            True,
        )
    unknown = next((tag for tag in run.unmapped if is_of_evaluation(tag)), None)
    if unknown is not None:
        return Skipped(
            f"evaluations are logged under names that are not recognised, such as {shortened(unknown)}",
            (evaluation.RETURN.tag,),
            f'Say which tag is the return of the evaluations: --map "{unknown}={evaluation.RETURN.name}".',
        )
    if interval is not None and run.last_step >= 1.1 * interval.value:
        return _finding(
            run,
            f"no evaluation in {run.last_step:,} steps; one every {interval.value:,.0f} was planned "
            f"({interval.source})",
            True,
        )
    if interval is not None:
        return Clear(
            f"the first evaluation is due at step {interval.value:,.0f}; the run made {run.last_step:,}"
        )
    return _finding(run, f"no evaluation in {run.amount}", False)


def _finding(run: Run, text: str, planned: bool) -> Finding:
    return Finding(
        "evaluation-missing",
        WARNING if planned else INFO,
        "The policy was not evaluated" if "no evaluation" in text else "Evaluations stopped",
        [Evidence(evaluation.RETURN.tag, run.last_step, None, text)],
        "Training returns are those of the policy with its exploration noise. They say little about what "
        "the policy can do without it.",
        "Evaluate the policy without noise at a fixed interval and once before training starts, in an "
        "environment of its own and with other seeds than training.",
        0.95 if planned else 0.9,
    )


RULE = Rule(
    id="evaluation-missing",
    title="Missing evaluation",
    statement=(
        "Only evaluations without exploration noise, with other seeds than training, show what the policy "
        "can do."
    ),
    check=check,
    order=50,
)
