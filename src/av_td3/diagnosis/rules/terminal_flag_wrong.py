"""Ends of episodes are stored as what they are not."""

from __future__ import annotations

import numpy as np

from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run

SHARE = 0.8


def check(run: Run) -> Outcome:
    done, lengths = run.get("done_ratio"), run.get("episode_length")
    assert done is not None and lengths is not None
    if len(lengths) < 10 or "_mean" in lengths.tag:
        return Skipped(f"only {len(lengths)} episode lengths", (lengths.tag,), "Log every episode's length.")
    expected = 1 / float(np.mean(lengths.value))
    late = done.tail(0.5, 2)
    # a batch holds B * expected ends; averaged over the rows this is what must show
    measured = float(np.mean(late.value))
    kinds = _kinds(run)
    text = (
        f"{done.tag} is {number(measured)} over the late rows; with episodes of {number(1 / expected)} "
        "steps, "
        f"{number(expected)} of all transitions are ends"
    )
    if kinds is None:
        if measured == 0 and expected > 1e-3 and len(done) >= 5:
            return Clear(f"{text}; whether they terminate or are cut by a time limit is not logged")
        return Clear(text)
    terminal, source = kinds
    if terminal > SHARE and measured < 0.1 * expected * terminal and len(done) >= 5 and expected > 2e-3:
        return _finding(
            "Terminal transitions are stored as if the episode went on",
            [
                Evidence(done.tag, done.last.step, measured, text),
                Evidence(
                    source, None, terminal, f"{terminal:.0%} of the episodes end by an event that terminates"
                ),
            ],
            "Terminated episodes are treated as truncated: the target bootstraps beyond the end, and a "
            "crash costs "
            "nothing.",
        )
    if terminal < 1 - SHARE and measured > 0.5 * expected and expected > 2e-3:
        return _finding(
            "Time limits are stored as terminal",
            [
                Evidence(done.tag, done.last.step, measured, text),
                Evidence(source, None, terminal, f"{1 - terminal:.0%} of the episodes end by the time limit"),
            ],
            "Truncated episodes are treated as terminated: the value of the state at the time limit is "
            "taken for 0 "
            "(Pardo et al. 2018).",
        )
    return Clear(text)


def _kinds(run: Run) -> tuple[float, str] | None:
    """Share of the episodes that terminate rather than are truncated, and what says so."""
    counts = {
        tag.split("termination_", 1)[1]: s
        for tag, s in run.series.items()
        if "termination_" in tag and len(s.finite)
    }
    if counts:
        from .single_cause_termination import _total

        totals = {k: _total(s) for k, s in counts.items()}
        everything = sum(totals.values())
        if everything >= 10:
            cut = sum(
                n for k, n in totals.items() if k in ("time_limit", "timeout", "truncated", "simulator_fault")
            )
            return 1 - cut / everything, "train/termination_<cause>"
    events = [s for s in (run.get("collisions"), run.get("lane_invasions")) if s is not None and len(s) >= 10]
    for s in events:
        share = float((s.value == 1).mean())
        if share >= 0.95:
            return share, s.tag
    return None


def _finding(title: str, evidence: list[Evidence], cause: str) -> Finding:
    return Finding(
        "terminal-flag-wrong",
        WARNING,
        title,
        evidence,
        cause,
        "Store terminated, not (terminated or truncated), as the flag that stops the bootstrap, and "
        "check it on one "
        "episode of each kind.",
        0.85,
    )


RULE = Rule(
    id="terminal-flag-wrong",
    title="Wrong terminal flags",
    statement=(
        "With episodes of L steps 1/L of the transitions are ends. Those that terminate must be flagged "
        "in the "
        "replay, those cut by a time limit must not."
    ),
    check=check,
    needs=("done_ratio", "episode_length"),
    how="Log the share of terminal transitions in each batch (debug/done_ratio) and what ended each episode.",
    order=17,
)
