"""What a training run logs: names, meanings, and nothing that is not measured.

The names follow the recorded runs (so that the same tools read both), with one difference
that matters: ``gradients/*_norm`` is the true L2 norm after the clip, not a sum of
per-tensor norms.  docs/metrics.md explains every tag.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from av_td3.agent.td3 import TD3, ActorStep, Batch, CriticStep
from av_td3.config import REWARD_COMPONENTS

Scalars = dict[str, float]

# The recorded runs' names of the four parameter groups.
GROUP_TAGS = {
    "actor_encoder": "actor_cnn",
    "actor_head": "actor_mlp",
    "critic_encoder": "critic_cnn",
    "critic_head": "critic_mlp",
}
SATURATED = 0.99  # |action| beyond which tanh passes less than 2 % of a gradient


class Interval:
    """Means of everything that happened since the last row of scalars."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._started = time.perf_counter()
        self.updates = 0
        self.steps = 0

    def add(self, tag: str, value: float) -> None:
        """One more value of a tag."""
        self._sums[tag] += value
        self._counts[tag] += 1

    def drain(self) -> Scalars:
        """Means per tag, rates, and a fresh start."""
        elapsed = max(1e-9, time.perf_counter() - self._started)
        row = {tag: total / self._counts[tag] for tag, total in self._sums.items()}
        row["system/steps_per_s"] = self.steps / elapsed
        row["system/updates_per_s"] = self.updates / elapsed
        self.__init__()  # type: ignore[misc]
        return row


def step_scalars(info: Mapping[str, Any], reward: float, action: np.ndarray) -> Scalars:
    """Per environment step; averaged over the logging interval."""
    components = info["reward_components"]
    magnitude = sum(abs(v) for v in components.values()) or 1.0
    row = {
        "progress/current_reward": reward,
        "progress/speed_kmh": info["speed_kmh"],
        "agent/taken_steer_mean": float(action[0]),
        "agent/taken_throttle_mean": float(action[1]),
    }
    for name in REWARD_COMPONENTS:
        row[f"rewards/{name}_component"] = components[name]
        row[f"rewards/{name}_percentage"] = 100.0 * abs(components[name]) / magnitude
    return row


def episode_scalars(episode: Mapping[str, float]) -> Scalars:
    """Once at an episode's end, on the environment-step axis."""
    return {
        "train/episode_reward": episode["return"],
        "train/episode_length": episode["length"],
        "train/collisions_per_episode": episode["collisions"],
        "train/lane_invasions_per_episode": episode["lane_invasions"],
        "train/route_completion": episode["route_completion"],
    }


def critic_scalars(step: CriticStep, batch: Batch) -> Scalars:
    """Of one critic step."""
    terminal = (batch.discount == 0).float()
    # One stack, one reduction, one transfer: on a GPU every float() is a synchronisation.
    q1, q2, y, r = step.q1, step.q2, step.target, batch.reward
    error, spread = (q1 - y).abs().mean(), y.std(correction=0).clamp_min(1e-3)
    names, values = zip(
        *[
            ("train/critic_loss", step.loss),
            ("train/q1_value", q1.mean()),
            ("train/q2_value", q2.mean()),
            *_moments("debug/q1", q1),
            *_moments("debug/q2", q2),
            *_moments("debug/target_q", y),
            ("debug/target_q_mean", y.mean()),
            *_moments("debug/reward", r),
            ("debug/reward_mean", r.mean()),
            ("debug/td_error_q1", error),
            # Values grow while an agent learns, and errors with them: what falls is their ratio.
            ("debug/td_error_relative", error / spread),
            ("train/explained_variance", (1 - (y - q1).var(correction=0) / spread.square()).clamp_min(-1)),
            ("debug/td_error_q2", (q2 - y).abs().mean()),
            ("debug/twin_gap", (q1 - q2).abs().mean()),
            ("debug/done_ratio", terminal.mean()),
            ("debug/effective_discount", batch.discount.mean()),
        ],
        strict=True,
    )
    return dict(zip(names, torch.stack(values).tolist(), strict=True))


def actor_scalars(step: ActorStep) -> Scalars:
    """Of one actor step; ``debug/actor_q_*`` is what the recorded system called so: the
    critic's value of the policy's own action."""
    action = step.action
    names, values = zip(
        *[
            ("train/actor_loss", step.loss),
            ("debug/actor_q_mean", step.q.mean()),
            ("debug/policy_q_mean", step.q.mean()),
            *_moments("debug/actor_q", step.q),
            ("agent/saturation", (action.abs() > SATURATED).float().mean()),
            ("agent/pre_tanh_abs_mean", step.pre_tanh.abs().mean()),
            ("agent/action_steer_mean", action[:, 0].mean()),
            ("agent/action_steer_std", action[:, 0].std(correction=0)),
            ("agent/action_throttle_mean", action[:, 1].mean()),
            ("agent/action_throttle_std", action[:, 1].std(correction=0)),
        ],
        strict=True,
    )
    return dict(zip(names, torch.stack(values).tolist(), strict=True))


def gradient_scalars(which: str, step: CriticStep | ActorStep) -> Scalars:
    """True L2 norms of one optimiser's groups; ``which`` is "actor" or "critic"."""
    report = step.gradients
    row = {f"gradients/{which}_clip_ratio": report.clip_ratio}
    for group, tag in GROUP_TAGS.items():
        if group.startswith(which):
            row[f"gradients/{tag}_norm"] = report.after.get(group, 0.0)
            row[f"gradients/{group}_norm_before_clip"] = report.before.get(group, 0.0)
            row[f"gradients/{group}_norm_after_clip"] = report.after.get(group, 0.0)
    if report.total_before > 0:
        share = report.before.get(f"{which}_encoder", 0.0) ** 2 / report.total_before**2
        row[f"gradients/{which}_encoder_share"] = share
    return row


def probe_scalars(agent: TD3, batch: Batch) -> Scalars:
    """What is too dear for every update: measured once per row of scalars on one batch.

    ``gradients/actor_state_path_norm`` asks the agent's own wiring for the gradient that
    reaches the actor through the critic's state input: the action is cut, and whatever is
    left came that way.  Anything but 0 is the leak of the recorded runs.
    """
    row: Scalars = {}
    parameters = [p for group in agent.actor_groups.values() for p in group]
    features = agent.actor_features(batch)
    action, _ = agent.actor(features, batch.vector)
    state = agent.critic_state(batch, features)
    leak = 0.0
    if state.requires_grad:
        q = agent.policy_value(state, batch.vector, action.detach())
        gradients = torch.autograd.grad(q.mean(), parameters, allow_unused=True)
        leak = float(sum((g.square().sum() for g in gradients if g is not None), torch.zeros(())).sqrt())
    row["gradients/actor_state_path_norm"] = leak
    for name, encoder in (("actor", agent.actor_encoder), ("critic", agent.critic_encoder)):
        with torch.no_grad():
            z = encoder(batch.image)
        row[f"agent/feature_norm_{name}"] = float(z.norm(dim=1).mean())
        row[f"agent/feature_rank_{name}"] = effective_rank(z)
        # A unit that gives the same output for every picture tells nothing of any of them.
        row[f"agent/dead_units_{name}"] = float((z.std(0, correction=0) < 1e-6).float().mean())
    with torch.no_grad():
        for network, target in agent.target_pairs():
            name = next(n for n, m in agent.networks().items() if m is network)
            row[f"agent/target_drift_{name}"] = _relative_distance(network, target)
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
    """Means and spreads of the weights, rates, counters: once per row."""
    row: Scalars = {"agent/total_iterations": float(agent.updates)}
    networks = {
        "actor_cnn": agent.actor_encoder,
        "actor": agent.actor,
        "critic_cnn": agent.critic_encoder,
        "critic": agent.critic,
    }
    for name, network in networks.items():
        flat = torch.cat([p.detach().flatten() for p in network.parameters()])
        row[f"agent/{name}_param_mean"] = float(flat.mean())
        row[f"agent/{name}_param_std"] = float(flat.std())
    for which, optimizer in agent.optimizers().items():
        row[f"agent/{which}_lr"] = optimizer.param_groups[-1]["lr"]
        if len(optimizer.param_groups) > 1:
            row[f"agent/{which}_cnn_lr"] = optimizer.param_groups[0]["lr"]
    row.setdefault("agent/actor_cnn_lr", 0.0)  # a shared encoder is the critic's to train
    row |= {"agent/gamma": agent.config.gamma, "agent/tau": agent.config.tau}
    return row


class UpdateToWeight:
    """||new - old|| / ||old|| over one update, per parameter group and per optimiser: about 1e-3
    is healthy (Karpathy)."""

    def __init__(self, agent: TD3) -> None:
        self._groups = {"critic": agent.critic_groups, "actor": agent.actor_groups}
        self._old = {
            name: [p.detach().clone() for p in group]
            for groups in self._groups.values()
            for name, group in groups.items()
        }

    def scalars(self) -> Scalars:
        row = {}
        for which, groups in self._groups.items():
            changes, lengths = [], []
            for name, group in groups.items():
                old = self._old[name]
                changes.append(_norm(torch._foreach_sub([p.detach() for p in group], old)))
                lengths.append(max(1e-12, _norm(old)))
                row[f"agent/update_to_weight_ratio_{name}"] = changes[-1] / lengths[-1]
            row[f"agent/update_to_weight_ratio_{which}"] = math.hypot(*changes) / math.hypot(*lengths)
        return row


def system_scalars(device: torch.device, restarts: int) -> Scalars:
    """Memory of this process and of the GPU, restarts of the simulator so far."""
    row = {
        "system/rss_mb": psutil.Process().memory_info().rss / 2**20,
        "system/gpu_mb": 0.0,
        "system/restarts": float(restarts),
    }
    if device.type == "cuda":
        row["system/gpu_mb"] = torch.cuda.memory_allocated(device) / 2**20
    return row


def _moments(tag: str, x: Tensor) -> list[tuple[str, Tensor]]:
    return [(f"{tag}_min", x.min()), (f"{tag}_max", x.max()), (f"{tag}_std", x.std(correction=0))]


def _relative_distance(network: nn.Module, target: nn.Module) -> float:
    mine: list[Tensor] = [p.detach() for p in network.parameters()]
    theirs: list[Tensor] = [p.detach() for p in target.parameters()]
    return _norm(torch._foreach_sub(mine, theirs)) / max(1e-12, _norm(mine))


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))
