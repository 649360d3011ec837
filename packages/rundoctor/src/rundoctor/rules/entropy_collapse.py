"""The policy stopped exploring before it learned anything."""

from __future__ import annotations

import numpy as np

from ..algorithm import ON_POLICY
from ..measures import late
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, percent
from ..run import Run
from ..signals import episodes, others
from ..signals.conditions import ENTROPY_COLLAPSE
from .never_learns import learned

LEAST = 20
EARLY = 1 / 3
"""Share of the run within which the entropy must have fallen; later it falls in good runs, too."""


def check(run: Run) -> Outcome:
    s, returns = run.get(others.ENTROPY), run.get(episodes.RETURN)
    if s is None or returns is None or len(s) < LEAST or len(returns) < LEAST:
        return Skipped(
            f"fewer than {LEAST} values of the entropy or the return are logged",
            run.tags_of(others.ENTROPY) + run.tags_of(episodes.RETURN),
            "Log the entropy of the policy.",
        )
    value = -s.value if run.note_of(s) == others.MINUS else s.value
    first, last = float(np.median(value[:3])), late(s) * (-1 if run.note_of(s) == others.MINUS else 1)
    text = f"{s.tag}: the entropy falls from {number(first)} to {number(last)}"
    # The entropy of a continuous policy may be negative, and then has no floor to fall to.
    limit = ENTROPY_COLLAPSE.threshold("warning") * first
    if first <= 0 or value.min() < -0.05 * first or last > limit:
        return Clear(f"the entropy is {number(first)} at first and {number(last)} later")
    gone = int(np.argmax(value <= max(limit, 0.05 * first)))
    share = gone / len(s)
    rises = learned(returns)
    if rises or share > EARLY:
        return Clear(f"{text}, after {percent(share)} of the run{'; ' + rises if rises else ''}")
    return Finding(
        "entropy-collapse",
        WARNING,
        "The policy became deterministic before it learned anything",
        [
            Evidence(
                s.tag, int(s.step[gone]), float(value[gone]), f"{text}, within {percent(share)} of the run"
            )
        ],
        "Without entropy an on-policy agent takes one action in each state and never learns what others are "
        "worth. It commits itself early where the learning rate is too large, the entropy bonus is 0, or "
        "advantages are not normalised.",
        "Raise the entropy coefficient (0.01 is usual for discrete actions), lower the learning rate, and "
        "normalise advantages and rewards.",
        0.8,
        onset=int(s.step[gone]),
        plots=((s.tag,), (returns.tag,)),
    )


RULE = Rule(
    id="entropy-collapse",
    title="Entropy that falls too early",
    statement=(
        "Policy gradients explore by the policy's own randomness (Mnih et al. 2016, section 5.1). Entropy "
        "that falls to a fiftieth within the first third of a run, while the return does not rise, ends "
        "exploration for good."
    ),
    check=check,
    requires=(ON_POLICY,),
    explains=("never-learns",),
    how="Log the entropy of the policy.",
    order=18,
)
