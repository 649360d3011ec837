"""The value function of an on-policy agent predicts its returns no better than a constant would."""

from __future__ import annotations

from ..algorithm import ON_POLICY
from ..measures import late
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import critic, episodes
from ..signals.conditions import VALUE_UNEXPLAINED
from .never_learns import learned

LEAST = 20


def check(run: Run) -> Outcome:
    s = run.get(critic.EXPLAINED_VARIANCE)
    if s is None or len(s) < LEAST:
        return Skipped(
            f"fewer than {LEAST} values of the explained variance are logged",
            run.tags_of(critic.EXPLAINED_VARIANCE),
            "Log the explained variance of the value function.",
        )
    value = late(s)
    text = f"{s.tag}: median {number(value)} over the second half"
    if value > VALUE_UNEXPLAINED.threshold("warning"):
        return Clear(text)
    returns = run.get(episodes.RETURN)
    rises = learned(returns) if returns is not None and len(returns) >= LEAST else ""
    return Finding(
        "value-unexplained",
        INFO if rises or returns is None else WARNING,
        "The value function predicts nothing",
        [Evidence(s.tag, s.last.step, value, text)],
        "An explained variance of 1 is a perfect prediction, 0 one that is no better than a constant, and "
        "less than 0 a worse one. Advantages are then as noisy as the returns themselves.",
        "Look at the scale of the returns (normalise rewards or clip them), at the learning rate of the "
        "value function, and at whether policy and value share layers that the policy's loss dominates. See "
        "that the observation holds what decides the return, the time left included.",
        0.75,
        plots=((s.tag,),),
    )


RULE = Rule(
    id="value-unexplained",
    title="Value function that predicts nothing",
    statement=(
        "The explained variance of the value function rises above 0 as it learns; Stable-Baselines3's "
        "documentation calls less than 0 worse than predicting nothing. At 0 or below over the second half, "
        "while the return does not rise, the advantages are noise."
    ),
    check=check,
    requires=(ON_POLICY,),
    explains=("never-learns",),
    how="Log the explained variance.",
    order=19,
)
