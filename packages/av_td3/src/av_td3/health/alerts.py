"""Alerts on a running training.

What is judged, and by which thresholds: :mod:`rundoctor.signals.conditions`.  A threshold follows from
something that the run itself fixes (the clip's limit, the largest return that the reward allows, the range
of tanh, the wiring of TD3) and is compared with a figure that is not bounded by the same thing.  Each rule
comes with a drill, a row of scalars that must set it off: a run tests its alerts before it starts.

An alert speaks when its level changes.  It rises to a level once :data:`PATIENCE` rows in succession have
reached it, and falls to a level once as many rows have not exceeded it.  Where the figure is free of noise
one row is enough.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from av_td3.config import Config
from av_td3.driving.reward import return_bound, reward_bound
from rundoctor.signals import (
    actor,
    alerts,
    conditions,
    critic,
    episodes,
    gradients,
    machine,
    networks,
    replay,
)
from rundoctor.signals.conditions import Condition, Level
from rundoctor.signals.settings import SETTINGS

PATIENCE = 3


@dataclass(frozen=True)
class Bounds:
    """What the configuration makes possible at most, and which parameters it trains."""

    q: float
    """Largest |Q| of any policy: max |r| / (1 - gamma), terminal rewards included."""
    actor_clip: float | None
    critic_clip: float | None
    reward: float = math.inf
    """Largest |reward| of a stored transition, which sums n_step rewards."""
    groups: tuple[str, ...] = ("actor_head", "critic_encoder", "critic_head")
    """The groups of parameters that are trained."""
    tau: float = 0.005

    @classmethod
    def of(cls, config: Config) -> Bounds:
        """The bounds that a configuration sets."""
        agent, reward = config.agent, config.env.reward
        sighted = {
            "separate": ("actor_encoder", "actor_head", "critic_encoder", "critic_head"),
            "shared": ("actor_head", "critic_encoder", "critic_head"),
            "asymmetric": ("actor_encoder", "actor_head", "critic_head"),
            "none": ("actor_head", "critic_head"),
        }
        return cls(
            q=max(abs(b) for b in return_bound(reward, agent.gamma)),
            actor_clip=agent.actor_clip_norm,
            critic_clip=agent.critic_clip_norm,
            reward=config.replay.n_step * max(abs(b) for b in reward_bound(reward)),
            groups=sighted[agent.encoder],
            tau=agent.tau,
        )


@dataclass(frozen=True)
class Judgement:
    """What one rule says of one row."""

    level: Level
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class Alert:
    """A change of an alert's level, with the figures that caused it."""

    name: str
    level: Level
    step: int
    value: float
    limit: float
    text: str
    time: float

    def to_json(self) -> str:
        """One line of ``alerts.jsonl``."""
        return json.dumps(asdict(self))


Row = Mapping[str, float]
"""One row of scalars: tag -> value."""
Judge = Callable[[Row, Bounds], "Judgement | None"]
"""Judges a row; None when the row does not hold what is judged."""


def explosion(bounds: Bounds) -> Row:
    """A row of a run that has exploded behind a clip that holds."""
    exploded = (
        *(critic.Q2.mean, actor.Q.mean, critic.TARGET.mean, critic.TD_ERROR, critic.TD_ERROR_2),
        *(critic.TWIN_GAP, *gradients.CLIP_RATIO.values()),
    )
    values = dict.fromkeys(exploded, 1e6 * bounds.q)
    values |= {critic.Q1.mean: 0.1 * bounds.q, critic.Q1.std: 0.1 * bounds.q, actor.SATURATION: 1.0}
    for group, signal in gradients.AFTER.items():
        values[signal] = (bounds.actor_clip if group.startswith("actor") else bounds.critic_clip) or 1e6
    return {tag: value for signal, value in values.items() for tag in (signal.tag, *signal.also)}


@dataclass(frozen=True)
class AlertRule:
    """How a condition is judged in a row of scalars, and a row that must set the alert off."""

    condition: Condition
    judge: Judge
    drill: Callable[[Bounds], Row | None] = explosion
    """None: not with these bounds, which leave the rule nothing to judge."""


def compare(condition: Condition, value: float, text: str, scale: float = 1.0) -> Judgement:
    """Compare a figure with the thresholds of a condition, which are multiples of ``scale``."""
    level = condition.level(value, scale)
    return Judgement(level, value, condition.limit(level, scale), text)


def _known(row: Row, *tags: str) -> list[float]:
    return [row[tag] for tag in tags if tag in row]


# ---------------------------------------------------------------- values out of bounds


def policy_q_gap(row: Row, bounds: Bounds) -> Judgement | None:
    """Q of the policy's actions against Q of the data, on the same states.

    The gap is measured in units of the data's own |Q| and spread, and of at least a hundredth of the bound.
    """
    if actor.Q.mean.tag not in row or critic.Q1.mean.tag not in row:
        return None
    policy, data = row[actor.Q.mean.tag], row[critic.Q1.mean.tag]
    scale = max(abs(data) + row.get(critic.Q1.std.tag, 0.0), bounds.q / 100)
    text = f"Q of the policy's actions is {policy:.3g}, of the data {data:.3g}"
    return compare(conditions.POLICY_Q_GAP, abs(policy - data) / scale, text)


def q_above_reward_bound(row: Row, bounds: Bounds) -> Judgement | None:
    """The largest mean |Q| of the batch against the largest return that the reward allows."""
    values = _known(row, critic.Q1.mean.tag, critic.Q2.mean.tag, actor.Q.mean.tag, critic.TARGET.mean.tag)
    if not values:
        return None
    value = max(map(abs, values))
    text = f"|Q| is {value:.3g}; the reward allows at most {bounds.q:.3g}"
    return compare(conditions.Q_ABOVE_REWARD_BOUND, value, text, bounds.q)


def reward_above_bound(row: Row, bounds: Bounds) -> Judgement | None:
    """A stored reward that the reward function cannot give: the bound of Q does not hold with it."""
    values = _known(row, replay.REWARD.min.tag, replay.REWARD.max.tag)
    if not values:
        return None
    value = max(map(abs, values))
    text = f"the replay holds a reward of {value:.3g}; the reward function gives at most {bounds.reward:.3g}"
    return compare(conditions.REWARD_ABOVE_BOUND, value, text, bounds.reward)


def gradient_explosion(row: Row, bounds: Bounds) -> Judgement | None:
    """The norm before the clip, in units of the clip's limit.  Without a clip there is no unit."""
    limits = {"actor": bounds.actor_clip, "critic": bounds.critic_clip}
    tags = [gradients.CLIP_RATIO[who].tag for who, limit in limits.items() if limit is not None]
    values = _known(row, *tags)
    if not values:
        return None
    text = f"the gradient norm before the clip is {max(values):.3g} times the clip's limit"
    return compare(conditions.GRADIENT_EXPLOSION, max(values), text)


def actor_saturated(row: Row, bounds: Bounds) -> Judgement | None:
    """The share of the policy's actions at their limits, where tanh passes no gradient."""
    value = row.get(actor.SATURATION.tag)
    if value is None:
        return None
    text = f"{100 * value:.0f} % of the policy's actions are at their bound"
    return compare(conditions.ACTOR_SATURATED, value, text)


def critic_divergence(row: Row, bounds: Bounds) -> Judgement | None:
    """The mean TD error against the whole range of returns."""
    values = _known(row, critic.TD_ERROR.tag, critic.TD_ERROR_2.tag)
    if not values:
        return None
    text = f"the mean TD error is {max(values):.3g}; |Q| can be at most {bounds.q:.3g}"
    return compare(conditions.CRITIC_DIVERGENCE, max(values), text, bounds.q)


def critic_not_learning(row: Row, bounds: Bounds) -> Judgement | None:
    """The TD error in units of the targets' spread, once the critic has made its first updates."""
    condition = conditions.CRITIC_NOT_LEARNING
    value, updates = row.get(critic.TD_ERROR_RELATIVE.tag), row.get(networks.UPDATES.tag, 0.0)
    if value is None or updates < condition.threshold("settled"):
        return None
    return compare(condition, value, f"the TD error is {value:.3g} of the targets' standard deviation")


def twin_disagreement(row: Row, bounds: Bounds) -> Judgement | None:
    """The mean difference of the two critics, in units of Q's size and spread."""
    gap = row.get(critic.TWIN_GAP.tag)
    if gap is None:
        return None
    sizes = _known(row, critic.Q1.mean.tag, critic.Q2.mean.tag, critic.Q1.std.tag, critic.Q2.std.tag)
    scale = max([*map(abs, sizes), row.get(replay.REWARD.std.tag, 0.0), bounds.q / 100])
    text = f"mean |Q1 - Q2| is {gap:.3g}; Q is of size {scale:.3g}"
    return compare(conditions.TWIN_DISAGREEMENT, gap / scale, text)


# ---------------------------------------------------------------- faults of the wiring


def state_gradient_leak(row: Row, bounds: Bounds) -> Judgement | None:
    """The policy gradient must not reach the actor through the critic's state input."""
    value = row.get(gradients.STATE_PATH.tag)
    if value is None:
        return None
    text = "norm of the policy gradient through the critic's state input; it must be 0"
    return compare(conditions.STATE_GRADIENT_LEAK, value, text)


def clip_not_applied(row: Row, bounds: Bounds) -> Judgement | None:
    """The joint norm of an optimiser's groups after the clip, against the clip's limit.

    Rows hold means over updates.  The norm of the groups' means is at most the mean of their joint norm,
    so what exceeds the limit here has exceeded it in some update.
    """
    worst: Judgement | None = None
    for who, limit in (("actor", bounds.actor_clip), ("critic", bounds.critic_clip)):
        parts = _known(row, *(s.tag for group, s in gradients.AFTER.items() if group.startswith(who)))
        if limit is None or not parts:
            continue
        value = math.hypot(*parts)
        text = (
            f"{who}: norm {value:.3g} after a clip at {limit:g}: the clip did not hold, or this is no L2 norm"
        )
        found = compare(conditions.CLIP_NOT_APPLIED, value, text, limit)
        if worst is None or found.value / found.limit > worst.value / worst.limit:
            worst = found
    return worst


def gradient_missing(row: Row, bounds: Bounds) -> Judgement | None:
    """Groups of parameters whose loss does not reach them: their gradient is exactly 0.

    One more counts if the critic's part of the actor's loss does not reach the actor: penalties on the action
    would hide that.  A saturated actor has no gradient either, and an alert of its own.
    """
    before = {group: gradients.BEFORE[group].tag for group in bounds.groups}
    if not _known(row, *before.values()):
        return None
    silent = [
        group
        for group, tag in before.items()
        if gradients.CLIP_RATIO[group.split("_")[0]].tag in row and row.get(tag) == 0.0
    ]
    text = f"no gradient reaches {_listed(silent) or 'none of the groups'}: exactly 0 in every update"
    saturated = row.get(actor.SATURATION.tag, 0.0) > conditions.ACTOR_SATURATED.threshold("critical")
    if not silent and not saturated and row.get(gradients.ACTION_PATH.tag) == 0.0:
        return compare(
            conditions.GRADIENT_MISSING, 1, "no gradient of Q reaches the actor through its action"
        )
    return compare(conditions.GRADIENT_MISSING, len(silent), text)


def parameters_frozen(row: Row, bounds: Bounds) -> Judgement | None:
    """Groups of parameters that have a gradient and do not move."""
    moved = {group: networks.UPDATE_TO_WEIGHT[group].tag for group in bounds.groups}
    if not _known(row, *moved.values()):
        return None
    least = conditions.PARAMETERS_FROZEN.threshold("least gradient")
    still = [
        group
        for group, tag in moved.items()
        if row.get(tag) == 0.0 and row.get(gradients.BEFORE[group].tag, 0.0) > least
    ]
    text = f"{_listed(still) or 'no group'}: has a gradient and does not move"
    return compare(conditions.PARAMETERS_FROZEN, len(still), text)


def target_encoders_missing(row: Row, bounds: Bounds) -> Judgement | None:
    """Networks that move while their target copy equals them, or is another network."""
    drifts = {
        network: row[networks.TARGET_DRIFT[network].tag]
        for network, group in networks.TRAINED_BY.items()
        if networks.TARGET_DRIFT[network].tag in row and row.get(networks.UPDATE_TO_WEIGHT[group].tag, 0) > 0
    }
    if bounds.tau >= 1 or not drifts:
        return None
    condition = conditions.TARGET_ENCODERS_MISSING
    same, other = condition.threshold("no lag"), condition.threshold("another network")
    wrong = [network for network, drift in drifts.items() if drift < same or drift > other]
    text = f"{_listed(wrong) or 'no network'}: has no target copy of its own"
    return compare(condition, len(wrong), text)


def terminal_flag_wrong(row: Row, bounds: Bounds) -> Judgement | None:
    """Episodes whose terminal flag contradicts what ended them."""
    value = row.get(replay.TERMINAL_FLAG_MISMATCH.tag)
    if value is None:
        return None
    text = f"{100 * value:.0f} % of the episodes ended with the wrong terminal flag"
    return compare(conditions.TERMINAL_FLAG_WRONG, value, text)


def hyperparameter_off_reference(row: Row, bounds: Bounds) -> Judgement | None:
    """Rates, gamma and tau far outside what TD3 is known to work with.  Never critical."""
    # a rate of 0 is that of a group that is not trained
    known = [(s, row[s.signal.tag]) for s in SETTINGS if s.signal is not None and row.get(s.signal.tag)]
    if not known:
        return None
    far = [f"{setting.name} {value:g}" for setting, value in known if setting.off(value) == 2]
    text = f"far from the references: {', '.join(far) or 'nothing'}"
    return compare(conditions.HYPERPARAMETER_OFF_REFERENCE, float(len(far)), text)


# ---------------------------------------------------------------- the world around


def single_cause_termination(row: Row, bounds: Bounds) -> Judgement | None:
    """Episodes that end at the first touch of a marking are over before a route can be learned."""
    value = row.get(episodes.RULE_ENDED_SHARE.tag)
    if value is None:
        return None
    text = f"{100 * value:.0f} % of the last episodes ended because a marking was touched"
    return compare(conditions.SINGLE_CAUSE_TERMINATION, value, text)


def simulator_incidents(row: Row, bounds: Bounds) -> Judgement | None:
    """Failures of the simulator, and ports that others hold."""
    value = row.get(machine.INCIDENTS.tag)
    if value is None:
        return None
    plural = "" if value == 1 else "s"
    text = f"{value:.0f} incident{plural} of the simulator in the last 1,000 steps"
    return compare(conditions.SIMULATOR_INCIDENTS, value, text)


def stale_build(row: Row, bounds: Bounds) -> Judgement | None:
    """The code on disk is not the code that the run's record names.  Never critical."""
    value = row.get(machine.CODE_CHANGED.tag)
    if value is None:
        return None
    text = "the source files on disk are not those that provenance.json records"
    return compare(conditions.STALE_BUILD, value, text)


def _listed(names: list[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in names)


def _drill(row: Row) -> Callable[[Bounds], Row | None]:
    return lambda bounds: row


def _clip_drill(bounds: Bounds) -> Row | None:
    limits = {"actor": bounds.actor_clip, "critic": bounds.critic_clip}
    row = {
        gradients.AFTER[f"{who}_head"].tag: 1.5 * limit for who, limit in limits.items() if limit is not None
    }
    return row or None


def _target_drill(bounds: Bounds) -> Row | None:
    encoders = [group for group in bounds.groups if group.endswith("_encoder")]
    if not encoders:
        return None
    network = encoders[-1]
    row = {networks.TARGET_DRIFT[network].tag: 0.0, networks.UPDATE_TO_WEIGHT[network].tag: 1e-3}
    return row if bounds.tau < 1 else None


RULES: dict[str, AlertRule] = {
    rule.condition.alert: rule
    for rule in (
        AlertRule(
            conditions.STATE_GRADIENT_LEAK, state_gradient_leak, _drill({gradients.STATE_PATH.tag: 1e-9})
        ),
        AlertRule(conditions.POLICY_Q_GAP, policy_q_gap),
        AlertRule(conditions.Q_ABOVE_REWARD_BOUND, q_above_reward_bound),
        AlertRule(
            conditions.REWARD_ABOVE_BOUND,
            reward_above_bound,
            lambda b: {replay.REWARD.max.tag: 2 * b.reward} if b.reward < math.inf else None,
        ),
        AlertRule(
            conditions.GRADIENT_EXPLOSION,
            gradient_explosion,
            lambda b: explosion(b) if b.actor_clip or b.critic_clip else None,
        ),
        AlertRule(conditions.ACTOR_SATURATED, actor_saturated),
        AlertRule(conditions.CRITIC_DIVERGENCE, critic_divergence),
        AlertRule(
            conditions.CRITIC_NOT_LEARNING,
            critic_not_learning,
            _drill({critic.TD_ERROR_RELATIVE.tag: 2.0, networks.UPDATES.tag: 1e4}),
        ),
        AlertRule(conditions.TWIN_DISAGREEMENT, twin_disagreement),
        AlertRule(conditions.CLIP_NOT_APPLIED, clip_not_applied, _clip_drill),
        AlertRule(
            conditions.GRADIENT_MISSING,
            gradient_missing,
            _drill({gradients.CLIP_RATIO["actor"].tag: 0.1, gradients.BEFORE["actor_head"].tag: 0.0}),
        ),
        AlertRule(
            conditions.PARAMETERS_FROZEN,
            parameters_frozen,
            _drill(
                {
                    networks.UPDATE_TO_WEIGHT["critic_head"].tag: 0.0,
                    gradients.BEFORE["critic_head"].tag: 1.0,
                }
            ),
        ),
        AlertRule(conditions.TARGET_ENCODERS_MISSING, target_encoders_missing, _target_drill),
        AlertRule(
            conditions.TERMINAL_FLAG_WRONG,
            terminal_flag_wrong,
            _drill({replay.TERMINAL_FLAG_MISMATCH.tag: 1.0}),
        ),
        AlertRule(
            conditions.HYPERPARAMETER_OFF_REFERENCE,
            hyperparameter_off_reference,
            _drill({networks.GAMMA.tag: 0.5}),
        ),
        AlertRule(
            conditions.SINGLE_CAUSE_TERMINATION,
            single_cause_termination,
            _drill({episodes.RULE_ENDED_SHARE.tag: 1.0}),
        ),
        AlertRule(conditions.SIMULATOR_INCIDENTS, simulator_incidents, _drill({machine.INCIDENTS.tag: 5.0})),
        AlertRule(conditions.STALE_BUILD, stale_build, _drill({machine.CODE_CHANGED.tag: 1.0})),
    )
}
"""Every alert that is judged on a row of scalars, by name."""
EVENTS = tuple(c.alert for c in conditions.ALERTS if c.raised == "trainer")
"""Alerts that the trainer raises itself; no row of scalars shows them."""

_RANK = {"ok": 0, "warning": 1, "critical": 2}


class AlertMonitor:
    """Judges every row of scalars, and remembers the level of each alert."""

    def __init__(
        self, bounds: Bounds, log: Path | None = None, rules: Mapping[str, AlertRule] = RULES
    ) -> None:
        self.bounds, self.rules, self._log = bounds, rules, log
        self.levels: dict[str, Level] = dict.fromkeys((*rules, *EVENTS), "ok")
        # The last judgements of each rule: as many as must agree.
        self._recent: dict[str, deque[Judgement]] = {
            name: deque(maxlen=1 if rule.condition.at_once else PATIENCE) for name, rule in rules.items()
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
            # A full disk must not end a training; the alert is shown all the same.
            with contextlib.suppress(OSError), self._log.open("a") as file:
                file.write(alert.to_json() + "\n")
        return alert

    def scalars(self) -> dict[str, float]:
        """What each alert says, 0 or 1 (critical implies warning), and the figures that it compared."""
        row = {}
        for name, level in self.levels.items():
            row[alerts.WARNING.of(name)] = float(level != "ok")
            row[alerts.CRITICAL.of(name)] = float(level == "critical")
        for name, judgement in self._judged.items():
            row[alerts.VALUE.of(name)] = judgement.value
            row[alerts.LIMIT.of(name)] = judgement.limit
        return row
