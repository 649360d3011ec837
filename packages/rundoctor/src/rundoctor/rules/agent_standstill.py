"""The car does not move."""

from __future__ import annotations

import numpy as np

from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run

STILL = 1e-3
"""km/h; a car at rest on CARLA's physics still reads a few thousandths."""
ROWS, SHARE = 5, 0.1


def check(run: Run) -> Outcome:
    speed = run.get("speed")
    assert speed is not None
    if len(speed) < 2 * ROWS:
        return Skipped(f"only {len(speed)} rows of {speed.tag}", (speed.tag,))
    still = np.abs(speed.value) < STILL
    start, length = _longest(still)
    if length < max(ROWS, SHARE * len(speed)):
        return Clear(
            f"{speed.tag}: median {number(speed.median())}, at rest on {still.mean():.0%} of the rows"
        )
    first, last = int(speed.step[start]), int(speed.step[start + length - 1])
    evidence = [
        Evidence(
            speed.tag,
            first,
            float(speed.value[start]),
            f"{speed.tag} is 0 on {length} rows in a row, steps {first:,} to {last:,}",
        )
    ]
    cause = "The car is blocked, has no throttle, or its physics is not simulated."
    fix = "Look at the actions, at the vehicle's state and at whether its actor still exists."
    evaluation = run.get("eval_return", "eval_length")
    row = run.row_interval
    if evaluation is not None:
        before = evaluation.step[(evaluation.step <= first) & (evaluation.step >= first - 2 * row)]
        if len(before):
            at = int(before[-1])
            evidence.append(
                Evidence(
                    evaluation.tag,
                    at,
                    float(evaluation.value[evaluation.step == at][-1]),
                    f"it begins right after the evaluation at step {at:,}",
                )
            )
            cause = (
                "The evaluation disturbed the training environment: it shares its world, its Traffic "
                "Manager or its "
                "ego vehicle, and left the training car unable to move."
            )
            fix = (
                "Evaluate in an environment of its own (own simulator, own Traffic Manager port), or "
                "reset after it."
            )
    lengths = run.get("episode_length")
    if lengths is not None and lengths.highest is not None and lengths.highest.value >= last - first:
        evidence.append(
            Evidence(
                lengths.tag,
                lengths.highest.step,
                lengths.highest.value,
                f"one episode of {number(lengths.highest.value)} steps passed like that, and the replay "
                "holds it",
            )
        )
    return Finding(
        "agent-standstill",
        WARNING,
        f"The car stood still from step {first:,} to {last:,}",
        evidence,
        cause,
        fix,
        0.85,
        onset=first,
        plots=((speed.tag,),),
    )


def _longest(mask: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    k = int(np.argmax(lengths))
    return int(edges[::2][k]), int(lengths[k])


RULE = Rule(
    id="agent-standstill",
    title="Car at rest",
    statement="A car that is driven moves; an exact 0 on many rows in a row is none of the policy's doing.",
    check=check,
    needs=("speed",),
    how="Log the speed (progress/speed_kmh).",
    order=21,
)
