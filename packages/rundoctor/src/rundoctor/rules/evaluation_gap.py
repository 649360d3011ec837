"""Evaluations that are far worse than training."""

from __future__ import annotations

import math

import numpy as np

from ..measures import another_unit
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, count, number
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation
from ..signals.conditions import EVALUATION_GAP
from ..signals.words import A_MEAN_REWARD
from ..stats import Floats, coarse, level, separation, uncertainty

LEAST_EVALUATIONS, LEAST_RETURNS = 3, 10
LOST = EVALUATION_GAP.threshold("warning")
"""Share of what training gained that the evaluations lack."""
OF_LEVEL = EVALUATION_GAP.threshold("level")
"""The same as a share of the larger level: below that, other seeds and routes explain it."""
SCATTERS = EVALUATION_GAP.threshold("scatters")
"""Scatters of the returns that the gap must exceed."""


def check(run: Run) -> Outcome:
    training, evaluated = run.get(episodes.RETURN), run.get(evaluation.RETURN)
    assert training is not None and evaluated is not None
    if run.note_of(training) == A_MEAN_REWARD:
        return Skipped(f"{training.tag} may be a mean over steps", (episodes.RETURN.tag,))
    if len(evaluated) < LEAST_EVALUATIONS or len(training) < LEAST_RETURNS:
        return Skipped(
            f"only {count(len(evaluated), 'evaluation')} and {count(len(training), 'training return')}",
            (evaluated.tag, training.tag),
            f"Evaluate at least {LEAST_EVALUATIONS} times.",
        )
    late = evaluated.tail(0.25, LEAST_EVALUATIONS)
    beside = _beside(run, training, evaluated, late)
    if len(beside) < 3:
        return Skipped("no training returns around the last evaluations", (evaluated.tag, training.tag))
    trained, reached = level(beside, training.value), level(late.value, evaluated.value)
    first = level(training.head(0.1, 3).value, training.value)
    gap, gained = trained - reached, max(trained - first, 0.0)
    text = (
        f"{evaluated.tag} is {number(reached)} where {training.tag} is {number(trained)} (from step "
        f"{int(late.step[0]):,} on)"
    )
    chance = max(uncertainty(beside), uncertainty(late.value))
    delta, _ = separation(beside, late.value)
    enough = max(LOST * gained, OF_LEVEL * max(abs(trained), abs(reached)), SCATTERS * chance)
    # Single successes of 0 or 1 overlap with any mean of them; their standard error says enough.
    if gap <= enough or (delta > -0.9 and not coarse(beside)):
        return Clear(text)
    other = another_unit(run, training, evaluated)
    if other:
        return Clear(other)
    evidence = [Evidence(evaluated.tag, int(late.step[-1]), reached, text)]
    if gained > 0:
        evidence.append(
            Evidence(
                training.tag,
                training.last.step,
                trained,
                f"training gained {number(gained)} since its first episodes; the evaluations lack "
                f"{number(gap)}",
            )
        )
    lengths, eval_lengths = run.get(episodes.LENGTH), run.get(evaluation.LENGTH)
    if lengths is not None and eval_lengths is not None:
        long, short = lengths.tail(0.25, 3).median(), eval_lengths.tail(0.25, 1).median()
        evidence.append(
            Evidence(
                eval_lengths.tag,
                eval_lengths.last.step,
                short,
                f"evaluation episodes last {number(short)} steps, training episodes {number(long)}",
            )
        )
    return Finding(
        "evaluation-gap",
        WARNING,
        "Evaluation is far worse than training",
        evidence,
        "The policy meets something else in the evaluation than in training. The usual reasons: other "
        "wrappers or other normalisation statistics (VecNormalize whose statistics are not copied, another "
        "frame stack or action repeat), another reward scale or time limit, harder routes, or a policy that "
        "only works with its exploration noise.",
        "Evaluate once on the training environment itself with the same wrappers, and once with exploration "
        "noise. If the gap closes in the first case, the environments differ: copy the normalisation "
        "statistics and compare one observation, one reward and the time limit of both. If it closes in the "
        "second, the policy depends on the noise: train longer with less of it.",
        0.85,
        onset=_onset(run, training, evaluated, enough),
        plots=((training.tag, evaluated.tag),),
    )


def _beside(run: Run, training: Series, evaluated: Series, late: Series) -> Floats:
    """Training returns from the time of the late evaluations."""
    steps = run.env_steps(training)
    if not np.isfinite(steps).all() or evaluated.axis != "step":
        return training.tail(0.25, LEAST_RETURNS).value
    before = evaluated.step[evaluated.step < late.step[0]]
    start = float(before[-1]) if len(before) else float(late.step[0])
    return training.value[steps >= start]


def _onset(run: Run, training: Series, evaluated: Series, gap: float) -> int | None:
    """First evaluation from which on all fall short by that much."""
    steps = run.env_steps(training)
    if not np.isfinite(steps).all() or evaluated.axis != "step":
        return None
    at = np.searchsorted(steps, evaluated.step, side="right") - 1
    trained = np.where(at >= 0, training.value[np.maximum(at, 0)], math.nan)
    short = trained - evaluated.value > gap
    close = np.flatnonzero(~short)
    first = int(close[-1]) + 1 if len(close) else 0
    return int(evaluated.step[first]) if first < len(evaluated) else None


RULE = Rule(
    id="evaluation-gap",
    title="Evaluation far from training",
    statement=(
        "The evaluated policy is the trained one without its noise, so it should do as well or better. Where "
        "evaluations lack half of what training gained, beyond the scatter of both, the two differ."
    ),
    check=check,
    needs=(episodes.RETURN, evaluation.RETURN),
    how="Log the return of every training episode and of every evaluation.",
    order=19,
)
