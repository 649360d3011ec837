"""The encoder's features carry no information."""

from __future__ import annotations

from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, number
from ..run import Run
from ..signals import networks
from ..signals.conditions import REPRESENTATION_COLLAPSE

DEAD = REPRESENTATION_COLLAPSE.threshold("warning")
RANK = REPRESENTATION_COLLAPSE.threshold("rank")


def check(run: Run) -> Outcome:
    evidence = []
    clear = []
    for who in ("actor", "critic"):
        dead, rank = run.get(networks.DEAD_UNITS[who]), run.get(networks.FEATURE_RANK[who])
        if dead is not None:
            level = dead.tail(0.25, 2).median()
            clear.append(f"{level:.0%} of the {who}'s features are dead")
            if level >= DEAD:
                evidence.append(
                    Evidence(
                        dead.tag,
                        dead.last.step,
                        dead.last.value,
                        f"{level:.0%} of the {who}'s features are dead",
                    )
                )
        if rank is not None:
            level = rank.tail(0.25, 2).median()
            clear.append(f"effective rank {number(level)}")
            if level <= RANK:
                evidence.append(
                    Evidence(
                        rank.tag,
                        rank.last.step,
                        rank.last.value,
                        f"effective rank of the {who}'s features {number(level)}",
                    )
                )
    if not evidence:
        return Clear(", ".join(dict.fromkeys(clear)))
    return Finding(
        "representation-collapse",
        WARNING,
        "The encoder's features have collapsed",
        evidence,
        "All pictures give nearly the same features: most units are dead, or all features vary together in "
        "one direction.",
        "Check that the pictures differ and are scaled to [0, 1]. Then lower the encoder's learning rate "
        "and add LayerNorm after it.",
        0.85,
        plots=(tuple(dict.fromkeys(e.tag for e in evidence)),),
    )


RULE = Rule(
    id="representation-collapse",
    title="Collapsed features",
    statement=(
        "Features that are the same for all pictures, or vary in one direction only, tell the actor and the "
        "critic nothing about the picture."
    ),
    check=check,
    needs=(
        (
            networks.DEAD_UNITS["actor"],
            networks.DEAD_UNITS["critic"],
            networks.FEATURE_RANK["actor"],
            networks.FEATURE_RANK["critic"],
        ),
    ),
    how=(
        "Log the share of dead units and the effective rank of the features "
        f"({networks.DEAD_UNITS['critic'].tag}, {networks.FEATURE_RANK['critic'].tag})."
    ),
    order=19,
)
