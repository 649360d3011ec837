"""An update that is recorded and replayed is the update."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from av_td3.agent import gradients, graphs
from av_td3.agent.gradients import NonFiniteGradientError, clip_gradients, clip_without_waiting
from av_td3.agent.graphs import Parts
from av_td3.agent.td3 import TD3, Batch
from av_td3.config import AgentConfig

from .test_td3 import batch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU"))]
"""On the CPU the computation itself stands in for its recording; all around it is the same."""


def make(execution: str, device: str, **changes) -> TD3:
    torch.manual_seed(0)
    settings = {"feature_size": 16, "hidden": (16, 16), "critic_warmup": 6, "policy_noise": 0.0, **changes}
    return TD3(AgentConfig(execution=execution, **settings), (4, 36, 36), 5, 2, device)


def moved(made: Batch, device: str) -> Batch:
    return Batch(*(getattr(made, field.name).to(device) for field in fields(made)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "separate", "critic_clip_norm": 0.3, "actor_clip_norm": 0.01},
        {"encoder": "shared"},
        {"encoder": "asymmetric", "imitation": 1.0, "imitation_updates": 20},
        {"encoder": "none", "critic_layer_norm": True, "penalty_scale": "q", "action_change_penalty": 0.1},
        {"encoder": "none", "lr_decay_updates": (10, 25), "actor_lr": 1e-2, "critic_lr": 1e-2},
    ],
)
def test_replayed_updates_equal_eager_ones(device, settings):
    plain, graphed = make("eager", device, **settings), make("graphs", device, **settings)
    assert plain.graphs is None and graphed.graphs is not None
    for k in range(30):
        b = moved(batch(k), device)
        steps, others = plain.update(b), graphed.update(b)
        assert (steps[1] is None) == (others[1] is None)
        for step, other in zip(steps, others, strict=True):
            if step is None or other is None:
                continue
            torch.testing.assert_close(other.loss, step.loss, rtol=2e-3, atol=2e-4)
            assert other.gradients.total_before == pytest.approx(step.gradients.total_before, rel=2e-2)
            assert other.gradients.after == pytest.approx(step.gradients.after, rel=2e-2, abs=1e-6)
    assert len(graphed.graphs.recorded) >= 2
    for name, network in plain.networks().items():
        for p, q in zip(network.parameters(), graphed.networks()[name].parameters(), strict=True):
            torch.testing.assert_close(q, p, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize("device", DEVICES)
def test_each_kind_of_update_has_a_recording_and_new_tensors_are_recorded_anew(device):
    agent = make("graphs", device, imitation=1.0, imitation_updates=14, critic_warmup=2)
    b = moved(batch(), device)
    for _ in range(30):
        agent.update(b)
    assert {(p.actor, p.targets) for p in agent.graphs.recorded} >= {(False, False), (True, True)}
    assert Parts(actor=True, targets=True, imitation=False) in agent.graphs.recorded
    agent.graphs.forget()
    assert not agent.graphs.recorded
    agent.update(b)
    assert not agent.graphs.recorded, f"the first {graphs.WARM_UP} are not recorded"


@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_that_is_not_finite_is_an_error_and_moves_no_weight(device):
    agent = make("graphs", device, critic_warmup=100)
    for k in range(10):
        agent.update(moved(batch(k), device))
    before = [p.clone() for p in agent.critic.parameters()]
    spoilt = moved(batch(), device)
    with pytest.raises(NonFiniteGradientError, match="critic_head"):
        agent.update(replace(spoilt, reward=spoilt.reward * float("nan")))
    assert all(torch.equal(p, q) for p, q in zip(agent.critic.parameters(), before, strict=True))


@pytest.mark.parametrize("limit", [None, 0.5, 100.0])
def test_a_clip_that_does_not_wait_does_what_the_other_does(limit):
    def groups() -> dict[str, list[torch.nn.Parameter]]:
        torch.manual_seed(0)
        made = {name: [torch.nn.Parameter(torch.zeros(5, 3)) for _ in range(2)] for name in "ab"}
        for parameter in (p for group in made.values() for p in group):
            parameter.grad = torch.randn(5, 3)
        return made

    one, other = groups(), groups()
    expected, pending = clip_gradients(one, limit), clip_without_waiting(other, limit)
    found = pending.resolved()
    assert float(pending.not_finite) == 0.0
    for figures in ("before", "after"):
        assert getattr(found, figures) == pytest.approx(getattr(expected, figures), rel=1e-5)
    assert (found.total_after, found.limit) == (pytest.approx(expected.total_after, rel=1e-5), limit)
    for p, q in zip([*one["a"], *one["b"]], [*other["a"], *other["b"]], strict=True):
        torch.testing.assert_close(q.grad, p.grad)
    other["b"][1].grad[0, 0] = float("inf")
    pending = clip_without_waiting(other, limit)
    assert float(pending.not_finite) == 1.0
    with pytest.raises(NonFiniteGradientError, match="b"):
        pending.resolved()


def test_a_clip_that_does_not_hold_is_an_error_here_too(monkeypatch):
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 10.0)
    monkeypatch.setattr(torch, "_foreach_mul_", lambda *_: None)
    with pytest.raises(gradients.ClipDidNotHoldError):
        clip_without_waiting({"a": [parameter]}, 1.0).resolved()
