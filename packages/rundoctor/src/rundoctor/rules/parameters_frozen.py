"""Parameters that get a gradient and do not move."""

from __future__ import annotations

from ..groups import groups, weights_evidence
from ..model import CRITICAL, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import gradients, networks
from ..signals.conditions import PARAMETERS_FROZEN

LEAST_GRADIENT = PARAMETERS_FROZEN.threshold("least gradient")


def check(run: Run) -> Outcome:
    judged = [g for g in groups(run) if g.moves is not None and not g.silent]
    if not judged:
        return Skipped(
            "gradient norms and weights are not both logged per group",
            (gradients.BEFORE["actor_encoder"].tag, networks.WEIGHT_MEAN["actor_encoder"].tag),
            "Log the gradient norm, and mean and spread of the weights, of each parameter group.",
        )
    still = [g for g in judged if g.moves is False and g.gradient.median() > LEAST_GRADIENT]
    if not still:
        return Clear(f"the weights of {', '.join(g.name for g in judged)} move")
    names = " and ".join(g.name for g in still)
    evidence = []
    for g in still:
        evidence.append(weights_evidence(run, g.key, "the weights stand still"))
        evidence.append(
            Evidence(
                g.gradient.tag,
                g.gradient.last.step,
                g.gradient.last.value,
                f"while their gradient is {number(g.gradient.median())} in the median of {len(g.gradient)} "
                "rows",
            )
        )
    return Finding(
        "parameters-frozen",
        CRITICAL,
        f"The weights of the {names} do not move",
        evidence,
        f"The {names} is in no optimiser, or in one that never steps.",
        "Give the optimiser all parameters of the group, and check after one update that each of them has "
        "changed.",
        0.95,
        onset=int(still[0].gradient.step[0]),
        plots=tuple((e.tag,) for e in evidence[:4]),
    )


RULE = Rule(
    id="parameters-frozen",
    title="Weights that do not move",
    statement=(
        "With Adam a parameter that has a gradient changes by about the learning rate at each update. "
        "Weights that stay the same are not in the optimiser."
    ),
    check=check,
    explains=("head-starved", "reward-degrading"),
    order=2,
)
