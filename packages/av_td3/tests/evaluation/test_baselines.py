"""The baselines drive as described; the classical one completes what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.config import EnvConfig, RewardConfig, RouteConfig
from av_td3.evaluation.baselines import (
    ClassicalDriver,
    RandomPolicy,
    SmoothRandom,
    Stationary,
    curvatures,
    look_ahead_point,
    sb3_policy,
)
from av_td3.evaluation.rollout import evaluate

from .fake_env import FakeDrivingEnv


def actions(policy, n, seed=0):
    policy.reset(seed)
    return np.array([policy({}) for _ in range(n)])


@pytest.mark.parametrize("policy", [RandomPolicy(), SmoothRandom()], ids=["uniform", "smooth"])
def test_random_drivers_are_reproducible_and_in_bounds(policy):
    a = actions(policy, 200, 3)
    assert a.dtype == np.float32 and np.abs(a).max() <= 1
    assert (a == actions(policy, 200, 3)).all() and (a != actions(policy, 200, 4)).any()


def test_uniform_is_uniform():
    a = actions(RandomPolicy(), 4000)
    assert a.mean(0) == pytest.approx([0, 0], abs=0.04)
    assert a.std(0) == pytest.approx([1 / np.sqrt(3)] * 2, abs=0.02)


def test_smooth_is_correlated_and_drives_forward():
    a = actions(SmoothRandom(), 4000)
    steer = a[:, 0] - a[:, 0].mean()
    assert (steer[1:] * steer[:-1]).mean() / steer.var() == pytest.approx(0.9, abs=0.04)
    assert a[:, 1].mean() == pytest.approx(0.3, abs=0.1)


def test_stationary_stays():
    episode = evaluate(FakeDrivingEnv(), Stationary(), 1, 0).episodes[0]
    assert episode.distance_km == 0 and episode.route_completion == 0


@pytest.mark.parametrize(
    "config",
    [
        EnvConfig(),
        EnvConfig(route=RouteConfig(waypoints=8, waypoint_spacing_m=1.5)),
        EnvConfig(reward=RewardConfig(target_speed_kmh=50)),
    ],
    ids=["default", "few-points", "fast"],
)
def test_classical_completes_winding_routes(config):
    result = evaluate(FakeDrivingEnv(config), ClassicalDriver(config), 6, 0)
    assert [e.termination for e in result.episodes] == ["success"] * 6
    assert max(e.mean_abs_lateral_deviation_m for e in result.episodes) < 0.4
    assert all(e.lane_invasions == 0 for e in result.episodes)


def test_classical_holds_the_target_speed_on_a_straight():
    config = EnvConfig()
    env = FakeDrivingEnv(config, length=200.0)
    speeds = []
    env_step = env.step

    def step(action):
        result = env_step(action)
        speeds.append(result[4]["speed_kmh"])
        return result

    env.step = step
    evaluate(env, ClassicalDriver(config), 1, 0)
    assert max(speeds) < config.reward.target_speed_kmh * 1.1
    assert np.median(speeds) == pytest.approx(config.reward.target_speed_kmh, rel=0.05)


def test_classical_stops_for_what_stands_ahead():
    env = FakeDrivingEnv()
    env.obstacle_at, env.max_steps = 40.0, 300
    episode = evaluate(env, ClassicalDriver(env.config), 1, 3).episodes[0]
    assert episode.termination == "time_limit" and episode.collisions == 0
    assert 0.4 < episode.route_completion < 0.65  # stands some metres before it
    assert episode.low_ttc_steps == 0


def test_classical_sees_nothing_without_info():
    """Braking comes from ``watch`` alone: as a plain function of the observation it drives on."""
    env = FakeDrivingEnv()
    env.obstacle_at = 40.0
    driver = ClassicalDriver(env.config)
    assert evaluate(env, lambda obs: driver(obs), 1, 3).episodes[0].termination == "collision"


def pedal(info, speed=8.0):
    """The classical driver's pedal on a straight road at this speed, when it has seen this ``info``."""
    config = EnvConfig()
    driver, env = ClassicalDriver(config), FakeDrivingEnv(config, length=200.0)
    observation, _ = env.reset(seed=0)
    observation["vector"][:3] = speed / 15.0, 0.0, 0.0
    observation["vector"][3::2], observation["vector"][4::2] = 1.0, 0.0
    driver.watch(info)
    return float(driver(observation)[1])


def test_classical_stops_at_red_and_at_yellow_where_it_still_can():
    free = pedal({})
    assert pedal({"light": "green", "light_distance_m": 10.0}) == free > -0.2
    assert pedal({"light": "red", "light_distance_m": 10.0}) < -0.5
    assert pedal({"light": "red", "light_distance_m": 40.0}) == free
    assert pedal({"light": "yellow", "light_distance_m": 12.0}) < -0.3
    assert pedal({"light": "yellow", "light_distance_m": 8.0}) == free  # nearer than it can brake
    assert pedal({"light": "red", "light_distance_m": 0.5}, speed=0.0) == -1.0


def test_classical_keeps_its_distance_to_who_is_in_the_way_on_the_route():
    ahead = {"obstacle_distance_m": 3.0, "time_to_collision_s": 0.4}  # oncoming, straight ahead in a bend
    assert pedal({**ahead, "hazard_distance_m": np.inf, "hazard_speed_kmh": 0.0}) == pedal({})
    assert pedal({"hazard_distance_m": 12.0, "hazard_speed_kmh": 0.0}) < -0.5
    assert pedal({"hazard_distance_m": 12.0, "hazard_speed_kmh": 30.0}) == pedal({})
    assert pedal({"hazard_distance_m": 5.0, "hazard_speed_kmh": 0.0}, speed=0.0) == -1.0


@settings(deadline=None)
@given(st.floats(-0.2, 0.2), st.floats(0.5, 3.0))
def test_curvature_of_a_circle(curvature, spacing):
    angle = curvature * spacing * np.arange(1, 12)
    if abs(angle[-1]) > 3:
        return
    if abs(curvature) < 1e-6:
        points = np.stack([spacing * np.arange(1, 12), np.zeros(11)], 1)
    else:
        points = np.stack([np.sin(angle), 1 - np.cos(angle)], 1) / curvature
    found, distance = curvatures(points)
    # Chords of a circle: exact up to the chord's shortening.
    assert found == pytest.approx(abs(curvature), rel=0.02, abs=1e-5)
    assert distance[0] == pytest.approx(2 * spacing, rel=0.02)
    assert len(found) == len(distance) == 9


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 30.0))
def test_look_ahead_point_lies_at_its_distance(reach):
    points = np.stack([np.linspace(0.1, 20, 12), np.linspace(0, 5, 12) ** 1.5], 1)
    x, y = look_ahead_point(points, reach)
    if reach < np.hypot(*points[-1]):
        assert np.hypot(x, y) == pytest.approx(reach, rel=0.02)
    else:
        assert (x, y) == tuple(points[-1])


def test_look_ahead_on_a_path_that_is_all_beyond():
    assert look_ahead_point(np.array([[5.0, 1.0], [6.0, 1.0]]), 2.0) == (5.0, 1.0)


def test_sb3_models_drive_deterministically():
    class Model:
        def predict(self, observation, deterministic=False):
            assert deterministic and observation["vector"].shape == (53,)
            return np.array([0.0, 1.0], np.float64), None

    env = FakeDrivingEnv()
    assert evaluate(env, sb3_policy(Model()), 1, 0).episodes[0].steps > 1


def stop_in_front_of(light, at=40.0):
    """How the drive ended, how far the front is from the stop line then, and the speed."""
    env = FakeDrivingEnv(length=60.0)
    env.light_at, env.light, env.max_steps = at, light, 400
    ended = evaluate(env, ClassicalDriver(env.config), 1, 3).episodes[0].termination
    return ended, at - env.s - 2.0, env.speed


def test_the_classical_driver_waits_at_a_red_light():
    ended, distance, speed = stop_in_front_of("red")
    assert ended == "time_limit" and speed < 0.1 and 0.3 < distance < 3.0
    assert stop_in_front_of("green")[0] == "success"
