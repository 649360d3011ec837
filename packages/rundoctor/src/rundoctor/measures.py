"""Quantities that several rules need, each defined once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .model import Evidence, number
from .run import Run
from .series import Series
from .signals import critic, episodes, evaluation, gradients, networks, normalised, others, replay
from .signals.conditions import CLIP_NOT_APPLIED, CRITIC_NOT_LEARNING, Level
from .signals.words import A_MEAN_REWARD
from .stats import Floats, level

ENCODER_TENSORS = 8
"""Weights and biases of four layers (three convolutions and a projection, or four convolutions):
the encoders of Mnih et al. 2015 and of DrQ-v2.  A sum of the norms of n tensors whose joint L2 norm is
c lies in [c, c * sqrt(n)]."""
MOST_TENSORS = 32
"""More tensors than any encoder in use here has; beyond c * sqrt(this) no summing explains a norm."""


@dataclass(frozen=True)
class QGap:
    """The policy's Q beside the data's, row by row."""

    step: Floats
    policy: Floats
    data: Floats
    scale: Floats
    """What differences are divided by: the size and spread of the data's Q so far, or of one reward."""
    policy_tag: str
    data_tag: str
    from_loss: bool

    @property
    def ratio(self) -> Floats:
        """(policy - data) / scale."""
        return (self.policy - self.data) / self.scale


def q_gap(run: Run) -> QGap | None:
    """Compare Q of the policy's action with Q of the replayed action; None without both.

    The scale at a row is the largest so far of |mean| and spread of the data's Q, of its targets and
    of the reward.  "So far" keeps a mean that happens to cross zero from making the ratio large.

    Minus the actor's loss of SAC is Q plus the entropy bonus of the step (Haarnoja et al. 2018, eq. 12),
    which is subtracted; where it is not logged, the scale is at least as large as it may be.
    """
    policy, data = run.policy_q, run.get(critic.Q1.mean, critic.TARGET.mean)
    if policy is None or data is None or policy.axis != data.axis:
        return None
    step = policy.step
    q = data.at(step)
    scale = np.abs(q)
    for signal in (
        critic.Q1.std,
        critic.TARGET.std,
        critic.TARGET.mean,
        replay.REWARD.std,
        replay.REWARD.mean,
    ):
        other = run.get(signal)
        if other is not None and other.axis == data.axis:
            scale = np.fmax(scale, np.abs(other.at(step)))
    of_policy = policy.value
    if run.policy_q_is_loss and run.algorithm.entropy:
        bonus = _entropy_bonus(run, step)
        of_policy = of_policy - np.nan_to_num(bonus)
        scale = np.where(np.isfinite(bonus), scale, np.fmax(scale, _most_entropy_bonus(run)))
    keep = np.isfinite(q) & np.isfinite(of_policy)
    step, p, q, scale = step[keep], of_policy[keep], q[keep], scale[keep]
    if not len(step):
        return None
    scale = np.maximum.accumulate(np.maximum(scale, 1e-12))
    return QGap(step, p, q, scale, policy.tag, data.tag, run.policy_q_is_loss)


_ACTION = re.compile(
    r"(^|[/_])((actions?|act)[_/]?(mean[_/])?(\d+|x|y|mean)|a\d"
    r"|steer(ing)?(_angle)?|throttle|accel(eration)?|gas|brake)([/_]?(mean|avg|value|cmd))?$"
)
_NOT_ACTION = re.compile(r"std|noise|loss|reward|penalty|grad|count|entropy|target|max|min|(^|/)eval")


def action_columns(run: Run) -> list[Series]:
    """Series that are components of the action by their names, under whatever prefix, within [-1, 1]."""
    out = []
    for tag, s in run.series.items():
        finite = s.finite
        name = normalised(tag)
        named = _ACTION.search(name) is not None and _NOT_ACTION.search(name) is None
        if named and len(finite) and float(np.abs(finite.value).max()) <= 1.0 + 1e-4:
            out.append(finite)
    return out


CLIPPED_REWARD = 10.0
"""Largest reward after normalisation: VecNormalize and similar wrappers clip rewards there."""
MOST_ENTROPY = 7.0
"""Entropy of a step's action where it is not logged: ten dimensions, each uniform over [-1, 1]."""


@dataclass(frozen=True)
class Support:
    """The largest |Q| that what the run earned can account for."""

    value: float
    text: str
    """How the value was computed, in words for the report."""
    sure: bool
    """False where the rewards of training may differ from those that the returns are sums of."""


def value_support(run: Run) -> Support | None:
    """The largest plausible |Q|, from returns, rewards and, for SAC, the entropy bonus.

    With returns R over L steps, a discounted value cannot be far above max |R| when rewards keep
    their sign, nor above max |R / L| / (1 - gamma) when episodes go on; the larger is taken.
    r_max / (1 - gamma) bounds it as well where rewards are logged.

    Returns are those of the environment.  Where no reward of the replay is logged, training may have
    seen normalised or scaled ones; ``sure`` is then False.
    """
    gamma = run.gamma.value if run.gamma else 0.99
    horizon = 1 / (1 - gamma) if gamma < 1 else 1e3
    options: list[tuple[float, str]] = []
    earned = _earned(run, horizon)
    if earned is not None:
        options.append((earned, f"the episodes' returns account for |Q| up to about {number(earned)}"))
    limit = run.q_limit
    if limit is not None:
        options.append((limit[0], f"r_max/(1-gamma) = {limit[1]}"))
    if not options:
        return None
    value, text = min(options)
    rewards_known = limit is not None or run.get(replay.REWARD.mean, replay.REWARD.std) is not None
    if run.algorithm.entropy:
        bonus = _most_entropy_bonus(run) * horizon
        value, text = value + bonus, f"{text}, and the entropy bonus for {number(bonus)} more"
    return Support(value, text, rewards_known)


def _earned(run: Run, horizon: float) -> float | None:
    most = 0.0
    for returns, lengths in (
        (run.get(episodes.RETURN), run.get(episodes.LENGTH)),
        (run.get(evaluation.RETURN), run.get(evaluation.LENGTH)),
    ):
        if returns is None or returns.lowest is None or returns.highest is None:
            continue
        whole = horizon if run.note_of(returns) == A_MEAN_REWARD else 1.0  # it may be the mean over steps
        most = max(most, whole * abs(returns.lowest.value), whole * abs(returns.highest.value))
        if lengths is not None and len(lengths):
            per_step = np.abs(returns.value) / np.maximum(lengths.at(returns.step), 1)
            per_step = per_step[np.isfinite(per_step)]
            if len(per_step):
                most = max(most, float(per_step.max()) * horizon)
    return most or None


def _entropy(run: Run) -> tuple[Series | None, float]:
    """The entropy or the log-probability of the policy's actions, and the sign that makes it an entropy."""
    log_pi = run.get(others.LOG_PI)
    return (log_pi, -1.0) if log_pi is not None else (run.get(others.ENTROPY), 1.0)


def _entropy_bonus(run: Run, step: Floats) -> Floats:
    """Entropy bonus of a step, coefficient times entropy, at these steps; NaN where it is not logged."""
    coefficient, (entropy, sign) = run.get(others.ALPHA), _entropy(run)
    if coefficient is None or entropy is None:
        return np.full(len(step), np.nan)
    return coefficient.at(step) * sign * entropy.at(step)


def _most_entropy_bonus(run: Run) -> float:
    """Largest entropy bonus of one step, as far as it is logged."""
    coefficient, (entropy, _) = run.get(others.ALPHA), _entropy(run)
    most = 1.0 if coefficient is None else float(np.abs(coefficient.value).max())
    return most * (MOST_ENTROPY if entropy is None else max(1.0, float(np.abs(entropy.value).max())))


@dataclass(frozen=True)
class Restart:
    """A moment at which the training process was restarted."""

    step: int
    """The last step that is known to come before it."""
    after: int
    """The first step that is known to come after it."""
    tag: str
    text: str
    """How it is known."""


_CREATED = re.compile(r"tfevents\.(\d{9,11})(?:\.|$)")


def restarts(run: Run) -> list[Restart]:
    """Restarts of the process in order of steps.

    Their signs are steps that jump back, further event files, and counters that fall.
    """
    found = [
        Restart(after - 1, after, "step", f"steps jump back from {before:,} to {after:,}")
        for before, after in run.resumed_at
    ]
    step, wall = run.timeline
    for created, name in _files_by_creation(run)[1:]:
        before = step[np.isfinite(wall) & (wall < created)]
        if len(before) and len(before) < len(step):
            last = int(before.max())
            after = int(step[step > last][0]) if (step > last).any() else last + 1
            found.append(Restart(last, after, "files", f"the event file {name} begins there"))
    for signal in (networks.UPDATES, replay.SIZE):
        s = run.get(signal)
        if s is None or s.axis != "step" or len(s) < 4:
            continue
        for i in np.flatnonzero(s.value[1:] < 0.5 * s.value[:-1]):
            text = f"{s.tag} falls from {number(float(s.value[i]))} to {number(float(s.value[i + 1]))}"
            found.append(Restart(int(s.step[i]), int(s.step[i + 1]), s.tag, text))
    found.sort(key=lambda r: r.step)
    near = 2 * run.row_interval if math.isfinite(run.row_interval) else 0.0
    kept: list[Restart] = []
    for restart in found:
        if not kept or restart.step - kept[-1].step > near:
            kept.append(restart)
    return kept


def _files_by_creation(run: Run) -> list[tuple[float, str]]:
    """(time of creation in seconds, name) of the run's event files whose names hold that time, in order."""
    out = []
    for file in run.files:
        name = Path(str(file.get("path", ""))).name
        found = _CREATED.search(name)
        if found is not None and file.get("points"):
            out.append((float(found.group(1)), name))
    return sorted(out)


UNIT = 10.0
"""Factor between two units: episodes are longer than so many steps."""
CONSTANT = 1.5
"""Times by which the factor may change over the run; where the evaluations fail it grows with the return."""
CHANGED = 2.0
"""Times by which the training return must change for a constant factor to tell anything."""


def another_unit(run: Run, training: Series, evaluated: Series) -> str:
    """Why the two cannot be compared: one is a multiple of the other throughout, while both change."""
    steps = run.env_steps(training)
    if not np.isfinite(steps).all() or evaluated.axis != "step":
        return ""
    edges = np.quantile(evaluated.step, [0.25, 0.5, 0.75])
    pairs = []
    for k in range(4):
        there = training.value[np.searchsorted(edges, steps) == k]
        here = evaluated.value[np.searchsorted(edges, evaluated.step) == k]
        if not len(there) or not len(here):
            return ""
        pairs.append((level(there, training.value), level(here, evaluated.value)))
    trained, reached = np.array(pairs).T
    if (trained * reached <= 0).any():
        return ""
    factor = reached / trained
    apart = np.minimum(factor, 1 / factor).max() <= 1 / UNIT
    changes = np.ptp(np.log(np.abs(trained))) >= math.log(CHANGED)
    if not apart or not changes or np.ptp(np.log(factor)) > math.log(CONSTANT):
        return ""
    return (
        f"{evaluated.tag} is about {number(float(np.median(factor)))} times {training.tag} from start to end "
        "while both change: they are in different units, such as the reward of a step and that of an episode"
    )


def growth(series: Series) -> tuple[float, float]:
    """Medians of the first and of the last quarter."""
    return series.head(0.25).median(), series.tail(0.25).median()


def first_crossing(step: Floats, above: npt.NDArray[np.bool_]) -> int | None:
    """The first step from which the condition holds until the end, or at most of the later points."""
    if not above.any():
        return None
    share_from = np.cumsum(above[::-1])[::-1] / np.arange(len(above), 0, -1)
    lasting = above & (share_from >= 0.8)
    if lasting.any():
        return int(step[int(np.argmax(lasting))])
    return int(step[int(np.argmax(above))])


def log_span(values: Floats) -> float:
    """log10 of the largest over the smallest magnitude; inf when some are zero and some not."""
    size = np.abs(values[np.isfinite(values)])
    if not len(size) or size.max() == 0:
        return 0.0
    if size.min() == 0:
        return math.inf
    return float(np.log10(size.max() / size.min()))


def ends(series: Series, what: str = "") -> Evidence:
    """First and last value of a series in one line."""
    name = what or series.tag
    text = (
        f"{name}: {number(series.first.value)} at step {series.first.step:,}, {number(series.last.value)} at "
        f"step {series.last.step:,}"
    )
    return Evidence(series.tag, series.last.step, series.last.value, text)


def spread_of(series: Series, what: str = "") -> Evidence:
    """Range and median of a series in one line."""
    low, high = series.lowest, series.highest
    if low is None or high is None:
        return Evidence(series.tag, None, None, f"{series.tag}: no finite value")
    text = (
        f"{what or series.tag}: {number(low.value)} .. {number(high.value)} over {series.count:,} points, "
        f"median {number(series.median())}"
    )
    return Evidence(series.tag, high.step, high.value, text)


@dataclass(frozen=True)
class Clip:
    """What the logged gradient norms of one optimiser say about its clip."""

    who: str
    limit: float
    source: str
    encoder: Series | None
    head: Series | None
    true_norms: bool
    """Logged as norms after the clip by name, rather than under an ambiguous name."""
    encoder_before: Series | None = None
    head_before: Series | None = None

    @property
    def joint(self) -> tuple[Floats, Floats]:
        """(step, L2 norm of encoder and head together)."""
        a, b = self.encoder or self.head, self.head if self.encoder is not None else None
        assert a is not None
        values = a.value**2
        if b is not None:
            other = b.at(a.step)
            values = values + np.where(np.isfinite(other), other, 0) ** 2
        return a.step, np.sqrt(values)


HOLDS = CLIP_NOT_APPLIED.threshold("critical")
"""Factor that allows for rounding when a norm is compared with its limit."""


def is_summed(c: Clip) -> bool:
    """Whether the logged norms are sums of per-tensor norms under a clip that holds.

    Where norms before the clip are logged: a norm after the clip above the one before it, or above the
    limit although the clip scaled it.  Otherwise: above the limit, never above what summing explains, and
    in as narrow a band.
    """
    pairs = [(c.encoder, c.encoder_before), (c.head, c.head_before)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if c.true_norms and known:
        if any(_is_sum(c, after, before) for after, before in known):
            return True
        if any(_unclipped(c, after, before) for after, before in known):
            return False
    s = c.encoder
    if s is None or len(s) < 3:
        return False
    value = s.value[np.isfinite(s.value)]
    above = float((value > c.limit * HOLDS).mean())
    band = float(value.max() / max(value.min(), 1e-30))
    return (
        above > 0.5
        and float(value.max()) <= c.limit * math.sqrt(ENCODER_TENSORS) * HOLDS
        and band <= math.sqrt(MOST_TENSORS)
    )


def _unclipped(c: Clip, after: Series, before: Series) -> bool:
    """Whether norms above the limit are those from before the clip."""
    over = after.value > c.limit * HOLDS
    same = np.isclose(after.value, before.at(after.step), rtol=0.02)
    return bool(over.any()) and float((over & same).sum()) > 0.5 * float(over.sum())


def _is_sum(c: Clip, after: Series, before: Series) -> bool:
    was = before.at(after.step)
    known = np.isfinite(was) & (was > 1e-12) & (after.value > 0)
    if known.sum() < 3:
        return False
    ratio = after.value[known] / was[known]
    # Clipping makes a norm smaller.  A value that grew by it is not a norm.
    if float((ratio > 1.05).mean()) > 0.5:
        return float(np.median(ratio)) <= math.sqrt(MOST_TENSORS)
    over = after.value[known] > c.limit * HOLDS
    shrunk = ratio < 0.98
    return float((over & shrunk).mean()) > 0.5 and float(after.value.max()) <= c.limit * math.sqrt(
        MOST_TENSORS
    )


def clips(run: Run) -> list[Clip]:
    """The clipped optimisers whose limits are known."""
    out = []
    for who in ("actor", "critic"):
        limit = run.hyper(f"{who}_clip_norm")
        encoder, head = run.get(gradients.AFTER[f"{who}_encoder"]), run.get(gradients.AFTER[f"{who}_head"])
        if limit is None or limit.value <= 0 or (encoder is None and head is None):
            continue
        named = all(s is None or s.tag.endswith("_after_clip") for s in (encoder, head))
        before = [run.get(gradients.BEFORE[f"{who}_{part}"]) for part in ("encoder", "head")]
        out.append(Clip(who, limit.value, limit.source, encoder, head, named, *before))
    return out


@dataclass(frozen=True)
class CriticError:
    """How far the critic is from explaining its targets, late in the run."""

    series: Series
    """After the first updates, which start from a critic that knows nothing."""
    value: float
    level: Level
    text: str


def critic_error(run: Run) -> CriticError | None:
    """Judge the TD error in units of the targets' spread, or the explained variance; None without either.

    The gates of av-td3 and its alert judge the same figures by the same thresholds
    (``conditions.CRITIC_NOT_LEARNING``).
    """
    condition = CRITIC_NOT_LEARNING
    for signal in (critic.TD_ERROR_RELATIVE, critic.EXPLAINED_VARIANCE):
        logged = run.get(signal)
        if logged is None:
            continue
        updates = run.get(networks.UPDATES)
        settled = np.ones(len(logged), bool)
        if updates is not None and updates.axis == logged.axis:
            settled = updates.at(logged.step) >= condition.threshold("settled")
        s = logged.only(settled)
        if not len(s):
            continue
        value = s.tail(0.25, 2).median()
        if signal is critic.TD_ERROR_RELATIVE:
            level = condition.level(value)
        else:
            level = "warning" if value < condition.threshold("explained variance") else "ok"
        return CriticError(s, value, level, f"{s.tag}: median {number(value)} over the last quarter")
    return None


def late(s: Series) -> float:
    """Median of the second half of a series."""
    return s.tail(0.5, 3).median()
