"""Memory that grows as long as the run lives."""

from __future__ import annotations

import math
import re

import numpy as np

from ..model import (
    CRITICAL,
    INFO,
    WARNING,
    Clear,
    Evidence,
    Finding,
    Outcome,
    Rule,
    Severity,
    Skipped,
    count,
    number,
)
from ..run import Run
from ..series import Series
from ..signals import machine, normalised, replay
from ..signals.conditions import MEMORY_GROWTH
from ..stats import Floats, trend

# Memory of a process or machine, not a replay memory that counts transitions.
_MEMORY = re.compile(
    r"(^|[/_])(rss|vms|uss|ram|mem|memory|vram)\d*([/_]|$)(?!size|len|capacity|utili[sz]ation$)"
)
# Weights & Biases: system.gpu.0.memory is the share of time in which the memory is read or written.
_NOT_MEMORY = re.compile(
    r"gpu_\d+_memory$|replay|buffer|memory_(size|len|capacity|count)|(mem|memory)_?entries"
)
_UNITS: tuple[tuple[str, float], ...] = (
    (r"percent|pct|%|util|^system\.memory$|\.memoryallocated$", math.nan),
    (r"(^|[/_. (])(gb|gib)([/_. )]|$)|_gb|_gib", 1.0),
    (r"(^|[/_. (])(kb|kib)([/_. )]|$)|_kb|_kib", 2.0**-20),
    (r"(^|[/_. (])(mb|mib)([/_. )]|$)|_mb|_mib|rssmb$", 2.0**-10),
    (r"bytes|(^|[/_. (])b([/_. )]|$)", 2.0**-30),
)
MOST_ENVIRONMENTS, EVEN = 64, 0.01
"""Environments that are run side by side at most, and how evenly, as a share, they fill a replay."""
LEAST = 8
GROWN, LEAST_GB = MEMORY_GROWTH.threshold("warning"), MEMORY_GROWTH.threshold("least")
"""Factor and GiB by which memory must grow over the whole run to be reported."""
STILL = MEMORY_GROWTH.threshold("still")
"""Growth of the second half as a share of that of the first; a filling buffer and caches level off."""
GROWN_FAR, LARGE_GB = MEMORY_GROWTH.threshold("critical"), MEMORY_GROWTH.threshold("large")
"""Both together make it critical."""
FULL = MEMORY_GROWTH.threshold("full")
"""Percent of a machine's memory beyond which the system kills the largest process."""
A_STEP = MEMORY_GROWTH.threshold("replay")
"""KiB a step that a replay of 4 x 84 x 84 pictures, stored twice, takes: growth below may be the replay."""


def check(run: Run) -> Outcome:
    series = memories(run)
    if not series:
        return Skipped(
            "memory is not logged", (machine.RSS.tag,), "Log the resident memory of the process (psutil)."
        )
    clear = []
    found: list[Finding] = []
    for s, unit in series:
        if len(s) < LEAST:
            clear.append(f"only {count(len(s), 'point')} of {s.tag}")
            continue
        finding = _percent(s) if math.isnan(unit) else _absolute(run, s, unit)
        if finding is None:
            clear.append(
                f"{s.tag}: {_size(s.first.value, unit)} at first, {_size(s.last.value, unit)} at last"
            )
        else:
            found.append(finding)
    if found:
        return max(found, key=lambda f: (f.severity, f.confidence))
    return Clear("; ".join(clear))


def memories(run: Run) -> list[tuple[Series, float]]:
    """Series of memory in use and what to multiply them by for GiB; NaN for percent."""
    out = []
    known = {s.tag for s in (run.get(machine.RSS), run.get(machine.GPU)) if s is not None}
    for tag, s in run.series.items():
        name = normalised(tag)
        if tag not in known and (not _MEMORY.search(name) or _NOT_MEMORY.search(name)):
            continue
        finite = s.finite
        if not len(finite) or s.axis == "episode" or (not _says_unit(tag) and _counts_transitions(finite)):
            continue
        out.append((finite, _unit(tag, float(np.max(finite.value)))))
    return out


def _counts_transitions(s: Series) -> bool:
    """Whether numbers without a unit are how many transitions a replay holds, which some call its memory.

    They are whole, and no more than the steps, or rise evenly with these: by one for each environment.
    """
    if s.axis != "step" or (s.value != np.round(s.value)).any():
        return False
    steps, grown = s.step - s.step[0], s.value - s.value[0]
    slope = grown[-1] / max(steps[-1], 1.0)
    even = 0 < slope <= MOST_ENVIRONMENTS and bool((np.abs(grown - slope * steps) <= EVEN * grown[-1]).all())
    return bool((s.value <= s.step).all()) or even


def _says_unit(tag: str) -> bool:
    return any(re.search(pattern, tag.lower()) for pattern, _ in _UNITS)


def _unit(tag: str, most: float) -> float:
    for pattern, scale in _UNITS:
        if re.search(pattern, tag.lower()):
            return scale
    # Without a unit the size tells: no process holds a thousand GiB, none lives on a thousand bytes.
    return 2.0**-30 if most > 1e7 else 2.0**-10 if most > 1e3 else 1.0


def _size(value: float, unit: float) -> str:
    return f"{number(value)} %" if math.isnan(unit) else f"{number(value * unit)} GiB"


def _steady(step: Floats, value: Floats) -> tuple[bool, float]:
    """Whether it rises all the time, and the second half's slope over the first's."""
    whole = trend(step, value)
    half = len(value) // 2
    first, second = trend(step[:half], value[:half]), trend(step[half:], value[half:])
    ratio = second.slope / first.slope if first.slope > 0 else (math.inf if second.slope > 0 else 0.0)
    return whole.rising and whole.tau > 0.7 and second.rising and second.tau > 0.5, ratio


def _absolute(run: Run, s: Series, unit: float) -> Finding | None:
    value = s.value * unit
    first, last = s.head(0.1).median() * unit, s.tail(0.1).median() * unit
    steady, ratio = _steady(s.step, value)
    if not steady or ratio < STILL or last < GROWN * first or last - first < LEAST_GB:
        return None
    second = trend(s.step[len(s) // 2 :], value[len(s) // 2 :])
    a_step = second.slope * 2**20  # KiB
    filling = _filling(run)
    # a unit that is guessed may be wrong by a factor of 1,000
    far = last >= LARGE_GB and last >= GROWN_FAR * first and _says_unit(s.tag)
    severity: Severity = CRITICAL if far else WARNING
    if filling and a_step < A_STEP:
        severity = INFO
    text = (
        f"{s.tag} grows from {number(first)} to {number(last)} GiB, and still by {number(a_step)} KiB a step "
        "in the second half"
    )
    evidence = [Evidence(s.tag, s.last.step, s.last.value, text)]
    planned = run.hyper("steps")
    if planned is not None and planned.value > 1.05 * run.last_step:
        then = last + second.slope * (planned.value - run.last_step)
        evidence.append(
            Evidence(
                s.tag,
                int(planned.value),
                None,
                f"at this rate it is {number(then)} GiB after the planned {planned.value:,.0f} steps",
            )
        )
    size = run.get(replay.SIZE)
    if size is not None:
        state = "still fills up" if filling else "has stopped growing"
        evidence.append(
            Evidence(
                size.tag,
                size.last.step,
                size.last.value,
                f"the replay buffer {state} (at {number(size.last.value)})",
            )
        )
    return _finding(s, severity, evidence, text, 0.95 if not filling else 0.8)


def _filling(run: Run) -> bool:
    """Whether a replay buffer is known to grow still; unknown counts as no."""
    size = run.get(replay.SIZE)
    if size is None or len(size) < 4:
        return False
    tail = size.tail(0.25, 2)
    return float(tail.value[-1]) > 1.02 * float(tail.value[0])


def _percent(s: Series) -> Finding | None:
    first, last = s.head(0.1).median(), s.tail(0.1).median()
    scale = 100.0 if s.highest is not None and s.highest.value <= 1.0 else 1.0
    steady, ratio = _steady(s.step, s.value)
    grown = (last - first) * scale
    if not steady or ratio < STILL or grown < 20 or last < 1.5 * first:
        return None
    text = f"{s.tag} grows from {number(first * scale)} to {number(last * scale)} %, without levelling off"
    evidence = [Evidence(s.tag, s.last.step, s.last.value, text)]
    return _finding(s, CRITICAL if last * scale >= FULL else WARNING, evidence, text, 0.85)


def _finding(s: Series, severity: Severity, evidence: list[Evidence], text: str, sure: float) -> Finding:
    return Finding(
        "memory-growth",
        severity,
        "Memory grows without limit",
        evidence,
        "Something is kept that should be released: a replay buffer without a capacity, observations or "
        "graphs that are appended to a list, losses that are stored as tensors with their graph (use "
        ".item()), figures that are never closed, or actors and sensors of the simulator that are never "
        "destroyed. The operating system kills the process when memory is full."
        if severity > INFO
        else "The replay buffer is still filling up, and the growth a step is what stored pictures take.",
        "Compare two snapshots of tracemalloc a thousand steps apart to see which line allocates. Bound the "
        "replay buffer, call .item() on what is logged, destroy sensors at every reset, and restart the "
        "simulator from time to time if the memory is its own."
        if severity > INFO
        else "Check that the machine can hold the full buffer: bytes a transition times its capacity.",
        sure,
        headline=f"Memory grows until the process is killed: {text}" if severity > INFO else "",
        plots=((s.tag,),),
    )


RULE = Rule(
    id="memory-growth",
    title="Memory that keeps growing",
    statement=(
        "Memory rises while the replay buffer and caches fill, and then stays. Memory that more than "
        "doubles and rises as fast in the second half as in the first ends with a killed process."
    ),
    check=check,
    how="Log the resident memory of the process.",
    explains=("run-interrupted", "throughput-stall"),
    order=22,
)
