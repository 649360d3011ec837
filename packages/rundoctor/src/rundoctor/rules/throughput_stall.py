"""The run makes far fewer steps a second than before, or stops for a while."""

from __future__ import annotations

import numpy as np

from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run

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
    # Evaluations, continuations: time that no training step was due in.
    for s in run.series.values():
        if s.tag.startswith(("eval", "test")) and len(s):
            good &= ~_holds(step, s.step)
    for _, after in run.resumed_at:
        good &= ~_holds(step, np.array([after - 1, after]))
    if good.sum() < 7:
        return Skipped("too few undisturbed rows", ("wall time",))
    pace = dt / np.maximum(ds, 1)
    usual = float(np.median(pace[good]))
    gaps = np.flatnonzero(
        good & (pace > GAP_ROWS * usual) & (dt > GAP_SECONDS) & (dt > GAP_SHARE * float(dt[dt > 0].sum()))
    )
    slow = _slowdown(step, pace, good)
    if slow is not None:
        return _slow_finding(run, *slow)
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
            "A gap of hours: the machine slept, the clock was set, or the run was halted."
            if suspended
            else "The simulator hung and came back or was restarted, or the machine did something else.",
            "Look at what the simulator and the machine did then (incidents, restarts, swap).",
            0.7,
            onset=int(step[i]),
        )
    return Clear(
        f"{number(1 / usual if usual > 0 else float('inf'))} steps/s"
        + (", evenly, since learning began" if start is not None else ", evenly")
    )


def _learning_starts(run: Run) -> float | None:
    s = run.get("critic_loss", "q1_mean")
    return float(s.step[0]) if s is not None else None


def _holds(step: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """For each interval between rows, whether a mark lies in it or at either end."""
    held = np.zeros(len(step) - 1, bool)
    at = np.searchsorted(step, marks)
    for k in (at - 1, at):
        held[k[(k >= 0) & (k < len(held))]] = True
    return held


def _slowdown(
    step: np.ndarray, pace: np.ndarray, good: np.ndarray
) -> tuple[float, float, int, np.ndarray] | None:
    """(pace before, pace after, step of the change, ...) of a lasting slow-down."""
    index = np.flatnonzero(good)
    p = pace[index]
    n = len(p)
    late = float(np.median(p[-max(3, n // 5) :]))
    early = float(np.median(p[: max(3, n // 2)]))
    if late < SLOWER * early or early <= 0:
        return None
    slow = p > np.sqrt(early * late)
    change = next((k for k in range(n) if slow[k] and slow[k:].mean() > 0.8), n - 1)
    return early, float(np.median(p[change:])), int(step[index[change]]), index


def _slow_finding(run: Run, early: float, late: float, at: int, _: np.ndarray) -> Finding:
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
        "Something takes longer each step: a simulator that leaks, a replay that no longer fits in "
        "memory, other work."
    )
    fix = "Compare simulator and update times (system/updates_per_s, memory) before and after that step."
    lengths = run.get("episode_length")
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
                        "there, while an "
                        f"episode takes {number(per_before)} s before and {number(per_after)} s after",
                    )
                )
                cause = (
                    "The time goes into resets: an episode costs about the same wherever it ends, and "
                    "episodes became "
                    "so short that hardly anything else happens."
                )
                fix = (
                    "Cure what makes the episodes collapse; then make the reset cheaper (move actors, "
                    "do not respawn)."
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
        "Time per step, row by row: a lasting rise by four times after learning began, or single gaps of "
        "twenty usual rows that no evaluation or continuation accounts for."
    ),
    check=check,
    order=26,
)
