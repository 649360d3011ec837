"""Values that are not numbers."""

from __future__ import annotations

import math
import re

import numpy as np

from ..model import CRITICAL, Clear, Evidence, Finding, Outcome, Rule, number
from ..run import Run
from ..series import Series

# Statistics of finished episodes and evaluations are NaN before there are any: padding.
_PADDED = ("rollout/", "eval", "charts/episodic", "train/episode", "episode", "time/", "test")


def check(run: Run) -> Outcome:
    sick = [s for s in run.series.values() if s.nonfinite and not _padding(s)]
    padded = [s for s in run.series.values() if s.nonfinite and _padding(s)]
    stopped = _stopped(run)
    if not sick and stopped:
        return _finding_of_guard(run, stopped)
    if not sick:
        total = sum(s.count for s in run.series.values())
        note = f"; {len(padded)} series of episodes are NaN before their first value" if padded else ""
        return Clear(f"all {total:,} values are finite{note}")
    # What broke first is where to look.
    sick.sort(key=_first_bad)
    evidence = []
    for s in sick[:6]:
        bad = s.first_nonfinite
        if bad is None:
            continue
        before = s.finite
        kept = before.step < bad.step
        last = f"; the last number before it is {number(float(before.value[kept][-1]))}" if kept.any() else ""
        what = "NaN" if math.isnan(bad.value) else "infinite"
        evidence.append(
            Evidence(
                s.tag,
                bad.step,
                bad.value,
                f"{s.tag} is {what} from step {bad.step:,} on ({s.nonfinite:,} of {s.count:,} points){last}",
            )
        )
    onset = sick[0].first_nonfinite.step if sick[0].first_nonfinite else None
    recovered = all(math.isfinite(s.last.value) for s in sick)
    first = sick[0].tag
    return Finding(
        "nan-or-inf",
        CRITICAL,
        f"{len(sick)} series hold values that are not numbers, {first} first",
        evidence,
        "Something overflowed or was undefined (0/0, log of 0, infinite observation or reward). Once weights "
        "are NaN every later value is, and every update after that step is worthless."
        + (" Here the values came back, so single batches were bad, not the weights." if recovered else ""),
        "Go back to a checkpoint from before that step; check observations, rewards, losses, gradients and "
        f"actions for finiteness each step and stop at the first bad one; begin the search at {first}.",
        0.99,
        onset=onset,
        plots=tuple((s.tag,) for s in sick[:3]),
    )


def _stopped(run: Run) -> str:
    """Why the run ended, where it says that a value was not finite."""
    reason = str(run.status.get("reason") or run.status.get("error") or "")
    return reason if re.search(r"non-?finite|\bnan\b|\binf(inity|inite)?\b", reason, re.I) else ""


def _finding_of_guard(run: Run, reason: str) -> Finding:
    step = run.status.get("step")
    at = int(step) if isinstance(step, int | float) else run.last_step
    return Finding(
        "nan-or-inf",
        CRITICAL,
        f"The run stopped itself at step {at:,}: a value was not finite",
        [Evidence("status.json", at, None, reason)],
        "A guard saw a NaN or an infinity before it could reach the simulator, the replay or the weights.",
        "Look at what produced it (the message says where); resume from the checkpoint that was saved "
        "before.",
        0.98,
        onset=at,
    )


def _first_bad(s: Series) -> tuple[int, float]:
    bad = s.first_nonfinite
    return (bad.step, bad.wall) if bad is not None else (1 << 62, 0.0)


def _padding(s: Series) -> bool:
    """NaN only before the first number, in a statistic that needs finished episodes."""
    if not s.tag.startswith(_PADDED):
        return False
    finite = s.finite
    if not len(finite) or s.first_nonfinite is None:
        return True
    bad = s.step[~np.isfinite(s.value)]
    return len(bad) == 0 or float(bad.max()) <= float(finite.step[0])


RULE = Rule(
    id="nan-or-inf",
    title="NaN or infinity",
    statement="A NaN or an infinity in a loss, a value, a gradient, a weight, a reward or an action.",
    check=check,
    explains=("reward-degrading", "episode-collapse", "run-interrupted"),
    order=1,
)
