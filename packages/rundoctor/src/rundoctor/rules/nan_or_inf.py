"""Values that are not numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt

from ..model import CRITICAL, INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, count, number
from ..run import Run
from ..series import Series
from ..signals import SIGNALS, actor, alerts, critic, episodes, evaluation, gradients, machine, others, replay

# Statistics of finished episodes and evaluations are NaN before there are any: padding.
_EPISODE = episodes.LENGTH.tag.removesuffix("_length")
_PADDED = ("rollout/", "eval", "charts/episodic", _EPISODE, "episode", "time/", "test")
_OF_EPISODES = {signal.name for signal in SIGNALS if signal.logged in ("episode", "evaluation")}
# Ratios that can be 0 / 0, and figures of the machine: nothing is computed with them.
_RATIOS = {
    signal.name
    for signal in (
        *(critic.EXPLAINED_VARIANCE, episodes.SUCCESS, alerts.VALUE, alerts.LIMIT),
        *(machine.STEPS_PER_S, machine.UPDATES_PER_S, machine.RSS, machine.GPU),
        *(*gradients.ENCODER_SHARE.values(), *gradients.CLIP_RATIO.values()),
    )
}
_LOSSES = (
    critic.LOSS,
    critic.TD_ERROR,
    actor.LOSS,
    others.VALUE_LOSS,
    others.SURROGATE_LOSS,
    others.TOTAL_LOSS,
)
_COMPUTED = {
    signal.name
    for signal in (
        *_LOSSES,
        *(critic.LOSS_2, critic.TD_ERROR_2, *critic.Q1, *critic.Q2, *critic.TARGET, *actor.Q, *replay.REWARD),
        *(episodes.RETURN, evaluation.RETURN, *actor.ACTION_MEAN.values(), *actor.ACTION_STD.values()),
    )
}
"""Names of what training computes with in every update, whatever the algorithm."""
# Quantities that hold NaN once weights, targets or observations do.
_TRAINED = re.compile(
    r"loss|grad|(^|[/_ ])(q|qf|td|value|reward|return|action|weight|param|target|log_?p(i|is|rob)?)\d?"
    r"([/_ ]|$)",
    re.I,
)
ALTERNATES = 5
"""Times that NaN gave way to numbers: weights that were NaN recover by a restart alone, hardly so often."""
RHYTHM = 0.9
"""Share of equal distances between rows that makes a rhythm; a restart or a last row may break one."""


def check(run: Run) -> Outcome:
    sick = [s for s in run.series.values() if s.nonfinite and not _unmeasured(run, s)]
    stopped = _stopped(run)
    if not sick and stopped:
        return _finding_of_guard(run, stopped)
    if not sick:
        total = sum(s.count for s in run.series.values())
        empty = [s for s in run.series.values() if s.nonfinite]
        blank = sum(s.nonfinite for s in empty)
        if not blank:
            return Clear(f"all {total:,} values are finite")
        what = f"{empty[0].tag} holds" if len(empty) == 1 else f"{len(empty)} series hold"
        return Clear(
            f"{total - blank:,} values are finite; {what} NaN or an infinity on {blank:,} rows where nothing "
            "was measured"
        )
    # What broke first is where to look.
    sick.sort(key=_first_bad)
    unused = _unused(run, sick)
    core = [s for s in sick if _is_core(run, s) and s not in unused]
    if not core and _rest_is_sound(run, sick):
        return _finding_of_diagnostics(sick)
    if core and all(_came_back(s) for s in sick) and all(_passed(s, core) for s in core):
        return _finding_of_single_rows(core)
    recovered = all(math.isfinite(s.last.value) for s in sick)
    leading = core or sick
    first = leading[0].tag
    onset = leading[0].first_nonfinite.step if leading[0].first_nonfinite else None
    return Finding(
        "nan-or-inf",
        CRITICAL,
        f"{first} holds values that are not finite"
        if len(sick) == 1
        else f"{len(sick)} series hold values that are not finite, {first} first",
        _evidence(leading + [s for s in sick if s not in leading]),
        "Something overflowed or was undefined: 0/0, the logarithm of 0, an infinite observation or reward. "
        "Once one weight is NaN, everything that is computed with it is NaN, and every update after that "
        "step is worthless."
        + (" Here the values came back, so single batches were bad, not the weights." if recovered else ""),
        f"Go back to a checkpoint from before step {onset or 0:,}. Check observations, rewards, losses, "
        "gradients and actions for finiteness at every step and stop at the first bad one. Begin the search "
        f"at {first}.",
        0.99,
        onset=onset,
        plots=tuple((s.tag,) for s in leading[:3]),
    )


def _evidence(sick: list[Series]) -> list[Evidence]:
    evidence = []
    for s in sick[:6]:
        bad = s.first_nonfinite
        if bad is None:
            continue
        before = s.finite
        kept = before.step < bad.step
        last = f"; the last number before it is {number(float(before.value[kept][-1]))}" if kept.any() else ""
        what = "NaN" if math.isnan(bad.value) else "infinite"
        points = f"{s.nonfinite:,} of {s.count:,} points"
        text = (
            f"{s.tag} is {what} on {points}, first at step {bad.step:,}"
            if _came_back(s)
            else f"{s.tag} is {what} from step {bad.step:,} on ({points}){last}"
        )
        evidence.append(Evidence(s.tag, bad.step, bad.value, text))
    return evidence


def _is_core(run: Run, s: Series) -> bool:
    """Whether it is a quantity that training computes with, rather than a figure beside it."""
    names = _names(run, s)
    if names & _RATIOS:
        return False
    return bool(names) or bool(_TRAINED.search(s.tag))


def _names(run: Run, s: Series) -> set[str]:
    """Canonical names of the signals that a series is known to be."""
    return {name for name, found in run.matches.items() for m in found if m.tag == s.tag and not m.guessed}


def _unused(run: Run, sick: list[Series]) -> list[Series]:
    """Those that were never a number, beside losses that always were.

    A column that is empty for this algorithm (an entropy, a gradient norm) is filled with NaN by pandas.  A
    loss that is computed of a NaN is not finite itself.
    """
    sound = any(
        (s := run.get(signal)) is not None and run.series[s.tag].nonfinite == 0 and len(s) >= 3
        for signal in _LOSSES
    )
    return [s for s in sick if sound and not len(s.finite) and not _names(run, s) & _COMPUTED]


def _rest_is_sound(run: Run, sick: list[Series]) -> bool:
    """Whether losses and returns stay finite after the first bad value: then no weight is NaN."""
    step = min(_first_bad(s)[0] for s in sick)
    later = [
        s
        for s in run.series.values()
        if s not in sick and _is_core(run, s) and len(s) and s.step[-1] >= step and not s.nonfinite
    ]
    return bool(later)


def _finding_of_diagnostics(sick: list[Series]) -> Finding:
    """Figures that training does not use: worth a look, and no sign that training broke."""
    never = all(not len(s.finite) for s in sick)
    first = sick[0].tag
    return Finding(
        "nan-or-inf",
        INFO if never or all(s.nonfinite < 0.5 * s.count for s in sick) else WARNING,
        f"{first} was never a number" if never else f"{first} is not finite on some rows",
        _evidence(sick),
        "The figure itself cannot be computed (for example a spread of one value, or a ratio with 0 below "
        "it). Losses, Q and returns stay finite after it, so the weights are sound.",
        f"Correct how {first} is computed, or stop logging it.",
        0.8,
        plots=tuple((s.tag,) for s in sick[:2] if len(s.finite)),
    )


def _finding_of_single_rows(core: list[Series]) -> Finding:
    """NaN of quantities that training computes with, which passed."""
    first = core[0]
    return Finding(
        "nan-or-inf",
        INFO,
        f"{first.tag} is NaN on {count(first.nonfinite, 'row')}, and numbers follow",
        _evidence(core),
        "A NaN that reaches the weights stays, and here numbers follow. Either nothing was measured on these "
        "rows, or single batches were bad and nothing was learned from them.",
        f"Leave {first.tag} out of rows on which it is not measured. If it is measured on every row, stop at "
        "the first bad one and look at its batch.",
        0.8,
        plots=tuple((s.tag,) for s in core[:2]),
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
        "Look at what produced it (the message says where). Then resume from the checkpoint that was saved "
        "before it.",
        0.98,
        onset=at,
    )


def _first_bad(s: Series) -> tuple[int, float]:
    bad = s.first_nonfinite
    return (bad.step, bad.wall) if bad is not None else (1 << 62, 0.0)


def _unmeasured(run: Run, s: Series) -> bool:
    """Whether its values that are no numbers stand for "nothing was measured".

    They do before the first number: no episode has ended, or learning has not begun.  Later they do where
    numbers follow and the losses stay finite, since a NaN that reaches the weights stays: in evaluations and
    statistics of episodes, which do not come on every row, and in other figures if their rows have a rhythm
    (the loss of a delayed policy).  Statistics of episodes may hold no number at all.
    """
    bad = s.value[~np.isfinite(s.value)]
    if np.isinf(bad).any():
        return _initial(run, s)
    of_episodes = s.tag.startswith(_PADDED) or bool(_names(run, s) & _OF_EPISODES)
    if not len(s.finite):
        return of_episodes
    if not _stretches(s):
        return True
    due = int(np.argmax(np.isfinite(s.value))) if of_episodes else 0  # one evaluation took so long to come
    return _came_back(s, due) and _losses_are_sound(run) and (of_episodes or _rhythmic(s))


def _initial(run: Run, s: Series) -> bool:
    """Whether it is a best value so far, which starts at an infinity and then goes one way only."""
    finite = np.isfinite(s.value)
    start = s.value[: int(np.argmax(finite))]
    if _names(run, s) & _COMPUTED or not len(start) or not finite[len(start) :].all():
        return False
    change = np.diff(s.value[len(start) :])
    return bool((start == -np.inf).all() and (change >= 0).all()) or bool(
        (start == np.inf).all() and (change <= 0).all()
    )


def _stretches(s: Series) -> list[tuple[int, int]]:
    """First and last index of each stretch without numbers, after the first number."""
    finite = np.isfinite(s.value)
    start = int(np.argmax(finite))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~finite[start:], [False]]).astype(int)))
    return [(start + int(a), start + int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _came_back(s: Series, usual: int = 0) -> bool:
    """Whether numbers follow what is none, or may still be due.

    They may where the log ends between two of them: in a stretch no longer than twice the longest before it,
    or twice what is usual.
    """
    stretches = _stretches(s)
    if not stretches or stretches[-1][1] < len(s) - 1:
        return len(s.finite) > 0
    *before, last = (b - a + 1 for a, b in stretches)
    return last <= 2 * max(usual, *before, 0)


def _losses_are_sound(run: Run) -> bool:
    """Whether no known loss ends without numbers."""
    losses = [s for signal in _LOSSES if (s := run.get(signal)) is not None]
    return all(_came_back(run.series[s.tag]) for s in losses)


def _rhythmic(s: Series) -> bool:
    """Whether numbers, or gaps, come on every k-th row."""

    def even(rows: npt.NDArray[np.bool_]) -> bool:
        distance = np.diff(np.flatnonzero(rows))
        usual = np.median(distance) if len(distance) >= 3 else 1
        return bool(usual > 1 and (distance == usual).mean() >= RHYTHM)

    finite = np.isfinite(s.value)
    finite = finite[int(np.argmax(finite)) :]
    return even(finite) or even(~finite)


def _passed(s: Series, core: list[Series]) -> bool:
    """Whether its NaN were those of single rows, and not of the weights.

    They alternate with numbers, or they ended long ago and no other quantity had one on the same rows.
    """
    bad = ~np.isfinite(s.value)
    if np.isinf(s.value[bad]).any():
        return False
    if len(_stretches(s)) >= ALTERNATES:
        return True
    shared = any(np.isin(s.step[bad], o.step[~np.isfinite(o.value)]).any() for o in core if o is not s)
    return not shared and not bad[-max(1, len(s) // 4) :].any()


RULE = Rule(
    id="nan-or-inf",
    title="NaN or infinity",
    statement=(
        "A NaN or an infinity in a loss, a value, a gradient, a weight, a reward or an action spreads to "
        "everything that is computed with it, and stays. Where numbers follow and the losses stay finite, it "
        "stands for a value that was not measured. In a figure that training does not use it is only noted, "
        "as long as losses and returns stay finite."
    ),
    check=check,
    explains=("reward-degrading", "episode-collapse", "run-interrupted", "policy-frozen", "never-learns"),
    order=1,
)
