"""Parameters that their loss never reaches."""

from __future__ import annotations

from ..groups import groups, weights_evidence
from ..model import CRITICAL, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run
from ..signals import actor, gradients
from ..signals.conditions import ACTOR_SATURATED

SATURATED = ACTOR_SATURATED.threshold("critical")


def check(run: Run) -> Outcome:
    cut = _actor_cut_off(run)
    if cut is not None:
        return cut
    judged = groups(run)
    if not judged:
        return Skipped(
            "gradient norms are not logged per group",
            tuple(gradients.BEFORE[f"actor_{part}"].tag for part in ("encoder", "head")),
            "Log the gradient norm of each parameter group.",
        )
    silent = [g for g in judged if g.silent and not g.moves_late]
    if not silent:
        reached = [g.name for g in judged if not g.silent]
        return Clear(
            f"gradients reach {', '.join(reached)}" if reached else "no gradient was measured in time"
        )
    names = " and ".join(g.name for g in silent)
    if _saturated(run):
        return Clear(f"no gradient in the {names}: see actor-saturated")
    others = {g.key for g in judged if not g.silent}
    if [g.key for g in silent] == ["actor_head"] and "actor_encoder" in others:
        return Clear("the head's gradient is 0 while the encoder's is not: see actor-saturated")
    evidence = [
        Evidence(
            g.gradient.tag,
            g.gradient.last.step,
            0.0,
            f"{g.gradient.tag} is exactly 0 on all {len(g.gradient)} rows",
        )
        for g in silent
    ]
    if silent[0].moves_late is False:
        evidence.append(weights_evidence(run, silent[0].key, "and the weights do not move"))
    return Finding(
        "gradient-missing",
        CRITICAL,
        f"No gradient reaches the {names}",
        evidence,
        "From the first update on the loss does not reach these parameters: features or actions are "
        "detached, or computed under no_grad(), where they must not be; or the loss is constant.",
        "Run one backward pass by hand and list the parameters whose .grad is None or 0. The actor's loss "
        "must reach every parameter of the actor through the action.",
        0.85,
        onset=int(silent[0].gradient.step[0]),
        plots=tuple((g.gradient.tag,) for g in silent),
    )


def _saturated(run: Run) -> bool:
    saturation = run.get(actor.SATURATION)
    return saturation is not None and saturation.tail(0.25, 2).median() >= SATURATED


def _actor_cut_off(run: Run) -> Finding | None:
    """The finding that Q's gradient has never reached the actor; penalties on the action may still have."""
    path = run.get(gradients.ACTION_PATH)
    if path is None or path.value.any() or _saturated(run):
        return None
    tag = gradients.ACTION_PATH.tag
    return Finding(
        "gradient-missing",
        CRITICAL,
        "The critic does not teach the actor",
        [Evidence(tag, path.last.step, 0.0, f"{tag} is exactly 0 on all {len(path)} rows")],
        "The actor's loss has no path from Q to the action: the action is detached before the critic judges "
        "it, or Q is computed under no_grad(). Penalties still move the actor, so its gradient is not 0.",
        "In the actor's loss, give the critic the action as the actor computed it, with its gradient.",
        0.95,
        onset=int(path.step[0]),
        plots=((tag,),),
    )


RULE = Rule(
    id="gradient-missing",
    title="Missing gradient",
    statement=(
        "Parameters whose gradient is exactly 0 from the first update on, and whose weights do not change, "
        "are cut off from their loss. A saturated actor looks different: its gradient shrinks before it "
        "reaches 0."
    ),
    check=check,
    explains=("head-starved", "reward-degrading"),
    order=2,
)
