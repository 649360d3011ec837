"""The fault catalogue: failures that can be injected into a training run on purpose.

``av-td3 faults list`` shows them, ``av-td3 train --inject ID`` trains with one.  A fault is a change
of the configuration, a patch of one running object, or a fault of the embedded simulator.  For each,
the alert that must fire and the finding that must name it are given; ``verification.fault_table``
checks both in real runs.

All patches are here: the code that they patch knows nothing of them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch
from torch import nn

from av_td3.agent import td3
from av_td3.agent.gradients import GradientReport, clip_gradients
from av_td3.health.alerts import AlertMonitor, AlertRule, Bounds, Judgement, compare
from av_td3.supervision.fleet import DrivingEnv
from av_td3.training.run_directory import write_atomically
from av_td3.training.trainer import Trainer
from rundoctor.signals import conditions, gradients

Patch = Callable[[Trainer, ExitStack], None]
"""Puts the fault into a trainer that has not started yet; what it enters the stack with undoes it."""
Groups = Mapping[str, list[nn.Parameter]]
Transition = tuple[Any, float, bool, bool, dict[str, Any]]
"""What ``DrivingEnv.receive`` returns."""


@dataclass(frozen=True)
class InjectedFault:
    """One failure that can be switched on."""

    id: str
    what: str
    finding: str
    """Id of the finding that must name it."""
    overrides: tuple[str, ...] = ()
    """Settings, ``section.key=value``, that are the fault, or that it needs in order to show."""
    patch: Patch | None = None
    stops: bool = False
    """Training ends by itself: the guards notice the fault at once."""
    alert: str = field(kw_only=True)
    """The alert that must fire."""


# ---------------------------------------------------------------- faults of the update


def _replace(stack: ExitStack, owner: object, name: str, value: object) -> None:
    stack.enter_context(mock.patch.object(owner, name, value))


def _leak(trainer: Trainer, stack: ExitStack) -> None:
    """The actor's own features, with their gradient, as the critic's state input."""
    _replace(stack, trainer.state.agent, "critic_state", lambda batch, actor_features, *_: actor_features)


def _no_target_encoders(trainer: Trainer, stack: ExitStack) -> None:
    """The encoders have no target copies, and the target actor gets the critic's features."""
    agent = trainer.state.agent
    update = agent.update

    def updated(batch: td3.Batch) -> tuple[td3.CriticStep, td3.ActorStep | None]:
        result = update(batch)
        for copy in (agent.target_critic_encoder, agent.target_actor_encoder):
            copy.load_state_dict(agent.critic_encoder.state_dict())
        return result

    _replace(stack, agent, "update", updated)


def _detached_actor(trainer: Trainer, stack: ExitStack) -> None:
    agent = trainer.state.agent
    value = agent.policy_value
    _replace(
        stack,
        agent,
        "policy_value",
        lambda features, vector, action: value(features, vector, action.detach()),
    )


def _encoder_not_optimised(trainer: Trainer, stack: ExitStack) -> None:
    optimizer = trainer.state.agent.critic_optimizer
    left_out = {id(p) for p in trainer.state.agent.critic_groups["critic_encoder"]}
    kept = [g for g in optimizer.param_groups if not any(id(p) in left_out for p in g["params"])]
    _replace(stack, optimizer, "param_groups", kept)


def _encoder_not_clipped(_: Trainer, stack: ExitStack) -> None:
    def clip(groups: Groups, limit: float | None) -> GradientReport:
        before = clip_gradients(groups, None)
        clip_gradients({n: g for n, g in groups.items() if not n.endswith("encoder")}, limit)
        after = clip_gradients(groups, None)
        return GradientReport(before.before, after.before, before.total_before, after.total_before, limit)

    _replace(stack, td3, "clip_gradients", clip)


def _clip_after_step(_: Trainer, stack: ExitStack) -> None:
    def clip(groups: Groups, limit: float | None) -> GradientReport:
        return replace(clip_gradients(groups, None), limit=limit)  # what the optimiser will see

    _replace(stack, td3, "clip_gradients", clip)


def _summed_norms(_: Trainer, stack: ExitStack) -> None:
    def clip(groups: Groups, limit: float | None) -> GradientReport:
        report = clip_gradients(groups, limit)
        sums = {
            name: float(sum(float(p.grad.norm()) for p in group if p.grad is not None))
            for name, group in groups.items()
        }
        return replace(report, after=sums)

    _replace(stack, td3, "clip_gradients", clip)


def _norm_after_zeroing(_: Trainer, stack: ExitStack) -> None:
    def clip(groups: Groups, limit: float | None) -> GradientReport:
        clip_gradients(groups, limit)
        zero = dict.fromkeys(groups, 0.0)
        return GradientReport(zero, zero, 0.0, 0.0, limit)

    _replace(stack, td3, "clip_gradients", clip)


# ---------------------------------------------------------------- faults around the update


def _change_received(change: Callable[[Transition], Transition]) -> Patch:
    """Change what the learner is told of a step."""

    def patch(trainer: Trainer, stack: ExitStack) -> None:
        make = trainer.make_env

        def make_env() -> DrivingEnv:
            env = make()
            receive = env.receive
            _replace(stack, env, "receive", lambda: change(receive()))
            return env

        _replace(stack, trainer, "make_env", make_env)

    return patch


def _scale_reward(result: Transition) -> Transition:
    observation, reward, terminated, truncated, info = result
    components = {k: 100.0 * v for k, v in info["reward_components"].items()}
    return observation, 100.0 * reward, terminated, truncated, info | {"reward_components": components}


def _terminated_as_truncated(result: Transition) -> Transition:
    observation, reward, terminated, truncated, info = result
    return observation, reward, False, terminated or truncated, info


def _truncated_as_terminated(result: Transition) -> Transition:
    observation, reward, terminated, truncated, info = result
    fault = info.get("termination") == "simulator_fault"
    return observation, reward, terminated or (truncated and not fault), truncated and fault, info


def _dead_alerts(trainer: Trainer, _: ExitStack) -> None:
    """Alerts at 10,000 and 50,000 on a norm that the clip bounds."""

    condition = replace(conditions.GRADIENT_EXPLOSION, warning=10_000.0, critical=50_000.0)

    def judge(row: Mapping[str, float], bounds: Bounds) -> Judgement | None:
        norm = max(row.get(signal.tag, 0.0) for signal in gradients.AFTER.values())
        return compare(condition, norm, "norm after the clip")

    watch = trainer.state.watch
    rules = {condition.alert: AlertRule(condition, judge)}
    watch.alerts = AlertMonitor(watch.bounds, trainer.run.alerts, rules)


def _nan_action(trainer: Trainer, stack: ExitStack) -> None:
    agent = trainer.state.agent
    act, calls = agent.act, [0]

    def broken(image: torch.Tensor, vector: torch.Tensor, averaged: bool = False) -> torch.Tensor:
        calls[0] += 1
        action = act(image, vector, averaged)
        return action * float("nan") if calls[0] == 500 else action

    _replace(stack, agent, "act", broken)


def _port_taken(trainer: Trainer, stack: ExitStack) -> None:
    foreign = stack.enter_context(socket.socket())
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    foreign.bind(("0.0.0.0", trainer.config.env.simulator.traffic_manager_port))
    foreign.listen()


def _stale_build(trainer: Trainer, _: ExitStack) -> None:
    """The run says that it was made by other code than lies in the tree."""
    file = trainer.run.path / "provenance.json"
    document = json.loads(file.read_text())
    for start in (document, *document.get("resumed", [])):
        start["code_sha256"] = "0" * 64
    write_atomically(file, json.dumps(document, indent=1))


_SEPARATE = "agent.encoder=separate"
_AS_RECORDED = (_SEPARATE, "agent.feature_norm=none", "agent.pre_tanh_penalty=0")

FAULTS: dict[str, InjectedFault] = {
    fault.id: fault
    for fault in (
        InjectedFault(
            "state-gradient-leak",
            "the policy gradient reaches the actor's encoder through the critic's state input",
            "state-gradient-leak",
            _AS_RECORDED,
            _leak,
            alert="state_gradient_leak",
        ),
        InjectedFault(
            "target-encoders-missing",
            "no target copies of the encoders; the target actor gets the critic's features",
            "target-encoders-missing",
            (_SEPARATE,),
            _no_target_encoders,
            alert="target_encoders_missing",
        ),
        InjectedFault(
            "detached-actor",
            "the action is detached before the critic judges it",
            "gradient-missing",
            (),
            _detached_actor,
            alert="gradient_missing",
        ),
        InjectedFault(
            "encoder-not-optimised",
            "the critic's encoder is missing from its optimiser",
            "parameters-frozen",
            (),
            _encoder_not_optimised,
            alert="parameters_frozen",
        ),
        InjectedFault(
            "encoder-not-clipped",
            "the encoders are missing from the clip",
            "clip-not-applied",
            ("agent.critic_clip_norm=0.5",),
            _encoder_not_clipped,
            alert="clip_not_applied",
        ),
        InjectedFault(
            "clip-after-step",
            "gradients are clipped after the optimiser has used them",
            "clip-not-applied",
            ("agent.critic_clip_norm=0.5",),
            _clip_after_step,
            alert="clip_not_applied",
        ),
        InjectedFault(
            "summed-norms",
            "the sum of per-tensor norms is logged for the norm",
            "grad-norm-summed",
            ("agent.critic_clip_norm=0.5",),
            _summed_norms,
            alert="clip_not_applied",
        ),
        InjectedFault(
            "norm-after-zeroing",
            "gradient norms are measured after zero_grad",
            "gradient-measured-late",
            (),
            _norm_after_zeroing,
            alert="gradient_missing",
        ),
        InjectedFault(
            "learning-rate-10x",
            "all rates ten times too high",
            "hyperparameter-off-reference",
            tuple(
                f"agent.{name}=0.003"
                for name in ("actor_lr", "critic_lr", "actor_encoder_lr", "critic_encoder_lr")
            ),
            alert="hyperparameter_off_reference",
        ),
        InjectedFault(
            "gamma-0.9",
            "gamma 0.9",
            "hyperparameter-off-reference",
            ("agent.gamma=0.9",),
            alert="hyperparameter_off_reference",
        ),
        InjectedFault(
            "tau-0.001",
            "tau 0.001",
            "hyperparameter-off-reference",
            ("agent.tau=0.001",),
            alert="hyperparameter_off_reference",
        ),
        InjectedFault(
            "reward-100x",
            "rewards 100 times larger than the configuration says",
            "q-above-reward-bound",
            (),
            _change_received(_scale_reward),
            alert="reward_above_bound",
        ),
        InjectedFault(
            "terminated-as-truncated",
            "episodes that terminated are stored as truncated",
            "terminal-flag-wrong",
            (),
            _change_received(_terminated_as_truncated),
            alert="terminal_flag_wrong",
        ),
        InjectedFault(
            "truncated-as-terminated",
            "episodes that were truncated are stored as terminated",
            "terminal-flag-wrong",
            ("env.termination.max_steps=60",),
            _change_received(_truncated_as_terminated),
            alert="terminal_flag_wrong",
        ),
        InjectedFault(
            "first-lane-touch",
            "the first touched marking ends the episode",
            "single-cause-termination",
            ("env.termination.lane_invasion=true",),
            alert="single_cause_termination",
        ),
        InjectedFault(
            "dead-alerts",
            "alerts watch a bounded norm with limits beyond the bound",
            "alert-unreachable",
            (),
            _dead_alerts,
            alert="alert_unreachable",
        ),
        InjectedFault(
            "nan-action",
            "the policy returns NaN once",
            "nan-or-inf",
            (),
            _nan_action,
            stops=True,
            alert="nan_or_inf",
        ),
        InjectedFault(
            "simulator-frozen",
            "the simulator stops answering, twice",
            "simulator-incidents",
            ("env.simulator.faults=freeze@tick=700", "env.simulator.step_deadline_s=3"),
            alert="simulator_incidents",
        ),
        InjectedFault(
            "simulator-killed",
            "the simulator is killed again and again",
            "simulator-incidents",
            ("env.simulator.faults=kill@tick=700",),
            alert="simulator_incidents",
        ),
        InjectedFault(
            "sensor-stream-stalled",
            "the camera's stream stalls",
            "simulator-incidents",
            ("env.simulator.faults=stall:camera@tick=700", "env.simulator.step_deadline_s=3"),
            alert="simulator_incidents",
        ),
        InjectedFault(
            "traffic-manager-port-taken",
            "somebody else listens on the Traffic Manager's port; the next free one is taken",
            "port-taken",
            ("env.simulator.npc=2", "env.simulator.traffic=traffic_manager"),
            _port_taken,
            alert="simulator_incidents",
        ),
        InjectedFault(
            "stale-build",
            "the run was made by other code than the tree's",
            "stale-build",
            (),
            _stale_build,
            alert="stale_build",
        ),
    )
}


@contextmanager
def injected(fault: InjectedFault, trainer: Trainer) -> Iterator[None]:
    """Patch the trainer for as long as the block lasts.

    The fault's ``overrides`` are the caller's to put into the configuration.
    """
    with ExitStack() as stack:
        if fault.patch is not None:
            fault.patch(trainer, stack)
        yield
