"""The run makes far fewer steps a second than before, or stops for a while."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..measures import restarts
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..signals import critic, episodes, machine
from ..stats import Floats

SLOWER = 4.0
"""Learning, evaluation and a fuller replay slow a run by factors below this."""
GAP_ROWS, GAP_SECONDS, GAP_SHARE = 20.0, 30.0, 0.05
SUSPENDED = 6 * 3600.0


def check(run: Run) -> Outcome:
    step, wall = run.timeline
    keep = np.isfinite(wall)
    step, wall = step[keep], wall[keep]
    if len(step) < 8:
        return Skipped("fewer than 8 rows with a clock", ("wall time",), "Use event files.")
    start = _learning_starts(run)
    if start is not None:
        step, wall = step[step >= start], wall[step >= start]
        if len(step) < 8:
            return Skipped(
                f"only {len(step)} rows since learning began", ("wall time",), "Let the run go on."
            )
    ds, dt = np.diff(step), np.diff(wall)
    good = (ds > 0) & (dt >= 0)
    # Evaluations and restarts: time in which no training step was due.
    for s in run.series.values():
        if s.tag.startswith(("eval", "test")) and len(s):
            good &= ~_holds(step, s.step)
    begun = _begin_later(run)
    good &= ~_holds(step, begun)
    for restart in restarts(run):
        good &= ~_holds(step, np.array([restart.step, restart.step + 1]))
    good &= ~run.paused(wall)
    if good.sum() < 7:
        return Skipped("too few undisturbed rows", ("wall time",))
    pace = dt / np.maximum(ds, 1)
    usual = float(np.median(pace[good]))
    gaps = np.flatnonzero(
        good & (pace > GAP_ROWS * usual) & (dt > GAP_SECONDS) & (dt > GAP_SHARE * float(dt[dt > 0].sum()))
    )
    slow = _slowdown(step, pace, good)
    if slow is not None:
        early, late, at = slow
        row = float(np.median(ds))
        if (np.abs(begun - at) <= 3 * row).any():
            return Clear(
                f"{number(1 / early)} steps/s before step {at:,} and {number(1 / late)} after it, where "
                "further series begin to be logged: learning starts there"
            )
        return _slow_finding(run, early, late, at)
    if len(gaps):
        i = int(gaps[np.argmax(dt[gaps])])
        suspended = dt[i] > SUSPENDED
        return Finding(
            "throughput-stall",
            INFO if suspended else WARNING,
            f"The run stood for {number(float(dt[i]))} s at step {int(step[i]):,}",
            [
                Evidence(
                    "wall time",
                    int(step[i + 1]),
                    float(dt[i]),
                    f"{number(float(dt[i]))} s from step {int(step[i]):,} to {int(step[i + 1]):,}, where "
                    f"{number(usual * float(ds[i]))} s is usual"
                    + (f"; {len(gaps)} such gaps" if len(gaps) > 1 else ""),
                )
            ],
            "A gap of hours: the machine was suspended, its clock was set, or the run was paused."
            if suspended
            else "The simulator hung and came back, or was restarted, or the machine was busy with "
            "something else.",
            "Look at what happened on the machine at that time: incidents.jsonl, the simulator's log, swap, "
            "other jobs.",
            0.7,
            onset=int(step[i]),
        )
    return Clear(
        f"{number(1 / usual if usual > 0 else float('inf'))} steps/s"
        + (", evenly, since learning began" if start is not None else ", evenly")
    )


def _learning_starts(run: Run) -> float | None:
    """The step at which learning begins: updates take time, so rows before it are faster."""
    stated = run.hyper("warmup_steps")
    losses = [s for s in (run.get(critic.LOSS), run.get(critic.Q1.mean), run.policy_q) if s is not None]
    begins = [float(s.step[0]) for s in losses if s.axis == "step"]
    if stated is not None and stated.value < run.last_step:
        begins.append(stated.value)
    return max(begins, default=None)


def _begin_later(run: Run) -> Floats:
    """First steps of the series that join those that were logged from the start.

    Losses and counters of updates do when learning starts, whatever their names are.
    """
    firsts = np.array(
        [
            s.step[0]
            for s in run.series.values()
            if s.axis == "step" and len(s) and not s.tag.startswith(("eval", "test"))
        ]
    )
    if not len(firsts) or not np.isfinite(run.row_interval):
        return np.empty(0)
    return np.unique(firsts[firsts > firsts.min() + run.row_interval])


def _holds(step: Floats, marks: Floats) -> npt.NDArray[np.bool_]:
    """For each interval between rows, whether a mark lies in it or at either end."""
    held = np.zeros(len(step) - 1, bool)
    at = np.searchsorted(step, marks)
    for k in (at - 1, at):
        held[k[(k >= 0) & (k < len(held))]] = True
    return held


def _slowdown(step: Floats, pace: Floats, good: npt.NDArray[np.bool_]) -> tuple[float, float, int] | None:
    """(seconds a step before, seconds a step after, step of the change) of a lasting slow-down."""
    index = np.flatnonzero(good)
    p = pace[index]
    n = len(p)
    late = float(np.median(p[-max(3, n // 5) :]))
    early = float(np.median(p[: max(3, n // 2)]))
    if late < SLOWER * early or early <= 0:
        return None
    slow = p > np.sqrt(early * late)
    change = next((k for k in range(n) if slow[k] and slow[k:].mean() > 0.8), n - 1)
    return early, float(np.median(p[change:])), int(step[index[change]])


def _slow_finding(run: Run, early: float, late: float, at: int) -> Finding:
    evidence = [
        Evidence(
            "wall time",
            at,
            1 / late,
            f"{number(1 / early)} steps/s before step {at:,}, {number(1 / late)} after: "
            f"{times(late / early)} slower",
        )
    ]
    cause = (
        "Each step takes longer than before. The usual reasons: a simulator that leaks actors or memory, a "
        "replay buffer that no longer fits into memory, or other work on the machine."
    )
    times_of = f"simulator and update times ({machine.UPDATES_PER_S.tag}, memory)"
    fix = f"Compare {times_of} before and after that step."
    lengths = run.get(episodes.LENGTH)
    if lengths is not None:
        at_step = run.env_steps(lengths)
        before, after = lengths.value[at_step < at], lengths.value[at_step >= at]
        if len(before) >= 5 and len(after) >= 5:
            long = float(np.median(before))
            per_before, per_after = early * long, late * float(np.median(after))
            if np.median(after) < 0.5 * long and per_after < 4 * per_before:
                evidence.append(
                    Evidence(
                        lengths.tag,
                        lengths.last.step,
                        float(np.median(after)),
                        f"episodes shrink from {number(long)} to {number(float(np.median(after)))} steps "
                        f"there, while an episode takes {number(per_before)} s before and "
                        f"{number(per_after)} s after",
                    )
                )
                cause = (
                    "The time goes into resets. An episode takes about as long as before, but has become so "
                    "short that there is little else than its reset."
                )
                fix = (
                    "Find out why the episodes become short (see the other findings). Then make the reset "
                    "cheaper: move the actors instead of spawning them again."
                )
    return Finding(
        "throughput-stall",
        WARNING,
        f"The run slows down to {number(1 / late)} steps/s",
        evidence,
        cause,
        fix,
        0.85,
        onset=at,
    )


RULE = Rule(
    id="throughput-stall",
    title="Stalled throughput",
    statement=(
        "From row to row: the time a step rises to four times what it was, for good and after learning "
        "began; or a single row takes as long as twenty usual ones without an evaluation, a restart or the "
        "start of learning to account for it."
    ),
    check=check,
    order=26,
)
