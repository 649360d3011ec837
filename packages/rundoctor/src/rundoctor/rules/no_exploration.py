"""Data are collected without noise."""

from __future__ import annotations

from ..algorithm import ACTION_NOISE
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import actor
from ..signals.conditions import NO_EXPLORATION

NONE = NO_EXPLORATION.threshold("warning")
"""Standard deviation of action noise, actions in [-1, 1]: TD3 uses 0.1."""


def check(run: Run) -> Outcome:
    noise = run.get(actor.NOISE)
    stated = run.hyper("exploration_noise")
    if noise is None:
        if stated is None:
            return Skipped(
                "the exploration noise is not logged",
                (actor.NOISE.tag,),
                "Log the standard deviation of the action noise, or state it with --assume "
                "exploration_noise=...",
            )
        if stated.value >= NONE:
            return Clear(f"exploration noise {stated.value:g} ({stated.source})")
        return _finding(
            [
                Evidence(
                    "exploration_noise",
                    None,
                    stated.value,
                    f"exploration noise {stated.value:g}: {stated.source}",
                )
            ],
            None,
            (),
        )
    silent = noise.value < NONE
    # An agent may stop exploring near the end of a run; without noise for most of it nothing new is tried.
    if silent.mean() < 0.75:
        return Clear(f"{noise.tag} {number(noise.first.value)} -> {number(noise.last.value)}")
    onset = int(noise.step[int(silent.argmax())])
    return _finding(
        [
            Evidence(
                noise.tag,
                onset,
                float(noise.value[int(silent.argmax())]),
                f"{noise.tag} is below {NONE} on {silent.mean():.0%} of {len(noise)} rows, from step "
                f"{onset:,} on",
            )
        ],
        onset,
        (noise.tag,),
    )


def _finding(evidence: list[Evidence], onset: int | None, tags: tuple[str, ...]) -> Finding:
    return Finding(
        "no-exploration",
        WARNING,
        "The agent does not explore",
        evidence,
        "TD3's policy is deterministic. Without noise on its actions the replay buffer holds a single "
        "action for each state, and the critic learns nothing about any other.",
        "Add Gaussian noise of standard deviation 0.1 to the actions (0.3 decaying to 0.1 on images), and "
        "begin with some thousand random steps.",
        0.9,
        onset=onset,
        plots=(tags,) if tags else (),
    )


RULE = Rule(
    id="no-exploration",
    title="No exploration",
    statement=(
        "A deterministic policy explores only through noise that is added to its actions. TD3 adds Gaussian "
        "noise with a standard deviation of 0.1."
    ),
    check=check,
    requires=(ACTION_NOISE,),
    order=18,
)
