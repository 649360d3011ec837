"""Target networks that do not lag behind."""

from __future__ import annotations

import numpy as np

from ..algorithm import Q
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..series import Series
from ..signals import networks
from ..signals.conditions import TARGET_ENCODERS_MISSING

LEAST = 5
NO_LAG = TARGET_ENCODERS_MISSING.threshold("no lag")
ANOTHER = TARGET_ENCODERS_MISSING.threshold("another network")
PREFIX = networks.TARGET_DRIFT["actor"].tag.removesuffix("actor")


def check(run: Run) -> Outcome:
    drifts = {
        tag.removeprefix(PREFIX): s.finite
        for tag, s in run.series.items()
        if tag.startswith(PREFIX) and len(s.finite) >= LEAST
    }
    tau = run.hyper("tau")
    if not drifts:
        return Skipped(
            "the distance of the networks from their target copies is not logged",
            (f"{PREFIX}critic", f"{PREFIX}critic_encoder"),
            "Log |network - target| / |network| of each network that has a target copy.",
        )
    if tau is not None and tau.value >= 1:
        return Clear("tau is 1: the targets are copies on purpose")
    # a network that does not move cannot differ from a copy of it
    still = {name: s for name, s in drifts.items() if _late(s) < NO_LAG and _network_moves(run, name)}
    foreign = {name: s for name, s in drifts.items() if _is_another(s)}
    listing = ", ".join(f"{name} {number(_late(s))}" for name, s in sorted(drifts.items()))
    if not (still and len(still) < len(drifts)) and not foreign:
        return Clear(f"relative distance of each network from its target: {listing}")
    wrong = {**still, **foreign}
    names = " and ".join(sorted(n.replace("_", " ") for n in wrong))
    evidence = [
        Evidence(
            s.tag,
            s.last.step,
            s.last.value,
            f"the {name.replace('_', ' ')} "
            + (
                "does not differ from its target at all"
                if name in still
                else f"differs from its target by {number(_late(s))} of its own size: "
                "the target is another network"
            ),
        )
        for name, s in sorted(wrong.items())
    ]
    lagging = {n: s for n, s in drifts.items() if n not in wrong}
    evidence += [
        Evidence(
            s.tag, s.last.step, s.last.value, f"the {n.replace('_', ' ')}'s target lags by {number(_late(s))}"
        )
        for n, s in sorted(lagging.items())[:2]
    ]
    return Finding(
        "target-encoders-missing",
        WARNING,
        f"The {names} has no target copy of its own",
        evidence,
        "The target of the critic is computed with the present network, or with another network's copy. So "
        "the target moves with every update, which target networks are there to prevent.",
        "Keep a target copy of every network that the target is computed with, encoders included, and "
        "update all copies by tau after each policy update.",
        0.9,
        plots=(tuple(s.tag for s in drifts.values()),),
    )


def _network_moves(run: Run, name: str) -> bool:
    """Whether the network's weights change from row to row, as far as that is logged."""
    group = networks.TRAINED_BY.get(name, "")
    series = [run.get(table[group]) for table in (networks.WEIGHT_MEAN, networks.WEIGHT_STD) if group]
    known = [s.tail(0.5, LEAST).value for s in series if s is not None and len(s) >= LEAST]
    if not known:
        return True
    return any(float(v.max() - v.min()) > 1e-6 * max(float(np.abs(v).max()), 1e-12) for v in known)


def _late(s: Series) -> float:
    return s.tail(0.5, 2).median()


def _is_another(s: Series) -> bool:
    """Two networks drawn independently are about sqrt(2) of their own size apart; lag is far less."""
    return _late(s) > ANOTHER


RULE = Rule(
    id="target-encoders-missing",
    title="Missing target copies",
    statement=(
        "A target network that follows by tau lags a little behind while the network learns. One that does "
        "not differ at all, or differs by the network's whole size, is not its target copy."
    ),
    check=check,
    requires=(Q,),
    order=13,
)
