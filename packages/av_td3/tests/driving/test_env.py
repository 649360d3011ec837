"""The environment against minicarla through the real client: ends, checks, reproducibility."""

import itertools
import json
import math
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from av_td3.config import NEIGHBOURS, EnvConfig
from av_td3.driving.env import CarlaDrivingEnv
from av_td3.driving.observation import LIMIT
from av_td3.driving.reward import reward_bound
from av_td3.supervision.supervised import SupervisedEnv
from rundoctor.signals.replay import COMPONENTS

from .conftest import pursue

CONTRACT = {
    "speed_kmh",
    "lateral_deviation_m",
    "heading_error_rad",
    "route_length_m",
    "route_completion",
    "distance_m",
    "reward_components",
    "collisions",
    "lane_invasions",
    "off_road_steps",
    "acceleration",
    "jerk",
    "time_to_collision_s",
    "obstacle_distance_m",
    "frame",
}


def make_config(server=None, **sections):
    """Configuration of an environment on that server; None: on one of its own."""
    tree = {"simulator": {"address": server}, "route": {"min_length_m": 60, "max_length_m": 220}}
    for name, values in sections.items():
        tree.setdefault(name, {}).update(values)
    return EnvConfig.model_validate(tree)


@pytest.fixture(scope="module")
def env():
    with SupervisedEnv(make_config(), render_mode="rgb_array") as env:
        yield env


def run(env, policy, limit=2000, **reset):
    """One episode; (rewards, infos, terminated)."""
    observation, info = env.reset(**reset)
    rewards, infos = [], [info]
    while len(rewards) < limit:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        rewards.append(reward)
        infos.append(info)
        if terminated or truncated:
            return rewards, infos, terminated
    raise AssertionError("the episode did not end")


@pytest.mark.slow
def test_a_driver_that_sees_only_the_vector_completes_its_routes(env):
    for route in (0, env.route_count // 2, env.route_count - 1):
        options = {"route": route, "record": False}
        rewards, infos, terminated = run(env, lambda o: pursue(env.config, o), seed=1, options=options)
        last = infos[-1]
        assert last["termination"] == "success" and terminated
        assert last["route_completion"] == 1.0 and last["collisions"] == 0 and last["off_road_steps"] == 0
        driven = sum(info["distance_m"] for info in infos)
        assert driven == pytest.approx(last["route_length_m"], rel=0.05)
        low, high = reward_bound(env.config.reward)
        assert low <= min(rewards) and max(rewards) <= high
        assert np.mean(rewards[:-1]) > 0.6
        for info, reward in zip(infos[1:], rewards, strict=True):
            assert set(info) >= CONTRACT and tuple(info["reward_components"]) == COMPONENTS
            assert sum(info["reward_components"].values()) == pytest.approx(reward)
        frames = [info["frame"] for info in infos]
        assert frames == list(range(len(frames))), "one step, one frame"


@pytest.mark.slow
def test_standing_still_is_stuck_after_six_seconds(env):
    _, infos, terminated = run(env, lambda o: np.array([0.0, -1.0], np.float32), seed=2)
    assert infos[-1]["termination"] == "stuck" and terminated and len(infos) - 1 == 120


def test_full_lock_leaves_the_road(env):
    _, infos, terminated = run(env, lambda o: np.array([0.3, 0.6], np.float32), seed=2)
    assert infos[-1]["termination"] == "off_road" and terminated
    assert infos[-1]["lateral_deviation_m"] > env.config.termination.off_road_m, "to the right"
    assert infos[-1]["reward_components"]["safety"] <= -env.config.reward.terminal_penalty
    assert infos[-1]["lane_invasions"] > 0


@pytest.mark.slow
def test_turning_round_is_the_wrong_way_and_the_time_limit_truncates():
    rules = {"off_road": False, "collision": False, "stuck": False, "max_steps": 300}
    with SupervisedEnv(make_config(termination=rules)) as env:
        _, infos, terminated = run(env, lambda o: np.array([-1.0, 0.35], np.float32), seed=2)
        assert infos[-1]["termination"] == "wrong_way" and terminated
        assert abs(infos[-1]["heading_error_rad"]) > math.radians(env.config.termination.wrong_way_deg)
        rewards, infos, terminated = run(env, lambda o: np.array([0.0, -1.0], np.float32), seed=2)
    assert infos[-1]["termination"] == "time_limit" and not terminated and len(rewards) == 300


@pytest.mark.slow
def test_a_parked_car_ahead_is_seen_and_hitting_it_is_a_collision(server):
    program = """
        import json, math, os, sys
        import carla
        from av_td3.config import EnvConfig
        from av_td3.driving.env import CarlaDrivingEnv
        from packages.av_td3.tests.driving.conftest import pursue
        config = EnvConfig.model_validate(json.loads(sys.argv[1]))
        env = CarlaDrivingEnv(config)
        lanes = env._planner.routes("train")
        ease = [env._planner.build(lane).reference_speed[:40].min() for lane in lanes]
        straight = ease.index(max(ease))
        observation, info = env.reset(seed=0, options={"route": straight})
        x, y, z, yaw = env._episode.meter.route.start
        a = math.radians(yaw)
        pose = carla.Transform(
            carla.Location(x + 25 * math.cos(a), y + 25 * math.sin(a), z), carla.Rotation(yaw=yaw))
        car = env._session.world.spawn_actor(env._session.blueprints.find("vehicle.audi.tt"), pose)
        seen, rewards, ttc, ended = [], [], [], None
        while ended is None:
            observation, reward, terminated, truncated, info = env.step(pursue(config, observation))
            seen.append(info["obstacle_distance_m"]); ttc.append(info["time_to_collision_s"])
            rewards.append(reward); ended = info.get("termination")
        car.destroy()
        env.close()
        print(json.dumps([seen, ttc, rewards, ended, terminated, info["collisions"]]), flush=True)
        os._exit(0)
    """
    config = make_config(server).model_dump_json()
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), config], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    seen, ttc, rewards, ended, terminated, collisions = json.loads(child.stdout)
    assert (ended, terminated, collisions) == ("collision", True, 1)
    finite = [d for d in seen[1:-1] if math.isfinite(d)]
    assert len(finite) > 20 and max(finite) < 25.0 and min(finite) < 1.5
    assert all(a >= b - 1e-3 for a, b in itertools.pairwise(finite)), "it comes nearer"
    assert min(ttc) < 1.0 and min(rewards[:-1]) < rewards[20], "danger costs before the crash does"
    assert rewards[-1] < -9.0


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_checks_of_gymnasium_and_stable_baselines_pass_without_a_warning(env):
    made = gymnasium.make("av_td3/Driving-v0", config=env.config, render_mode="rgb_array")
    check_env(made.unwrapped, skip_render_check=False)
    made.close()
    sb3_check_env(env, warn=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_gymnasiums_passive_checker_has_nothing_to_say():
    made = gymnasium.make("av_td3/Driving-v0", preset="debug", render_mode="rgb_array")
    made.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = made.step(np.array([0.5, 1.0], np.float32))
        ended = terminated or truncated
        made.render()
    made.close()


def test_close_gives_the_server_free_although_it_no_longer_answers():
    """Otherwise the same process could not connect to the server again, which then is "in use"."""
    closed = []

    def fails():
        raise RuntimeError("time-out")

    env = object.__new__(CarlaDrivingEnv)
    env._closed, env._ego = False, None
    env._traffic, env._session = SimpleNamespace(close=fails), SimpleNamespace(close=lambda: closed.append(1))
    with pytest.raises(RuntimeError, match="time-out"):
        env.close()
    assert closed == [1]
    env.close()
    assert closed == [1]


@pytest.mark.slow
def test_the_client_side_environment_passes_the_check_too(server):
    program = """
        import os, sys
        from gymnasium.utils.env_checker import check_env
        from av_td3.config import EnvConfig
        from av_td3.driving.env import CarlaDrivingEnv
        env = CarlaDrivingEnv(EnvConfig.model_validate_json(sys.argv[1]))
        check_env(env, skip_render_check=True)
        env.close()
        print("passed", flush=True)
        os._exit(0)
    """
    child = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            textwrap.dedent(program),
            make_config(server).model_dump_json(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.stdout.strip() == "passed", child.stderr


def trajectory(env, seed, steps=60):
    observation, info = env.reset(seed=seed, options={"record": False})
    out = [observation["image"], observation["vector"]]
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        action = np.array([rng.normal(0, 0.1), 0.5], np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        out += [observation["image"], observation["vector"], np.float64(reward), info["lane_invasions"]]
        if terminated or truncated:
            break
    return out


@pytest.mark.slow
def test_an_episode_depends_on_its_seed_alone():
    """Bit for bit, with traffic: in the same environment after another episode, and in a fresh one."""
    config = make_config(simulator={"npc": 10, "map": "loop"})
    with SupervisedEnv(config) as env:
        first = trajectory(env, 7)
        trajectory(env, 8, steps=35)
        second = trajectory(env, 7)
        other = trajectory(env, 9, steps=1)
    with SupervisedEnv(config) as env:
        third = trajectory(env, 7)
    assert same(first, second) and same(first, third)
    assert not np.array_equal(first[1], other[1])


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_route_that_does_not_exist_is_refused_and_breaks_nothing(env):
    faults = len(env.incidents)
    with pytest.raises(ValueError, match=f"0 .. {env.route_count - 1}"):
        env.reset(options={"route": env.route_count})
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset(options={"rout": 1})
    first, second = (env.reset(options={"route": k})[1]["route"] for k in (0, 1))
    assert first != second and len(env.incidents) == faults


def test_recording_shows_the_car_and_costs_nothing_when_off(env):
    env.reset(seed=1, options={"record": True})
    before = env.render()
    assert before.shape == (270, 480, 3) and before.dtype == np.uint8 and before.std() > 5
    for _ in range(30):
        env.step(np.array([0.0, 0.8], np.float32))
    assert not np.array_equal(before, env.render())
    env.reset(seed=1, options={"record": False})
    with pytest.raises(RuntimeError, match="record"):
        env.render()


@pytest.mark.parametrize("action", [[math.nan, 0.0], [0.0, math.inf]])
def test_a_non_finite_action_is_refused_and_the_episode_goes_on(env, action):
    env.reset(seed=1)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array(action, np.float32))
    assert env.step(np.zeros(2, np.float32))[4].get("termination") is None


def test_the_halves_of_a_step_must_alternate(env):
    env.reset(seed=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.receive()
    env.send(np.zeros(2, np.float32))
    with pytest.raises(gymnasium.error.ResetNeeded, match="receive"):
        env.send(np.zeros(2, np.float32))
    env.receive()


@pytest.mark.slow
def test_a_foreign_server_is_left_as_it_was_found(server):
    host, port = server.split(":")
    program = f"""
        import carla, json, os
        client = carla.Client({host!r}, {port}); client.set_timeout(5.0)
        world = client.get_world()
        s = world.get_settings()
        if s.synchronous_mode: world.tick()
        kinds = sorted(a.type_id for a in world.get_actors() if "traffic" not in a.type_id)
        print(json.dumps([s.synchronous_mode, s.fixed_delta_seconds, kinds]), flush=True)
        os._exit(0)
    """

    def look():
        child = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30
        )
        return json.loads(child.stdout)

    config = make_config(server, simulator={"npc": 3})
    with SupervisedEnv(config) as env:
        env.reset(seed=1)
        before, _ = env.reset(seed=1), env.step(np.zeros(2, np.float32))
    clean = look()
    assert clean[2] == ["spectator"] and clean[0] is False
    with SupervisedEnv(config) as env:
        env.reset(seed=1)
        env._mine.crew.worker._signal(9)  # its cars and sensors stay behind
        assert env.step(np.zeros(2, np.float32))[4]["termination"] == "simulator_fault"
        assert len(look()[2]) > 5
        after = env.reset(seed=1)
        assert np.array_equal(before[0]["vector"], after[0]["vector"])
        assert look()[2].count("sensor.camera.rgb") == 1
    assert look() == clean


@pytest.mark.slow
def test_by_sight_at_ten_hertz_with_a_filter():
    """Two ticks a step, a filtered action, a black picture, and vehicles that only the critic sees."""
    config = make_config(
        simulator={"npc": 3, "map": "loop"},
        observation={"vector": "sight", "previous_action": True, "privileged": True, "picture": "black"},
    ).model_copy(update={"action_repeat": 2, "action_smoothing": 0.5})
    with SupervisedEnv(config) as env:
        observation, info = env.reset(seed=3)
        assert env.metadata["render_fps"] == 10 and not observation["image"].any()
        for _ in range(3):
            observation, reward, _, _, info = env.step(np.array([0.0, 1.0], np.float32))
            assert reward == pytest.approx(sum(info["reward_components"].values()))
        assert info["frame"] == 6
        filtered = observation["vector"][config.visible_size - 2 : config.visible_size]
        assert filtered == pytest.approx([0.0, 1 - 0.5**6])
        neighbours = observation["vector"][-4 * NEIGHBOURS :].reshape(-1, 4)
        known = np.count_nonzero(neighbours[:, 0] < LIMIT)
        assert known <= info["npc"] == 3
