"""The fault catalogue: every failure that the recorded system had or was suspected of.

``av-td3 faults list`` shows it; ``av-td3 train --inject ID`` commits one in the real system.  A
fault is a change of the configuration, a patch of one running object, or a fault of the
embedded simulator.  The patches are all here: production code knows nothing of them.

Nothing in this module is for use in earnest.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch

from av_td3.agent import td3
from av_td3.agent.gradients import GradientReport, clip_gradients
from av_td3.health.alerts import AlertMonitor, AlertRule, Judgement, compare
from rundoctor.signals import conditions, gradients

Trainer = Any  # av_td3.training.trainer.Trainer, which is above this room
Patch = Callable[[Trainer, ExitStack], None]


@dataclass(frozen=True)
class Fault:
    """One failure that can be switched on."""

    id: str
    what: str
    finding: str
    """Id of the finding that must name it."""
    alert: str = field(kw_only=True)
    """The alert that must fire."""
    overrides: tuple[str, ...] = ()
    """``section.key=value`` that commit it, or that bring the conditions it needs."""
    patch: Patch | None = None
    stops: bool = False
    """Training ends by itself: the guards notice it at once."""


def _leak(trainer: Trainer, _: ExitStack) -> None:
    """The actor's own features, with their gradient, as the critic's state input."""
    trainer.agent.critic_state = lambda batch, actor_features: actor_features


def _no_target_encoders(trainer: Trainer, _: ExitStack) -> None:
    """As recorded: no encoder copies, and the critic's features feed the target actor."""
    agent, update = trainer.agent, trainer.agent.update

    def updated(batch: td3.Batch) -> Any:
        result = update(batch)
        for copy in (agent.target_critic_encoder, agent.target_actor_encoder):
            copy.load_state_dict(agent.critic_encoder.state_dict())
        return result

    agent.update = updated


def _detached_actor(trainer: Trainer, _: ExitStack) -> None:
    value = trainer.agent.policy_value
    trainer.agent.policy_value = lambda features, vector, action: value(features, vector, action.detach())


def _encoder_not_optimised(trainer: Trainer, _: ExitStack) -> None:
    optimizer, encoder = trainer.agent.critic_optimizer, trainer.agent.critic_groups["critic_encoder"]
    left_out = {id(p) for p in encoder}
    optimizer.param_groups[:] = [
        g for g in optimizer.param_groups if not any(id(p) in left_out for p in g["params"])
    ]


Clip = Callable[[Mapping[str, list[torch.nn.Parameter]], "float | None"], GradientReport]


def _replace_clip(stack: ExitStack, clip: Clip) -> None:
    stack.enter_context(mock.patch.object(td3, "clip_gradients", clip))


def _encoder_not_clipped(trainer: Trainer, stack: ExitStack) -> None:
    def clip(groups: Mapping[str, list[torch.nn.Parameter]], limit: float | None) -> GradientReport:
        before = clip_gradients(groups, None)
        clip_gradients({n: g for n, g in groups.items() if not n.endswith("encoder")}, limit)
        after = clip_gradients(groups, None)
        return GradientReport(before.before, after.before, before.total_before, after.total_before, limit)

    _replace_clip(stack, clip)


def _clip_after_step(trainer: Trainer, stack: ExitStack) -> None:
    def clip(groups: Mapping[str, list[torch.nn.Parameter]], limit: float | None) -> GradientReport:
        return replace(clip_gradients(groups, None), limit=limit)  # what the optimiser will see

    _replace_clip(stack, clip)


def _summed_norms(trainer: Trainer, stack: ExitStack) -> None:
    def clip(groups: Mapping[str, list[torch.nn.Parameter]], limit: float | None) -> GradientReport:
        report = clip_gradients(groups, limit)
        sums = {
            name: float(sum(float(p.grad.norm()) for p in group if p.grad is not None))
            for name, group in groups.items()
        }
        return replace(report, after=sums)

    _replace_clip(stack, clip)


def _norm_after_zeroing(trainer: Trainer, stack: ExitStack) -> None:
    def clip(groups: Mapping[str, list[torch.nn.Parameter]], limit: float | None) -> GradientReport:
        clip_gradients(groups, limit)
        zero = dict.fromkeys(groups, 0.0)
        return GradientReport(zero, zero, 0.0, 0.0, limit)

    _replace_clip(stack, clip)


def _wrap_receive(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Patch:
    """Change what the learner is told of a step."""

    def patch(trainer: Trainer, _: ExitStack) -> None:
        make = trainer._make_env

        def make_env() -> Any:
            env = make()
            receive = env.receive
            env.receive = lambda: change(receive())
            return env

        trainer._make_env = make_env

    return patch


def _scale_reward(result: tuple[Any, ...]) -> tuple[Any, ...]:
    observation, reward, terminated, truncated, info = result
    components = {k: 100.0 * v for k, v in info["reward_components"].items()}
    return observation, 100.0 * reward, terminated, truncated, info | {"reward_components": components}


def _terminated_as_truncated(result: tuple[Any, ...]) -> tuple[Any, ...]:
    observation, reward, terminated, truncated, info = result
    return observation, reward, False, terminated or truncated, info


def _truncated_as_terminated(result: tuple[Any, ...]) -> tuple[Any, ...]:
    observation, reward, terminated, truncated, info = result
    fault = info.get("termination") == "simulator_fault"
    return observation, reward, terminated or (truncated and not fault), truncated and fault, info


def _dead_alerts(trainer: Trainer, _: ExitStack) -> None:
    """Alerts at 10,000 and 50,000 on a norm that the clip bounds."""

    def judge(row: Mapping[str, float], bounds: Any) -> Judgement | None:
        norm = max(row.get(signal.tag, 0.0) for signal in gradients.AFTER.values())
        return compare(condition, norm, "norm after the clip")

    condition = replace(conditions.GRADIENT_EXPLOSION, warning=10_000.0, critical=50_000.0)
    rules = {condition.alert: AlertRule(condition, judge)}
    trainer.alerts = AlertMonitor(trainer.bounds, trainer.run.alerts, rules)


def _nan_action(trainer: Trainer, _: ExitStack) -> None:
    act, calls = trainer.agent.act, [0]

    def broken(image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        action = act(image, vector)
        return action * float("nan") if calls[0] == 500 else action

    trainer.agent.act = broken


def _port_taken(trainer: Trainer, stack: ExitStack) -> None:
    foreign = stack.enter_context(socket.socket())
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    foreign.bind(("0.0.0.0", trainer.config.env.simulator.traffic_manager_port))
    foreign.listen()


def _stale_build(trainer: Trainer, _: ExitStack) -> None:
    """The run says that it was made by other code than lies in the tree."""
    trainer.run.overwrite_provenance({"code_sha256": "0" * 64})


_SEPARATE = "agent.encoder=separate"
_AS_RECORDED = (_SEPARATE, "agent.feature_norm=none", "agent.pre_tanh_penalty=0")

FAULTS: dict[str, Fault] = {
    fault.id: fault
    for fault in (
        Fault(
            "state-gradient-leak",
            "the policy gradient reaches the actor's encoder through the critic's state input",
            "state-gradient-leak",
            _AS_RECORDED,
            _leak,
            alert="state_gradient_leak",
        ),
        Fault(
            "target-encoders-missing",
            "no target copies of the encoders; the target actor gets the critic's features",
            "target-encoders-missing",
            (_SEPARATE,),
            _no_target_encoders,
            alert="target_encoders_missing",
        ),
        Fault(
            "detached-actor",
            "the action is detached before the critic judges it",
            "gradient-missing",
            ("agent.pre_tanh_penalty=0",),
            _detached_actor,
            alert="gradient_missing",
        ),
        Fault(
            "encoder-not-optimised",
            "the critic's encoder is missing from its optimiser",
            "parameters-frozen",
            (),
            _encoder_not_optimised,
            alert="parameters_frozen",
        ),
        Fault(
            "encoder-not-clipped",
            "the encoders are missing from the clip",
            "clip-not-applied",
            ("agent.critic_clip_norm=0.5",),
            _encoder_not_clipped,
            alert="clip_not_applied",
        ),
        Fault(
            "clip-after-step",
            "gradients are clipped after the optimiser has used them",
            "clip-not-applied",
            ("agent.critic_clip_norm=0.5",),
            _clip_after_step,
            alert="clip_not_applied",
        ),
        Fault(
            "summed-norms",
            "the sum of per-tensor norms is logged for the norm",
            "grad-norm-summed",
            ("agent.critic_clip_norm=0.5",),
            _summed_norms,
            alert="clip_not_applied",
        ),
        Fault(
            "norm-after-zeroing",
            "gradient norms are measured after zero_grad",
            "gradient-measured-late",
            (),
            _norm_after_zeroing,
            alert="gradient_missing",
        ),
        Fault(
            "learning-rate-10x",
            "all rates ten times too high",
            "hyperparameter-off-reference",
            tuple(
                f"agent.{name}=0.003"
                for name in ("actor_lr", "critic_lr", "actor_encoder_lr", "critic_encoder_lr")
            ),
            alert="hyperparameter_off_reference",
        ),
        Fault(
            "gamma-0.9",
            "gamma 0.9",
            "hyperparameter-off-reference",
            ("agent.gamma=0.9",),
            alert="hyperparameter_off_reference",
        ),
        Fault(
            "tau-0.001",
            "tau 0.001",
            "hyperparameter-off-reference",
            ("agent.tau=0.001",),
            alert="hyperparameter_off_reference",
        ),
        Fault(
            "reward-100x",
            "rewards 100 times larger than the configuration says",
            "q-above-reward-bound",
            (),
            _wrap_receive(_scale_reward),
            alert="reward_above_bound",
        ),
        Fault(
            "terminated-as-truncated",
            "episodes that terminated are stored as truncated",
            "terminal-flag-wrong",
            (),
            _wrap_receive(_terminated_as_truncated),
            alert="terminal_flag_wrong",
        ),
        Fault(
            "truncated-as-terminated",
            "episodes that were truncated are stored as terminated",
            "terminal-flag-wrong",
            ("env.termination.max_steps=60",),
            _wrap_receive(_truncated_as_terminated),
            alert="terminal_flag_wrong",
        ),
        Fault(
            "first-lane-touch",
            "the first touched marking ends the episode",
            "single-cause-termination",
            ("env.termination.lane_invasion=true",),
            alert="single_cause_termination",
        ),
        Fault(
            "dead-alerts",
            "alerts watch a bounded norm with limits beyond the bound",
            "alert-unreachable",
            (),
            _dead_alerts,
            alert="alert_unreachable",
        ),
        Fault(
            "nan-action",
            "the policy returns NaN once",
            "nan-or-inf",
            (),
            _nan_action,
            stops=True,
            alert="nan_or_inf",
        ),
        Fault(
            "simulator-frozen",
            "the simulator stops answering, twice",
            "simulator-incidents",
            ("env.simulator.faults=freeze@tick=700", "env.simulator.step_deadline_s=3"),
            alert="simulator_incidents",
        ),
        Fault(
            "simulator-killed",
            "the simulator is killed again and again",
            "simulator-incidents",
            ("env.simulator.faults=kill@tick=700",),
            alert="simulator_incidents",
        ),
        Fault(
            "sensor-stream-stalled",
            "the camera's stream stalls",
            "simulator-incidents",
            ("env.simulator.faults=stall:camera@tick=700", "env.simulator.step_deadline_s=3"),
            alert="simulator_incidents",
        ),
        Fault(
            "traffic-manager-port-taken",
            "somebody else listens on the Traffic Manager's port; the next free one is taken",
            "port-taken",
            ("env.simulator.npc=2", "env.simulator.traffic=traffic_manager"),
            _port_taken,
            alert="simulator_incidents",
        ),
        Fault(
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
def injected(fault: Fault, trainer: Trainer) -> Iterator[None]:
    """The fault's patch, for as long as the block lasts (its overrides belong into the configuration)."""
    with ExitStack() as stack:
        if fault.patch is not None:
            fault.patch(trainer, stack)
        yield
