"""Ends of episodes are stored with the wrong flag."""

from __future__ import annotations

import math

import numpy as np

from ..algorithm import Q
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import episodes, replay
from ..signals.conditions import TERMINAL_FLAG_WRONG
from ..stats import Floats
from .single_cause_termination import episode_total

TIME_LIMITS = ("time_limit", "timeout", "truncated", "simulator_fault")


def check(run: Run) -> Outcome:
    outcome, stated = _from_shares(run), _counted(run)
    if stated is None:
        return outcome
    if isinstance(outcome, Finding):
        outcome.evidence.insert(0, stated)
        return outcome
    return _finding(
        "Terminal flags contradict what ended the episodes",
        [stated],
        "Ends that terminate an episode are stored as cut off, or the other way round: the target bootstraps "
        "where it must not, or does not where it must.",
    )


def _counted(run: Run) -> Evidence | None:
    """Flags that contradict the cause of the end, where the run counts them itself."""
    s = run.get(replay.TERMINAL_FLAG_MISMATCH)
    if s is None or s.highest is None or TERMINAL_FLAG_WRONG.level(s.highest.value) == "ok":
        return None
    share = float((s.value > 0).mean())
    text = f"{s.tag} is not 0 on {share:.0%} of {s.count:,} rows, and must be 0"
    return Evidence(s.tag, s.highest.step, s.highest.value, text)


def _from_shares(run: Run) -> Outcome:
    """Compare the share of terminal transitions in the batches with the share of terminal ends."""
    done, lengths = run.get(replay.DONE_RATIO), run.get(episodes.LENGTH)
    assert done is not None and lengths is not None
    if len(lengths) < 10 or "_mean" in lengths.tag:
        return Skipped(f"only {len(lengths)} episode lengths", (lengths.tag,), "Log every episode's length.")
    ends = run.env_steps(lengths)
    if not np.isfinite(ends).all() or done.axis != "step":
        return Skipped("episodes and batches are not on one axis", (lengths.tag, done.tag))
    known = _terminal_ends(run, ends)
    n = run.known.get("n_step")
    per = n.value if n is not None else 1.0
    rows = done.step[done.step >= ends[0]]
    if len(rows) < 4:
        return Skipped(f"only {len(rows)} batches since the first episode ended", (done.tag,))
    held = _held(run, rows)
    share = done.at(rows)
    measured = float(np.mean(share))
    every = per * _density(ends, np.ones(len(ends)), rows, held)
    text = (
        f"{done.tag} is {number(measured)} in the mean; {number(float(every.mean()))} of the transitions end "
        "an episode"
    )
    if known is None:
        return Clear(f"{text} (how they end is not logged)")
    steps, weights, source = known
    terminal = per * _density(steps, weights, rows, held)
    text += f", {number(float(terminal.mean()))} by an event that terminates"
    # Each row is another batch, so their scatter says how sure the means are; at the least that of
    # drawing 256 samples a row.
    residual = share - terminal
    drawn = math.sqrt(max(float(terminal.mean()), measured) / (256 * len(rows)))
    error = max(float(residual.std(ddof=1)) / math.sqrt(len(rows)), 0.3 * drawn, 1e-12)
    evidence = [
        Evidence(done.tag, done.last.step, measured, text),
        Evidence(source, None, float(terminal.mean()), f"how they end: {source}"),
    ]
    if measured < 0.3 * float(terminal.mean()) and float(-residual.mean()) > 4 * max(error, drawn):
        return _finding(
            "Terminal transitions are stored as if the episode went on",
            evidence,
            "Terminated episodes are stored as truncated ones. The target adds a value for what comes after "
            "the end, so a crash costs nothing.",
        )
    limits = float((every - terminal).mean())
    off = abs(float((share - every).mean()))
    if (
        limits > 0.1 * float(every.mean())
        and float(residual.mean()) > max(4 * error, 0.5 * limits)
        and (off < 0.25 * limits or off < 2 * error)
    ):
        return _finding(
            "Time limits are stored as terminal",
            evidence,
            "Truncated episodes are stored as terminated ones, so the state at the time limit is worth 0 to "
            "the critic (Pardo et al. 2018).",
        )
    return Clear(text)


def _held(run: Run, rows: Floats) -> Floats:
    """Transitions that the replay holds at each row."""
    size = run.get(replay.SIZE)
    if size is None or size.axis != "step":
        return rows
    held = size.at(rows)
    return np.where(np.isfinite(held) & (held > 0), np.minimum(held, rows), rows)


def _density(steps: Floats, weights: Floats, rows: Floats, held: Floats) -> Floats:
    """Share of ends among the transitions that the replay holds at each row."""
    order = np.argsort(steps, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])

    def until(at: Floats) -> Floats:
        return np.asarray(total[np.searchsorted(steps[order], at, side="right")])

    return (until(rows) - until(rows - held)) / held


def _terminal_ends(run: Run, ends: Floats) -> tuple[Floats, Floats, str] | None:
    """Steps at which episodes ended by an event that terminates, the weight of each, and the tag.

    Where only totals are known, every end counts for the share that terminated.
    """
    counts = {
        tag.split("termination_", 1)[1]: s.finite
        for tag, s in run.series.items()
        if "termination_" in tag and len(s.finite)
    }
    if counts and all(s.axis == "step" for s in counts.values()):
        source = episodes.TERMINATION.tag
        terminal = [s for cause, s in counts.items() if cause not in TIME_LIMITS]
        if all((s.value == 1).all() for s in counts.values()):  # one point an episode
            steps = np.concatenate([s.step for s in terminal]) if terminal else np.empty(0)
            return steps, np.ones(len(steps)), source
        totals = {cause: episode_total(s) for cause, s in counts.items()}
        share = sum(n for cause, n in totals.items() if cause not in TIME_LIMITS) / max(
            sum(totals.values()), 1
        )
        return ends, np.full(len(ends), share), source
    for s_ in (run.get(episodes.COLLISIONS), run.get(episodes.LANE_INVASIONS)):
        if s_ is not None and len(s_) >= 10 and float((s_.value == 1).mean()) >= 0.95:
            steps = run.env_steps(s_)[s_.value == 1]
            return steps, np.ones(len(steps)), s_.tag
    return None


def _finding(title: str, evidence: list[Evidence], cause: str) -> Finding:
    return Finding(
        "terminal-flag-wrong",
        WARNING,
        title,
        evidence,
        cause,
        "Store `terminated` alone, not `terminated or truncated`, as the flag that stops the bootstrap. "
        "Check the stored flag on one episode that crashed and on one that reached the time limit.",
        0.85,
    )


RULE = Rule(
    id="terminal-flag-wrong",
    title="Wrong terminal flags",
    statement=(
        "With episodes of L steps, 1/L of the transitions end an episode. In the replay buffer those that "
        "terminate must be flagged, and those that a time limit cut must not."
    ),
    check=check,
    requires=(Q,),
    needs=(replay.DONE_RATIO, episodes.LENGTH),
    how=(
        f"Log the share of terminal transitions in each batch ({replay.DONE_RATIO.tag}) and what ended "
        "each episode."
    ),
    order=17,
)
