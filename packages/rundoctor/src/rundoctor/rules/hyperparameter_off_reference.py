"""Hyper-parameters far from those that are known to work."""

from __future__ import annotations

from ..algorithm import ACTOR_THROUGH_Q
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..reference import references
from ..run import Run
from ..signals import networks, replay


def check(run: Run) -> Outcome:
    known = [r for r in references(run) if r.value is not None]
    if not known:
        return Skipped(
            "no hyper-parameter is logged",
            ("config.yaml", networks.RATE["actor"].tag, replay.DISCOUNT.tag),
            "Log the rates, keep the configuration beside the events, or state values with --assume "
            "gamma=... --assume tau=...",
        )
    far = [r for r in known if r.off == 2]
    odd = [r for r in known if r.off == 1]
    if not far and not odd:
        return Clear(", ".join(f"{r.name} {r.value:g}" for r in known))
    shown = far + odd
    return Finding(
        "hyperparameter-off-reference",
        WARNING if far and run.algorithm.reason else INFO,
        f"{', '.join(f'{r.name} {r.value:g}' for r in (far or odd))}: far from the references"
        if far
        else f"{', '.join(f'{r.name} {r.value:g}' for r in odd)}: other than in the references",
        [
            Evidence(
                r.source, None, r.value, f"{r.name} = {r.value:g} (paper {r.paper}, SB3 {r.sb3}): {r.note}"
            )
            for r in shown
        ],
        "The value differs from those of the TD3 paper and of Stable-Baselines3. That alone makes no "
        "training explode, but it changes what can be learned and how fast.",
        "Go back to the reference value. If you need another, change one value at a time and compare the "
        "runs.",
        0.9,
        # steps far too long throw units to where they never fire again
        explains=("representation-collapse",) if any(r.name.endswith("_lr") for r in far) else (),
        headline=f"{shown[0].name} is {shown[0].value:g}: {shown[0].note}",
    )


RULE = Rule(
    id="hyperparameter-off-reference",
    title="Hyper-parameters off the references",
    statement=(
        "The TD3 paper, its authors' code and Stable-Baselines3 use values within small factors of each "
        "other. Values far from them are seldom right."
    ),
    check=check,
    requires=(ACTOR_THROUGH_Q,),
    order=44,
)
