"""Q grows by orders of magnitude beyond anything the rewards support."""

from __future__ import annotations

import numpy as np

from ..measures import first_crossing, return_scale
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series

# A Q that is this many times the largest value the episodes support is not an estimate of them.
UNSUPPORTED = 10.0


def check(run: Run) -> Outcome:
    seen: list[Series] = [
        s
        for s in (run.policy_q, run.get("q1_mean"), run.get("target_q_mean"))
        if s is not None and len(s) >= 3
    ]
    if not seen:
        return Skipped(
            "no Q is logged",
            run.tags_of("q1_mean|policy_q_mean"),
            "Log mean Q1 on replay and mean Q1 of the policy's actions.",
        )
    support = return_scale(run)
    limit = run.q_limit
    yardstick, text = _yardstick(support, limit, run)
    worst: Series | None = None
    for s in seen:
        size = np.abs(s.value)
        late = float(np.median(size[-max(2, len(size) // 4) :]))
        early = float(np.median(size[: max(1, len(size) // 10)]))
        if yardstick is None:
            # Without rewards: growth that does not slow down and spans orders of magnitude.
            half = float(np.median(size[len(size) // 2 :][: max(1, len(size) // 8)]))
            exploded = late > 1e3 * max(early, 1e-3) and late > 10 * half
        else:
            exploded = late > UNSUPPORTED * yardstick
        if exploded and (worst is None or late > float(np.median(np.abs(worst.tail(0.25, 2).value)))):
            worst = s
    if worst is None:
        q = seen[0]
        return Clear(f"{q.tag} ends at {number(q.last.value)}" + (f"; {text}" if text else ""))
    size = np.abs(worst.value)
    late = float(np.median(size[-max(2, len(size) // 4) :]))
    factor = late / max(yardstick or float(size[0]), 1e-12)
    onset = first_crossing(worst.step, size > (yardstick or 10 * max(float(size[0]), 1e-3)))
    evidence = [
        Evidence(
            worst.tag,
            worst.last.step,
            float(worst.last.value),
            f"|Q| {number(float(size[0]))} at step {int(worst.step[0]):,} -> {number(float(size[-1]))} "
            "at step "
            f"{int(worst.step[-1]):,}",
        )
    ]
    if text:
        evidence.append(Evidence(worst.tag, None, yardstick, f"{text}: Q is {times(factor)} that"))
    data = run.get("q1_mean")
    both = data is not None and float(np.median(np.abs(data.tail(0.25, 2).value))) > (yardstick or np.inf)
    return Finding(
        "q-explosion",
        CRITICAL if factor > UNSUPPORTED or yardstick is None else WARNING,
        "Q values explode",
        evidence,
        "Q feeds on itself: targets contain over-estimated values of the policy's actions, the critic "
        "fits them, "
        "the policy climbs them."
        if both or data is None
        else "Q of the policy's actions grows while Q of the data does not follow.",
        "Check the target (twin minimum, target networks, terminal transitions not bootstrapped, reward "
        "scale), then "
        "lower the critic's rate and bound the features; look for a state-gradient leak first by comparing "
        "Q(policy) with Q(data).",
        0.85 if yardstick else 0.6,
        onset=onset,
        plots=(tuple(s.tag for s in seen),),
        bounds=((text, yardstick),) if yardstick else (),
    )


def _yardstick(
    support: float | None, limit: tuple[float, str, bool] | None, run: Run
) -> tuple[float | None, str]:
    """The largest value that rewards or episodes support, whichever is smaller."""
    options = []
    if support is not None:
        options.append((support, f"the episodes support |Q| up to about {number(support)}"))
    if limit is not None:
        options.append((limit[0], f"r_max/(1-gamma) = {limit[1]}"))
    if not options:
        return None, ""
    return min(options)


RULE = Rule(
    id="q-explosion",
    title="Exploding Q values",
    statement=(
        "Q is an estimate of discounted rewards to come; the episodes that were seen bound its plausible "
        "size. A Q "
        "that grows to many times that is not an estimate of them."
    ),
    check=check,
    explains=("q-above-reward-bound", "reward-degrading", "episode-collapse"),
    order=10,
)
