"""The clock goes on while the steps stand still."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np

from ..model import CRITICAL, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import Signal, episodes, is_of_evaluation, machine, replay
from ..signals.model import collect

LEAST_SECONDS = 60.0
MANY_ROWS = 10.0
"""A pause of this many usual rows is not just a slow row."""
_OF_EPISODES = (
    episodes.RETURN,
    episodes.LENGTH,
    episodes.SUCCESS,
    episodes.ROUTE_COMPLETION,
    episodes.TERMINATION,
)
_OF_MACHINE = tuple(collect(vars(machine).values()))


def check(run: Run) -> Outcome:
    step, wall = run.timeline
    keep = np.isfinite(wall)
    if keep.sum() < 3:
        return Skipped(
            "the file carries no clock", ("wall time",), "Use event files, or CSV with a wall_time column."
        )
    step, wall = step[keep], wall[keep]
    usual = float(np.median(np.abs(np.diff(wall))))
    patience = max(LEAST_SECONDS, MANY_ROWS * usual)
    last = run.last_step
    alive = _alive_at(run, last, patience)
    if alive is not None:
        tag, first, until, count = alive
        if until - first > patience and count >= 3:
            return _finding(
                run,
                [
                    Evidence(
                        tag,
                        last,
                        until - first,
                        f"{tag} was written {count} times over {number(until - first)} s while the step "
                        f"stood at {last:,}; a row usually takes {number(usual)} s",
                    )
                ],
                last,
                0.95,
            )
    counter = _frozen_counter(run)
    if counter is not None:
        return _finding(run, [counter], counter.step, 0.85)
    status = _status(run, float(wall[-1]), patience)
    if status is not None:
        return _finding(run, [status], last, 0.85)
    return Clear(
        f"nothing was written after the last row at step {last:,}: that the process stood still cannot be "
        "seen from the file, only that it ended or was stopped there"
        if not run.status
        else f"the last row is at step {last:,} and the status is {run.status.get('state')}"
    )


def _alive_at(run: Run, last: int, patience: float) -> tuple[str, float, float, int] | None:
    """(tag, first, last, points) of what was written at the last step over the longest time.

    Evaluations after training, and further updates of the losses, are written at the last step as well.  So
    only what shows a process without progress counts: a figure of the machine, a value that repeats, or a
    count that goes on; and nothing does while episodes end.
    """
    best = None
    episodic, of_machine = _tags(run, _OF_EPISODES), _tags(run, _OF_MACHINE)
    for s in run.series.values():
        here = s.step == last
        value, w = s.value[here], s.wall[here]
        if s.axis != "step" or len(w) < 2 or not np.isfinite(w).all():
            continue
        if is_of_evaluation(s.tag) or s.tag in episodic:
            if w[-1] - w[0] > patience:
                return None
            continue
        counts = bool((np.diff(value) >= 0).all() and (value == np.round(value)).all())
        idle = s.tag in of_machine or counts or bool((value == value[0]).all())
        if idle and (best is None or w[-1] - w[0] > best[2] - best[1]):
            best = (s.tag, float(w[0]), float(w[-1]), int(s.weight[here].sum()))
    return best


def _tags(run: Run, signals: Iterable[Signal]) -> set[str]:
    return {match.tag for signal in signals for match in run.matches.get(signal.name, [])}


def _frozen_counter(run: Run) -> Evidence | None:
    """The axis goes on but what a step must change does not."""
    size, share = run.get(replay.SIZE), run.get(replay.UTILIZATION)
    full = share is None or share.last.value > 0.99
    if size is not None and not full and len(size) >= 8:
        still = size.value == size.value[-1]
        n = int(still[::-1].argmin()) if not still.all() else len(still)
        if n >= max(5, len(size) // 10):
            return Evidence(
                size.tag,
                int(size.step[-n]),
                float(size.value[-1]),
                f"{size.tag} stands at {number(float(size.value[-1]))} from step {int(size.step[-n]):,} on "
                "although the replay is not full: no transition is stored any more",
            )
    speed = run.get(episodes.SPEED)
    rounded = speed is not None and bool((speed.value == np.round(speed.value)).all())
    if speed is not None and len(speed) >= 8 and speed.value[-1] != 0 and not rounded:
        still = speed.value == speed.value[-1]
        n = int(still[::-1].argmin()) if not still.all() else len(still)
        if n >= max(6, len(speed) // 10):
            return Evidence(
                speed.tag,
                int(speed.step[-n]),
                float(speed.value[-1]),
                f"{speed.tag} is exactly {number(float(speed.value[-1]))} on the last {n} rows: the "
                "simulator gives the same state again and again",
            )
    return None


def _status(run: Run, last_wall: float, patience: float) -> Evidence | None:
    if run.status.get("state") != "running":
        return None
    at = run.status.get("time")
    if not isinstance(at, int | float) or not math.isfinite(at):
        return None
    # A clock that is not the one of the events (or a copied folder) says nothing.
    silent = float(at) - last_wall
    if patience < silent < 365 * 86400 and at <= time.time() + 86400:
        return Evidence(
            "status.json",
            run.last_step,
            silent,
            f"status.json still says running {number(silent)} s after the last row",
        )
    return None


def _finding(run: Run, evidence: list[Evidence], onset: int | None, confidence: float) -> Finding:
    return Finding(
        "run-frozen",
        CRITICAL if onset is not None and onset >= run.last_step else WARNING,
        f"The run froze at step {onset if onset is not None else run.last_step:,}",
        evidence,
        "A call of step() never returned. CARLA's client waits for ever when the simulator stops sending, "
        "and no exception reaches Python.",
        "Look at the simulator's log, its memory and the Traffic Manager's port. To survive it next time, "
        "run the simulator's client in a process of its own with a deadline for every tick, and replace "
        "that process when the deadline passes.",
        confidence,
        onset=onset,
    )


RULE = Rule(
    id="run-frozen",
    title="Frozen run",
    statement=(
        "A run is frozen when something still writes to its files while the step does not grow and no "
        "episode ends. Files that simply end show that the run ended, not why."
    ),
    check=check,
    explains=("run-interrupted", "throughput-stall"),
    order=6,
)
