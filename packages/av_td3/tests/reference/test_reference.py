"""The reference check: tasks, curves, the command; and Pendulum, learned to its published level."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from av_td3.agent.gradients import NonFiniteGradientError
from av_td3.cli import app
from av_td3.config import ConfigError
from av_td3.reference import baseline, learner, tasks
from av_td3.reference.curve import EvaluationPoint, SeedCurve, seed_interval, summary
from av_td3.reference.tasks import ReferenceSettings, make_task, published, settings_for

TINY = ReferenceSettings(
    hidden=(8, 8), batch_size=8, start_steps=20, capacity=1_000, eval_interval=40, eval_episodes=1
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_pendulum_is_learned_to_its_published_level():
    """-152 +- 90 in rl-baselines3-zoo, over episodes; a policy that does nothing gets about -1,200."""
    (zoo,) = published("Pendulum-v1")
    settings = replace(settings_for("Pendulum-v1"), hidden=(64, 64), batch_size=64, start_steps=500)
    curve = learner.learn("Pendulum-v1", 0, 9_000, settings)
    assert curve.points[0].mean < -900, "it could do it before it had learned anything"
    assert curve.maximum > zoo.mean - zoo.spread


class Corridor(gym.Env):
    """The reward is the action; an episode ends after 7 steps, by the flag that is asked for."""

    observation_space = gym.spaces.Box(-10, 10, (2,), np.float64)

    def __init__(self, terminates: bool = True, bound: float = 2) -> None:
        self.terminates = terminates
        self.action_space = gym.spaces.Box(-bound, bound, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.array([0.0, 1.0]), {}

    def step(self, action):
        assert self.action_space.contains(action), "the action was not scaled to the task's bounds"
        self.at += 1
        over = self.at == 7
        observation = np.array([self.at / 7, 1.0])
        return observation, float(action[0]), over and self.terminates, over and not self.terminates, {}


@pytest.fixture(autouse=True, scope="module")
def corridors():
    made = {"CorridorEnd-v0": (True,), "CorridorCut-v0": (False,), "CorridorWide-v0": (True, np.inf)}
    for name, arguments in made.items():
        gym.register(name, entry_point=lambda arguments=arguments: Corridor(*arguments))
    yield
    for name in made:
        del gym.registry[name]


@pytest.mark.parametrize("task", ["CorridorEnd-v0", "CorridorCut-v0"])
def test_the_flags_that_the_replay_holds_are_the_tasks(task, monkeypatch):
    """Swapped flags, a lost end, or two episodes run into one would teach wrong values."""
    kept = []

    class Spy(learner.Replay):
        def __init__(self, *arguments, **named) -> None:
            super().__init__(*arguments, **named)
            kept.append(self)

    monkeypatch.setattr(learner, "Replay", Spy)
    learner.learn(task, 0, 70, TINY)
    (replay,) = kept
    assert replay.transitions == 70
    ends = int(replay.terminated.sum())
    assert ends == (10 if task == "CorridorEnd-v0" else 0)
    sample = replay.at(np.flatnonzero(replay.has_action))
    jumps = sample.next_vector[:, 0] - sample.vector[:, 0]
    np.testing.assert_allclose(jumps, 1 / 7, atol=1e-6)  # the next state is never the next episode's first


def test_learning_begins_after_the_random_steps_and_each_step_has_an_update():
    told = []
    curve = learner.learn("CorridorEnd-v0", 0, 100, TINY, lambda c: told.append(len(c.points)))
    assert curve.updates == 80
    assert [point.step for point in curve.points] == [40, 80, 100]
    assert told == [1, 2, 3]
    assert curve.updates_per_second > 0


def test_the_same_seed_gives_the_same_curve_and_another_seed_another():
    first, again, other = (learner.learn("CorridorEnd-v0", seed, 80, TINY) for seed in (3, 3, 4))
    assert first.points == again.points
    assert first.points != other.points


def test_no_network_has_an_encoder_and_nothing_of_the_driving_recipe_is_left():
    config = TINY.agent()
    assert config.encoder == "none"
    off = (config.pre_tanh_penalty, config.imitation, config.action_change_penalty, config.critic_warmup)
    assert off == (0, 0, 0, 0)
    assert config.actor_clip_norm is None and config.critic_clip_norm is None
    paper = ReferenceSettings()
    assert (paper.tau, paper.policy_delay, paper.policy_noise, paper.noise_clip) == (0.005, 2, 0.2, 0.5)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("NoSuchTask-v0", "NoSuchTask"),
        ("CartPole-v1", "action is no vector"),
        ("FrozenLake-v1", "observation is no vector"),
        ("CorridorWide-v0", "actions have no bounds"),
    ],
)
def test_a_task_that_cannot_be_used_is_named(task, says):
    with pytest.raises(ConfigError, match=says):
        make_task(task)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.mujoco.mujoco_env", raising=False)
    for name in [n for n in sys.modules if n.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"packages/av_td3\[mujoco\]"):
        make_task("HalfCheetah-v5")
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ConfigError, match="pip install stable-baselines3"):
        baseline.check_installed()


def test_the_interval_over_seeds_is_students():
    interval = seed_interval([1.0, 2.0, 3.0])
    assert interval.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-4)
    assert interval.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-4)
    single = seed_interval([5.0])
    assert (single.estimate, single.low, single.n) == (5.0, None, 1)


def test_a_curves_maximum_and_final_are_means_of_evaluations():
    points = [EvaluationPoint(1, [0.0, 2.0]), EvaluationPoint(2, [9.0, 11.0]), EvaluationPoint(3, [4.0, 4.0])]
    curve = SeedCurve("av-td3", 0, points)
    assert (curve.maximum, curve.final, curve.updates_per_second) == (10.0, 4.0, None)
    tree = summary([curve, SeedCurve("av-td3", 1)])  # the second was interrupted before its first evaluation
    assert tree["maximum"]["estimate"] == 10.0 and tree["runs"][1]["maximum"] is None


def test_what_is_published_does_not_depend_on_the_tasks_version():
    assert published("HalfCheetah-v5") == published("HalfCheetah-v2")
    table = {result.who: result for result in published("Hopper-v5")}
    assert table["TD3 paper, table 1"].mean == 3_564.1
    assert published("Driving-v0") == []


def invoke(*arguments: str):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["reference", *arguments])


@pytest.mark.slow
def test_the_command_trains_both_agents_and_writes_the_curves(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks._OF_TASK, "CorridorEnd-v0", TINY)
    file = tmp_path / "curve.json"
    result = invoke(
        *("--env", "CorridorEnd-v0", "--steps", "80", "--seeds", "2", "--baseline", "sb3"),
        *("--json", str(file)),
    )
    assert result.exit_code == 0, result.output
    assert "maximum [95 %]" in result.output
    shown = [
        line for line in result.output.splitlines() if not line.startswith("wrote ")
    ]  # that one has a path
    assert max(map(len, shown)) <= 80
    tree = json.loads(file.read_text())
    assert set(tree["agents"]) == {"av-td3", "Stable-Baselines3"}
    for agent in tree["agents"].values():
        assert [run["seed"] for run in agent["runs"]] == [0, 1]
        assert [point["step"] for point in agent["runs"][0]["evaluations"]] == [40, 80]
        assert agent["runs"][0]["updates"] > 50
        assert agent["maximum"]["n"] == 2


def test_an_interrupt_keeps_what_there_is(tmp_path, monkeypatch):
    def learn(task, seed, steps, settings, evaluated):
        evaluated(SeedCurve("av-td3", seed, [EvaluationPoint(40, [1.0])]))
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "learn", learn)
    file = tmp_path / "curve.json"
    result = invoke("--env", "CorridorEnd-v0", "--steps", "80", "--start-steps", "5", "--json", str(file))
    assert result.exit_code == 130
    assert "holds the evaluations" in result.output
    assert json.loads(file.read_text())["agents"]["av-td3"]["runs"][0]["final"] == 1.0


def test_what_is_published_stands_below_what_was_measured(monkeypatch):
    def learn(task, seed, steps, settings, evaluated):
        curve = SeedCurve("av-td3", seed)
        for step, value in ((40, -1200.0), (80, -150.0)):
            curve.points.append(EvaluationPoint(step, [value]))
            evaluated(curve)
        curve.updates, curve.learning_s = 60, 0.5

    monkeypatch.setattr(learner, "learn", learn)
    result = invoke("--env", "Pendulum-v1", "--steps", "80", "--start-steps", "20", "--seeds", "1")
    assert result.exit_code == 0, result.output
    assert "wrote" not in result.output
    measured, known = result.output.split("published")
    (row,) = (line for line in measured.splitlines() if line.startswith("│"))
    assert row.replace("│", " ").split() == ["av-td3", "1", "-150", "-150", "120"]
    assert "SB3 zoo" in known and "-152 +- 90" in known


def test_a_run_that_diverges_is_one_line_and_status_1(monkeypatch):
    def learn(*_):
        raise NonFiniteGradientError("the gradient of critic is nan")

    monkeypatch.setattr(learner, "learn", learn)
    result = invoke("--env", "CorridorEnd-v0", "--steps", "80", "--start-steps", "20", "--first-seed", "3")
    assert result.exit_code == 1
    assert result.output == "error: av-td3, seed 3 has diverged: the gradient of critic is nan\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--baseline", "rllib"], "the only one is sb3"),
        (["--env", "CorridorEnd-v0", "--steps", "100"], "smaller --start-steps"),
        (["--env", "NoSuchTask-v0"], "NoSuchTask"),
        (["--env", "CorridorEnd-v0", "--json", "/nonexistent/x.json"], "/nonexistent"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, says):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert says in result.output and len(result.output.strip().splitlines()) == 1
