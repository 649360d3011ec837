"""Two real environments side by side: for Gymnasium, for Stable-Baselines3, and as a fleet."""

import os
import signal
import time

import gymnasium
import numpy as np
import psutil
import pytest

import av_td3
from av_td3.config import ConfigError, EnvConfig
from av_td3.supervision import fleet as fleet_module
from av_td3.supervision.fleet import Fleet, Late, Started, Stepped
from av_td3.supervision.vector import DrivingVectorEnv

FORWARD = np.array([[0.0, 0.4], [0.0, 0.6]], np.float32)
CONFIG = EnvConfig.model_validate({"simulator": {"map": "loop"}, "termination": {"max_steps": 12}})


@pytest.fixture(scope="module")
def envs():
    before = set(psutil.Process().children(recursive=True))
    made = gymnasium.make_vec("av_td3/Driving-v0", num_envs=2, config=CONFIG)
    yield made
    during = set(psutil.Process().children(recursive=True)) - before
    assert len(during) == 4, "a worker and a simulator each"
    made.close()
    deadline = time.monotonic() + 10
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in during):
        assert time.monotonic() < deadline, "close() left a process behind"
        time.sleep(0.02)
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        made.step(FORWARD)


@pytest.fixture(scope="module")
def alone():
    with av_td3.SupervisedEnv(CONFIG) as env:
        yield env


@pytest.mark.slow
def test_each_drives_as_it_does_alone(envs, alone):
    assert isinstance(envs, DrivingVectorEnv)
    observations, _ = envs.reset(seed=[7, 8])
    vector = [observations["vector"]]
    rewards = []
    for _ in range(5):
        observations, reward, _, _, infos = envs.step(FORWARD)
        assert envs.observation_space.contains(observations)
        vector.append(observations["vector"])
        rewards.append(reward)
    assert infos["speed_kmh"].shape == (2,) and infos["reward_components"]["progress"].shape == (2,)
    for number in range(2):
        observation, _ = alone.reset(seed=7 + number)
        assert np.array_equal(observation["vector"], vector[0][number])
        for step in range(5):
            observation, reward, *_ = alone.step(FORWARD[number])
            assert np.array_equal(observation["vector"], vector[step + 1][number])
            assert reward == rewards[step][number]
        assert np.array_equal(observation["image"], observations["image"][number])


def test_the_next_episode_begins_with_the_step_after_the_last(envs):
    envs.reset(seed=1)
    for _ in range(12):
        _, _, terminated, truncated, infos = envs.step(FORWARD)
    assert truncated.all() and not terminated.any()
    assert list(infos["termination"]) == ["time_limit"] * 2
    _, rewards, terminated, truncated, infos = envs.step(FORWARD)
    assert not (terminated | truncated).any() and not rewards.any() and not infos["frame"].any()
    assert envs.step(FORWARD)[4]["frame"].tolist() == [1, 1]


def test_a_failing_simulator_leaves_the_other_alone(envs):
    envs.reset(seed=3)
    envs.step(FORWARD)
    os.kill(envs.envs[1]._mine.crew.server.process.pid, signal.SIGKILL)
    _, _, terminated, truncated, infos = envs.step(FORWARD)
    assert truncated.tolist() == [False, True] and not terminated.any()
    assert infos["termination"][1] == "simulator_fault" and infos["frame"][0] == 2
    _, _, _, truncated, infos = envs.step(FORWARD)
    assert not truncated.any() and infos["frame"].tolist() == [3, 0]
    assert envs.restarts == 1 and not envs.envs[0].incidents


@pytest.fixture
def fleet():
    made = Fleet([av_td3.SupervisedEnv(CONFIG) for _ in range(2)])
    yield made
    made.close()


@pytest.mark.slow
def test_a_fleet_goes_on_while_one_is_replaced_or_hangs(fleet, monkeypatch):
    """One environment of two is killed, then frozen."""
    mine = fleet.envs[1]._mine
    monkeypatch.setattr(fleet_module, "PATIENCE_S", 2.0)

    def drive(rounds):
        """Steps of environment 0, and what came of 1."""
        steps, events = 0, []
        for _ in range(rounds):
            for env in range(2):
                if fleet.at_rest(env):
                    if env in ready:
                        fleet.send(env, FORWARD[env])
                    else:
                        fleet.begin(env, seed=5)
            for env, event in fleet.collect().items():
                over = isinstance(event, Stepped) and (event.terminated or event.truncated)
                if isinstance(event, Started) or over:
                    (ready.discard if over else ready.add)(env)
                steps += env == 0 and isinstance(event, Stepped)
                events += [event] * (env == 1)
        return steps, events

    ready: set[int] = set()
    while not ready:
        drive(1)
    assert ready == {0, 1}, "the first episodes begin together"
    os.kill(mine.crew.server.process.pid, signal.SIGKILL)
    steps, events = drive(8)
    assert steps >= 5 and events[0].info["termination"] == "simulator_fault"
    assert not any(isinstance(event, Late) for event in events), "nobody waited for the replacement"
    deadline = time.monotonic() + 60
    while 1 not in ready and time.monotonic() < deadline:
        drive(1)
    assert 1 in ready
    os.kill(mine.crew.worker.pid, signal.SIGSTOP)
    steps, events = drive(6)
    assert steps >= 3 and isinstance(events[0], Late) and events[0].seconds == 2.0
    assert len(events) == 1 and fleet.is_stepping


@pytest.mark.slow
def test_closing_a_fleet_does_not_wait_for_what_hangs():
    envs = [av_td3.SupervisedEnv(CONFIG) for _ in range(2)]
    fleet = Fleet(envs)
    for env in range(2):
        fleet.begin(env, seed=0)
    while not fleet.collect():
        pass
    pids = [pid for e in envs for pid in (e._mine.crew.worker.pid, e._mine.crew.server.process.pid)]
    os.kill(envs[0]._mine.crew.worker.pid, signal.SIGSTOP)
    fleet.begin(0, seed=1)  # a reset that nobody answers for 30 s
    fleet.send(1, FORWARD[1])
    begin = time.monotonic()
    fleet.close()
    assert time.monotonic() - begin < envs[0].config.simulator.reset_deadline_s
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not envs[0].incidents, "to be closed is no incident"


@pytest.mark.slow
def test_stable_baselines_drives_them():
    from stable_baselines3.common.vec_env import VecEnv

    from av_td3.sb3 import DrivingVecEnv

    made = DrivingVecEnv(2, config=CONFIG)
    try:
        assert isinstance(made, VecEnv) and made.num_envs == 2
        made.seed(1)
        assert made.reset()["image"].shape == (2, 4, 84, 84)
        assert [info["frame"] for info in made.reset_infos] == [0, 0]
        for _ in range(12):
            observations, rewards, done, infos = made.step(FORWARD)
        assert done.all() and rewards.dtype == np.float32
        for number, info in enumerate(infos):
            assert info["TimeLimit.truncated"] and info["termination"] == "time_limit" and info["frame"] == 12
            assert info["terminal_observation"]["image"].shape == (4, 84, 84)
            assert not np.array_equal(info["terminal_observation"]["vector"], observations["vector"][number])
        _, _, done, infos = made.step(FORWARD)
        assert not done.any() and [info["frame"] for info in infos] == [1, 1]
        assert made.get_attr("restarts") == [0, 0] and made.env_is_wrapped(gymnasium.Wrapper) == [False] * 2
    finally:
        made.close()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"num_envs": 0}, ValueError, "one environment at least"),
        ({"num_envs": 2, "address": "127.0.0.1:2000"}, ConfigError, "one environment at a time"),
        ({"num_envs": 2, "map": "tonw"}, ConfigError, "did you mean 'town'"),
        ({"num_envs": 10_000}, ConfigError, r"are available\. \d+ fit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(arguments, error, says):
    before = psutil.Process().children()
    with pytest.raises(error, match=says):
        gymnasium.make_vec("av_td3/Driving-v0", **arguments)
    assert psutil.Process().children() == before


def test_what_it_is_told_is_checked(envs):
    envs.reset(seed=2)
    with pytest.raises(ValueError, match="not finite"):
        envs.step(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="shape"):
        envs.step(FORWARD[0])
    with pytest.raises(ValueError, match="3 seeds"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": np.zeros(2, bool)})
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.receive()
    envs.step(FORWARD)
    _, infos = envs.reset(seed=4, options={"reset_mask": np.array([False, True])})
    assert infos["_frame"].tolist() == [False, True]
    assert envs.step(FORWARD)[4]["frame"].tolist() == [2, 1]
