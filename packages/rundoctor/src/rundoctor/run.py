"""One run as the rules see it: canonical series, axes, clock, hyper-parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .algorithm import Algorithm, Q, recognise
from .aliases import MOST_GUESSED, Match, guesses, tags_for
from .evidence import Evidence, number
from .series import Series
from .signals import (
    EPISODE_NAMES,
    Signal,
    actor,
    critic,
    episodes,
    evaluation,
    gradients,
    lookup,
    normalised,
    others,
    replay,
)
from .stats import Floats
from .store import Point


@dataclass(frozen=True)
class Known:
    """A hyper-parameter of the run and how we know it."""

    value: float
    source: str


# av-td3, and others whose tags are like its own, log gradient norms under these names.  They clip the
# actor's optimiser at 1 and the critic's at 10 unless their configuration says otherwise.
_FAMILY_TAG = gradients.AFTER["actor_encoder"].also[0]
_FAMILY_CLIPS = {"actor_clip_norm": 1.0, "critic_clip_norm": 10.0}
CORE: dict[str, tuple[Signal, ...]] = {
    "the return": (
        *(episodes.RETURN, evaluation.RETURN, episodes.SUCCESS, evaluation.SUCCESS),
        episodes.ROUTE_COMPLETION,
    ),
    "the critic's loss": (critic.LOSS, critic.TD_ERROR, others.VALUE_LOSS),
    "Q": (critic.Q1.mean, critic.TARGET.mean, actor.Q.mean, actor.LOSS, critic.Q1.max, actor.Q.max),
}
"""The signals that show whether a run learns. Where none of them is recognised, there can be no verdict."""
LEAST_POINTS = 3
"""Least number of points from which the development of a quantity is judged."""

Need = Signal | tuple[Signal, ...]
"""What a rule needs: one signal, or any one of several."""


def alternatives(need: Need) -> tuple[Signal, ...]:
    """The signals, any one of which meets a need."""
    return need if isinstance(need, tuple) else (need,)


@dataclass(frozen=True)
class Pause:
    """The time between the end of one file of a run and the beginning of the next."""

    before: int
    after: int
    """Last step before it and first step after it."""
    began: float
    ended: float
    """Seconds since the epoch; NaN without a clock."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Run:
    """A run, read and put in order."""

    name: str
    path: Path
    series: dict[str, Series]
    matches: dict[str, list[Match]]
    unmapped: list[str]
    system: str
    files: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was damaged, dropped or put right while reading."""
    config: dict[str, Any] = field(default_factory=dict)
    """Flattened ``section.key`` of the run directory's config.yaml."""
    known: dict[str, Known] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    resumed_at: list[tuple[int, int]] = field(default_factory=list)
    """(last step before, first step after) of every continuation that logged some steps again."""
    pauses: list[Pause] = field(default_factory=list)
    """The pauses between two files of the run, in which no process wrote."""
    axis: str = "step"
    """What the x-axis of most of its series counts: step, update, episode, epoch, or row of a table."""
    axis_columns: tuple[str, ...] = ()
    """Columns of its tables that hold a row's step or time. They are not series."""
    tree: Path | None = None
    """Source tree that the run's code is compared with."""

    @cached_property
    def algorithm(self) -> Algorithm:
        """The algorithm that wrote the logs, as far as they show it."""
        names = [self.name, *reversed(self.path.absolute().parts[-2:])]
        ends = {tag: (s.lowest, s.highest) for tag, s in self.series.items()}
        sizes = {tag: max(abs(a.value), abs(b.value)) for tag, (a, b) in ends.items() if a and b}
        return recognise(sizes, self.config, names, self.system)

    # --- series ---------------------------------------------------------------------

    def get(self, *signals: Signal | str) -> Series | None:
        """The series of the first signal, or canonical name of one, that has finite points.

        Raises:
            KeyError: no signal has that name.
        """
        for signal in signals:
            name = lookup(signal).name if isinstance(signal, str) else signal.name
            for match in self.matches.get(name, []):
                s = self.series.get(match.tag)
                if s is not None and len(s.finite):
                    return s.finite
        return None

    def note_of(self, series: Series) -> str:
        """A remark on the meaning of a tag; empty where none is needed."""
        for matches in self.matches.values():
            for match in matches:
                if match.tag == series.tag and match.note:
                    return match.note
        return ""

    def has(self, need: Need) -> bool:
        """Whether a need is met."""
        return any(self.get(signal) is not None for signal in alternatives(need))

    def tags_of(self, need: Need) -> tuple[str, ...]:
        """Tags that would meet a need, the preferred one of each alternative."""
        return tuple(dict.fromkeys(tags_for(signal, self.system) for signal in alternatives(need)))

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """Which parts of :data:`CORE` the run does not show, or with fewer points than can be judged."""
        return tuple(part for part, signals in self.core.items() if not self._shows(signals, LEAST_POINTS))

    @property
    def core(self) -> dict[str, tuple[Signal, ...]]:
        """The signals of :data:`CORE` that the run's algorithm has. PPO, for example, has no Q."""
        return {part: core for part, core in CORE.items() if part != "Q" or Q in self.algorithm.has}

    @property
    def blind(self) -> bool:
        """Whether no verdict is possible.

        Nothing of :data:`CORE` is shown; or the algorithm has no Q, and no return is shown: the loss of a
        state-value function alone says nothing of the policy.
        """
        on_policy = Q not in self.algorithm.has
        return len(self.unseen) == len(self.core) or (on_policy and "the return" in self.unseen)

    @property
    def too_short(self) -> bool:
        """Whether the tags are known and only the points are too few."""
        return self.blind and any(self._shows(self.core[part], 1) for part in self.unseen)

    def _shows(self, signals: tuple[Signal, ...], points: int) -> bool:
        """Whether one of them has so many points; a loss without a name may be anything, but not in DQN."""
        shown = [s for signal in signals if (s := self.get(signal)) is not None and len(s) >= points]
        return any(self.algorithm.has == {Q} or self.note_of(s) != critic.UNNAMED for s in shown)

    @cached_property
    def guesses(self) -> dict[str, list[str]]:
        """Unknown tag -> the canonical names that it may stand for, likeliest first.

        They are offered to the user, who confirms one with ``--map``. No rule uses them.
        """
        return {tag: names for tag in self.unmapped[:MOST_GUESSED] if (names := guesses(tag))}

    @cached_property
    def policy_q(self) -> Series | None:
        """Mean Q of the policy's own action: logged as such, or minus the actor's loss."""
        q = self.get(actor.Q.mean)
        if q is not None:
            return q
        loss = self.get(actor.LOSS)
        if loss is None:
            return None
        flipped = loss.only(np.ones(len(loss), bool))
        flipped.value, flipped.low, flipped.high = -loss.value, -loss.high, -loss.low
        return flipped

    @property
    def policy_q_is_loss(self) -> bool:
        return self.get(actor.Q.mean) is None and self.get(actor.LOSS) is not None

    # --- axes and clock ---------------------------------------------------------------

    @cached_property
    def timeline(self) -> tuple[Floats, Floats]:
        """(step, wall) of the environment-step axis, increasing in step; wall may be NaN."""
        on_axis = [s for s in self.series.values() if s.axis == "step" and len(s)]
        if not on_axis:
            return np.empty(0), np.empty(0)
        # Only series of the training loop: evaluations are logged at other intervals.
        loop = [s for s in on_axis if not s.tag.startswith(("eval", "test"))] or on_axis
        best = sorted(loop, key=lambda s: -len(s))[:8]
        step = np.concatenate([s.step for s in best])
        wall = np.concatenate([s.wall for s in best])
        order = np.lexsort((wall, step))
        step, wall = step[order], wall[order]
        last = np.append(np.diff(step) > 0, True)
        return step[last], wall[last]

    @cached_property
    def last_step(self) -> int:
        ends = [s.last.step for s in self.series.values() if s.axis == "step"]
        return max(ends, default=0)

    @cached_property
    def wall_span(self) -> tuple[float, float]:
        """First and last wall time of all points; NaN without a clock."""
        walls = [w for s in self.series.values() for w in (s.first.wall, s.last.wall) if math.isfinite(w)]
        return (min(walls), max(walls)) if walls else (math.nan, math.nan)

    @property
    def seconds(self) -> float:
        """Seconds of training, without pauses between continuations and backward jumps of the clock."""
        step, wall = self.timeline
        if len(step) < 2 or not np.isfinite(wall).any():
            first, last = self.wall_span
            return last - first
        first, last = self.wall_span
        back = -float(np.minimum(np.diff(wall[np.isfinite(wall)]), 0).sum())
        paused = sum(p.seconds for p in self.pauses if p.seconds > 0)
        return last - first + back - paused

    @property
    def steps_per_second(self) -> float:
        """From the first to the last row of the step axis; pauses between two files are left out."""
        step, wall = self.timeline
        keep = np.isfinite(wall)
        step, wall = step[keep], wall[keep]
        if len(step) < 2:
            return math.nan
        dt = np.diff(wall)
        ds = np.diff(step)
        good = (dt > 0) & ~self.paused(wall)
        spent = float(dt[good].sum())
        return float(ds[good].sum()) / spent if spent > 0 else math.nan

    def paused(self, wall: Floats) -> npt.NDArray[np.bool_]:
        """For each interval between neighbouring times, whether a pause between two files lies in it."""
        held = np.zeros(max(len(wall) - 1, 0), bool)
        for pause in self.pauses:
            held |= (wall[:-1] <= pause.ended) & (wall[1:] >= pause.began)
        return held

    @property
    def extent(self) -> str:
        """How long the run is, in words: ``"300,000 steps"``, else what its files count instead."""
        return (
            self.amount if self.axis == "step" or not self.series else f"{self.amount} (no steps are logged)"
        )

    @property
    def amount(self) -> str:
        """The same without saying that no steps are logged: ``"600 episodes"``."""
        if self.axis == "step":
            return f"{self.last_step:,} steps"
        longest = max((s for s in self.series.values()), key=len, default=None)
        if longest is None:
            return "no rows"
        if self.axis == "episode" and self.episodes:
            return f"{self.episodes:,} episodes"
        if self.axis in ("episode", "epoch", "update"):
            return f"{int(longest.last.step):,} {self.axis}s"
        return f"{longest.count:,} rows"

    @cached_property
    def row_interval(self) -> float:
        """Usual number of steps between two rows of the step axis."""
        step, _ = self.timeline
        return float(np.median(np.diff(step))) if len(step) > 1 else math.nan

    def env_steps(self, series: Series) -> Floats:
        """Environment steps of a series' points, whatever its own axis."""
        if series.axis == "step":
            return series.step
        lengths = self.get(episodes.LENGTH)
        if (
            series.axis == "episode"
            and lengths is not None
            and lengths.axis == "episode"
            and not lengths.folded
        ):
            ends = np.cumsum(lengths.value)
            return np.interp(series.step, lengths.step, ends)
        step, wall = self.timeline
        if len(step) and np.isfinite(wall).all() and np.isfinite(series.wall).all():
            return np.interp(series.wall, wall, step)
        return np.full(len(series), np.nan)

    def env_step(self, series: Series, index: int) -> int | None:
        """Environment step of one point."""
        step = self.env_steps(series)[index]
        return int(step) if math.isfinite(step) else None

    def split_at_policy(self, series: Series) -> tuple[Floats, Floats] | None:
        """Values of an episodic series while actions were random, and since; None unless both are ten.

        Learning begins, and with it the policy's actions, where the critic's loss is first logged.
        """
        loss = self.get(critic.LOSS, critic.Q1.mean)
        if loss is None:
            return None
        random = self.env_steps(series) < loss.step[0]
        if random.sum() < 10 or (~random).sum() < 10:
            return None
        return series.value[random], series.value[~random]

    @cached_property
    def episodes(self) -> int | None:
        """Finished episodes, where each is logged as a point."""
        for tag, counter in self.series.items():
            if normalised(tag) in EPISODE_NAMES and counter.rewind_count == 0:
                value = counter.finite.value
                if len(value) and (np.diff(value) >= 0).all():
                    return int(value[-1])
        s = self.get(episodes.LENGTH, episodes.RETURN)
        if s is None or "mean" in self.note_of(s).split() or "_mean" in s.tag:
            return None
        if s.axis == "episode" and not s.folded:
            return len(np.unique(s.step))
        return s.count

    # --- hyper-parameters ---------------------------------------------------------------

    @cached_property
    def gamma(self) -> Known | None:
        """The discount: given, configured, or worked out from the discount that was logged."""
        measured = self.measured_gamma
        if "gamma" in self.known and self.known["gamma"].source == "given":
            return self.known["gamma"]
        return measured or self.known.get("gamma")

    @cached_property
    def measured_gamma(self) -> Known | None:
        """mean discount of a batch = gamma * (1 - share of terminal transitions)."""
        discount, done = self.get(replay.DISCOUNT), self.get(replay.DONE_RATIO)
        if discount is None or done is None:
            return None
        share = done.at(discount.step)
        good = share < 0.9
        if not good.any():
            return None
        values = discount.value[good] / (1 - share[good])
        value = float(np.median(values))
        n = self.known.get("n_step")
        if n is not None and n.value > 1 and value > 0:
            # over n steps the discount is gamma ** n, and an end within them stops the bootstrap
            value = value ** (1 / n.value)
        # Both are float32 means of the same batch; averaged over a logging interval they
        # still agree to a few parts in ten thousand.
        if not 0 < value <= 1.0005 or float(np.median(np.abs(values - np.median(values)))) > 2e-3:
            return None
        return Known(round(min(value, 1.0), 4), f"{discount.tag} / (1 - {done.tag})")

    def hyper(self, name: str) -> Known | None:
        """A hyper-parameter by its name in this project's configuration (``agent.`` left out)."""
        if name == "gamma":
            return self.gamma
        if name in self.known:
            return self.known[name]
        if name in _FAMILY_CLIPS and _FAMILY_TAG in self.series and "agent.gamma" not in self.config:
            return Known(_FAMILY_CLIPS[name], "assumed: the limit that systems with these tags use")
        return None

    @cached_property
    def reward_limit(self) -> tuple[float, Evidence] | None:
        """Largest |reward| of one step, and the figure that says so."""
        bound = self.get(replay.REWARD_BOUND)
        if bound is not None:
            value = float(np.abs(bound.value).max())
            return value, Evidence(bound.tag, int(bound.last.step), value, "the reward's documented bound")
        best: tuple[float, Evidence] | None = None
        for s in (self.get(replay.REWARD.max), self.get(replay.REWARD.min)):
            if s is None:
                continue
            for point in (s.lowest, s.highest):
                if point is not None and (best is None or abs(point.value) > best[0]):
                    text = f"largest |reward| seen in a batch: {number(abs(point.value))}"
                    best = abs(point.value), Evidence(s.tag, point.step, point.value, text)
        return best

    @cached_property
    def q_limit(self) -> tuple[float, str, bool] | None:
        """r_max / (1 - gamma): no sum of discounted rewards is larger (van Hasselt et al. 2018).

        Returns:
            the bound, how it came about, and whether it is exact (a documented reward bound)
            rather than estimated from the rewards that were seen.
        """
        stated = self.get(critic.Q_BOUND)
        if stated is not None:
            value = float(np.abs(stated.value).max())
            return value, f"{stated.tag} = {number(value)}", True
        reward = self.reward_limit
        if reward is None or reward[0] <= 0:
            return None
        gamma = self.gamma
        g, source = (gamma.value, gamma.source) if gamma else (0.99, "assumed")
        if g >= 1:
            return None
        value = reward[0] / (1 - g)
        text = f"{number(reward[0])} / (1 - {g:g}) = {number(value)}; gamma: {source}"
        return value, text, self.get(replay.REWARD_BOUND) is not None and gamma is not None

    # --- output -------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        first, last = self.wall_span
        rate = self.steps_per_second
        return {
            "name": self.name,
            "path": str(self.path),
            "system": self.system,
            "algorithm": self.algorithm.name,
            "steps": self.last_step if self.axis == "step" else None,
            "extent": self.extent,
            "episodes": self.episodes,
            "seconds": round(self.seconds, 1) if math.isfinite(self.seconds) else None,
            "steps_per_second": round(rate, 3) if math.isfinite(rate) else None,
            "started": first if math.isfinite(first) else None,
            "ended": last if math.isfinite(last) else None,
            "tags": len(self.series),
            "points": int(sum(s.count for s in self.series.values())),
            "files": self.files,
            "notes": self.notes,
            "aliases": {
                name: {"tag": found[0].tag, "note": found[0].note} for name, found in self.matches.items()
            },
            "unmapped": self.unmapped,
            "guesses": self.guesses,
            "not_recognised": list(self.unseen),
            "axes": {tag: s.axis for tag, s in sorted(self.series.items()) if s.axis != "step"},
            "hyperparameters": {
                k: {"value": v.value, "source": v.source}
                for k, v in {**self.known, **({"gamma": self.gamma} if self.gamma else {})}.items()
            },
            "status": self.status.get("state"),
        }


def point_evidence(series: Series, point: Point | None, text: str) -> Evidence:
    """Evidence that points at one logged value."""
    if point is None:
        return Evidence(series.tag, None, None, text)
    return Evidence(series.tag, point.step, point.value, text)
