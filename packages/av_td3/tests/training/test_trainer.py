"""The loop: what is stored, what is logged, how it stops, and that resuming changes nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from av_td3.agent.td3 import TD3
from av_td3.evaluation import rollout
from av_td3.health import metrics
from av_td3.supervision.fleet import Fleet, Late
from av_td3.supervision.supervised import SupervisionError
from av_td3.training import checkpoint, policies, state
from av_td3.training.agents import make_agent
from av_td3.training.logger import CURVES, layout, log_final_evaluation
from av_td3.training.loop import episode_seed
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import StopRequest
from av_td3.training.trainer import Trainer

from .fake import FakeEnv, SilentDisplay, fake_evaluation, scalars, small_config

# What the recorded runs logged, by group: a run of this software must log at least these.
RECORDED = {
    "agent": """
        actor_cnn_lr actor_cnn_param_mean actor_cnn_param_std actor_lr actor_param_mean
        actor_param_std buffer_utilization critic_cnn_lr critic_cnn_param_mean
        critic_cnn_param_std critic_lr critic_param_mean critic_param_std is_training
        total_iterations
    """,
    "alerts": """
        gradient_explosion_critical gradient_explosion_warning
    """,
    "debug": """
        actor_q_max actor_q_mean actor_q_min actor_q_std done_ratio effective_discount
        q1_max q1_min q1_std q2_max q2_min q2_std reward_max reward_mean reward_min
        reward_std target_q_max target_q_mean target_q_min target_q_std td_error_q1
        td_error_q2
    """,
    "eval": """
        avg_collisions avg_episode_length avg_lane_invasions mean_reward success_rate
    """,
    "gradients": """
        actor_cnn_norm actor_mlp_norm critic_cnn_norm critic_mlp_norm
    """,
    "progress": """
        buffer_size current_reward episode_steps speed_kmh
    """,
    "rewards": """
        comfort_component comfort_percentage efficiency_component efficiency_percentage
        lane_keeping_component lane_keeping_percentage progress_component
        progress_percentage safety_component safety_percentage
    """,
    "train": """
        actor_loss collisions_per_episode critic_loss episode_length episode_reward
        exploration_noise lane_invasions_per_episode q1_value q2_value
    """,
}


def trainer(path: Path, env: FakeEnv | None = None, **train) -> tuple[Trainer, FakeEnv]:
    config = small_config(**train)
    run = RunDirectory(path) if path.exists() else RunDirectory.create(path, config, {})
    environment = env or FakeEnv(config)
    return Trainer(config, run, lambda: environment, fake_evaluation, SilentDisplay()), environment


def weights(agent: TD3) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in checkpoint.agent_tensors(agent).items()}


@pytest.mark.slow
def test_a_run_finishes_with_everything_on_the_step_axis(tmp_path):
    t, env = trainer(tmp_path / "run")
    outcome = t.train()
    assert outcome.state == "finished" and outcome.step == 120 and env.closed
    assert outcome.updates == 100  # one a step after learning_starts
    rows = scalars(tmp_path / "run")
    recorded = {f"{group}/{name}" for group, names in RECORDED.items() for name in names.split()}
    missing = recorded - set(rows)
    assert not missing, f"tags of the recorded runs that are not logged: {sorted(missing)}"
    assert max(step for values in rows.values() for step, _ in values) <= 120
    assert [s for s, _ in rows["train/critic_loss"]] == list(range(30, 121, 10))
    assert all(value == 0.0 for _, value in rows["gradients/actor_state_path_norm"])
    shares = [rows[f"rewards/{c}_percentage"][0][1] for c in ("progress", "safety", "comfort")]
    assert shares == pytest.approx([100, 0, 0])
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_resuming_equals_never_having_stopped(tmp_path):
    whole, _ = trainer(tmp_path / "a")
    whole.train()
    expected = weights(whole.state.agent)

    first, env = trainer(tmp_path / "b")
    env.fault_at = set()
    killed_after = 75

    class Killed(BaseException):
        pass

    def receive(original=env.receive):
        if env.total_steps == killed_after:
            raise Killed  # stands for kill -9: nothing after this line runs in that process
        return original()

    env.receive = receive
    with pytest.raises(Killed):
        first.train()
    second, _ = trainer(tmp_path / "b")
    second.restore()
    assert 40 <= second.state.step < killed_after
    second.train()
    assert second.state.step == whole.state.step and second.state.agent.updates == whole.state.agent.updates
    for name, tensor in weights(second.state.agent).items():
        assert torch.equal(tensor, expected[name]), name
    # and TensorBoard shows one history, not two
    steps = [s for s, _ in scalars(tmp_path / "b")["train/critic_loss"]]
    assert steps == sorted(set(steps))


def test_a_simulator_fault_ends_the_episode_without_a_transition(tmp_path):
    t, env = trainer(tmp_path / "run", steps=30, learning_starts=1000)
    env.fault_at = {8}
    t.train()
    assert t.state.step == 30  # a step that failed is none
    assert t.state.replay.transitions == 30
    sample = t.state.replay.at(
        np.array([6])
    )  # the last good one before the fault: slots 0..6, then 7 has no action
    assert sample.discount[0] == pytest.approx(0.99)
    assert not t.state.replay.has_action[7]
    assert any("the server died" in m for m in t.display.messages)


@pytest.mark.parametrize("kind", ["observation", "reward"])
def test_nan_stops_with_the_last_good_state(tmp_path, kind):
    t, env = trainer(tmp_path / "run")
    env.poison = {50: kind}
    outcome = t.train()
    assert outcome.state == "failed"
    assert kind in outcome.reason and "step" in outcome.reason
    assert np.isfinite(t.state.replay.reward).all() and np.isfinite(t.state.replay.vector).all()
    path, state, _ = checkpoint.newest_good(tmp_path / "run" / "checkpoints")
    assert state["step"] == t.state.step
    again = make_agent(t.config)
    checkpoint.load_agent(path, again)
    assert all(torch.isfinite(v).all() for v in weights(again).values())


def test_nan_weights_never_reach_the_simulator_nor_a_checkpoint(tmp_path):
    t, env = trainer(tmp_path / "run")
    original = env.receive

    def receive():
        if env.total_steps == 60:
            next(t.state.agent.actor.parameters()).data.fill_(float("nan"))
        return original()

    env.receive = receive
    outcome = t.train()
    assert outcome.state == "failed" and "not finite" in outcome.reason
    assert all(np.isfinite(a).all() for a in env.actions)
    path, state, _ = checkpoint.newest_good(tmp_path / "run" / "checkpoints")
    assert state["step"] <= 60
    again = make_agent(t.config)
    checkpoint.load_agent(path, again)
    assert all(torch.isfinite(v).all() for v in weights(again).values())


def test_nan_weights_are_found_before_they_are_saved(tmp_path):
    t, env = trainer(tmp_path / "run", log_interval=1000, learning_starts=1000, checkpoint_interval=10)
    original = env.receive

    def receive():
        if env.total_steps == 44:  # the last step of the third episode; the critic chooses no action
            next(t.state.agent.critic.parameters()).data.fill_(float("nan"))
        return original()

    env.receive = receive
    outcome = t.train()
    assert outcome.state == "failed" and "weights" in outcome.reason and outcome.step == 45
    assert checkpoint.newest_good(tmp_path / "run" / "checkpoints")[1]["step"] == 30


@pytest.mark.slow
@pytest.mark.parametrize(("network", "named"), [("critic", "critic_head"), ("actor", "actor_action_path")])
def test_a_nan_gradient_stops_before_the_weights_have_used_it(tmp_path, network, named):
    """The last good state is then this one, not that of a checkpoint thousands of steps ago."""
    t, _ = trainer(tmp_path / "run", checkpoint_interval=10_000)
    parameter = next(getattr(t.state.agent, network).parameters())
    if network == "critic":
        parameter.register_hook(lambda g: g * float("nan") if t.state.step >= 90 else g)
    else:
        value = t.state.agent.policy_value
        t.state.agent.policy_value = lambda *a: value(*a) * (float("nan") if t.state.step >= 90 else 1.0)
    outcome = t.train()
    assert outcome.state == "failed" and outcome.step in (90, 91)
    assert "non-finite" in outcome.reason and named in outcome.reason
    path, state, _ = checkpoint.newest_good(t.run.checkpoints)
    assert state["step"] == outcome.step
    again = make_agent(t.config)
    checkpoint.load_agent(path, again)
    assert all(torch.isfinite(v).all() for v in weights(again).values())
    assert scalars(tmp_path / "run")["alerts/nan_or_inf_critical"][-1][1] == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_ends_training_in_words(tmp_path, monkeypatch, value):
    t, _ = trainer(tmp_path / "run")
    probe = metrics.probe_scalars
    bad = {"gradients/actor_state_path_norm": value}
    monkeypatch.setattr(metrics, "probe_scalars", lambda *a: probe(*a) | (bad if t.state.step >= 60 else {}))
    outcome = t.train()
    assert (outcome.state, outcome.step) == ("failed", 60)
    assert "gradients/actor_state_path_norm" in outcome.reason
    log = [json.loads(line) for line in (tmp_path / "run" / "alerts.jsonl").read_text().splitlines()]
    assert [entry["name"] for entry in log] == ["nan_or_inf"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_and_says_interrupted(tmp_path, number):
    before = signal.getsignal(number)
    t, env = trainer(tmp_path / "run")
    original = env.receive

    def receive():
        if env.total_steps == 33:
            os.kill(os.getpid(), number)
        return original()

    env.receive = receive
    outcome = t.train()
    assert outcome.state == "interrupted" and outcome.step == 34
    assert checkpoint.newest_good(tmp_path / "run" / "checkpoints")[1]["step"] == 34
    assert signal.getsignal(number) == before
    resumed, _ = trainer(tmp_path / "run")
    resumed.restore()
    assert resumed.train().step == 120


def test_a_signal_does_not_wait_for_an_update_of_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(StopRequest, "GRACE_S", 3600.0)
    t, _ = trainer(tmp_path / "run")
    update, parts, left = t.state.agent.update, [], []

    def slow(batch):
        result = update(batch)
        if t.state.step == 50:
            os.kill(os.getpid(), signal.SIGTERM)
            for part in range(1000):
                time.sleep(0.01)
                parts.append(part)
                if part == 20:
                    left.append(signal.getitimer(signal.ITIMER_REAL)[0])
                    os.kill(os.getpid(), signal.SIGALRM)  # as that timer does at its end
        return result

    t.state.agent.update = slow
    outcome = t.train()
    assert outcome.state == "interrupted" and outcome.step == 50
    assert 20 < len(parts) < 1000 and 0 < left[0] <= StopRequest.GRACE_S
    assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] == 50


def test_a_signal_ends_several_updates_of_one_step(tmp_path):
    t, _ = trainer(tmp_path / "run", updates_per_step=10)
    update = t.state.agent.update

    def signalled(batch):
        if t.state.agent.updates == 43:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(batch)

    t.state.agent.update = signalled
    outcome = t.train()
    assert outcome.state == "interrupted" and outcome.updates == 44


def test_a_signal_ends_an_evaluation(tmp_path):
    config, driven = small_config(), []
    run = RunDirectory.create(tmp_path / "run", config, {})

    def evaluate(policy, step):
        observation, _ = FakeEnv(config).reset(seed=0)
        for drive in range(1000):
            driven.append(drive)
            policy(observation)
            if drive == 3:
                os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation went on")

    t = Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay())
    outcome = t.train()
    assert outcome.state == "interrupted" and outcome.step == 60 and len(driven) == 5
    assert checkpoint.newest_good(run.checkpoints)[1]["step"] == 60


def test_a_signal_ends_an_evaluation_whose_simulator_does_not_come_up(tmp_path, monkeypatch):
    monkeypatch.setattr(StopRequest, "GRACE_S", 0.2)
    config, left = small_config(), []
    run = RunDirectory.create(tmp_path / "run", config, {})

    def evaluate(policy, step):
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            time.sleep(60)
        finally:
            left.append(step)  # the evaluation's simulator is ended
        raise AssertionError("the signal was not obeyed")

    outcome = Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay()).train()
    assert outcome.state == "interrupted" and left == [60]
    assert checkpoint.newest_good(run.checkpoints)[1]["step"] == 60


def test_a_simulator_that_stays_away_leaves_a_checkpoint_of_the_last_step(tmp_path):
    t, env = trainer(tmp_path / "run")
    original = env.receive

    def receive():
        if env.total_steps == 73:
            raise SupervisionError("the simulator failed 6 times in a row")
        return original()

    env.receive = receive
    with pytest.raises(SupervisionError):
        t.train()
    assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] == 73
    assert json.loads((t.run.path / "status.json").read_text())["state"] == "failed"


@pytest.mark.slow
def test_the_best_agent_is_kept(tmp_path):
    """By route completion, then by return; whatever is pruned."""
    figures = iter([(0.2, 5.0), (0.6, 1.0), (0.6, 2.0), (0.5, 9.0), (0.6, 1.5)])
    seen = {}

    def evaluate(policy, step):
        completion, mean_return = next(figures)
        seen[step] = weights(t.state.agent)
        return {"eval/route_completion": completion, "eval/mean_reward": mean_return}

    config = small_config(steps=160)
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"interval": 30})})
    run = RunDirectory.create(tmp_path / "run", config, {})
    t = Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay())
    t.train()
    path, state, _ = checkpoint.find(run.checkpoints, "best")
    driven = set(policies.freeze(make_agent(config)))
    assert state["step"] == sorted(seen)[2] and state["evaluation"]["eval/mean_reward"] == 2.0
    again = make_agent(config)
    checkpoint.load_policy(path, again)
    actor = [name for name in weights(again) if name.removeprefix("target_").startswith("actor")]
    for name in actor:  # the average of a policy that is only driven is the policy itself
        assert torch.equal(weights(again)[name], seen[state["step"]][name.removeprefix("target_")])
    assert len(actor) == 2 * len(driven)
    kept = {int(file.stem.removeprefix("step_")) for file in run.policies.glob("step_*")}
    assert kept == set(seen), "every policy that was evaluated"
    assert policies.describe(run.policies / policies.LAST)["step"] == t.state.step
    middle = sorted(seen)[1]
    assert checkpoint.find(run.checkpoints, str(middle))[1]["step"] == middle
    newest = checkpoint.available(run.checkpoints)[0]
    assert checkpoint.find(run.checkpoints, str(t.state.step))[0] == newest
    assert checkpoint.find(run.checkpoints, str(newest))[0] == newest
    with pytest.raises(checkpoint.CheckpointError, match=r"no checkpoint '7'.*best.*step_000000160"):
        checkpoint.find(run.checkpoints, "7")


def test_with_keep_best_the_last_policy_is_evaluated_as_well(tmp_path):
    for keep_best, evaluated in ((False, [60]), (True, [60, 120])):
        config = small_config(learning_starts=1000)
        settings = config.evaluation.model_copy(update={"keep_best": keep_best})
        config = config.model_copy(update={"evaluation": settings})
        run = RunDirectory.create(tmp_path / str(keep_best), config, {})
        t = Trainer(config, run, lambda c=config: FakeEnv(c), fake_evaluation, SilentDisplay())
        t.train()
        assert [row["step"] for row in t.state.evaluations] == evaluated


@pytest.mark.slow
def test_the_main_curves_are_of_tags_that_are_logged(tmp_path):
    t, _ = trainer(tmp_path / "run")
    t.train()
    tags = {tag for page in layout().values() for _, shown in page.values() for tag in shown}
    ends = {tag for tag in tags if tag.endswith(("_low", "_high"))}  # the fake evaluation has none
    assert list(CURVES) == ["learning", "driving", "health", "system"] and len(ends) == 6
    assert tags - ends <= set(scalars(tmp_path / "run"))
    kinds = {kind: len(shown) for page in layout().values() for kind, shown in page.values()}
    assert kinds["Margin"] == 3  # TensorBoard takes a value and its two ends
    events = EventAccumulator(str(tmp_path / "run" / "tb"))
    events.Reload()
    assert "custom_scalars__config__" in events.Tags()["tensors"]


def test_time_limit_counts_the_time_before_a_resume(tmp_path):
    t, _ = trainer(tmp_path / "run", max_minutes=1e-6)
    assert t.train().step <= 1


@pytest.mark.parametrize(("computing", "steps"), [(0.0, 40), (0.01, 40), (1.0, 30)])
def test_a_pause_is_no_time_trained(tmp_path, monkeypatch, computing, steps):
    """The process is stopped for an hour; an hour of computing counts."""
    clock = {"monotonic": 0.0, "process_time": 0.0}
    fake = SimpleNamespace(**{name: partial(clock.__getitem__, name) for name in clock})
    monkeypatch.setattr(state, "time", fake)
    t, env = trainer(tmp_path / "run", steps=40, max_minutes=30, learning_starts=1000)
    receive = env.receive

    def received():
        hour = 3600.0 * (env.total_steps == 29)
        clock["monotonic"] += hour
        clock["process_time"] += computing * hour
        return receive()

    env.receive = received
    outcome = t.train()
    assert (outcome.state, outcome.step) == ("finished", steps)
    assert outcome.minutes == (60.0 if computing == 1.0 else 0.0)


def test_waiting_for_the_only_simulator_is_no_time_trained(tmp_path, monkeypatch):
    """It is told of every few seconds, for two minutes."""
    clock = {"monotonic": 0.0, "process_time": 0.0}
    fake = SimpleNamespace(**{name: partial(clock.__getitem__, name) for name in clock})
    monkeypatch.setattr(state, "time", fake)
    t, env = trainer(tmp_path / "run", steps=40, max_minutes=1, learning_starts=1000)
    collect, away = Fleet.collect, []

    def collected(fleet):
        if env.total_steps < 29 or len(away) == 24:
            return collect(fleet)
        clock["monotonic"] += 5.0
        away.append(5.0)
        return {0: Late(5.0)}

    monkeypatch.setattr(Fleet, "collect", collected)
    outcome = t.train()
    assert len(away) == 24
    assert (outcome.state, outcome.step, outcome.minutes) == ("finished", 40, 0.0)


@pytest.mark.slow
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    t, _ = trainer(tmp_path / "run")
    t.train()
    newest, older = checkpoint.available(t.run.checkpoints)[:2]
    data = bytearray((newest / "agent.safetensors").read_bytes())
    data[-5] ^= 0xFF
    (newest / "agent.safetensors").write_bytes(data)
    resumed, _ = trainer(tmp_path / "run")
    resumed.restore()
    assert f"step_{resumed.state.step:09d}" == older.name
    assert any("damaged" in m for m in resumed.display.messages)
    for path in checkpoint.available(t.run.checkpoints):
        (path / "state.json").write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match="no usable checkpoint"):
        trainer(tmp_path / "run")[0].restore()


@pytest.mark.parametrize("lost", ["left out", "damaged"])
def test_a_replay_that_is_collected_anew_is_waited_for(tmp_path, lost):
    """Updates on one transition, then on one episode, would ruin a policy that has learned."""
    first, _ = trainer(tmp_path / "run", steps=60, checkpoint_replay=lost != "left out")
    first.train()
    updates, folder = first.state.agent.updates, first.run.checkpoints
    if lost == "damaged":
        for segment in (folder / "replay").iterdir():
            segment.write_bytes(segment.read_bytes()[:-1])
        with pytest.raises(
            checkpoint.CheckpointError, match=r"rest of step_000000060 is whole.*--new-replay"
        ):
            trainer(tmp_path / "run")[0].restore()
    seen = []

    def goes_on(steps):
        t, _ = trainer(tmp_path / "run", steps=steps, checkpoint_replay=lost != "left out")
        t.restore(new_replay=lost == "damaged" and not seen)
        seen.append((t.state.step, t.state.learning_from, len(t.state.replay)))
        assert t.train().step == steps
        return t

    second = goes_on(75)  # ended while it collects
    assert any(
        "collected anew, and the networks are updated again from step 80" in m
        for m in second.display.messages
    )
    assert any("not before the run ends" in m for m in second.display.messages)
    assert second.state.agent.updates == updates
    third = goes_on(100)
    if lost == "damaged":  # the new replay was kept, and goes on being collected
        assert seen[1] == (75, 80, 16)
        assert third.state.agent.updates == updates + 20
        assert checkpoint.newest_good(folder)[1]["step"] == 100, "the new replay is whole"
    else:
        assert seen[1] == (75, 95, 0)
        assert third.state.agent.updates == updates + 5


def test_the_updates_of_a_run_that_keeps_its_replay_begin_where_they_did(tmp_path):
    first, _ = trainer(tmp_path / "run", steps=15)
    first.train()
    second, _ = trainer(tmp_path / "run", steps=40)
    second.restore()
    assert (second.state.step, second.state.learning_from) == (15, 20)
    assert second.train().updates == 20


class DrivenFake(FakeEnv):
    """The same for ``rollout.evaluate``: a step at once."""

    render_mode = None

    def step(self, action):
        self.send(action)
        return self.receive()

    def _info(self):
        more = dict.fromkeys(("distance_m", "jerk", "lateral_deviation_m"), 0.0)
        return super()._info() | more | {"time_to_collision_s": float("inf")}


def evaluating(path: Path, evaluate, **changes) -> Trainer:
    config = small_config()
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update=changes)})
    run = RunDirectory.create(path, config, {})
    return Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay())


@pytest.mark.parametrize("keep_best", [False, True])
def test_an_evaluation_that_measures_nothing_costs_a_warning(tmp_path, keep_best):
    def evaluate(policy, step):
        env = DrivenFake(t.config)
        env.fault_at = set(range(5, 1000, 5))  # after some steps of every attempt
        return rollout.evaluate(env, policy, 2, 0)

    t = evaluating(tmp_path / "run", evaluate, interval=40, keep_best=keep_best)
    outcome = t.train()
    assert (outcome.state, outcome.step, outcome.evaluations) == ("finished", 120, [])
    warnings = [m for m in t.display.messages if "failed in all 6 attempts at 2 episodes" in m]
    assert len(warnings) == 2 + keep_best and warnings[0].startswith("warning: step 45: ")
    rows = scalars(tmp_path / "run")
    assert rows["eval/simulator_faults"] == [(50, 6.0), (100, 6.0)]
    assert rows["eval/episodes"] == [(50, 0.0), (100, 0.0)]
    assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] == 120


def test_nan_weights_that_an_evaluation_shows_first_raise_the_alert(tmp_path):
    def evaluate(policy, step):
        next(t.state.agent.actor.parameters()).data.fill_(float("nan"))
        return rollout.evaluate(DrivenFake(t.config), policy, 2, 0)

    t = evaluating(tmp_path / "run", evaluate)
    outcome = t.train()
    assert (outcome.state, outcome.step) == ("failed", 60) and "is not finite" in outcome.reason
    assert scalars(tmp_path / "run")["alerts/nan_or_inf_critical"][-1] == (60, 1.0)
    assert "nan_or_inf" in t.run.alerts.read_text()
    path, state, _ = checkpoint.newest_good(t.run.checkpoints)
    again = make_agent(t.config)
    checkpoint.load_agent(path, again)
    assert state["step"] < 60 and all(torch.isfinite(v).all() for v in weights(again).values())


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    t, _ = trainer(tmp_path / "run")
    t.train()
    before = checkpoint.available(t.run.checkpoints)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.tensor_files, "write", full)
    with pytest.raises(checkpoint.CheckpointError, match="No space left"):
        t.state.save(t.run.checkpoints)
    assert checkpoint.available(t.run.checkpoints) == before
    assert not list(t.run.checkpoints.glob(".*"))


@pytest.mark.slow
def test_checkpoints_hold_no_pickle(tmp_path):
    t, _ = trainer(tmp_path / "run")
    t.train()
    names = {p.name for p in checkpoint.available(t.run.checkpoints)[0].iterdir()}
    assert names == {"agent.safetensors", "optimizers.safetensors", "state.json"}
    assert {p.suffix for p in (t.run.checkpoints / "replay").iterdir()} == {".safetensors"}


def test_recorded_runs_keep_their_seeds():
    """The draw of every run whose evaluations begin at a million, or further on."""
    kept = [573787, 342472, 784169, 392219]
    assert [episode_seed(3, e, 1_000_000) for e in range(4)] == kept
    assert [episode_seed(3, e, 2_000_000) % 1_000_000 for e in range(4)] == kept


@pytest.mark.parametrize("evaluation_seed", [0, 1, 42, 999_999, 1_000_000, 2**40])
def test_training_and_evaluation_never_drive_the_same_seed(evaluation_seed):
    seeds = [episode_seed(3, e, evaluation_seed) for e in range(2000)]
    assert seeds == [episode_seed(3, e, evaluation_seed) for e in range(2000)]
    assert episode_seed(4, 0, evaluation_seed) != seeds[0]
    assert len(set(seeds)) > 1990
    evaluated = range(evaluation_seed, evaluation_seed + 1_000_000)
    assert not any(seed in evaluated for seed in seeds)
    gymnasium.utils.seeding.np_random(max(seeds))  # what an environment makes of it


def test_stop_on_critical_keeps_the_checkpoint_from_before_the_trouble(tmp_path):
    t, _ = trainer(tmp_path / "run", stop_on="critical", steps=400)
    leak_from = 90
    original = t.state.agent.critic_state
    t.state.agent.critic_state = lambda batch, features, *_: (
        features if t.state.step >= leak_from else original(batch, features)
    )
    outcome = t.train()
    assert outcome.state == "stopped" and "state_gradient_leak" in outcome.reason
    assert leak_from <= outcome.step <= leak_from + t.config.train.log_interval
    assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] < leak_from
    assert (tmp_path / "run" / "alerts.jsonl").read_text().count("state_gradient_leak") == 1
    assert scalars(tmp_path / "run")["alerts/state_gradient_leak_critical"][-1][1] == 1.0


def test_there_is_a_way_back_from_the_first_update_on(tmp_path):
    """A leak that is there from the first update is noticed long before a checkpoint is due."""
    t, _ = trainer(tmp_path / "run", stop_on="critical", checkpoint_interval=10_000)
    t.state.agent.critic_state = lambda batch, features, *_: features
    outcome = t.train()
    assert outcome.state == "stopped" and outcome.step < 40
    state = checkpoint.newest_good(t.run.checkpoints)[1]
    assert state["updates"] == 0 and outcome.checkpoint is not None


def test_no_checkpoint_of_trouble_that_an_alert_is_about_to_stop(tmp_path):
    t, _ = trainer(tmp_path / "run", stop_on="critical", checkpoint_interval=15, log_interval=10)
    saturated_from = 61
    choose = t.state.agent.actor.forward

    def forward(*arguments):
        action, pre = choose(*arguments)
        return (action * 0 + 1.0, pre) if t.state.step >= saturated_from else (action, pre)

    t.state.agent.actor.forward = forward
    outcome = t.train()
    assert outcome.state == "stopped" and "actor_saturated" in outcome.reason
    # two rows with the figure and no alert yet: the episode that ended between them left none
    assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] <= saturated_from


def test_a_resumed_run_remembers_what_its_alerts_had_seen(tmp_path):
    t, env = trainer(tmp_path / "run", steps=45, learning_starts=1000)
    env.fault_at = {8}
    t.train()
    assert t.state.watch.alerts.levels["simulator_incidents"] == "warning" and len(t.state.watch.ends) == 2
    resumed, _ = trainer(tmp_path / "run", steps=60, learning_starts=1000)
    resumed.restore()
    assert resumed.state.watch.alerts.active == t.state.watch.alerts.active
    assert list(resumed.state.watch.ends) == list(t.state.watch.ends)
    resumed.train()
    # the failure was within the last 1,000 steps: it still counts, and is announced once
    assert scalars(tmp_path / "run")["system/incidents_recent"][-1] == (60, 1.0)
    assert (tmp_path / "run" / "alerts.jsonl").read_text().count("simulator_incidents") == 1


@pytest.mark.slow
def test_weights_are_copied_for_measurement_only_where_both_networks_move(tmp_path, monkeypatch):
    copies = []
    original = metrics.UpdateToWeight
    monkeypatch.setattr(
        metrics, "UpdateToWeight", lambda agent: copies.append(agent.updates) or original(agent)
    )
    t, _ = trainer(tmp_path / "run")
    t.train()
    assert copies and min(copies) >= t.config.agent.critic_warmup
    assert len(copies) <= 100 / t.config.train.log_interval


@pytest.mark.slow
def test_the_final_evaluation_ends_the_curves_in_the_same_file(tmp_path):
    trained, _ = trainer(tmp_path / "run")
    trained.train()
    run = RunDirectory.open(tmp_path / "run")
    before = len(list(run.tensorboard.iterdir()))
    row = {"eval/success_rate": 0.75, "not/logged": 1.0}
    log_final_evaluation(run, trained.config, 500, row, print)
    assert len(list(run.tensorboard.iterdir())) == before
    rows = scalars(run.path)
    assert rows["eval/success_rate"][-1] == (500, 0.75) and "not/logged" not in rows
    assert rows["train/episode_reward"], "what was there before can still be read"
