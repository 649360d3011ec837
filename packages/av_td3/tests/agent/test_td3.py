"""The update: each test fails when the fault it names is put in."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from av_td3.agent import networks
from av_td3.agent.gradients import ClipDidNotHoldError, clip_gradients, l2_norm
from av_td3.agent.td3 import TD3, Batch, random_shift
from av_td3.config import AgentConfig
from av_td3.config.whole import TINY_NEEDS

V, A, B = 5, 2, 6


def make(seed: int = 0, **changes) -> TD3:
    torch.manual_seed(seed)
    settings = {"feature_size": 16, "hidden": (16, 16), "critic_warmup": 0, "policy_delay": 1, **changes}
    return TD3(AgentConfig(**settings), (4, 36, 36), V, A)


def batch(seed: int = 1, discount: float = 0.99) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def image() -> torch.Tensor:
        return torch.randint(0, 256, (B, 4, 36, 36), dtype=torch.uint8, generator=g)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    return Batch(
        image(),
        normal(B, V),
        normal(B, A).tanh(),
        normal(B),
        torch.full((B,), discount),
        image(),
        normal(B, V),
        torch.arange(B) % 2 == 0,
    )


def snapshot(agent: TD3) -> dict[str, list[torch.Tensor]]:
    return {n: [p.detach().clone() for p in m.parameters()] for n, m in agent.networks().items()}


def moved(agent: TD3, before: dict[str, list[torch.Tensor]]) -> set[str]:
    return {
        name
        for name, network in agent.networks().items()
        if any(not torch.equal(p, q) for p, q in zip(network.parameters(), before[name], strict=True))
    }


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["separate", "shared"])
def test_actor_step_changes_the_actor_alone_and_leaves_no_gradient_on_the_critic(encoder):
    agent = make(encoder=encoder)
    before = snapshot(agent)
    agent._update_actor(batch())
    expected = {"actor", "actor_encoder"} if encoder == "separate" else {"actor"}
    assert moved(agent, before) == expected
    for network in (agent.critic, agent.critic_encoder):
        if network is not agent.actor_encoder or encoder == "shared":
            assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("encoder", ["separate", "shared"])
def test_no_policy_gradient_through_the_critics_state_input(encoder, monkeypatch):
    """The explosion: features with a gradient as the critic's state (root cause 1)."""
    agent = make(encoder=encoder)
    seen: list[torch.Tensor] = []
    value = agent.policy_value

    def spy(features, vector, action):
        seen.append(features)
        assert action.requires_grad, "the action must carry the policy gradient"
        return value(features, vector, action)

    monkeypatch.setattr(agent, "policy_value", spy)
    agent._update_actor(batch())
    (features,) = seen
    assert not features.requires_grad, "the critic's state input carries a gradient"
    torch.testing.assert_close(features, agent.critic_encoder(batch().image).detach())


def test_with_the_action_cut_the_actor_gets_exactly_zero_gradient(monkeypatch):
    """All of the actor's gradient flows through the action: cut it and nothing is left."""
    agent = make(pre_tanh_penalty=0.0)
    value = agent.policy_value
    monkeypatch.setattr(
        agent,
        "policy_value",
        lambda f, v, a: value(f, v, a.detach()) + 0.0 * a.sum(1),
    )
    report = agent._update_actor(batch()).gradients
    assert report.before == {"actor_encoder": 0.0, "actor_head": 0.0}


def test_critic_step_changes_the_critic_and_its_encoder_alone():
    agent = make()
    before = snapshot(agent)
    agent._update_critic(batch())
    assert moved(agent, before) == {"critic", "critic_encoder"}


@pytest.mark.parametrize("encoder", ["separate", "shared"])
@pytest.mark.parametrize("feature_norm", ["none", "layernorm_tanh"])
def test_one_update_equals_one_written_out_by_hand(encoder, feature_norm):
    """Critic step, actor step, target step against plain autograd, SGD-free Adam and the formulas."""
    settings = {"encoder": encoder, "feature_norm": feature_norm}
    settings |= {"critic_clip_norm": 0.5, "actor_clip_norm": 0.01}
    agent, b = make(**settings), batch()
    nets = copy.deepcopy(agent.networks())
    ce, ca, pi = nets["critic_encoder"], nets["critic"], nets["actor"]
    ae = nets.get("actor_encoder", ce)
    tce, tca, tpi = nets["target_critic_encoder"], nets["target_critic"], nets["target_actor"]
    tae = nets.get("target_actor_encoder", tce)

    torch.manual_seed(7)
    agent.update(b)

    torch.manual_seed(7)
    with torch.no_grad():
        a2 = tpi(tae(b.next_image), b.next_vector)[0]
        a2 = (a2 + (torch.randn_like(a2) * 0.2).clamp(-0.5, 0.5)).clamp(-1, 1)
        y = b.reward + 0.99 * torch.min(*tca(tce(b.next_image), b.next_vector, a2))
    f = ce(b.image)
    q1, q2 = ca(f, b.vector, b.action)
    critic_parameters = [*ce.parameters(), *ca.parameters()]
    critic_adam = torch.optim.Adam(critic_parameters, lr=3e-4)
    (F.mse_loss(q1, y) + F.mse_loss(q2, y)).backward()
    torch.nn.utils.clip_grad_norm_(critic_parameters, 0.5)
    critic_adam.step()

    f = f.detach()  # the actor's step goes on with the features of the critic's, as in DrQ-v2
    action, pre = pi(f if ae is ce else ae(b.image), b.vector)
    actor_parameters = [*pi.parameters()] + ([] if ae is ce else [*ae.parameters()])
    loss = -ca.net1(torch.cat([f, b.vector, action], 1)).mean() + 0.01 * pre.pow(2).mean()
    for p, g in zip(actor_parameters, torch.autograd.grad(loss, actor_parameters), strict=True):
        p.grad = g
    torch.nn.utils.clip_grad_norm_(actor_parameters, 0.01)
    torch.optim.Adam(actor_parameters, lr=3e-4).step()

    with torch.no_grad():
        for net, target in {(ce, tce), (ca, tca), (pi, tpi), (ae, tae)}:
            for p, t in zip(net.parameters(), target.parameters(), strict=True):
                t.copy_(0.005 * p + 0.995 * t)
    for name, network in agent.networks().items():
        for mine, theirs in zip(network.parameters(), nets[name].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize(("encoder", "passes"), [("shared", 2), ("separate", 4), ("asymmetric", 2)])
def test_no_encoder_looks_at_the_same_pictures_twice(encoder, passes, monkeypatch):
    agent, b = make(encoder=encoder), batch()
    looks = []
    forward = networks.Encoder.forward
    monkeypatch.setattr(networks.Encoder, "forward", lambda e, x: looks.append(e) or forward(e, x))
    _, actor_step = agent.update(b)
    assert actor_step is not None
    assert len(looks) == passes == len(set(map(id, looks)))


def test_the_order_of_a_picture_in_memory_changes_nothing():
    agent, b = make(), batch()
    last = b.image.contiguous(memory_format=torch.channels_last)
    assert last.stride() != b.image.stride()
    torch.testing.assert_close(agent.act(last, b.vector), agent.act(b.image, b.vector))
    assert torch.equal(agent.critic_encoder.pixels(last), last.float())


def test_target_uses_target_copies_of_every_network():
    """With the online networks replaced by noise one after another, the target stays the same."""
    agent, b = make(), batch()
    torch.manual_seed(3)
    expected = agent.bellman_target(b)
    for network in (agent.critic_encoder, agent.actor_encoder, agent.actor, agent.critic):
        for p in network.parameters():
            p.data.normal_()
    torch.manual_seed(3)
    torch.testing.assert_close(agent.bellman_target(b), expected)


def test_targets_move_by_tau_and_start_equal():
    agent = make(tau=0.25)
    for network, target in agent.target_pairs():
        for p, t in zip(network.parameters(), target.parameters(), strict=True):
            assert torch.equal(p, t) and p is not t and not t.requires_grad
    before = snapshot(agent)
    for network, _ in agent.target_pairs():
        for p in network.parameters():
            p.data.add_(1.0)
    agent._update_targets()
    names = {id(m): n for n, m in agent.networks().items()}
    for _, target in agent.target_pairs():
        for t, old in zip(target.parameters(), before[names[id(target)]], strict=True):
            torch.testing.assert_close(t, old + 0.25)


def test_terminated_does_not_bootstrap_and_truncated_does():
    agent = make()
    done, going = batch(discount=0.0), batch(discount=0.99)
    torch.manual_seed(0)
    torch.testing.assert_close(agent.bellman_target(done), done.reward)
    torch.manual_seed(0)
    assert not torch.allclose(agent.bellman_target(going), going.reward)


def test_twin_minimum_and_weighted_minimum():
    agent, b = make(policy_noise=0.0), batch()
    with torch.no_grad():
        a2 = agent.target_actor(agent.target_actor_encoder(b.next_image), b.next_vector)[0]
        q1, q2 = agent.target_critic(agent.target_critic_encoder(b.next_image), b.next_vector, a2)
    torch.testing.assert_close(agent.bellman_target(b), b.reward + 0.99 * torch.min(q1, q2))
    mixed = make(policy_noise=0.0, twin_min_weight=0.75)
    torch.testing.assert_close(
        mixed.bellman_target(b), b.reward + 0.99 * (0.75 * torch.min(q1, q2) + 0.25 * torch.max(q1, q2))
    )


def test_smoothing_noise_is_clipped():
    agent, b = make(policy_noise=50.0, noise_clip=1e-6), batch()
    quiet = make(policy_noise=0.0)
    torch.testing.assert_close(agent.bellman_target(b), quiet.bellman_target(b), rtol=1e-4, atol=1e-5)


def test_policy_delay_and_critic_warmup():
    agent, b = make(policy_delay=2, critic_warmup=4), batch()
    steps = [agent.update(b)[1] is not None for _ in range(8)]
    assert steps == [False, False, False, False, False, True, False, True]


def test_every_parameter_is_optimised_clipped_and_measured_exactly_once():
    """Encoder missing from the optimiser, or from the clip."""
    for encoder in ("separate", "shared"):
        agent = make(encoder=encoder)
        for groups, optimizer in (
            (agent.critic_groups, agent.critic_optimizer),
            (agent.actor_groups, agent.actor_optimizer),
        ):
            grouped = [id(p) for g in groups.values() for p in g]
            optimised = [id(p) for g in optimizer.param_groups for p in g["params"]]
            assert sorted(grouped) == sorted(optimised) and len(set(grouped)) == len(grouped)
        trained = {id(p) for g in (agent.critic_groups, agent.actor_groups) for ps in g.values() for p in ps}
        online = {
            id(p) for n, m in agent.networks().items() if not n.startswith("target_") for p in m.parameters()
        }
        assert trained == online


def test_norms_are_l2_and_the_clip_is_joint():
    generator = torch.Generator().manual_seed(0)
    groups = {
        "a": [torch.nn.Parameter(torch.zeros(3, 4)), torch.nn.Parameter(torch.zeros(5))],
        "b": [torch.nn.Parameter(torch.zeros(7))],
    }
    for group in groups.values():
        for p in group:
            p.grad = torch.randn(p.shape, generator=generator)
    flat = {n: torch.cat([p.grad.flatten() for p in g]) for n, g in groups.items()}
    total = torch.cat(list(flat.values())).norm().item()
    report = clip_gradients(groups, 1.0)
    for name, gradient in flat.items():
        assert report.before[name] == pytest.approx(gradient.norm().item(), rel=1e-5)
        assert report.after[name] == pytest.approx(gradient.norm().item() / total, rel=1e-4)
        assert l2_norm(groups[name]).item() == pytest.approx(report.after[name], rel=1e-5)
    assert report.total_before == pytest.approx(total, rel=1e-5)
    assert report.total_after == pytest.approx(1.0, rel=1e-4)
    assert report.clip_ratio == pytest.approx(total, rel=1e-5)
    again = clip_gradients(groups, 5.0)
    assert again.before == again.after


def test_a_clip_that_does_not_hold_is_an_error(monkeypatch):
    groups = {"a": [torch.nn.Parameter(torch.zeros(4))]}
    groups["a"][0].grad = torch.full((4,), 10.0)
    monkeypatch.setattr(torch, "_foreach_mul_", lambda *a: None)
    with pytest.raises(ClipDidNotHoldError):
        clip_gradients(groups, 1.0)


def test_actor_q_clamp_kills_the_gradient_when_crossed():
    """The measured effect that the documentation states: a dead actor."""
    agent = make(actor_q_clamp=1e-6, pre_tanh_penalty=0.0)
    report = agent._update_actor(batch()).gradients
    assert report.total_before == 0.0


def test_each_group_learns_at_its_own_rate():
    """A rate of almost nothing stops its own group and no other."""
    for group in ("actor", "critic", "actor_encoder", "critic_encoder"):
        agent = make(**{f"{group}_lr": 1e-60})  # nothing, in float32
        before = snapshot(agent)
        agent.update(batch())
        stopped = {"actor", "critic", "actor_encoder", "critic_encoder"} - moved(agent, before)
        assert stopped == {group}


def test_all_learning_rates_fall_together_between_the_two_updates_of_the_decay():
    rates = {"actor_lr": 1e-3, "critic_lr": 2e-3, "actor_encoder_lr": 3e-3, "critic_encoder_lr": 4e-3}
    agent = make(lr_decay_updates=(2, 6), lr_decay_to=0.2, **rates)
    initial, seen = [2e-3, 4e-3, 1e-3, 3e-3], []
    for _ in range(8):
        agent.update(batch())
        used = [g["lr"] for o in agent.optimizers().values() for g in o.param_groups]
        shares = {round(now / then, 6) for now, then in zip(sorted(used), sorted(initial), strict=True)}
        seen.append(shares)
    assert seen == [{1.0}, {1.0}, {0.8}, {0.6}, {0.4}, {0.2}, {0.2}, {0.2}]


def test_a_resumed_agent_learns_at_the_rate_of_its_update():
    """The rate follows from the count of updates, so a checkpoint need not hold it."""
    agent = make(lr_decay_updates=(10, 20), lr_decay_to=0.1)
    agent.updates = 14
    agent.update(batch())
    assert agent.critic_optimizer.param_groups[0]["lr"] == pytest.approx(3e-4 * 0.55)


def test_a_decay_that_goes_backwards_is_refused():
    with pytest.raises(ValueError, match="first update below its second"):
        AgentConfig(lr_decay_updates=(20, 10))


@pytest.mark.parametrize("setting", ["critic_layer_norm", "critic_batch_norm"])
def test_a_normalised_critic_gives_the_same_q_whatever_the_scale_of_its_first_layer(setting):
    agent, b = make(**{setting: True}), batch()

    def q() -> torch.Tensor:
        with torch.no_grad():
            agent.critic.train()
            return agent.critic(agent.critic_encoder(b.image), b.vector, b.action)[0]

    before = q()
    with torch.no_grad():
        for p in agent.critic.net1[0].parameters():
            p *= 100.0
    torch.testing.assert_close(q(), before, rtol=1e-2, atol=1e-3)


def test_batch_norm_learns_its_statistics_from_the_data_alone():
    """The policy's actions must not enter them; the target's follow by tau."""
    agent, b = make(critic_batch_norm=True, tau=0.25), batch()
    statistics = agent.critic.net1[1].running_mean
    target = agent.target_critic.net1[1].running_mean
    start = statistics.clone()
    agent._update_critic(b)
    learned = statistics.clone()
    assert not torch.equal(learned, start)
    agent._update_actor(b)
    agent.bellman_target(b)
    assert torch.equal(statistics, learned)
    assert torch.equal(target, start)
    agent._update_targets()
    torch.testing.assert_close(target, start + 0.25 * (learned - start))


def test_batch_norm_judges_an_action_by_itself():
    """With batch statistics Q of one action would depend on the others of its batch."""
    agent, b = make(critic_batch_norm=True), batch()
    agent.update(b)
    features = agent.critic_encoder(b.image)
    for judge in (agent.policy_value, agent.target_critic.q1):
        together = judge(features, b.vector, b.action)
        torch.testing.assert_close(judge(features[:1], b.vector[:1], b.action[:1]), together[:1])


def test_a_random_shift_moves_whole_stacks_and_repeats_the_edge():
    torch.manual_seed(0)
    image = torch.arange(36 * 36, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 1, 36, 36)
    image = image.expand(64, 4, 36, 36)
    moved_ = random_shift(image, 3)
    padded = F.pad(image[:1].float(), [3] * 4, mode="replicate").to(torch.uint8)[0, 0]
    shifts = set()
    for stack in moved_:
        found = [
            (y, x)
            for y in range(7)
            for x in range(7)
            if torch.equal(stack[0], padded[y : y + 36, x : x + 36])
        ]
        assert len(found) == 1
        shifts.update(found)
        assert all(torch.equal(frame, stack[0]) for frame in stack)
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(7))


def test_the_update_sees_shifted_pictures_and_the_shift_can_be_switched_off(monkeypatch):
    seen: list[Batch] = []
    for pixels in (0, 4):
        agent, b = make(random_shift=pixels), batch()
        learn = agent._update_critic
        monkeypatch.setattr(agent, "_update_critic", lambda b, learn=learn: seen.append(b) or learn(b))
        agent.update(b)
    off, on = seen
    assert off.image is not on.image and torch.equal(off.image, batch().image)
    assert not torch.equal(on.image, off.image) and not torch.equal(on.next_image, off.next_image)
    assert torch.equal(on.vector, off.vector)


def test_one_normalisation_at_most():
    with pytest.raises(ValueError, match="not both"):
        AgentConfig(critic_layer_norm=True, critic_batch_norm=True)
    with pytest.raises(ValueError, match="batch_size of 2"):
        AgentConfig(critic_batch_norm=True, batch_size=1)


def test_dividing_the_first_layers_weights_equals_dividing_the_pixels():
    agent, b = make(feature_norm="none"), batch()
    e = agent.critic_encoder
    x = b.image.float() / 255.0
    for layer in (e.conv1, e.conv2, e.conv3):
        x = F.relu(layer(x))
    torch.testing.assert_close(e(b.image), F.relu(e.project(x.flatten(1))), rtol=1e-4, atol=1e-5)


def test_imitation_pulls_the_policy_towards_demonstrations_that_the_critic_prefers():
    agent, b = make(imitation=5.0, actor_lr=1e-3, pre_tanh_penalty=0.0), batch()
    agent.policy_value = lambda features, vector, action: -(action - b.action).square().sum(1).detach()

    def distance() -> torch.Tensor:
        return (agent.act(b.image, b.vector) - b.action).square().sum(1)

    before = distance()
    for _ in range(50):
        agent._update_actor(b)
    nearer = distance() < before
    assert nearer[b.demonstrated].all()
    assert nearer.float().mean() < 1.0  # what the agent did itself is no example


def test_the_q_filter_ignores_demonstrations_that_the_critic_does_not_prefer():
    agent, b = make(imitation=5.0), batch()
    action = agent.actor(agent.actor_features(b), b.vector)[0]
    state = agent.critic_state(b, agent.actor_features(b))
    best = torch.full((B,), 1e6)
    assert agent.imitation_loss(b, state, action, best) == 0.0
    assert agent.imitation_loss(b, state, action, -best) > 0.0


def test_the_weight_of_imitation_falls_to_zero():
    agent = make(imitation=2.0, imitation_updates=10)
    weights = []
    for _ in range(12):
        weights.append(agent.imitation_weight)
        agent.update(batch())
    assert weights[0] == 2.0 and weights[5] == pytest.approx(1.0) and weights[10:] == [0.0, 0.0]


@pytest.mark.slow
def test_the_penalty_on_change_brings_actions_of_neighbouring_steps_together():
    b = batch()

    def change(**settings: float) -> float:
        agent = make(actor_lr=1e-3, critic_lr=1e-5, policy_delay=1, tau=0.5, **settings)
        for _ in range(100):
            agent.update(b)
        here, there = agent.act(b.image, b.vector), agent.act(b.next_image, b.next_vector)
        return float((here - there).square().mean())

    assert change(action_change_penalty=20.0) < 0.5 * change()


def test_each_action_may_have_a_weight_of_its_own_for_its_change():
    b = batch()

    def loss(weights: float | tuple[float, ...]) -> float:
        agent = make(action_change_penalty=weights, policy_delay=1, critic_warmup=0)
        step = agent.update(b)[1]
        assert step is not None
        return float(step.loss)

    both, steering, pedals, none = loss(0.5), loss((0.5, 0.0)), loss((0.0, 0.5)), loss(0.0)
    assert loss((0.5, 0.5)) == both and none < min(steering, pedals)
    assert steering + pedals - none == pytest.approx(both)


@pytest.mark.parametrize(("net", "millions"), [("nature", 7.7), ("small", 2.2), ("tiny", 1.0)])
def test_an_encoder_costs_what_the_configuration_says_of_it(net, millions):
    """Multiply-adds of the convolutions, a picture of 84 x 84."""
    encoder = networks.Encoder(4, 84, 16, "none", net=net)
    with FlopCounterMode(display=False) as count:
        encoder(torch.zeros(1, 4, 84, 84, dtype=torch.uint8))
    convolutions = count.get_total_flops() / 2 - encoder.project.weight.numel()
    assert convolutions / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("net", "size"), [("small", 36), ("tiny", TINY_NEEDS)])
def test_a_cheaper_encoder_learns(net, size):
    agent = TD3(AgentConfig(encoder_net=net, feature_size=16, critic_warmup=0), (4, size, size), V, A)
    before = snapshot(agent)
    b = batch()
    small = torch.randint(0, 256, (B, 4, size, size), dtype=torch.uint8)
    agent.update(replace(b, image=small, next_image=small))
    assert {"critic_encoder", "critic"} <= moved(agent, before)


@pytest.mark.parametrize("encoder", ["separate", "shared"])
def test_the_averaged_policy_is_the_target_policy(encoder):
    agent, b = make(encoder=encoder), batch()
    torch.testing.assert_close(agent.act(b.image, b.vector, averaged=True), agent.act(b.image, b.vector))
    for _ in range(10):
        agent.update(b)
    averaged = agent.act(b.image, b.vector, averaged=True)
    assert not torch.allclose(averaged, agent.act(b.image, b.vector))
    expected, _ = agent.target_actor(agent.target_actor_encoder(b.image), b.vector)
    torch.testing.assert_close(averaged, expected)


@pytest.mark.slow
def test_a_fixed_batch_is_fitted_and_the_policy_climbs_q():
    agent = make(critic_lr=1e-3, actor_lr=1e-3, policy_noise=0.0)
    b = batch(discount=0.0)
    first, _ = agent.update(b)
    for _ in range(200):
        last, step = agent.update(b)
    assert last.loss < 0.05 * first.loss
    start = make(critic_lr=1e-3, actor_lr=1e-3)
    with torch.no_grad():
        features = agent.critic_encoder(b.image)
        q_of = [
            agent.critic.q1(features, b.vector, a.actor(a.actor_encoder(b.image), b.vector)[0]).mean()
            for a in (start, agent)
        ]
    assert q_of[1] > q_of[0] + 0.1
    assert np.isfinite(step.q.numpy()).all()


# ---------------------------------------------------------------- who sees what


def asymmetric(**changes) -> TD3:
    torch.manual_seed(0)
    settings = {"feature_size": 16, "hidden": (16, 16), "critic_warmup": 0, "policy_delay": 1, **changes}
    return TD3(AgentConfig(encoder="asymmetric", **settings), (4, 36, 36), V, A, visible_size=2)


def test_the_actor_does_not_see_what_only_the_critic_may_see():
    agent = asymmetric()
    b = batch()
    other = b.vector.clone()
    other[:, 2:] += 1.0
    assert torch.equal(agent.act(b.image, b.vector), agent.act(b.image, other))
    assert torch.equal(agent.act(b.image, b.vector, averaged=True), agent.act(b.image, other, averaged=True))
    other = b.vector.clone()
    other[:, 1] += 1.0
    assert not torch.equal(agent.act(b.image, b.vector), agent.act(b.image, other))
    features = agent.critic_encoder(b.image)
    q = agent.critic.q1(features, b.vector, b.action)
    other[:, 1] = b.vector[:, 1]
    other[:, 4] += 1.0
    assert not torch.equal(q, agent.critic.q1(features, other, b.action))


def test_the_asymmetric_critic_looks_at_no_picture_and_the_actor_does():
    agent = asymmetric()
    before = snapshot(agent)
    assert set(before) == {
        "critic",
        "actor",
        "actor_encoder",
        "target_critic",
        "target_actor",
        "target_actor_encoder",
    }
    b = batch()
    step, actor_step = agent.update(b)
    assert moved(agent, before) == set(before)
    assert set(step.gradients.before) == {"critic_head"}
    assert actor_step is not None and actor_step.gradients.before["actor_encoder"] > 0
    black = torch.zeros_like(b.image)
    q = [agent.critic.q1(agent.critic_encoder(image), b.vector, b.action) for image in (b.image, black)]
    assert torch.equal(*q)


def test_without_any_encoder_the_picture_changes_nothing():
    agent = make(encoder="none")
    before = snapshot(agent)
    assert set(before) == {"critic", "actor", "target_critic", "target_actor"}
    b = batch()
    _, actor_step = agent.update(b)
    assert moved(agent, before) == set(before)
    assert actor_step is not None and set(actor_step.gradients.before) == {"actor_head"}
    assert torch.equal(agent.act(b.image, b.vector), agent.act(b.next_image, b.vector))


def test_the_state_can_be_read_from_features_that_were_trained_to_hold_it():
    """The state is a function of the picture here; the auxiliary task must find it."""
    agent = asymmetric(state_loss=10.0, actor_encoder_lr=3e-3)
    b = batch()
    brightness = torch.arange(B, dtype=torch.float32) / B
    image = (255 * brightness)[:, None, None, None].expand(B, 4, 36, 36).to(torch.uint8)
    vector = b.vector.clone()
    vector[:, 2:] = brightness[:, None]
    b = Batch(image, vector, b.action, b.reward, b.discount, image, vector, b.demonstrated)
    first = float(agent.state_loss(b, agent.actor_features(b)).detach())
    for _ in range(60):
        agent._update_actor(b)
    assert float(agent.state_loss(b, agent.actor_features(b)).detach()) < 0.2 * first
    assert asymmetric().state_head is None


def test_a_penalty_in_units_of_q_grows_with_q():
    b = batch()
    losses = {}
    for scale in ("absolute", "q"):
        agent = make(penalty_scale=scale, action_change_penalty=1.0, pre_tanh_penalty=0.0)
        with torch.no_grad():
            for net in (agent.critic.net1, agent.critic.net2):
                net[-1].bias += 100.0
        step = agent._update_actor(b, torch.ones(B, A))
        change = (step.action - 1.0).square().mean()
        losses[scale] = float((step.loss + step.q.mean()) / change)
    assert losses["absolute"] == pytest.approx(1.0, rel=1e-3)
    assert losses["q"] == pytest.approx(100.0, rel=0.05)


def test_the_auxiliary_task_leaves_out_what_no_picture_can_show():
    torch.manual_seed(0)
    config = AgentConfig(encoder="asymmetric", feature_size=16, hidden=(16, 16), state_loss=1.0)
    agent = TD3(config, (4, 36, 36), V, A, visible_size=2, picture_size=1)
    b = batch()
    features = agent.actor_features(b)
    before = agent.state_loss(b, features)
    b.vector[:, 3:] += 1.0
    assert torch.equal(before, agent.state_loss(b, features))
    b.vector[:, 2] += 1.0
    assert not torch.equal(before, agent.state_loss(b, features))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.skipif(not networks.HAS_ONEDNN, reason="this torch has no such operator")
def test_a_dense_layer_is_torchs_own_linear_layer(relu, monkeypatch):
    """Values and all three gradients, on a batch large enough for oneDNN's product."""
    torch.manual_seed(0)
    layer, x = networks.Dense(23, 40, relu), torch.randn(64, 23, requires_grad=True)

    def everything() -> list[torch.Tensor]:
        output = layer(x)
        inputs = [x, layer.weight, layer.bias]
        return [output, *torch.autograd.grad((output**2).sum(), inputs)]

    fast = everything()
    assert type(fast[0].grad_fn).__name__ == "_OneDnnLinearBackward"
    monkeypatch.setattr(networks, "HAS_ONEDNN", False)
    for ours, theirs in zip(fast, everything(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_layers_of_a_head_keep_their_names_in_checkpoints():
    assert [n for n, _ in networks.mlp(3, (4, 4), 1).named_children()] == ["0", "2", "4"]
    normed = networks.mlp(3, (4, 4), 1, torch.nn.LayerNorm)
    assert [n for n, _ in normed.named_children()] == ["0", "1", "2", "3", "4", "5", "6"]


def test_with_the_first_critic_alone_the_target_is_that_of_ddpg():
    agent = make(target_q="q1", policy_noise=0.0)
    b = batch()
    action, _ = agent.target_actor(agent.target_actor_encoder(b.next_image), b.next_vector)
    features = agent.target_critic_encoder(b.next_image)
    q1, q2 = agent.target_critic(features, b.next_vector, action)
    torch.testing.assert_close(agent.bellman_target(b), b.reward + b.discount * q1)
    assert not torch.allclose(q1, torch.min(q1, q2)), "the two critics must differ for this to mean anything"
