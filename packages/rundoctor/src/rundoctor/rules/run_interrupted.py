"""A run that ended before it was meant to."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping

import numpy as np

from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Severity, Skipped, number
from ..run import Run
from ..signals import evaluation

SILENT = 1800.0
"""Seconds without any output after which the run counts as ended; an evaluation takes minutes."""

_UNKNOWN = (
    "The files do not say why the run ended. The process was killed, crashed, hung until somebody "
    "stopped it, or was stopped by hand; the event files do not tell which. (On a time-out CARLA's client "
    "aborts its process: 'terminate called after throwing carla::client::TimeoutException'.)",
    "Look at the last lines of the text log and at the exit status. Resume from the last checkpoint. To "
    "survive the simulator next time, run its client in a process of its own with a deadline for each tick.",
)
_STATED = {
    "interrupted": (
        "The run was told to stop (Ctrl-C or SIGTERM) and saved a checkpoint.",
        "Resume it with av-td3 train --resume, unless it was meant to end there.",
    ),
    "stopped": (
        "An alert reached the level that the run was told to stop at (train.stop_on).",
        "Correct what the alert names, then start anew or from a checkpoint from before the alert.",
    ),
    "failed": (
        "An error ended the run.",
        "status.json has the error. Correct its cause and resume from the last checkpoint.",
    ),
}


def check(run: Run) -> Outcome:
    last = run.last_step
    if last <= 0:
        return Skipped("no steps")
    planned = run.hyper("steps")
    state = run.status.get("state")
    ended = _ended(run, state)
    if ended is not None:
        evidence, sure, why = ended
        # The alert, and what it is about, are findings of their own; that it ended the run was asked for.
        severity = INFO if state == "stopped" else WARNING
        return _finding(run, [evidence], planned.value if planned else None, severity, sure, why)
    if state == "finished":
        return Clear(f"status.json says finished, at step {last:,}")
    if planned is not None:
        row = run.row_interval if math.isfinite(run.row_interval) else 0
        if last + max(2 * row, 0.01 * planned.value) >= planned.value:
            return Clear(f"{last:,} of {planned.value:,.0f} steps were made")
        if state == "running":
            return Clear(f"the run is still going: {last:,} of {planned.value:,.0f} steps")
        text = (
            f"{last:,} of {planned.value:,.0f} steps ({last / planned.value:.0%}) were made; planned: "
            f"{planned.source}"
        )
        return _finding(run, [Evidence("step", last, float(last), text)], planned.value, WARNING, 0.95)
    if state == "running":
        return Clear("status.json says running")
    return _guess(run)


def _ended(run: Run, state: object) -> tuple[Evidence, float, tuple[str, str]] | None:
    """What status.json says of a run that ended too early: the evidence, a confidence, cause and fix."""
    if isinstance(state, str) and state in _STATED:
        reason = run.status.get("reason") or run.status.get("error") or run.status.get("message") or ""
        text = f"status.json says {state}" + (f": {reason}" if reason else "")
        return Evidence("status.json", run.last_step, None, text), 0.98, _STATED[state]
    if state == "running" and process_is_gone(run.status):
        text = f"status.json says running, but its process {run.status['pid']} is gone"
        return Evidence("status.json", run.last_step, None, text), 0.95, _UNKNOWN
    silent = _silent_for(run)
    if state == "running" and silent is not None and silent > SILENT:
        text = (
            f"status.json says running, but was last written {_span(silent)} ago, and so was everything else"
        )
        return Evidence("status.json", run.last_step, silent, text), 0.9, _UNKNOWN
    return None


def process_is_gone(status: Mapping[str, object]) -> bool:
    """Whether the process that wrote a status no longer runs.

    False where this cannot be known: no process is named, or it ran on another machine.
    """
    pid, host = status.get("pid"), status.get("host")
    if not isinstance(pid, int) or pid <= 0 or (host is not None and host != socket.gethostname()):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it runs, as another user
    try:
        began = os.stat(f"/proc/{pid}").st_ctime
    except OSError:
        return False
    written = status.get("time")
    # a process that began after the last word is another one, to which the number was given again
    return isinstance(written, int | float) and began > written + 60


def _silent_for(run: Run) -> float | None:
    """Seconds since the last sign of life of a run that says it is running."""
    at = run.status.get("time")
    _, last = run.wall_span
    signs = [float(t) for t in (at, last) if isinstance(t, int | float) and math.isfinite(t)]
    return time.time() - max(signs) if signs else None


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 60:.0f} minutes"


def _guess(run: Run) -> Outcome:
    """Without a plan: planned lengths are round numbers, and a run logs up to its end."""
    last, row = run.last_step, run.row_interval
    cut = any("mid-write" in note for note in run.notes)
    step, _ = run.timeline
    if not math.isfinite(row) or len(step) < 5:
        return Skipped(
            "the planned length is not known",
            ("config.yaml: train.steps",),
            "State it with --assume steps=N.",
        )
    following = _next_round(last)
    if not cut and following < last + 1.5 * row:
        return Clear(f"the run ends at {last:,}, within one row of the round number {following:,}")
    regular = float((np.abs(np.diff(step) - row) < 0.01 * row + 1).mean()) > 0.8
    if not cut and not regular:
        return Skipped(
            "the planned length is not known and rows are too irregular to guess it",
            ("config.yaml: train.steps",),
            "State it with --assume steps=N.",
        )
    why = (
        "the file ends in the middle of a record: the writer was killed"
        if cut
        else f"the last row is at {last:,}; with a row every {row:,.0f} steps a run planned to any round "
        f"number would have logged more (the next is {following:,})"
    )
    return _finding(run, [Evidence("step", last, float(last), why)], None, INFO, 0.9 if cut else 0.6)


def _next_round(step: int) -> int:
    """Smallest number >= step of one significant digit, or 15, 25, 75 times a power of ten."""
    if step <= 0:
        return 1
    power = 10 ** (len(str(step)) - 1)
    options = [d * p for p in (power, power * 10) for d in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 7.5, 8, 9)]
    return int(min(o for o in options if o >= step))


def _finding(
    run: Run,
    evidence: list[Evidence],
    planned: float | None,
    severity: Severity,
    confidence: float,
    why: tuple[str, str] = _UNKNOWN,
) -> Finding:
    last, seconds, rate = run.last_step, run.seconds, run.steps_per_second
    if math.isfinite(rate):
        text = f"it ran {number(seconds)} s"
        late = _late_rate(run)
        text += f" at {number(last / seconds if seconds > 0 else math.nan)} steps/s on average"
        if late is not None:
            text += f", {number(late)} steps/s over the last quarter, up to its last row"
        evidence.append(Evidence("wall time", last, round(last / seconds, 3) if seconds > 0 else None, text))
    if run.episodes:
        evidence.append(
            Evidence(
                "episodes", last, float(run.episodes), f"{last:,} steps in {run.episodes:,} finished episodes"
            )
        )
    evals = run.get(evaluation.RETURN, evaluation.SUCCESS)
    if evals is None:
        evidence.append(Evidence("eval/*", None, None, "no evaluation was made before the end"))
    share = f" ({last / planned:.0%} of {planned:,.0f})" if planned else ""
    return Finding(
        "run-interrupted",
        severity,
        f"The run was {'probably ' if confidence < 0.7 else ''}cut short at step {last:,}{share}",
        evidence,
        *why,
        confidence,
        onset=last,
    )


def _late_rate(run: Run) -> float | None:
    step, wall = run.timeline
    k = max(3, len(step) // 4)
    if len(step) < 4 or not np.isfinite(wall[-k:]).all() or wall[-1] <= wall[-k]:
        return None
    return float((step[-1] - step[-k]) / (wall[-1] - wall[-k]))


RULE = Rule(
    id="run-interrupted",
    title="Run cut short",
    statement=(
        "The run made fewer steps than were planned. Where the plan is not known, the file ends in the "
        "middle of a record, or its regular rows end short of every round number."
    ),
    check=check,
    order=25,
)
