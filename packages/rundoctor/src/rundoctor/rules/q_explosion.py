"""Q grows by orders of magnitude beyond anything the rewards account for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..algorithm import Q
from ..measures import CLIPPED_REWARD, Support, first_crossing, value_support
from ..model import CRITICAL, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series
from ..signals import actor, critic, episodes, evaluation
from ..stats import levels, median, parts, settled_end

UNSUPPORTED = 10.0
"""A Q that is this many times the largest value that the rewards account for does not estimate them."""
RUNAWAY = 10.0
"""Growth within the second half of a run that is not slowing down."""
AT_THE_END = 30.0
"""If all of the last rows exceed so many times the last quarter's median, they count as its end."""
FROM_NOTHING = 1e3
"""Growth over the whole run that is an explosion where neither rewards nor returns are logged."""


@dataclass(frozen=True)
class _Growth:
    """|Q| at three moments."""

    series: Series
    early: float
    half: float
    late: float

    @property
    def runs_away(self) -> bool:
        return self.late > RUNAWAY * max(self.half, 1e-12)


def check(run: Run) -> Outcome:
    candidates = (run.policy_q, run.get(critic.Q1.mean), run.get(critic.TARGET.mean))
    seen = [_growth(s) for s in candidates if s is not None and len(s) >= 3]
    if not seen:
        return Skipped(
            "no Q is logged",
            run.tags_of((critic.Q1.mean, actor.Q.mean)),
            "Log mean Q1 on replay and mean Q1 of the policy's actions.",
        )
    support = value_support(run)
    exploded = [g for g in seen if _explodes(run, g, support)]
    if not exploded:
        q = seen[0].series
        return Clear(f"{q.tag} ends at {number(q.last.value)}" + (f"; {support.text}" if support else ""))
    return _finding(run, max(exploded, key=lambda g: g.late), seen, support)


def _growth(s: Series) -> _Growth:
    size = np.abs(s.value)
    late, end = median(size[-max(2, len(size) // 4) :]), settled_end(size)
    return _Growth(
        s,
        early=median(size[: max(1, len(size) // 10)]),
        half=median(size[len(size) // 2 :][: max(1, len(size) // 8)]),
        late=end if end > AT_THE_END * late else late,
    )


def _explodes(run: Run, g: _Growth, support: Support | None) -> bool:
    if support is None:
        return g.late > FROM_NOTHING * max(g.early, 1e-3) and g.runs_away
    if g.late <= UNSUPPORTED * support.value:
        return False
    if support.sure:
        return True
    # Training may have seen normalised rewards.  They are clipped, and their Q follows the returns.
    gamma = run.gamma.value if run.gamma else 0.99
    normalised = CLIPPED_REWARD / (1 - gamma) if gamma < 1 else np.inf
    return g.late > normalised or (g.runs_away and g.late > RUNAWAY * g.half * _growth_of_returns(run))


def _growth_of_returns(run: Run) -> float:
    """Times by which the returns grew over the second half."""
    returns = run.get(episodes.RETURN, evaluation.RETURN)
    if returns is None or len(returns) < 8:
        return 1.0
    sizes = levels(parts(np.abs(returns.value), 4), returns.value)
    return max(1.0, sizes[3] / max(sizes[1], 1e-3 * max(sizes), 1e-30))


def _finding(run: Run, g: _Growth, seen: list[_Growth], support: Support | None) -> Finding:
    q = g.series
    size = np.abs(q.value)
    limit = support.value if support else RUNAWAY * max(float(size[0]), 1e-3)
    evidence = [
        Evidence(
            q.tag,
            q.last.step,
            float(q.last.value),
            f"|Q| goes from {number(float(size[0]))} at step {int(q.step[0]):,} to {number(float(size[-1]))} "
            f"at step {int(q.step[-1]):,}",
        )
    ]
    if support is not None:
        text = f"{support.text}: Q is {times(g.late / support.value)} that"
        evidence.append(Evidence(q.tag, None, support.value, text))
    data = run.get(critic.Q1.mean)
    follows = data is None or _growth(data).late > limit
    return Finding(
        "q-explosion",
        CRITICAL,
        "Q values explode",
        evidence,
        "Q feeds on itself: the targets contain over-estimated values of the policy's actions, the critic "
        "fits those targets, and the policy moves to where the critic is most wrong."
        if follows
        else "Q of the policy's actions grows while Q of the replayed actions does not follow.",
        "Check the target first: the minimum of both critics, target networks that lag behind, terminal "
        "transitions that do not bootstrap, rewards of about 1 a step. If all of it is right, lower the "
        "critic's learning rate and put LayerNorm into the critic. Compare Q(policy) with Q(data): if only "
        "Q(policy) grows, look for a gradient that reaches the critic's state input.",
        0.85 if support else 0.6,
        onset=first_crossing(q.step, size > limit),
        plots=(tuple(x.series.tag for x in seen),),
        bounds=((support.text, support.value),) if support else (),
    )


RULE = Rule(
    id="q-explosion",
    title="Exploding Q values",
    statement=(
        "Q estimates the discounted rewards to come (plus, for SAC, the entropy bonus). The returns and "
        "rewards that were seen bound its plausible size. A Q that grows to many times that size estimates "
        "nothing. Where training may see normalised rewards, only a Q beyond those, or one that runs away "
        "from the returns, counts."
    ),
    check=check,
    requires=(Q,),
    explains=(
        "q-above-reward-bound",
        "critic-divergence",
        "reward-degrading",
        "episode-collapse",
        "never-learns",
    ),
    order=10,
)
