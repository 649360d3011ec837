"""The critic's error grows instead of shrinking."""

from __future__ import annotations

import math

import numpy as np

from ..measures import first_crossing, return_scale
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series
from ..stats import median, parts, trend

GROWN = 10.0
"""The late loss over the best; a squared error ten times the best is an error three times it."""
GROWN_FROM_START = 100.0
"""Where the first quarter is the best one, Q starting from 0 explains a decade or more by itself."""
FAR = 1000.0


def check(run: Run) -> Outcome:
    loss = run.get("critic_loss", "td_error")
    if loss is None:
        return Skipped(
            "no critic loss is logged", run.tags_of("critic_loss"), "Log the critic's loss and TD error."
        )
    if len(loss) < 8:
        return Skipped(
            f"only {len(loss)} points of {loss.tag}", (loss.tag,), "Let the run log at least 8 rows."
        )
    power = 1.0 if loss.tag.endswith("td_error_q1") or "td_error" in loss.tag else 2.0
    quarters = [median(np.abs(p)) for p in parts(loss.value, 4)]
    best = int(np.argmin(quarters[:3]))
    late = quarters[3]
    growth = late / max(quarters[best], 1e-30)
    explained = _explained(run, best) ** power
    rest = growth / explained
    second_half = loss.tail(0.5, 4)
    rising = trend(second_half.step, np.log(np.maximum(np.abs(second_half.value), 1e-30)))
    beyond = _beyond_all_value(run, loss, power)
    diverges = (
        (best > 0 and rest >= GROWN)
        or (rest >= GROWN and rising.rising and rising.tau > 0.5)
        or (rest >= GROWN_FROM_START and rising.tau > 0.3)
        or (beyond is not None and growth > 1)
    )
    if not diverges:
        return Clear(
            f"{loss.tag}: medians of the quarters {', '.join(number(q) for q in quarters)}"
            + (f"; returns that grew explain a factor {number(explained)}" if explained > 1.5 else "")
        )
    onset = first_crossing(loss.step, np.abs(loss.value) > math.sqrt(GROWN) * quarters[best])
    evidence = [
        Evidence(
            loss.tag,
            loss.last.step,
            loss.last.value,
            f"{loss.tag}: medians of the run's quarters {', '.join(number(q) for q in quarters)}; the "
            "last is "
            f"{times(growth)} the best",
        )
    ]
    if loss.highest is not None and loss.highest.value > 3 * late:
        evidence.append(
            Evidence(loss.tag, loss.highest.step, loss.highest.value, f"peak {number(loss.highest.value)}")
        )
    returns = run.get("episode_return")
    if returns is not None:
        r = [median(p) for p in parts(returns.value, 4)]
        evidence.append(
            Evidence(
                returns.tag,
                returns.last.step,
                r[3],
                f"the returns do not explain it: medians of the quarters {', '.join(number(x) for x in r)}",
            )
        )
    if beyond is not None:
        evidence.append(beyond)
    q = run.get("q1_mean")
    if q is not None and q.lowest is not None and q.highest is not None:
        evidence.append(
            Evidence(
                q.tag,
                q.highest.step,
                q.highest.value,
                f"Q(data) ranges over {number(q.lowest.value)} .. {number(q.highest.value)}",
            )
        )
    tags = (loss.tag,) if q is None else (loss.tag, q.tag)
    return Finding(
        "critic-divergence",
        CRITICAL if rest > FAR or beyond is not None else WARNING,
        "The critic diverges: its error grows",
        evidence,
        "The critic chases targets that move faster than it learns: a rate too high for the reward "
        "scale, targets "
        "computed with the wrong networks or features, wrong terminal handling, or data that the policy "
        "changed.",
        "Lower the critic's rate, keep |reward| about 1, check that the target uses target actor, target "
        "critic and "
        "their target encoders, and that terminal transitions do not bootstrap; LayerNorm in the critic "
        "bounds extrapolation.",
        0.8 if beyond is not None else 0.7,
        onset=onset,
        plots=tuple((t,) for t in tags),
    )


def _explained(run: Run, best: int) -> float:
    """Growth of values that are right: of the returns and of Q, whichever grew less.

    A critic's error grows with the size of what it estimates; Q that grows alone is no reason.
    """
    growths = []
    for name in ("episode_return", "q1_mean"):
        s = run.get(name, "eval_return") if name == "episode_return" else run.get(name)
        if s is None or len(s) < 8:
            continue
        sizes = [median(np.abs(p)) for p in parts(s.value, 4)]
        growths.append(max(1.0, sizes[3] / max(sizes[best], 1e-3 * max(sizes), 1e-30)))
    return min(growths, default=1.0)


def _beyond_all_value(run: Run, loss: Series, power: float) -> Evidence | None:
    """An error larger than any value the episodes support."""
    support = return_scale(run)
    limit = run.q_limit
    options = [x for x in (support, limit[0] if limit else None) if x]
    if not options:
        return None
    late = loss.tail(0.25, 2).median()
    # two critics' squared errors are summed in the loss
    error = math.sqrt(late / 2) if power == 2 else late
    if error <= min(options):
        return None
    return Evidence(
        loss.tag,
        loss.last.step,
        error,
        f"the error per sample, about {number(error)}, is larger than any value the rewards support "
        f"({number(min(options))})",
    )


RULE = Rule(
    id="critic-divergence",
    title="Diverging critic",
    statement=(
        "The TD error of a critic that learns falls, or grows as the returns grow. An error that has "
        "been small and "
        "grows by orders of magnitude without the returns is divergence."
    ),
    check=check,
    explains=("twin-disagreement", "reward-degrading"),
    order=14,
)
