"""Alerts from bounds, not from taste.

The recorded system warned at gradient norms of 10,000, measured *after* a clip that bounds
them to 28: an alert that cannot fire.  Every threshold here follows from something the run
itself fixes - the clip limit, the largest return that the reward allows, tanh's range - and
is compared with a quantity which that something does not bound.

An alert speaks when its level changes, after it has held for :data:`PATIENCE` rows of
scalars, and falls silent after as many rows without.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warning", "critical"]
PATIENCE = 3


@dataclass(frozen=True)
class Bounds:
    """What the configuration makes possible at most."""

    q: float  # largest |Q| of any policy: max |r| / (1 - gamma), terminal rewards included
    actor_clip: float | None
    critic_clip: float | None


@dataclass(frozen=True)
class Judgement:
    """One rule's verdict on one row."""

    level: Level
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class Alert:
    """A change of level, with the figures that caused it."""

    name: str
    level: Level
    step: int
    value: float
    limit: float
    text: str
    time: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))


Row = Mapping[str, float]
Rule = Callable[[Row, Bounds], "Judgement | None"]


def grade(value: float, warning: float, critical: float, text: str) -> Judgement:
    """Compare one figure with its two limits."""
    if value >= critical:
        return Judgement("critical", value, critical, text)
    return Judgement("warning" if value >= warning else "ok", value, warning, text)


def state_gradient(row: Row, bounds: Bounds) -> Judgement | None:
    """The policy gradient must not reach the actor through the critic's state input: exactly 0."""
    value = row.get("gradients/actor_state_path_norm")
    if value is None:
        return None
    level: Level = "critical" if value > 0 else "ok"
    return Judgement(level, value, 0.0, "policy gradient through the critic's state input, must be 0")


def policy_q_gap(row: Row, bounds: Bounds) -> Judgement | None:
    """Q of the policy's actions against Q of the data, on the same states.

    A policy improves on its data by a part of the range that returns span; 10 times the
    data's own |Q| and spread, and more than a tenth of the bound, is not improvement.
    """
    if "debug/policy_q_mean" not in row or "train/q1_value" not in row:
        return None
    policy, data = row["debug/policy_q_mean"], row["train/q1_value"]
    scale = max(abs(data) + row.get("debug/q1_std", 0.0), bounds.q / 100)
    gap = abs(policy - data) / scale
    return grade(gap, 5.0, 10.0, f"Q of the policy {policy:.3g}, of the data {data:.3g}")


def q_bound(row: Row, bounds: Bounds) -> Judgement | None:
    """No return exceeds max |r| / (1 - gamma); values beyond it are the network's invention
    (soft divergence, van Hasselt et al. 2018)."""
    tags = ("train/q1_value", "train/q2_value", "debug/policy_q_mean", "debug/target_q_mean")
    values = [abs(row[tag]) for tag in tags if tag in row]
    if not values:
        return None
    value = max(values)
    return grade(value, bounds.q, 2 * bounds.q, f"|Q| {value:.3g}, possible at most {bounds.q:.3g}")


def gradient_explosion(row: Row, bounds: Bounds) -> Judgement | None:
    """The norm *before* the clip, in units of the clip: the clip cannot bound it.

    Beyond 100 the clip discards 99 % of every step's length: the loss is on another scale
    than the optimiser was set up for.
    """
    tags = ("gradients/actor_clip_ratio", "gradients/critic_clip_ratio")
    values = [row[tag] for tag in tags if tag in row]
    if not values:
        return None
    value = max(values)
    return grade(value, 100.0, 1000.0, f"gradient norm before the clip is {value:.3g} times the clip")


def saturation(row: Row, bounds: Bounds) -> Judgement | None:
    """tanh passes under 2 % of a gradient beyond |action| 0.99: such a policy cannot move."""
    value = row.get("agent/saturation")
    if value is None:
        return None
    return grade(value, 0.5, 0.95, f"{100 * value:.0f} % of the policy's actions are at their bound")


def td_error(row: Row, bounds: Bounds) -> Judgement | None:
    """A critic that is wrong by as much as the whole range of returns has learned nothing."""
    tags = ("debug/td_error_q1", "debug/td_error_q2")
    values = [row[tag] for tag in tags if tag in row]
    if not values:
        return None
    value = max(values)
    return grade(value, 0.5 * bounds.q, bounds.q, f"mean TD error {value:.3g}, |Q| at most {bounds.q:.3g}")


def twin_gap(row: Row, bounds: Bounds) -> Judgement | None:
    """The twins learn one target from different starts: they may differ by noise only."""
    value = row.get("debug/twin_gap")
    if value is None:
        return None
    return grade(value, 0.25 * bounds.q, 0.5 * bounds.q, f"mean |Q1 - Q2| {value:.3g}")


RULES: dict[str, Rule] = {
    "state_gradient_leak": state_gradient,
    "policy_q_gap": policy_q_gap,
    "q_above_bound": q_bound,
    "gradient_explosion": gradient_explosion,
    "actor_saturated": saturation,
    "critic_divergence": td_error,
    "twin_disagreement": twin_gap,
}

_RANK = {"ok": 0, "warning": 1, "critical": 2}


class AlertMonitor:
    """Judges every row of scalars; remembers what it has said."""

    def __init__(self, bounds: Bounds, log: Path | None = None, rules: Mapping[str, Rule] = RULES) -> None:
        self.bounds, self.rules, self._log = bounds, rules, log
        self.levels: dict[str, Level] = dict.fromkeys(rules, "ok")
        self._pending: dict[str, tuple[Level, int]] = {}
        self._judged: dict[str, Judgement] = {}
        self.raised = 0  # alerts that ever became warning or critical

    @property
    def active(self) -> list[str]:
        """Names of the alerts that stand at warning or critical."""
        return [name for name, level in self.levels.items() if level != "ok"]

    def observe(self, step: int, row: Row) -> list[Alert]:
        """Judge a row; the alerts whose level changed with it."""
        changed = []
        for name, rule in self.rules.items():
            judgement = rule(row, self.bounds)
            if judgement is None:
                continue
            self._judged[name] = judgement
            if judgement.level == self.levels[name]:
                self._pending.pop(name, None)
                continue
            level, held = self._pending.get(name, (judgement.level, 0))
            held = held + 1 if level == judgement.level else 1
            # A leak is exact and needs no second look; figures with noise must hold.
            if held < PATIENCE and rule is not state_gradient:
                self._pending[name] = (judgement.level, held)
                continue
            self._pending.pop(name, None)
            if _RANK[judgement.level] > _RANK[self.levels[name]]:
                self.raised += 1
            self.levels[name] = judgement.level
            alert = Alert(
                name, judgement.level, step, judgement.value, judgement.limit, judgement.text, time.time()
            )
            changed.append(alert)
            if self._log is not None:
                with self._log.open("a") as file:
                    file.write(alert.to_json() + "\n")
        return changed

    def scalars(self) -> dict[str, float]:
        """``alerts/<name>_warning`` and ``_critical``, 0 or 1; critical implies warning; and
        ``_value`` and ``_limit``, what was compared with what: silent alerts can be checked too."""
        row = {}
        for name, level in self.levels.items():
            row[f"alerts/{name}_warning"] = float(level != "ok")
            row[f"alerts/{name}_critical"] = float(level == "critical")
        for name, judgement in self._judged.items():
            row[f"alerts/{name}_value"] = judgement.value
            row[f"alerts/{name}_limit"] = judgement.limit
        return row
