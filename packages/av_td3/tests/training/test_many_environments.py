"""Several environments for one learner: what they share, what is kept apart, and what a resume promises."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from av_td3.agent.td3 import Batch
from av_td3.commands import common
from av_td3.config import ConfigError, config_from_dict
from av_td3.supervision import fleet, memory
from av_td3.supervision.supervised import SupervisionError
from av_td3.training import checkpoint
from av_td3.training.batches import to_batch
from av_td3.training.loop import episode_seed
from av_td3.training.run_directory import RunDirectory
from av_td3.training.state import TrainingState
from av_td3.training.trainer import Trainer

from .fake import FakeEnv, SilentDisplay, fake_evaluation, small_config
from .test_trainer import scalars, weights


def trainer(path: Path, envs: int, length: int = 15, **train: Any) -> tuple[Trainer, list[FakeEnv]]:
    config = small_config(envs=envs, **train)
    run = RunDirectory(path) if path.exists() else RunDirectory.create(path, config, {})
    # Episodes of unequal length: they do not end together.
    made = [FakeEnv(config, length + 2 * i) for i in range(envs)]
    left = iter(made)
    return Trainer(config, run, lambda: next(left), fake_evaluation, SilentDisplay()), made


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True])
def test_one_environment_is_the_loop_of_the_paper(tmp_path, ahead):
    """The same weights, bit for bit, as a loop that knows of no others, and of no threads."""
    # The one checkpoint is written before learning begins.
    options = {"updates_per_step": 1.7, "checkpoint_interval": 1000}
    t, driven = trainer(tmp_path / "run", 1, replay={"prefetch": ahead}, **options)
    t.train()
    config = t.config
    env, state = FakeEnv(config), TrainingState(config)
    explorer, episode = state.explorers[0], 0

    def draw() -> Batch:
        sample = state.replay.sample(config.agent.batch_size, state.replay_rng)
        return to_batch(sample, state.agent.device)

    prepared = None
    while state.step < config.train.steps:
        observation, _ = env.reset(seed=episode_seed(config.train.seed, episode, config.evaluation.seed))
        state.replay.begin(observation)
        explorer.begin_episode()
        ended = False
        while not ended and state.step < config.train.steps:
            if state.step < config.exploration.warmup_steps:
                action = explorer.random_action()
            else:
                image, vector = (torch.from_numpy(observation[key])[None] for key in ("image", "vector"))
                action = explorer.disturb(state.agent.act(image, vector)[0].numpy(), state.step)
            env.send(action)
            if state.step >= config.train.learning_starts:
                state.update_credit += config.train.updates_per_step
                while state.update_credit >= 1.0:
                    state.update_credit -= 1.0
                    batch = prepared or draw()
                    prepared = draw() if ahead else None  # of the replay as it is before the update
                    state.agent.update(batch)
            observation, reward, terminated, truncated, _ = env.receive()
            state.replay.add(action, reward, terminated, truncated, observation)
            state.step += 1
            ended = terminated or truncated
        episode += 1
    assert np.array_equal(env.actions, driven[0].actions)
    assert t.state.agent.updates == state.agent.updates > 160
    for name, tensor in weights(t.state.agent).items():
        assert torch.equal(tensor, weights(state.agent)[name]), name


def test_steps_and_updates_of_all_environments_count(tmp_path):
    t, envs = trainer(tmp_path / "run", 3, updates_per_step=0.5, steps=121)
    calls = []
    act = t.state.agent.act
    t.state.agent.act = lambda image, *rest: calls.append(len(image)) or act(image, *rest)
    outcome = t.train()
    assert (outcome.state, outcome.step) == ("finished", 121)
    assert sum(env.total_steps for env in envs) == 121 == t.state.replay.transitions
    assert all(env.closed for env in envs)
    assert 48 <= outcome.updates <= 51  # half an update for each step from step 20 on
    assert max(calls) == 3 and sum(calls) <= 121 - 20 + 2  # one forward pass for all
    rows = scalars(tmp_path / "run")
    assert [s for s, _ in rows["progress/buffer_size"]] == list(range(10, 121, 10))
    # Each environment's return and length are its own.
    lengths = {value for _, value in rows["train/episode_length"]}
    assert lengths == {15.0, 17.0, 19.0}


def test_every_episode_has_a_seed_of_its_own(tmp_path):
    t, envs = trainer(tmp_path / "run", 3)
    t.train()
    config = t.config
    for number, env in enumerate(envs):
        expected = [
            episode_seed(config.train.seed, e * 3 + number, config.evaluation.seed)
            for e in range(len(env.seeds))
        ]
        assert env.seeds == expected and len(expected) >= 2
    everything = [seed for env in envs for seed in env.seeds]
    assert len(set(everything)) == len(everything)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("envs", "replay"),
    [
        (3, {}),
        (3, {"prefetch": True}),
        (1, {"prefetch": True}),
        (1, {"prefetch": True, "device": "train", "n_step": 3}),
    ],
)
def test_resuming_equals_never_having_stopped(tmp_path, envs, replay):
    options: dict[str, Any] = {"steps": 200, "checkpoint_interval": 50, "replay": replay}
    whole, _ = trainer(tmp_path / "a", envs, **options)
    whole.train()
    expected = weights(whole.state.agent)

    class Killed(BaseException):
        pass

    first, driven = trainer(tmp_path / "b", envs, **options)

    def receive(original=driven[-1].receive):
        if first.state.step >= 150:
            raise Killed
        return original()

    driven[-1].receive = receive
    with pytest.raises(Killed):
        first.train()
    second, again = trainer(tmp_path / "b", envs, **options)
    second.restore()
    assert 50 <= second.state.step < 150
    assert second.state.replay.transitions == second.state.step
    second.train()
    assert second.state.step == whole.state.step and second.state.agent.updates == whole.state.agent.updates
    for name, tensor in weights(second.state.agent).items():
        assert torch.equal(tensor, expected[name]), name
    assert all(len(env.seeds) >= 2 for env in again)


@pytest.mark.slow
def test_a_checkpoint_waits_until_all_environments_are_between_episodes(tmp_path):
    t, envs = trainer(tmp_path / "run", 3)
    within = []
    save = t.state.begin_checkpoint
    t.state.begin_checkpoint = lambda folder: within.append([env.t for env in envs]) or save(folder)
    t.train()
    # The last one is written at the end of training, in the middle of episodes.
    assert len(within) >= 2 and all(at == [15, 17, 19] for at in within[:-1])


def test_a_failing_simulator_costs_its_own_episode_and_nothing_else(tmp_path):
    t, envs = trainer(tmp_path / "run", 3, steps=60, learning_starts=1000)
    envs[1].fault_at = {8}
    t.train()
    assert t.state.step == 60 == t.state.replay.transitions
    assert envs[1].incidents and not envs[0].incidents and not envs[2].incidents
    assert scalars(tmp_path / "run")["system/downtime_s"][-1][1] == 1.5
    ends = [e for e, x in enumerate(t.state.replay.driver[: t.state.replay.used]) if not x]
    assert (7 * 3 + 1) in ends  # the environment's eighth observation has no action
    first = {0: 15, 2: 19}
    for env, length in first.items():
        ages = t.state.replay.age[env::3][: length + 1]
        assert ages.tolist() == list(range(length + 1)), "the others' episodes went on"


@pytest.mark.slow
def test_a_simulator_that_takes_long_does_not_hold_up_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(fleet, "PATIENCE_S", 0.05)
    t, envs = trainer(tmp_path / "run", 3, steps=90, learning_starts=1000)
    released = threading.Event()
    reset = envs[2].reset

    def slow(**arguments):
        if envs[2].seeds:  # the first start is waited for
            assert released.wait(20)
        return reset(**arguments)

    envs[2].reset = slow
    original = envs[0].send

    def send(action):
        if t.state.step == 70:
            released.set()
        original(action)

    envs[0].send = send
    outcome = t.train()
    assert outcome.step == 90 and t.state.replay.transitions == 90
    assert any("environment 2 has not answered" in m for m in t.display.messages)
    assert len(envs[2].seeds) >= 1 and len(envs[0].seeds) >= 3


@pytest.mark.parametrize("envs", [1, 3])
@pytest.mark.parametrize("episode", [0, 1])
def test_a_signal_is_obeyed_while_a_simulator_does_not_come_up(tmp_path, monkeypatch, envs, episode):
    """However many there are; at the first start and later."""
    monkeypatch.setattr(fleet, "PATIENCE_S", 0.2)
    t, made = trainer(tmp_path / "run", envs, checkpoint_interval=1000)
    env, aborted = made[-1], threading.Event()
    reset = env.reset

    def hanging(**arguments):
        if len(env.seeds) < episode:
            return reset(**arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        assert aborted.wait(60), "the signal was not obeyed"
        raise SupervisionError("closed")

    env.reset, env.abort = hanging, aborted.set
    began = time.monotonic()
    outcome = t.train()
    assert outcome.state == "interrupted" and time.monotonic() - began < 30
    assert all(env.closed for env in made)
    assert outcome.step >= 15 * episode
    if episode:
        assert checkpoint.newest_good(t.run.checkpoints)[1]["step"] == outcome.step


def test_training_goes_on_without_an_environment_that_cannot_be_started(tmp_path):
    t, envs = trainer(tmp_path / "run", 2, steps=60)

    def broken(**_):
        raise SupervisionError("the simulator failed 6 times in a row")

    reset = envs[1].reset
    envs[1].reset = lambda **arguments: broken() if envs[1].seeds else reset(**arguments)
    outcome = t.train()
    assert (outcome.state, outcome.step) == ("finished", 60)
    assert any("without environment 1" in m for m in t.display.messages)
    both, envs = trainer(tmp_path / "both", 2)
    for env in envs:
        env.reset = broken
    with pytest.raises(SupervisionError, match="6 times"):
        both.train()


def test_each_environment_keeps_its_map(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(common, "SupervisedEnv", lambda config, *_, name, **__: made.append((name, config)))
    config = small_config(envs=3, maps=["loop", "grid"])
    run = RunDirectory.create(tmp_path / "run", config, {})
    trainer = common.make_trainer(run, config, SilentDisplay())
    for _ in range(3):
        trainer.make_env()
    assert [(name, env.simulator.map) for name, env in made] == [
        ("train-0", "loop"),
        ("train-1", "grid"),
        ("train-2", "loop"),
    ]


def test_a_map_that_is_not_there_is_refused_before_anything_starts():
    config = small_config(envs=2, maps=["loop", "gird"])
    with pytest.raises(ConfigError, match="did you mean 'grid'"):
        common.check_before_start(config)


def test_the_noise_of_demonstrations_takes_its_turns_in_each_environment(tmp_path):
    """As many environments as there are levels: none is left with one level for ever."""
    t, _ = trainer(tmp_path / "run", 3)
    state = t.state
    seen = []
    for _ in range(3):
        seen.append([state.demonstration_number(env) % 3 for env in range(3)])
        state.episodes = [episodes + 1 for episodes in state.episodes]
    assert all(sorted(turns) == [0, 1, 2] for turns in (*seen, *zip(*seen, strict=True)))


def test_a_run_has_the_environments_that_it_began_with(tmp_path):
    t, _ = trainer(tmp_path / "run", 2, steps=40)
    t.train()
    other, _ = trainer(tmp_path / "run", 3, steps=60)
    with pytest.raises(checkpoint.CheckpointError, match=r"train\.envs = 2, not 3"):
        other.restore()


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"train": {"envs": 0}}, "train.envs = 0"),
        ({"train": {"envs": 2}, "env": {"simulator": {"address": "127.0.0.1:2000"}}}, "one clock"),
        (
            {"train": {"envs": 4}, "replay": {"capacity": 300}, "agent": {"batch_size": 8}},
            "below 100 for each of 4",
        ),
        ({"train": {"maps": ["loop", "grid"]}}, "names 2 maps for 1 environment"),
    ],
)
def test_what_cannot_be_is_refused(tree, says):
    with pytest.raises(ConfigError, match=says):
        config_from_dict(tree)


def test_more_environments_than_memory_are_refused_with_figures(monkeypatch):
    config = small_config().env
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 << 30)
    memory.check_memory(config, 5, evaluation=True)
    with pytest.raises(
        ConfigError, match=r"9 environments, and one for evaluations, need 2\.8 GiB .*290 MiB"
    ) as e:
        memory.check_memory(config, 9, evaluation=True)
    assert "2.0 GiB are available. 6 fit" in str(e.value)
    with pytest.raises(ConfigError, match=r"1\.9 GiB for the full replay.*lower replay\.capacity"):
        memory.check_memory(config, 2, replay_bytes=1_990_000_000)
    memory.check_memory(config, 1, replay_bytes=3 << 30)  # one is never refused here: the replay has its own


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = memory.available_bytes()
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.available_bytes() == 4000
