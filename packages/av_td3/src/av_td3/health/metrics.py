"""What a training run logs.

A row of scalars is a dictionary, tag -> value.  The tags, and what each means, stand in
:mod:`rundoctor.signals`; docs/metrics.md is made from the same table.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from av_td3.agent.td3 import TD3, ActorStep, Batch, CriticStep
from rundoctor.signals import Moments, Signal, actor, critic, episodes, gradients, machine, networks, replay

Scalars = dict[str, float]
"""Tag -> value."""

SATURATED = 0.99
"""|action| beyond which tanh passes less than 2 % of a gradient."""


class Interval:
    """Means of all values that were added since the last row of scalars."""

    def __init__(self) -> None:
        self.probed_at = 0
        """Step of the last update whose size was measured."""
        self._begin()

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` takes; plain JSON."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "probed_at": self.probed_at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with an interval that a checkpoint fell into; its rates count from now on."""
        self._begin()
        self._sums.update(state["sums"])
        self._counts.update(state["counts"])
        self.probed_at = state["probed_at"]

    def _begin(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._started = time.perf_counter()
        self.updates = 0
        self.steps = 0

    def add(self, tag: str, value: float) -> None:
        """Add one value of a tag."""
        self._sums[tag] += value
        self._counts[tag] += 1

    def drain(self) -> Scalars:
        """The mean of each tag and the rates of the interval; the next interval begins."""
        elapsed = max(1e-9, time.perf_counter() - self._started)
        row = {tag: total / self._counts[tag] for tag, total in self._sums.items()}
        row[machine.STEPS_PER_S.tag] = self.steps / elapsed
        row[machine.UPDATES_PER_S.tag] = self.updates / elapsed
        self._begin()
        return row


def step_scalars(info: Mapping[str, Any], reward: float, action: np.ndarray) -> Scalars:
    """Of one environment step.  The trainer averages them over the log interval."""
    components = info["reward_components"]
    magnitude = sum(abs(v) for v in components.values()) or 1.0
    row = {
        episodes.REWARD.tag: reward,
        episodes.SPEED.tag: info["speed_kmh"],
        actor.TAKEN_STEER.tag: float(action[0]),
        actor.TAKEN_THROTTLE.tag: float(action[1]),
    }
    for name in replay.COMPONENTS:
        row[replay.COMPONENT.of(name)] = components[name]
        row[replay.SHARE.of(name)] = 100.0 * abs(components[name]) / magnitude
    return row


def episode_scalars(episode: Mapping[str, float]) -> Scalars:
    """Of one finished episode."""
    return {
        episodes.RETURN.tag: episode["return"],
        episodes.LENGTH.tag: episode["length"],
        episodes.COLLISIONS.tag: episode["collisions"],
        episodes.LANE_INVASIONS.tag: episode["lane_invasions"],
        episodes.ROUTE_COMPLETION.tag: episode["route_completion"],
    }


def critic_scalars(step: CriticStep, batch: Batch) -> Scalars:
    """Of one critic step."""
    terminal = (batch.discount == 0).float()
    q1, q2, y, r = step.q1, step.q2, step.target, batch.reward
    error, spread = (q1 - y).abs().mean(), y.std(correction=0).clamp_min(1e-3)
    return _transferred(
        {
            critic.LOSS: step.loss,
            **_moments(critic.Q1, q1),
            **_moments(critic.Q2, q2),
            **_moments(critic.TARGET, y),
            **_moments(replay.REWARD, r),
            critic.TD_ERROR: error,
            # Values grow while an agent learns, and errors with them: what falls is their ratio.
            critic.TD_ERROR_RELATIVE: error / spread,
            critic.EXPLAINED_VARIANCE: (1 - (y - q1).var(correction=0) / spread.square()).clamp_min(-1),
            critic.TD_ERROR_2: (q2 - y).abs().mean(),
            critic.TWIN_GAP: (q1 - q2).abs().mean(),
            replay.DONE_RATIO: terminal.mean(),
            replay.DISCOUNT: batch.discount.mean(),
        }
    )


def actor_scalars(step: ActorStep) -> Scalars:
    """Of one actor step."""
    action = step.action
    return _transferred(
        {
            actor.LOSS: step.loss,
            **_moments(actor.Q, step.q),
            actor.SATURATION: (action.abs() > SATURATED).float().mean(),
            actor.PRE_TANH: step.pre_tanh.abs().mean(),
            actor.ACTION_MEAN[1]: action[:, 0].mean(),
            actor.ACTION_STD[1]: action[:, 0].std(correction=0),
            actor.ACTION_MEAN[2]: action[:, 1].mean(),
            actor.ACTION_STD[2]: action[:, 1].std(correction=0),
        }
    )


def gradient_scalars(which: Literal["actor", "critic"], step: CriticStep | ActorStep) -> Scalars:
    """True L2 norms of the groups of one optimiser."""
    report = step.gradients
    row = {gradients.CLIP_RATIO[which].tag: report.clip_ratio}
    for group in gradients.GROUPS:
        # The actor has none of its own where the encoder is shared: no gradient of the actor's reaches it.
        if group in report.before or (which, group) == ("actor", "actor_encoder"):
            row |= _written(gradients.AFTER[group], report.after.get(group, 0.0))
            row |= _written(gradients.BEFORE[group], report.before.get(group, 0.0))
    if report.total_before > 0:
        share = report.before.get(f"{which}_encoder", 0.0) ** 2 / report.total_before**2
        row[gradients.ENCODER_SHARE[which].tag] = share
    return row


def probe_scalars(agent: TD3, batch: Batch) -> Scalars:
    """What costs too much for every update: measured once for each row of scalars, on one batch.

    ``gradients/actor_state_path_norm`` is the gradient that reaches the actor through the critic's state
    input.  It is measured with the agent's own wiring: the action is detached, so whatever gradient is left
    came through the state.  ``gradients/actor_action_path_norm`` is the opposite: the state is detached.  The
    norm of the whole actor loss does not show that this way is cut, for penalties on the action go on.
    """
    row: Scalars = {}
    parameters = [p for group in agent.actor_groups.values() for p in group]
    features = agent.actor_features(batch)
    action, _ = agent.actor(features, batch.vector)
    state = agent.critic_state(batch, features)

    def reaching(state: Tensor, action: Tensor) -> float:
        q = agent.policy_value(state, batch.vector, action).mean()
        if not q.requires_grad:
            return 0.0
        parts = torch.autograd.grad(q, parameters, allow_unused=True, retain_graph=True)
        return math.hypot(*(float(part.norm()) for part in parts if part is not None))

    row[gradients.ACTION_PATH.tag] = reaching(state.detach(), action)
    row[gradients.STATE_PATH.tag] = reaching(state, action.detach()) if state.requires_grad else 0.0
    for name, encoder in (("actor", agent.actor_encoder), ("critic", agent.critic_encoder)):
        with torch.no_grad():
            z = encoder(batch.image)
        if z.shape[1] == 0:  # this one sees no pictures
            continue
        row[networks.FEATURE_NORM[name].tag] = float(z.norm(dim=1).mean())
        row[networks.FEATURE_RANK[name].tag] = effective_rank(z)
        # A unit that gives the same output for every picture carries no information.
        row[networks.DEAD_UNITS[name].tag] = float((z.std(0, correction=0) < 1e-6).float().mean())
    with torch.no_grad():
        for network, target in agent.target_pairs():
            name = next(n for n, m in agent.networks().items() if m is network)
            row[networks.TARGET_DRIFT[name].tag] = _relative_distance(network, target)
    return row


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007); (B, F) in.

    NaN where an entry is not finite: torch's decomposition raises an error of its own there.
    """
    if not torch.isfinite(features).all():
        return math.nan
    centred = features - features.mean(0)
    values = torch.linalg.svdvals(centred)
    total = values.sum()
    if not total > 0:
        return 0.0
    p = values / total
    return float(torch.exp(-(p * torch.log(p.clamp_min(1e-12))).sum()))


def parameter_scalars(agent: TD3) -> Scalars:
    """Means and spreads of the weights, learning rates and settings."""
    row: Scalars = {networks.UPDATES.tag: float(agent.updates)}
    modules = {
        "actor_encoder": agent.actor_encoder,
        "actor_head": agent.actor,
        "critic_encoder": agent.critic_encoder,
        "critic_head": agent.critic,
    }
    for group, network in modules.items():
        weights = [p.detach().flatten() for p in network.parameters()]
        if not weights:
            continue
        flat = torch.cat(weights)
        row[networks.WEIGHT_MEAN[group].tag] = float(flat.mean())
        row[networks.WEIGHT_STD[group].tag] = float(flat.std())
    row[networks.RATE["actor_encoder"].tag] = 0.0  # unless below: the critic trains a shared encoder
    for which, optimizer in agent.optimizers().items():
        row[networks.RATE[which].tag] = float(optimizer.param_groups[-1]["lr"])
        if len(optimizer.param_groups) > 1:
            row[networks.RATE[f"{which}_encoder"].tag] = float(optimizer.param_groups[0]["lr"])
    return row | {networks.GAMMA.tag: agent.config.gamma, networks.TAU.tag: agent.config.tau}


class UpdateToWeight:
    """||new - old|| / ||old|| over one update, for each group of parameters and for each optimiser.

    About 1e-3 is healthy (Karpathy, "A Recipe for Training Neural Networks").  Make it before the update
    and ask it afterwards.
    """

    def __init__(self, agent: TD3) -> None:
        self._groups = {"critic": agent.critic_groups, "actor": agent.actor_groups}
        self._old = {
            name: [p.detach().clone() for p in group]
            for groups in self._groups.values()
            for name, group in groups.items()
        }

    def scalars(self) -> Scalars:
        """The ratios of the update since this object was made."""
        row = {}
        for which, groups in self._groups.items():
            changes, lengths = [], []
            for name, group in groups.items():
                old = self._old[name]
                changes.append(_norm(torch._foreach_sub([p.detach() for p in group], old)))
                lengths.append(max(1e-12, _norm(old)))
                row[networks.UPDATE_TO_WEIGHT[name].tag] = changes[-1] / lengths[-1]
            row[networks.UPDATE_TO_WEIGHT[which].tag] = math.hypot(*changes) / math.hypot(*lengths)
        return row


def system_scalars(device: torch.device, restarts: int, downtime_s: float) -> Scalars:
    """Memory of this process and on the GPU; restarts of the simulator so far, and how long it was away."""
    on_gpu = torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    return {
        machine.RSS.tag: psutil.Process().memory_info().rss / 2**20,
        machine.GPU.tag: on_gpu,
        machine.RESTARTS.tag: float(restarts),
        machine.DOWNTIME.tag: downtime_s,
    }


def _moments(signals: Moments, x: Tensor) -> dict[Signal, Tensor]:
    return dict(zip(signals, (x.mean(), x.min(), x.max(), x.std(correction=0)), strict=True))


def _transferred(values: Mapping[Signal, Tensor]) -> Scalars:
    """A row of scalars from tensors with one transfer: on a GPU every float() is a synchronisation."""
    row: Scalars = {}
    for signal, value in zip(values, torch.stack(list(values.values())).tolist(), strict=True):
        row |= _written(signal, value)
    return row


def _written(signal: Signal, value: float) -> Scalars:
    """A value under every tag of its signal."""
    return dict.fromkeys((signal.tag, *signal.also), value)


def _relative_distance(network: nn.Module, target: nn.Module) -> float:
    mine: list[Tensor] = [p.detach() for p in network.parameters()]
    theirs: list[Tensor] = [p.detach() for p in target.parameters()]
    return _norm(torch._foreach_sub(mine, theirs)) / max(1e-12, _norm(mine))


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))
