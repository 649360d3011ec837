"""The figures are what their names say."""

from __future__ import annotations

import pytest
import torch

from av_td3.health import metrics

from ..agent.test_td3 import batch, make


@pytest.mark.slow
def test_state_path_is_zero_and_finds_the_leak():
    agent, b = make(), batch()
    assert metrics.probe_scalars(agent, b)["gradients/actor_state_path_norm"] == 0.0
    agent.critic_state = lambda batch, features, *_: features  # the actor's features, with their gradient
    assert metrics.probe_scalars(agent, b)["gradients/actor_state_path_norm"] > 0.0


def test_action_path_is_zero_when_the_critic_does_not_see_the_action():
    agent, b = make(action_change_penalty=0.1), batch()
    assert metrics.probe_scalars(agent, b)["gradients/actor_action_path_norm"] > 0.0
    value = agent.policy_value
    agent.policy_value = lambda state, vector, action: value(state, vector, action.detach())
    assert metrics.probe_scalars(agent, b)["gradients/actor_action_path_norm"] == 0.0
    _, step = agent.update(b)
    _, step = (None, step) if step is not None else agent.update(b)
    assert step.gradients.before["actor_head"] > 0.0  # of the penalty: the norm alone does not show it


@pytest.mark.parametrize("encoder", ["separate", "shared"])
def test_rows_are_complete_and_finite(encoder):
    agent, b = make(encoder=encoder), batch()
    critic, actor = agent.update(b)
    row = metrics.critic_scalars(critic, b) | metrics.actor_scalars(actor)
    row |= metrics.gradient_scalars("critic", critic) | metrics.gradient_scalars("actor", actor)
    row |= metrics.probe_scalars(agent, b) | metrics.parameter_scalars(agent)
    assert all(torch.isfinite(torch.tensor(v)) for v in row.values())
    assert row["debug/td_error_q1"] == pytest.approx((critic.q1 - critic.target).abs().mean().item())
    assert row["gradients/critic_cnn_norm"] == critic.gradients.after["critic_encoder"]
    assert row["gradients/actor_cnn_norm"] == actor.gradients.after.get("actor_encoder", 0.0)


def test_effective_rank():
    torch.manual_seed(0)
    one = torch.randn(32, 1) @ torch.randn(1, 16)
    assert metrics.effective_rank(one) == pytest.approx(1.0, abs=0.01)
    assert metrics.effective_rank(torch.randn(4000, 16)) > 15
    assert metrics.effective_rank(torch.zeros(4, 16)) == 0.0


def test_update_to_weight_ratio():
    agent, b = make(), batch()
    measure = metrics.UpdateToWeight(agent)
    assert set(measure.scalars().values()) == {0.0}
    agent.update(b)
    assert 1e-6 < measure.scalars()["agent/update_to_weight_ratio_critic"] < 1e-1
