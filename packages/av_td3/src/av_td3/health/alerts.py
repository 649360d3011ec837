"""Alerts from bounds, not from taste.

The recorded system warned at gradient norms of 10,000, measured *after* a clip that bounds
them to 28: an alert that cannot fire.  Every threshold here follows from something the run
itself fixes - the clip limit, the largest return that the reward allows, tanh's range, the
wiring of TD3 - and is compared with a quantity which that something does not bound.  Each
rule brings a drill, a row that must set it off: a run tests its alarms before it starts.

An alert speaks when its level changes: it rises to a level that :data:`PATIENCE` rows of
scalars in succession have reached or exceeded, and falls to one that as many have not
exceeded (at once where the quantity is exact).
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from av_td3.config import Config
from av_td3.driving.reward import return_bound, reward_bound

Level = Literal["ok", "warning", "critical"]
PATIENCE = 3

# Far outside what the TD3 paper, its code and Stable-Baselines3 use: (low, high).
_RATE = (1e-4 / 30, 2.5e-3)
FAR = {
    "agent/gamma": (0.95, 0.9995),
    "agent/tau": (0.00125, 0.2),
    "agent/actor_lr": _RATE,
    "agent/critic_lr": _RATE,
    "agent/actor_cnn_lr": _RATE,
    "agent/critic_cnn_lr": _RATE,
}

# Network -> the parameter group that trains it.
_TRAINED_BY = {
    "actor_encoder": "actor_encoder",
    "actor": "actor_head",
    "critic_encoder": "critic_encoder",
    "critic": "critic_head",
}


@dataclass(frozen=True)
class Bounds:
    """What the configuration makes possible at most, and what it says of the wiring."""

    q: float  # largest |Q| of any policy: max |r| / (1 - gamma), terminal rewards included
    actor_clip: float | None
    critic_clip: float | None
    reward: float = math.inf  # largest |reward| of a stored transition
    groups: tuple[str, ...] = ("actor_head", "critic_encoder", "critic_head")  # that are trained
    tau: float = 0.005

    @classmethod
    def of(cls, config: Config) -> Bounds:
        """The bounds that a configuration sets."""
        agent, reward = config.agent, config.env.reward
        separate = ("actor_encoder",) if agent.encoder == "separate" else ()
        return cls(
            q=max(abs(b) for b in return_bound(reward, agent.gamma)),
            actor_clip=agent.actor_clip_norm,
            critic_clip=agent.critic_clip_norm,
            reward=config.replay.n_step * max(abs(b) for b in reward_bound(reward)),
            groups=(*separate, "actor_head", "critic_encoder", "critic_head"),
            tau=agent.tau,
        )


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
Judge = Callable[[Row, Bounds], "Judgement | None"]


def explosion(bounds: Bounds) -> Row:
    """A row of a run that has exploded - behind a clip that holds."""
    row = dict.fromkeys(
        (
            *("train/q1_value", "train/q2_value", "debug/policy_q_mean", "debug/target_q_mean"),
            *("debug/td_error_q1", "debug/td_error_q2", "debug/twin_gap"),
            *("gradients/actor_clip_ratio", "gradients/critic_clip_ratio"),
        ),
        1e6 * bounds.q,
    )
    row |= {"train/q1_value": 0.1 * bounds.q, "debug/q1_std": 0.1 * bounds.q, "agent/saturation": 1.0}
    for tag in ("actor_cnn", "actor_mlp"):
        row[f"gradients/{tag}_norm"] = bounds.actor_clip or 1e6
    for tag in ("critic_cnn", "critic_mlp"):
        row[f"gradients/{tag}_norm"] = bounds.critic_clip or 1e6
    return row


@dataclass(frozen=True)
class Rule:
    """What is judged in each row of scalars, and a row that sets it off."""

    judge: Judge
    drill: Callable[[Bounds], Row | None] = explosion
    """None: not with these bounds, where the rule has nothing to watch."""
    exact: bool = False
    """No noise in what is judged: it speaks at once."""


def grade(value: float, warning: float, critical: float, text: str) -> Judgement:
    """Compare one figure with its two limits."""
    if value >= critical:
        return Judgement("critical", value, critical, text)
    return Judgement("warning" if value >= warning else "ok", value, warning, text)


def _must_be_zero(value: float, text: str) -> Judgement:
    return Judgement("critical" if value > 0 else "ok", value, 0.0, text)


# ---------------------------------------------------------------- values out of bounds


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


def beyond_reward(row: Row, bounds: Bounds) -> Judgement | None:
    """A stored reward that the reward function cannot give: Q's bound is void with it."""
    values = [abs(row[tag]) for tag in ("debug/reward_min", "debug/reward_max") if tag in row]
    if not values:
        return None
    value, limit = max(values), 1.001 * bounds.reward
    text = f"a reward of {value:.3g} in the replay, possible at most {bounds.reward:.3g}"
    return Judgement("critical" if value > limit else "ok", value, limit, text)


def gradient_explosion(row: Row, bounds: Bounds) -> Judgement | None:
    """The norm *before* the clip, in units of the clip: the clip cannot bound it.

    Beyond 100 the clip discards 99 % of every step's length: the loss is on another scale
    than the optimiser was set up for.  Without a clip there is no unit, and nothing is judged.
    """
    limits = {"actor": bounds.actor_clip, "critic": bounds.critic_clip}
    tags = [f"gradients/{which}_clip_ratio" for which, limit in limits.items() if limit is not None]
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


# ---------------------------------------------------------------- faults of the wiring


def state_gradient(row: Row, bounds: Bounds) -> Judgement | None:
    """The policy gradient must not reach the actor through the critic's state input: exactly 0."""
    value = row.get("gradients/actor_state_path_norm")
    if value is None:
        return None
    return _must_be_zero(value, "policy gradient through the critic's state input, must be 0")


def clip_not_held(row: Row, bounds: Bounds) -> Judgement | None:
    """The joint norm of an optimiser's groups after the clip, against the clip.

    Rows hold means over updates; the norm of the groups' means is at most the mean of their
    norm, so whatever exceeds the limit here has exceeded it in an update.
    """
    worst: Judgement | None = None
    for which, limit in (("actor", bounds.actor_clip), ("critic", bounds.critic_clip)):
        parts = [
            row[f"gradients/{which}_{part}_norm_after_clip"]
            for part in ("encoder", "head")
            if f"gradients/{which}_{part}_norm_after_clip" in row
        ]
        if limit is None or not parts:
            continue
        value = math.hypot(*parts)
        text = f"{which}: norm {value:.3g} after a clip at {limit:g}: it did not hold, or is no L2 norm"
        found = Judgement("critical" if value > 1.01 * limit else "ok", value, limit, text)
        if worst is None or found.value / found.limit > worst.value / worst.limit:
            worst = found
    return worst


def gradient_missing(row: Row, bounds: Bounds) -> Judgement | None:
    """A group that is trained has a gradient: exactly 0 is a loss that does not reach it."""
    silent = []
    for group in bounds.groups:
        which, tag = group.split("_")[0], f"gradients/{group}_norm_before_clip"
        if f"gradients/{which}_clip_ratio" in row and row.get(tag) == 0.0:
            silent.append(group)
    if not any(f"gradients/{group}_norm_before_clip" in row for group in bounds.groups):
        return None
    return _must_be_zero(
        len(silent), f"no gradient reaches {' and '.join(silent) or 'nobody'}: exactly 0 in every update"
    )


def weights_frozen(row: Row, bounds: Bounds) -> Judgement | None:
    """Under Adam a parameter that has a gradient moves by about its rate in each update."""
    measured = [g for g in bounds.groups if f"agent/update_to_weight_ratio_{g}" in row]
    if not measured:
        return None
    still = [
        group
        for group in measured
        if row[f"agent/update_to_weight_ratio_{group}"] == 0.0
        and row.get(f"gradients/{group}_norm_before_clip", 0.0) > 0.0
    ]
    return _must_be_zero(len(still), f"{' and '.join(still) or 'nothing'} has a gradient and does not move")


def target_wiring(row: Row, bounds: Bounds) -> Judgement | None:
    """A target copy lags behind its network: it is neither equal to it nor another network.

    Two networks drawn independently are about sqrt(2) of their own length apart.
    """
    drifts = {
        network: row[f"agent/target_drift_{network}"]
        for network, group in _TRAINED_BY.items()
        if f"agent/target_drift_{network}" in row and row.get(f"agent/update_to_weight_ratio_{group}", 0) > 0
    }
    if bounds.tau >= 1 or not drifts:
        return None
    wrong = [name for name, drift in drifts.items() if drift == 0.0 or drift > 1.0]
    return _must_be_zero(len(wrong), f"{' and '.join(wrong) or 'no network'} has no target copy of its own")


def terminal_flags(row: Row, bounds: Bounds) -> Judgement | None:
    """What ended an episode says whether it terminated or was cut off; the flags must agree."""
    value = row.get("debug/terminal_flag_mismatch")
    if value is None:
        return None
    return _must_be_zero(value, f"{100 * value:.0f} % of the episodes' ends carry the wrong terminal flag")


def settings_far_off(row: Row, bounds: Bounds) -> Judgement | None:
    """Rates, gamma and tau far outside what TD3 is known to work with.  Never critical."""
    known = {tag: row[tag] for tag in FAR if row.get(tag)}  # a rate of 0 is a group not trained
    if not known:
        return None
    far = [f"{tag} {value:g}" for tag, value in known.items() if not FAR[tag][0] < value < FAR[tag][1]]
    level: Level = "warning" if far else "ok"
    text = f"far from the references: {', '.join(far) or 'nothing'}"
    return Judgement(level, float(len(far)), 0.0, text)


# ---------------------------------------------------------------- the world around


def episodes_cut(row: Row, bounds: Bounds) -> Judgement | None:
    """Episodes that end at a marking's first touch are over before a route can be learned."""
    value = row.get("progress/rule_ended_share")
    if value is None:
        return None
    return grade(value, 0.5, 0.95, f"{100 * value:.0f} % of the last episodes ended at a touched marking")


def simulator_incidents(row: Row, bounds: Bounds) -> Judgement | None:
    """Failures of the simulator, ports that others hold; each one cuts an episode or costs time."""
    value = row.get("system/incidents_recent")
    if value is None:
        return None
    return grade(value, 1.0, 5.0, f"{value:.0f} incidents of the simulator in the last 1,000 steps")


def stale_build(row: Row, bounds: Bounds) -> Judgement | None:
    """The code on disk is not the code that the run's record names.  Never critical."""
    value = row.get("system/code_changed")
    if value is None:
        return None
    level: Level = "warning" if value > 0 else "ok"
    return Judgement(level, value, 0.0, "the source files are not those that provenance.json records")


def _drill(**row: float) -> Callable[[Bounds], Row | None]:
    names = {tag.replace("__", "/"): value for tag, value in row.items()}
    return lambda bounds: names


RULES: dict[str, Rule] = {
    "state_gradient_leak": Rule(state_gradient, _drill(gradients__actor_state_path_norm=1e-9), exact=True),
    "policy_q_gap": Rule(policy_q_gap),
    "q_above_bound": Rule(q_bound),
    "reward_above_bound": Rule(
        beyond_reward, lambda b: {"debug/reward_max": 2 * b.reward} if b.reward < math.inf else None
    ),
    "gradient_explosion": Rule(
        gradient_explosion, lambda b: explosion(b) if b.actor_clip or b.critic_clip else None
    ),
    "actor_saturated": Rule(saturation),
    "critic_divergence": Rule(td_error),
    "twin_disagreement": Rule(twin_gap),
    "clip_not_held": Rule(
        clip_not_held,
        lambda b: (
            {
                f"gradients/{which}_head_norm_after_clip": 1.5 * limit
                for which, limit in (("actor", b.actor_clip), ("critic", b.critic_clip))
                if limit is not None
            }
            or None
        ),
    ),
    "gradient_missing": Rule(
        gradient_missing,
        _drill(gradients__actor_clip_ratio=0.1, gradients__actor_head_norm_before_clip=0.0),
    ),
    "weights_frozen": Rule(
        weights_frozen,
        _drill(
            agent__update_to_weight_ratio_critic_encoder=0.0,
            gradients__critic_encoder_norm_before_clip=1.0,
        ),
    ),
    "target_wiring": Rule(
        target_wiring,
        lambda b: (
            {
                "agent/target_drift_critic_encoder": 0.0,
                "agent/update_to_weight_ratio_critic_encoder": 1e-3,
            }
            if b.tau < 1
            else None
        ),
    ),
    "terminal_flag_wrong": Rule(terminal_flags, _drill(debug__terminal_flag_mismatch=1.0), exact=True),
    "settings_far_off": Rule(settings_far_off, _drill(agent__gamma=0.5), exact=True),
    "episodes_cut": Rule(episodes_cut, _drill(progress__rule_ended_share=1.0)),
    "simulator_incidents": Rule(simulator_incidents, _drill(system__incidents_recent=5.0), exact=True),
    "stale_build": Rule(stale_build, _drill(system__code_changed=1.0), exact=True),
}
EVENTS = ("alert_dead", "nan_or_inf")
"""Raised by the trainer itself, not by a rule on a row."""

_RANK = {"ok": 0, "warning": 1, "critical": 2}


class AlertMonitor:
    """Judges every row of scalars; remembers what it has said."""

    def __init__(self, bounds: Bounds, log: Path | None = None, rules: Mapping[str, Rule] = RULES) -> None:
        self.bounds, self.rules, self._log = bounds, rules, log
        self.levels: dict[str, Level] = dict.fromkeys((*rules, *EVENTS), "ok")
        # The last judgements of each rule: as many as must agree.
        self._recent: dict[str, deque[Judgement]] = {
            name: deque(maxlen=1 if rule.exact else PATIENCE) for name, rule in rules.items()
        }
        self._judged: dict[str, Judgement] = {}

    @property
    def active(self) -> list[str]:
        """Names of the alerts that stand at warning or critical."""
        return [name for name, level in self.levels.items() if level != "ok"]

    @property
    def rising(self) -> bool:
        """Whether the last row gave cause for an alert that has not held for long enough yet."""
        return any(
            recent and _RANK[recent[-1].level] > _RANK[self.levels[name]]
            for name, recent in self._recent.items()
        )

    def test(self) -> list[str]:
        """Press every rule's test button: names of the rules that their own drill does not set off."""
        dead = []
        for name, rule in self.rules.items():
            row = rule.drill(self.bounds)
            judgement = rule.judge(row, self.bounds) if row is not None else None
            if row is not None and (judgement is None or judgement.level == "ok"):
                dead.append(name)
        return dead

    def raise_event(self, name: str, step: int, value: float, limit: float, text: str) -> Alert:
        """A critical alert that no row shows, one of :data:`EVENTS`."""
        self._judged[name] = judgement = Judgement("critical", value, limit, text)
        return self._change(name, step, judgement)

    def observe(self, step: int, row: Row) -> list[Alert]:
        """Judge a row; the alerts whose level changed with it."""
        changed = []
        for name, rule in self.rules.items():
            judgement = rule.judge(row, self.bounds)
            if judgement is None:
                continue
            self._judged[name] = judgement
            recent = self._recent[name]
            recent.append(judgement)
            if len(recent) < (recent.maxlen or 0):
                continue
            # Of those on the same level, the newest speaks.
            low, high = (pick(reversed(recent), key=lambda j: _RANK[j.level]) for pick in (min, max))
            level = _RANK[self.levels[name]]
            if _RANK[low.level] > level:
                changed.append(self._change(name, step, low))
            elif _RANK[high.level] < level:
                changed.append(self._change(name, step, high))
        return changed

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, JSON-able: levels, and what the next row is judged with."""
        return {
            "levels": {name: self.levels[name] for name in self.rules},
            "recent": {name: [asdict(j) for j in recent] for name, recent in self._recent.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; rules that it does not know begin anew, events are over."""
        for name in self.rules:
            self.levels[name] = state["levels"].get(name, "ok")
            self._recent[name].extend(Judgement(**j) for j in state["recent"].get(name, ()))

    def _change(self, name: str, step: int, judgement: Judgement) -> Alert:
        self.levels[name] = judgement.level
        alert = Alert(
            name, judgement.level, step, judgement.value, judgement.limit, judgement.text, time.time()
        )
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(alert.to_json() + "\n")
        return alert

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
