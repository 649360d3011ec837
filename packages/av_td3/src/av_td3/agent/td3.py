"""TD3 on camera images.

Fujimoto, van Hoof, Meger (2018), "Addressing Function Approximation Error in Actor-Critic
Methods", algorithm 1, with an encoder in front of the heads.  Two rules keep training with an
encoder stable:

* The policy gradient reaches the actor through the *action* alone.  The critic judges the
  actor's action on the critic's own features, held constant; a gradient through the
  critic's state input would train the actor's encoder to produce features that look
  valuable, and Q of the policy grows without limit while Q of the data stays sane.
* Every network in the Bellman target is a target copy, encoders included, and each head
  gets the features of its own encoder.

The actor sees the first ``visible_size`` entries of the vector.  What comes after them is the
simulator's state, which only the critic sees: an asymmetric actor-critic (Pinto et al. 2018,
"Asymmetric Actor Critic for Image-Based Robot Learning").  The critic is needed in training only,
so the policy that it trains still drives by what it can see.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from av_td3.agent.gradients import (
    GradientReport,
    PendingReport,
    clip_gradients,
    clip_without_waiting,
)
from av_td3.agent.graphs import GraphedUpdate, Parts
from av_td3.agent.networks import ActorHead, Encoder, NoEncoder, TwinCriticHead
from av_td3.config import AgentConfig


@dataclass(frozen=True)
class Batch:
    """B transitions on the agent's device."""

    image: Tensor  # (B, C, H, W) uint8
    vector: Tensor  # (B, V) float32
    action: Tensor  # (B, A) float32
    reward: Tensor  # (B,) float32, the sum of n discounted rewards for n-step returns
    discount: Tensor  # (B,) float32: gamma^n, and 0 where the episode terminated (not: truncated)
    next_image: Tensor  # (B, C, H, W) uint8
    next_vector: Tensor  # (B, V) float32
    demonstrated: Tensor  # (B,) bool: the action is a demonstrator's, not the agent's


@dataclass(frozen=True)
class CriticStep:
    """What one critic step did; tensors are detached."""

    q1: Tensor  # (B,)
    q2: Tensor  # (B,)
    target: Tensor  # (B,)
    next_action: Tensor  # (B, A) the target policy's action at the next observation, without noise
    features: Tensor  # (B, F) of the critic's encoder on the batch, before its step
    loss: Tensor
    gradients: GradientReport


@dataclass(frozen=True)
class ActorStep:
    """What one actor step did; tensors are detached."""

    action: Tensor  # (B, A) the policy's action on the batch
    pre_tanh: Tensor  # (B, A)
    q: Tensor  # (B,) the critic's value of it
    loss: Tensor
    gradients: GradientReport


def shifted(batch: Batch, pixels: int, only_next: bool = False) -> Batch:
    """The batch with each stack of pictures shifted at random; ``only_next``: of the next step alone."""
    batch = replace(batch, next_image=random_shift(batch.next_image, pixels))
    return batch if only_next else replace(batch, image=random_shift(batch.image, pixels))


def random_shift(image: Tensor, pixels: int) -> Tensor:
    """(B, C, H, W), each stack moved by up to ``pixels`` along each axis; the edge is repeated.

    The augmentation of DrQ (Kostrikov et al. 2020) and DrQ-v2 (Yarats et al. 2021, 4 pixels of 84).
    """
    # Drawn on the device, so that an update that was recorded as a CUDA graph draws anew each time.
    down, right = (torch.randint(-pixels, pixels + 1, (len(image), 1), device=image.device) for _ in range(2))
    # Replay gives pictures whose channels lie side by side; so do both ways leave them.
    moved = (_shift_by_slices if image.device.type == "cpu" else shift_by_index)(
        image.permute(0, 2, 3, 1), down, right
    )
    return moved.permute(0, 3, 1, 2)


def shift_by_index(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, H, W, C), each taken from ``down``, ``right``, both (B, 1), further on; all on the device."""
    batch, height, width, channels = image.shape

    def places(shift: Tensor, size: int) -> Tensor:
        """(B, size): where each row or column is taken from."""
        return (torch.arange(size, device=shift.device) + shift).clamp_(0, size - 1)

    rows = torch.arange(batch, device=image.device)[:, None] * height + places(down, height)
    pixel = rows[:, :, None] * width + places(right, width)[:, None, :]
    return image.reshape(-1, channels).index_select(0, pixel.flatten()).view(image.shape)


def _shift_by_slices(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The same by copies of whole rows: on a CPU in half the time."""
    source = image.numpy()
    moved = np.empty(source.shape, source.dtype)
    margin = int(max(down.abs().max(), right.abs().max()))
    wide = np.pad(source, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    _, height, width, _ = source.shape
    for k, (y, x) in enumerate(zip((down + margin).tolist(), (right + margin).tolist(), strict=True)):
        moved[k] = wide[k, y[0] : y[0] + height, x[0] : x[0] + width]
    return torch.from_numpy(moved)


S = TypeVar("S", CriticStep, ActorStep)


class TD3:
    """The networks, their target copies, their optimisers, and the update."""

    def __init__(
        self,
        config: AgentConfig,
        image_shape: tuple[int, int, int],
        vector_size: int,
        action_size: int,
        device: torch.device | str = "cpu",
        visible_size: int | None = None,
        picture_size: int | None = None,
    ) -> None:
        """``image_shape`` is (frames, height, width), square.

        ``visible_size``: entries of the vector that the actor sees, the first ones; None: all of them.
        ``picture_size``: how many of the next entries a picture can show, for ``state_loss``; None: all.
        """
        self.config = config
        self.visible_size = vector_size if visible_size is None else visible_size
        hidden_size = vector_size - self.visible_size
        self.picture_size = hidden_size if picture_size is None else picture_size
        self.device = torch.device(device)
        channels, _, size = image_shape
        conv_dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32

        def encoder(sees: bool) -> tuple[Encoder | NoEncoder, int]:
            """An encoder and the number of its features."""
            if not sees:
                return NoEncoder(), 0
            size_ = config.feature_size
            net = Encoder(channels, size, size_, config.feature_norm, conv_dtype, config.encoder_net)
            return net.to(self.device), size_

        self.shared = config.encoder == "shared"
        self.critic_encoder, critic_features = encoder(config.encoder in ("separate", "shared"))
        if self.shared:
            self.actor_encoder, actor_features = self.critic_encoder, critic_features
        else:
            self.actor_encoder, actor_features = encoder(config.encoder in ("separate", "asymmetric"))
        self.actor = ActorHead(
            actor_features, self.visible_size, action_size, config.hidden, config.actor_final_init
        ).to(self.device)
        norm = nn.LayerNorm if config.critic_layer_norm else None
        self.critic = TwinCriticHead(
            critic_features,
            vector_size,
            action_size,
            config.hidden,
            nn.BatchNorm1d if config.critic_batch_norm else norm,
        ).to(self.device)
        self.critic.eval()  # but for its own step: BatchNorm then judges by its running statistics
        self.state_head = None
        if config.state_loss and not self.shared and actor_features and self.picture_size:
            self.state_head = nn.Linear(actor_features, self.picture_size).to(self.device)

        self.target_critic_encoder = _frozen_copy(self.critic_encoder)
        self.target_actor_encoder = (
            self.target_critic_encoder if self.shared else _frozen_copy(self.actor_encoder)
        )
        self.target_actor = _frozen_copy(self.actor)
        self.target_critic = _frozen_copy(self.critic)

        # The groups are what each optimiser steps, what its clip bounds and what is measured.
        self.critic_groups = _groups(critic_encoder=[self.critic_encoder], critic_head=[self.critic])
        seeing: list[nn.Module] = [] if self.shared else [self.actor_encoder]
        if self.state_head is not None:
            seeing.append(self.state_head)
        self.actor_groups = _groups(actor_encoder=seeing, actor_head=[self.actor])
        self._rates = {
            "critic_encoder": config.critic_encoder_lr,
            "critic_head": config.critic_lr,
            "actor_encoder": config.actor_encoder_lr,
            "actor_head": config.actor_lr,
        }

        def adam(groups: dict[str, list[nn.Parameter]]) -> torch.optim.Adam:
            settings = [{"name": n, "params": p, "lr": self._rate(n)} for n, p in groups.items()]
            # Capturable: what it counts stays on the GPU, so that a graph can record its step.
            return torch.optim.Adam(settings, fused=True, capturable=self.device.type == "cuda")

        self.critic_optimizer = adam(self.critic_groups)
        self.actor_optimizer = adam(self.actor_groups)
        self.updates = 0
        self.graphs = GraphedUpdate(self._compute, self.device) if config.execution == "graphs" else None
        self._imitation_weight = torch.zeros((), device=self.device)
        self.change_weights = torch.as_tensor(config.action_change_penalty, device=self.device)

    # ------------------------------------------------------------------ the algorithm

    def update(self, batch: Batch) -> tuple[CriticStep, ActorStep | None]:
        """One update: the critic's step, and every ``policy_delay``-th the actor's and the targets'."""
        self.updates += 1
        if self.config.lr_decay_updates is not None:
            self._set_rates()
        targets = self.updates % self.config.policy_delay == 0
        actor = targets and self.updates > self.config.critic_warmup
        parts = Parts(actor, targets, imitation=self.imitation_weight > 0.0)
        if self.graphs is None:
            return self._compute(parts, batch)
        self._imitation_weight.fill_(self.imitation_weight)
        critic_step, actor_step = self.graphs(parts, batch)
        return _resolved(critic_step), None if actor_step is None else _resolved(actor_step)

    @property
    def rate_share(self) -> float:
        """The share of its learning rate that each optimiser uses in this update (``lr_decay_updates``)."""
        if self.config.lr_decay_updates is None:
            return 1.0
        first, last = self.config.lr_decay_updates
        done = min(max((self.updates - first) / (last - first), 0.0), 1.0)
        return 1.0 - done * (1.0 - self.config.lr_decay_to)

    def _rate(self, group: str) -> float | Tensor:
        """The group's initial rate; a recorded update must find the rate of the moment in a tensor."""
        rate = self._rates[group]
        changes = self.config.lr_decay_updates is not None and self.config.execution == "graphs"
        return torch.tensor(rate, device=self.device) if changes else rate

    def _set_rates(self) -> None:
        for optimizer in self.optimizers().values():
            for settings in optimizer.param_groups:
                rate = self._rates[settings["name"]] * self.rate_share
                if isinstance(settings["lr"], Tensor):
                    settings["lr"].fill_(rate)
                else:
                    settings["lr"] = rate

    def _compute(self, parts: Parts, batch: Batch) -> tuple[CriticStep, ActorStep | None]:
        if self.config.random_shift:
            # A critic without an encoder leaves the first picture to the actor, which learns more rarely.
            unseen = not parts.actor and isinstance(self.critic_encoder, NoEncoder)
            batch = shifted(batch, self.config.random_shift, only_next=unseen)
        if self.config.encoder == "separate":  # two encoders look at each picture: converted once for both
            image, next_image = map(self.critic_encoder.pixels, (batch.image, batch.next_image))
            batch = replace(batch, image=image, next_image=next_image)
        critic_step = self._update_critic(batch)
        actor_step = None
        if parts.actor:
            actor_step = self._update_actor(batch, critic_step.next_action, critic_step.features)
        if parts.targets:
            self._update_targets()
        return critic_step, actor_step

    def _step(
        self, optimizer: torch.optim.Optimizer, groups: dict[str, list[nn.Parameter]]
    ) -> GradientReport:
        """Clip the gradients and let the optimiser use them."""
        of_critic = groups is self.critic_groups
        limit = self.config.critic_clip_norm if of_critic else self.config.actor_clip_norm
        if self.graphs is None:
            report = clip_gradients(groups, limit)
        else:
            report = pending = clip_without_waiting(groups, limit)
            optimizer.found_inf = pending.not_finite  # type: ignore[attr-defined]  # 1: it steps not
        optimizer.step()
        return report

    def _update_critic(self, batch: Batch) -> CriticStep:
        target, next_action = self._bellman(batch)
        features = self.critic_encoder(batch.image)
        self.critic.train()
        q1, q2 = self.critic(features, batch.vector, batch.action)
        self.critic.eval()
        loss = F.mse_loss(q1, target) + F.mse_loss(q2, target)

        self.critic_optimizer.zero_grad()
        loss.backward()
        gradients = self._step(self.critic_optimizer, self.critic_groups)
        return CriticStep(
            q1.detach(), q2.detach(), target, next_action, features.detach(), loss.detach(), gradients
        )

    def bellman_target(self, batch: Batch) -> Tensor:
        """(B,): r + discount * min(Q1', Q2')(s', pi'(s') + clipped noise)."""
        return self._bellman(batch)[0]

    @torch.no_grad()
    def _bellman(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The target, (B,), and pi'(s'), (B, A)."""
        critic_features = self.target_critic_encoder(batch.next_image)
        actor_features = critic_features if self.shared else self.target_actor_encoder(batch.next_image)

        next_action, _ = self.target_actor(actor_features, batch.next_vector)
        noise = (torch.randn_like(next_action) * self.config.policy_noise).clamp(
            -self.config.noise_clip, self.config.noise_clip
        )
        action = (next_action + noise).clamp(-1.0, 1.0)

        q1, q2 = self.target_critic(critic_features, batch.next_vector, action)
        if self.config.target_q == "q1":
            q = q1
        else:
            weight = self.config.twin_min_weight  # 1: the plain minimum of the paper
            q = weight * torch.min(q1, q2) + (1.0 - weight) * torch.max(q1, q2)
        return batch.reward + batch.discount * q, next_action

    def _update_actor(
        self, batch: Batch, next_action: Tensor | None = None, seen: Tensor | None = None
    ) -> ActorStep:
        """``seen``: the features of the critic's step, which are not computed again (as in DrQ-v2)."""
        reused = seen if self.shared else None
        actor_features = self.actor_features(batch) if reused is None else reused
        action, pre_tanh = self.actor(actor_features, batch.vector)
        critic_features = self.critic_state(batch, actor_features, seen)
        with _constant(self.critic):
            q = self.policy_value(critic_features, batch.vector, action)
        loss = -q.mean() + self.config.pre_tanh_penalty * pre_tanh.square().mean()
        scale = q.detach().abs().mean() if self.config.penalty_scale == "q" else 1.0
        penalty = self.config.action_change_penalty
        if penalty and next_action is not None:
            change = (action - next_action).square()
            if isinstance(penalty, tuple):
                loss = loss + scale * (self.change_weights * change).mean()
            else:
                loss = loss + scale * penalty * change.mean()
        if self.imitation_weight > 0.0:
            # A recorded update must find the weight of the moment in a tensor.
            weight = self.imitation_weight if self.graphs is None else self._imitation_weight
            loss = loss + scale * weight * self.imitation_loss(batch, critic_features, action, q)
        if self.state_head is not None:
            loss = loss + scale * self.config.state_loss * self.state_loss(batch, actor_features)

        parameters = [p for group in self.actor_groups.values() for p in group]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        gradients = self._step(self.actor_optimizer, self.actor_groups)
        return ActorStep(action.detach(), pre_tanh.detach(), q.detach(), loss.detach(), gradients)

    def actor_features(self, batch: Batch) -> Tensor:
        """(B, F): the actor's view of the state; a shared encoder is the critic's to train."""
        with torch.set_grad_enabled(not self.shared):
            return self.actor_encoder(batch.image)

    def critic_state(self, batch: Batch, actor_features: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, F): what the critic judges the policy's action on: its own features, held constant.

        ``seen``: these features, where the critic's step has computed them.

        No gradient leaves here, so the policy gradient has no path through the state.
        """
        if self.shared:
            return actor_features  # the same encoder, and constant already
        if seen is not None:
            return seen
        with torch.no_grad():
            return self.critic_encoder(batch.image)

    def state_loss(self, batch: Batch, actor_features: Tensor) -> Tensor:
        """Mean squared error of the simulator's state as read from the actor's features.

        The policy's gradient alone trains an encoder weakly; this shows it what there is to see.
        """
        assert self.state_head is not None
        shown = batch.vector[:, self.visible_size : self.visible_size + self.picture_size]
        return F.mse_loss(self.state_head(actor_features), shown)

    @property
    def imitation_weight(self) -> float:
        """Weight of the imitation loss now: falls linearly to 0 over ``imitation_updates``."""
        left = 1.0 - self.updates / self.config.imitation_updates
        return self.config.imitation * max(0.0, left)

    def imitation_loss(self, batch: Batch, critic_features: Tensor, action: Tensor, q: Tensor) -> Tensor:
        """Mean squared distance (summed over A) to the demonstrated actions that the critic prefers.

        The mean is over the whole batch: few demonstrations in a batch weigh little.  Source: Nair et al.
        (2018), "Overcoming Exploration in Reinforcement Learning with Demonstrations", equations 3 and 4.
        """
        with torch.no_grad():
            shown = self.policy_value(critic_features, batch.vector, batch.action)
            better = batch.demonstrated & (shown > q)
        return (better * (action - batch.action).square().sum(1)).mean()

    def policy_value(self, critic_features: Tensor, vector: Tensor, action: Tensor) -> Tensor:
        """(B,): the critic's value that the actor climbs; Q1 in the paper."""
        if self.config.actor_q == "min":
            q = torch.min(*self.critic(critic_features, vector, action))
        else:
            q = self.critic.q1(critic_features, vector, action)
        limit = self.config.actor_q_clamp
        return q if limit is None else q.clamp(-limit, limit)

    @torch.no_grad()
    def _update_targets(self) -> None:
        """theta' <- tau * theta + (1 - tau) * theta', for every network that has a target copy."""
        for network, target in self.target_pairs():
            torch._foreach_lerp_(_averaged(target), _averaged(network), self.config.tau)

    # ------------------------------------------------------------------ using it

    @torch.no_grad()
    def act(self, image: Tensor, vector: Tensor, averaged: bool = False) -> Tensor:
        """Deterministic actions, (B, A), for (B, C, H, W) uint8 images and (B, V) vectors.

        Of a vector only the visible entries matter.

        ``averaged``: of the target policy.  Its weights are the moving average of the policy's, which
        drives more steadily than the policy of any single update (Polyak and Juditsky 1992).
        """
        if averaged:
            return self.target_actor(self.target_actor_encoder(image), vector)[0]
        return self.actor(self.actor_encoder(image), vector)[0]

    def networks(self) -> dict[str, nn.Module]:
        """Every distinct network that has weights, by name, targets included."""
        modules: dict[str, nn.Module] = {
            "critic_encoder": self.critic_encoder,
            "critic": self.critic,
            "actor": self.actor,
            "target_critic_encoder": self.target_critic_encoder,
            "target_critic": self.target_critic,
            "target_actor": self.target_actor,
        }
        if not self.shared:
            modules["actor_encoder"] = self.actor_encoder
            modules["target_actor_encoder"] = self.target_actor_encoder
        if self.state_head is not None:
            modules["state_head"] = self.state_head
        return {name: module for name, module in modules.items() if any(True for _ in module.parameters())}

    def target_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(network, its target copy), each once."""
        modules = self.networks()
        return [
            (modules[name.removeprefix("target_")], module)
            for name, module in modules.items()
            if name.startswith("target_")
        ]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"critic": self.critic_optimizer, "actor": self.actor_optimizer}


def _resolved(step: S) -> S:
    """With the figures of the gradients, for which this waits."""
    report = step.gradients
    return replace(step, gradients=report.resolved()) if isinstance(report, PendingReport) else step


@contextmanager
def _constant(network: nn.Module) -> Iterator[None]:
    """What is computed inside has no gradient for the network's parameters, and none is computed for them."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _averaged(network: nn.Module) -> list[Tensor]:
    """What a target copy follows: parameters, and the running statistics of a BatchNorm."""
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]


def _groups(**networks: list[nn.Module]) -> dict[str, list[nn.Parameter]]:
    """The parameters of each group; a group without any is left out."""
    groups = {name: [p for m in modules for p in m.parameters()] for name, modules in networks.items()}
    return {name: parameters for name, parameters in groups.items() if parameters}


def _frozen_copy(network: nn.Module) -> nn.Module:
    target = copy.deepcopy(network)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target
