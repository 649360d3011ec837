"""Gradient norms taken after the gradients were zeroed."""

from __future__ import annotations

from ..groups import groups, weights_evidence
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run
from ..signals import gradients, networks


def check(run: Run) -> Outcome:
    judged = [g for g in groups(run) if g.moves is not None]
    if not judged:
        return Skipped(
            "gradient norms and weights are not both logged per group",
            (gradients.BEFORE["actor_encoder"].tag, networks.WEIGHT_MEAN["actor_encoder"].tag),
            "Log the gradient norm, and mean and spread of the weights, of each parameter group.",
        )
    late = [g for g in judged if g.silent and g.moves_late]
    if not late or any(g.silent and not g.moves_late for g in judged):
        return Clear("no group moves without a gradient")
    names = " and ".join(g.name for g in late)
    return Finding(
        "gradient-measured-late",
        WARNING,
        f"The gradient of the {names} is measured after it was zeroed",
        [
            e
            for g in late
            for e in (
                Evidence(
                    g.gradient.tag,
                    g.gradient.last.step,
                    0.0,
                    f"{g.gradient.tag} is exactly 0 on all {len(g.gradient)} rows",
                ),
                weights_evidence(run, g.key, "the weights move all the same"),
            )
        ],
        "Weights that change have a gradient. The logged norm was taken after zero_grad(), or from other "
        "parameters.",
        "Take the norm between backward() and step(), once before and once after the clip.",
        0.9,
    )


RULE = Rule(
    id="gradient-measured-late",
    title="Gradient measured too late",
    statement=(
        "Weights change only where they have a gradient. A norm of exactly 0 while the weights change is "
        "measured wrongly."
    ),
    check=check,
    order=31,
)
