"""The critic's error grows instead of shrinking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..algorithm import Q
from ..measures import CLIPPED_REWARD, critic_error, first_crossing, value_support
from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, count, number, times
from ..run import Run
from ..series import Series
from ..signals import critic, episodes, evaluation, replay
from ..signals.conditions import CRITIC_DIVERGENCE
from ..stats import level_name, levels, median, parts, settled_end, trend

GROWN = CRITIC_DIVERGENCE.threshold("growth")
"""The late loss over the best one; ten times the squared error is three times the error."""
GROWN_FROM_START = CRITIC_DIVERGENCE.threshold("growth from the start")
"""The same where the first quarter is the best: a Q that starts at 0 explains a factor of 10 or more."""
FAR = CRITIC_DIVERGENCE.threshold("growth, critical")
"""Growth that an unlucky choice of learning rates does not explain."""


SMALL = 0.1
"""Error as a share of |Q| that a sound critic reaches even of its targets' spread (critic-not-learning)."""
AT_THE_END = 30.0
"""If all of the last rows exceed so many times the last quarter's median, they count as its end."""


@dataclass(frozen=True)
class _Excuse:
    """What else may have made the error grow."""

    factor: float
    """Times by which the values grew that the critic estimates."""
    text: str


def check(run: Run) -> Outcome:
    loss = run.get(critic.LOSS, critic.TD_ERROR)
    if loss is None:
        return Skipped(
            "no critic loss is logged", run.tags_of(critic.LOSS), "Log the critic's loss and TD error."
        )
    if len(loss) < 8:
        return Skipped(
            f"only {count(len(loss), 'point')} of {loss.tag}", (loss.tag,), "Let the run log at least 8 rows."
        )
    power = 1.0 if "td_error" in loss.tag else 2.0
    quarters = [median(np.abs(p)) for p in parts(loss.value, 4)]
    best = int(np.argmin(quarters[:3]))
    end = settled_end(np.abs(loss.value))
    late = max(quarters[3], end) if end > AT_THE_END * quarters[3] else quarters[3]
    growth = late / max(quarters[best], 1e-30)
    error = critic_error(run)
    if error is not None and error.series.tag != critic.EXPLAINED_VARIANCE.tag and error.level == "ok":
        explained = f"{error.text}: it grows no more than what it estimates"
        return Clear(f"{loss.tag} ends at {number(loss.last.value)}; {explained}")
    excuse = _excuse(run, best)
    rest = growth / excuse.factor**power
    second_half = loss.tail(0.5, 4)
    rising = trend(second_half.step, np.log(np.maximum(np.abs(second_half.value), 1e-30)))
    # the loss sums the squares of two critics
    size = math.sqrt(late / 2) if power == 2 else late
    beyond = _beyond_all_value(run, loss, size)
    small = _small(run, size) if beyond is None else ""
    diverges = not small and (
        (best > 0 and rest >= GROWN)
        or (rest >= GROWN and rising.rising and rising.tau > 0.5)
        or (rest >= GROWN_FROM_START and rising.tau > 0.3)
        or (beyond is not None and growth > 1)
    )
    listing = f"{loss.tag}: medians of the run's quarters {', '.join(number(q) for q in quarters)}"
    if late > quarters[3]:
        listing += f", and at least {number(late)} on the last rows"
    if not diverges:
        excused = small or (excuse.text if excuse.factor > 1.5 else "")
        return Clear(listing + (f"; {excused}" if excused else ""))
    onset = first_crossing(loss.step, np.abs(loss.value) > math.sqrt(GROWN) * quarters[best])
    text = f"{listing}; the last is {times(growth)} the best"
    evidence = [Evidence(loss.tag, loss.last.step, loss.last.value, text)]
    if loss.highest is not None and loss.highest.value > 3 * quarters[3]:
        evidence.append(
            Evidence(loss.tag, loss.highest.step, loss.highest.value, f"peak {number(loss.highest.value)}")
        )
    evidence += _beside(run)
    if beyond is not None:
        evidence.append(beyond)
    q = run.get(critic.Q1.mean)
    tags = (loss.tag,) if q is None else (loss.tag, q.tag)
    return Finding(
        "critic-divergence",
        CRITICAL if rest > FAR or beyond is not None else WARNING,
        "The critic diverges: its error grows",
        evidence,
        "The critic chases targets that move faster than it learns. The usual reasons: a learning rate that "
        "is too high for the reward's scale, targets computed with the wrong networks or features, terminal "
        "transitions that bootstrap, or a policy that suddenly collects other data.",
        "Lower the critic's learning rate and keep |reward| about 1. Check that the target uses the target "
        "actor, the target critics and the target encoders, and that terminal transitions do not bootstrap. "
        "LayerNorm in the critic bounds what it predicts for actions it has not seen.",
        0.8 if beyond is not None else 0.7,
        onset=onset,
        plots=tuple((t,) for t in tags),
    )


def _excuse(run: Run, best: int) -> _Excuse:
    """Growth of the values that the critic estimates, since the quarter in which its loss was lowest.

    A critic's error grows with the size of what it estimates.  The returns say how far that size
    really grew, and by their range how far their variety did: returns of -200 that improve shrink, and are
    no longer all alike.  Q that grows alone excuses little: a critic that starts from 0 may grow from one
    reward to 1 / (1 - gamma) of them, and only while its growth slows down.
    """
    returns = run.get(episodes.RETURN)
    if returns is None or len(returns) < 8:
        returns = run.get(evaluation.RETURN)
    q = run.get(critic.Q1.mean)
    earned = _growth(returns, best) if returns is not None and len(returns) >= 8 else None
    valued = _growth(q, best) if q is not None and len(q) >= 8 else None
    if earned is not None and returns is not None:
        factor = max(min(earned, valued) if valued is not None else earned, _variety(returns, best))
        return _Excuse(
            factor, f"the growth of {returns.tag}, or of its range, accounts for a factor {number(factor)}"
        )
    if valued is None or q is None:
        return _Excuse(1.0, "")
    limit = run.q_limit
    if limit is not None and abs(q.last.value) <= limit[0]:
        return _Excuse(valued, f"Q grows by {number(valued)} and stays within r_max/(1-gamma)")
    sizes = [median(np.abs(p)) for p in parts(q.value, 4)]
    if sizes[3] > GROWN * max(sizes[1], 1e-30):
        return _Excuse(1.0, "")
    gamma = run.gamma.value if run.gamma else 0.99
    horizon = 1 / (1 - gamma) if gamma < 1 else 100.0
    factor = min(valued, horizon)
    return _Excuse(factor, f"Q, which starts from 0, accounts for a factor {number(factor)}")


def _growth(s: Series, best: int) -> float:
    sizes = levels(parts(np.abs(s.value), 4), s.value)
    return max(1.0, sizes[3] / max(sizes[best], 1e-3 * max(sizes), 1e-30))


def _variety(s: Series, best: int) -> float:
    """Growth of the range of all returns so far, which a replay holds; at most a factor of 10.

    Returns that were all alike have no range, and would excuse everything.
    """
    quarters = parts(s.value, 4)
    until, whole = (
        float(np.ptp(np.percentile(np.concatenate(some), [2, 98])))
        for some in (quarters[: best + 1], quarters)
    )
    return whole / max(until, 0.1 * whole, 1e-30) if whole else 1.0


def _small(run: Run, error: float) -> str:
    """Why the error of a sample cannot be divergence: it is far below a plausible Q, or below one reward."""
    q, support = run.get(critic.Q1.mean), value_support(run)
    if q is not None and support is not None:
        size = q.tail(0.25, 2).median()
        if error <= SMALL * abs(size) and abs(size) <= support.value:
            return f"the error per sample, about {number(error)}, is small beside Q, {number(size)}"
    known = [s for s in (run.get(replay.REWARD.mean), run.get(replay.REWARD.std)) if s is not None]
    reward = max((median(np.abs(s.value)) for s in known), default=0.0)
    if error <= reward:
        return f"the error per sample, about {number(error)}, is less than one reward, {number(reward)}"
    return ""


def _beside(run: Run) -> list[Evidence]:
    """How returns and Q went meanwhile, as far as they are logged."""
    out = []
    returns = run.get(episodes.RETURN, evaluation.RETURN)
    if returns is not None and len(returns) >= 4:
        r = levels(parts(returns.value, 4), returns.value)
        quarters = f"{level_name(returns.value)} of the quarters {', '.join(map(number, r))}"
        text = f"{returns.tag} does not account for it: {quarters}"
        out.append(Evidence(returns.tag, returns.last.step, r[3], text))
    q = run.get(critic.Q1.mean)
    if q is not None and q.lowest is not None and q.highest is not None:
        text = f"Q(data) ranges from {number(q.lowest.value)} to {number(q.highest.value)}"
        out.append(Evidence(q.tag, q.highest.step, q.highest.value, text))
    return out


def _beyond_all_value(run: Run, loss: Series, error: float) -> Evidence | None:
    """The error of a sample, if it is larger than any value that the rewards account for."""
    support = value_support(run)
    if support is None:
        return None
    most = support.value
    if not support.sure:
        gamma = run.gamma.value if run.gamma else 0.99
        most = max(most, CLIPPED_REWARD / (1 - gamma)) if gamma < 1 else math.inf
    if error <= most:
        return None
    text = (
        f"the error per sample, about {number(error)}, is larger than any value that the rewards account for "
        f"({number(most)})"
    )
    return Evidence(loss.tag, loss.last.step, error, text)


RULE = Rule(
    id="critic-divergence",
    title="Diverging critic",
    statement=(
        "The error of a critic that learns falls, or grows as the returns grow. An error that was small "
        "once and grows by orders of magnitude, while the returns do not, is divergence. Where no returns "
        "are logged, Q's own growth excuses it only as far as a critic that starts from 0 must grow."
    ),
    check=check,
    requires=(Q,),
    explains=("twin-disagreement", "reward-degrading", "episode-collapse", "never-learns"),
    order=14,
)
