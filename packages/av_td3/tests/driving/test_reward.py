"""The reward's promises, with drivers that move along a line: no server."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.config import STEP_SECONDS, RewardConfig, TerminationConfig, load_config, preset_names
from av_td3.driving.reward import (
    added,
    return_bound,
    reward_bound,
    reward_components,
    total,
    wanted_speed,
)
from av_td3.driving.route import Route, RouteTracker
from av_td3.driving.state import StepState
from av_td3.driving.termination import termination
from rundoctor.signals.replay import COMPONENTS

REWARD, RULES = RewardConfig(), TerminationConfig()
TARGET = REWARD.target_speed_kmh / 3.6
LENGTH = 170.0
PAGE = Path(__file__).parents[4] / "docs" / "reward.md"


def drive(speed, lateral=lambda t: 0.0, until=None, rules=RULES, reward=REWARD):
    """A car on a straight route of 170 m: ``speed(tick)`` m/s, ``lateral(tick)`` m.  Rewards, end."""
    route = Route(np.array([[0.0, 0.0], [230.0, 0.0]]), LENGTH, np.full(2, 3.5), (0, 0, 0, 0))
    tracker = RouteTracker(route)
    x, slow, rewards, previous = 0.0, 0.0, [], 0.0
    for step in range(1, rules.max_steps + 1):
        v = speed(step)
        x += v * STEP_SECONDS
        gained = tracker.update(x, lateral(step))
        slow = slow + STEP_SECONDS if v < 1.0 else 0.0
        state = StepState(
            speed=v,
            lateral=tracker.lateral,
            new_ground=gained,
            finished=tracker.finished,
            acceleration=abs(v - previous) / STEP_SECONDS,
            slow_seconds=slow,
            steps=step,
        )
        previous = v
        ended = termination(state, rules)
        if until is not None and step >= until[0]:
            ended = until[1]
        rewards.append(sum(reward_components(state, ended, reward).values()))
        if ended:
            return rewards, ended
    raise AssertionError("no end")


def value(rewards, gamma):
    return sum(r * gamma**k for k, r in enumerate(rewards))


DRIVERS = {
    "good": drive(lambda t: TARGET),
    "half speed": drive(lambda t: TARGET / 2),
    "speeding": drive(lambda t: 2 * TARGET),
    "at the edge": drive(lambda t: TARGET, lateral=lambda t: 1.7),
    "standing": drive(lambda t: 0.0),
    "creeping": drive(lambda t: 1.1),
    "drives off the road": drive(lambda t: TARGET, lateral=lambda t: 0.15 * t),
    "crashes half way": drive(lambda t: TARGET, until=(200, "collision")),
    "ends it at once": drive(lambda t: 0.0, until=(1, "off_road")),
    "speeds into a wall": drive(lambda t: 2 * TARGET, until=(40, "collision")),
}


def test_the_drivers_end_as_meant():
    ends = {name: end for name, (_, end) in DRIVERS.items()}
    assert ends["good"] == ends["half speed"] == ends["speeding"] == ends["at the edge"] == "success"
    assert ends["standing"] == "stuck" and ends["drives off the road"] == "off_road"
    assert ends["creeping"] == "time_limit"


@pytest.mark.parametrize("gamma", [0.9, 0.99, 1.0])
def test_the_good_driver_beats_every_other(gamma):
    best = value(DRIVERS["good"][0], gamma)
    for name, (rewards, _) in DRIVERS.items():
        if name != "good":
            assert value(rewards, gamma) < best, name


@pytest.mark.parametrize("gamma", [0.9, 0.99, 1.0])
def test_standing_and_suicide_pay_less_than_any_driving(gamma):
    for idle in ("standing", "ends it at once"):
        for driver in ("half speed", "speeding", "at the edge", "crashes half way", "drives off the road"):
            assert value(DRIVERS[idle][0], gamma) < value(DRIVERS[driver][0], gamma), (idle, driver)


@pytest.mark.parametrize("gamma", [0.9, 0.99, 1.0])
def test_going_on_pays_more_than_ending_it(gamma):
    """Whatever the present offset, driving on to the end beats ending the episode at once."""
    for lateral in (0.0, 1.0, 2.4):
        for fraction in (0.25, 0.5, 1.0, 1.5):
            on, _ = drive(lambda t, f=fraction: f * TARGET, lateral=lambda t, y=lateral: y)
            off, _ = drive(
                lambda t, f=fraction: f * TARGET, lateral=lambda t, y=lateral: y, until=(20, "off_road")
            )
            assert value(on, gamma) > value(off, gamma), (lateral, fraction)


@pytest.mark.parametrize(
    ("preset", "furthest"), [("paper", 2.4), ("quick", 1.6), ("sight", 1.6), ("base", 0.9)]
)
def test_with_a_presets_weights_it_does_so_up_to_some_distance_from_the_centre(preset, furthest):
    """Lane keeping has the weights 2 and 6 there: far from the centre a metre costs more than it earns."""
    config = load_config(preset)
    for lateral in (0.0, furthest / 2, furthest):
        for fraction in (0.25, 0.5, 1.0, 1.5):
            car = {"speed": lambda t, f=fraction: f * TARGET, "lateral": lambda t, y=lateral: y}
            on, _ = drive(**car, reward=config.env.reward)
            off, _ = drive(**car, reward=config.env.reward, until=(20, "off_road"))
            gamma = config.agent.gamma
            assert value(on, gamma) > value(off, gamma), (lateral, fraction)
    assert preset == "paper" or f"up to {furthest} m" in PAGE.read_text()


def test_the_page_has_the_bounds_of_every_preset():
    scale = PAGE.read_text().split("## Scale")[1].split("## ")[0]
    for preset in preset_names():
        config = load_config(preset)
        [row] = [line for line in scale.splitlines() if line.startswith("| ") and f"`{preset}`" in line]
        bounds = reward_bound(config.env.reward), return_bound(config.env.reward, config.agent.gamma)
        shown = [f"{round(low, 2):g} to {round(high, 2):g}" for low, high in bounds]
        assert [cell.strip() for cell in row.split("|")[3:5]] == shown, preset


@pytest.mark.parametrize(("up_to", "pays"), [("target", True), ("wanted", False)])
def test_driving_on_towards_a_red_light_pays_only_where_progress_is_paid_up_to_the_target_speed(up_to, pays):
    config = RewardConfig(stop_at_red=True, light_gap_m=3, progress_up_to=up_to)

    def earned(speed, distance):
        ground = speed * STEP_SECONDS
        state = StepState(speed=speed, new_ground=ground, light="red", light_distance=distance)
        return total(reward_components(state, None, config)), wanted_speed(state, config)

    for distance in (0.0, 2.0, 3.5, 8.0):
        on, wanted = earned(TARGET, distance)
        assert wanted < TARGET and (on > earned(wanted, distance)[0]) == pays, distance
    assert earned(TARGET, 50.0) == (1.0, TARGET)  # far from the line nothing is held back


def test_progress_telescopes_to_the_route_whatever_the_speed_below_target():
    per_metre = REWARD.progress / (TARGET * STEP_SECONDS)
    for fraction in (0.3, 0.7, 1.0):
        route = Route(np.array([[0.0, 0.0], [230.0, 0.0]]), LENGTH, np.full(2, 3.5), (0, 0, 0, 0))
        tracker, total, x = RouteTracker(route), 0.0, 0.0
        while not tracker.finished:
            x += fraction * TARGET * STEP_SECONDS
            state = StepState(new_ground=tracker.update(x, 0.0))
            total += reward_components(state, None, REWARD)["progress"]
        assert total == pytest.approx(per_metre * tracker.furthest, rel=1e-6)


STATES = st.builds(
    StepState,
    speed=st.floats(0, 60),
    lateral=st.floats(-10, 10),
    heading_error=st.floats(-math.pi, math.pi),
    half_width=st.floats(0.5, 5),
    reference_speed=st.one_of(st.just(math.inf), st.floats(2, 100)),
    new_ground=st.floats(0, 10),
    jerk=st.floats(0, 1e5),
    lateral_acceleration=st.floats(-1e3, 1e3),
    steer_change=st.floats(0, 2),
    obstacle_distance=st.one_of(st.just(math.inf), st.floats(0, 40)),
    obstacle_speed=st.floats(-30, 30),
    collisions=st.integers(0, 3),
)
ENDS = st.sampled_from([None, "success", "collision", "off_road", "wrong_way", "stuck", "time_limit"])


@settings(max_examples=300, deadline=None)
@given(STATES, ENDS)
def test_every_step_lies_within_the_bound(state, ended):
    components = reward_components(state, ended, REWARD)
    assert tuple(components) == COMPONENTS
    assert all(math.isfinite(part) for part in components.values())
    low, high = reward_bound(REWARD)
    assert low - 1e-9 <= sum(components.values()) <= high + 1e-9
    if ended in (None, "time_limit"):
        assert -1.0 <= sum(components.values()) <= 1.0


def test_the_bounds_are_reached():
    low, high = reward_bound(REWARD)
    assert (low, high) == pytest.approx((-10.75, 11.0))
    best = StepState(new_ground=TARGET * STEP_SECONDS, speed=TARGET)
    assert sum(reward_components(best, "success", REWARD).values()) == pytest.approx(high)
    worst = StepState(
        new_ground=1.0,
        lateral=9.0,
        heading_error=3.0,
        speed=50.0,
        jerk=1e4,
        lateral_acceleration=99.0,
        steer_change=2.0,
        collisions=1,
    )
    # It covers ground, which earns progress, and is too fast instead of too slow.
    expected = low + REWARD.progress - REWARD.overspeed + REWARD.efficiency
    assert sum(reward_components(worst, "collision", REWARD).values()) == pytest.approx(expected)
    still = StepState(steer_change=2.0, jerk=1e4, lateral_acceleration=99.0, collisions=1)
    assert sum(reward_components(still, "collision", REWARD).values()) == pytest.approx(
        low + REWARD.lane_keeping
    )
    assert return_bound(REWARD, 0.99) == pytest.approx((-85.0, 110.0))


def test_speeding_costs_more_than_any_gain_and_never_more_than_it_earns():
    """The first agents drove 90 km/h into junctions: nothing told them to be slower."""

    def step(speed: float) -> float:
        state = StepState(speed=speed, new_ground=speed * STEP_SECONDS)
        return sum(reward_components(state, None, REWARD).values())

    earned = [step(TARGET * k) for k in (1.0, 1.25, 1.5, 2.0, 3.0)]
    assert all(a > b for a, b in itertools.pairwise(earned[:-1]))
    assert min(earned) > 0.4
    # In a bend the wanted speed is lower, and the same car is told so.
    bend = StepState(speed=TARGET, new_ground=TARGET * STEP_SECONDS, reference_speed=TARGET / 2)
    assert sum(reward_components(bend, None, REWARD).values()) == pytest.approx(1.0 - REWARD.overspeed)


@pytest.mark.parametrize("name", ["good", "standing", "crashes half way", "speeding"])
def test_returns_lie_within_the_return_bound(name):
    low, high = return_bound(REWARD, 0.99)
    assert low <= value(DRIVERS[name][0], 0.99) <= high


def test_behind_a_standing_car_standing_is_right():
    behind = StepState(speed=0.0, obstacle_distance=3.5, obstacle_speed=0.0, waiting=True)
    assert wanted_speed(behind, REWARD) == 0.0
    assert sum(reward_components(behind, None, REWARD).values()) == 0.0
    onto = dataclasses.replace(behind, speed=TARGET, obstacle_distance=6.0)
    assert reward_components(onto, None, REWARD)["safety"] < -0.15
    following = dataclasses.replace(onto, obstacle_speed=TARGET, obstacle_distance=15.0)
    assert reward_components(following, None, REWARD)["safety"] == 0.0
    assert reward_components(following, None, REWARD)["efficiency"] == 0.0


def test_a_steps_reward_is_the_mean_of_its_ticks_and_the_end_counts_in_full():
    config = RewardConfig()
    state = StepState(speed=8.0, new_ground=0.4, jerk=30.0, lateral=0.5)
    one = reward_components(state, None, config)
    half = added([reward_components(state, None, config, weight=0.5)] * 2)
    assert half == pytest.approx(one)
    last = added(
        [reward_components(state, None, config, 0.5), reward_components(state, "success", config, 0.5)]
    )
    assert total(last) == pytest.approx(total(one) + config.success_bonus)
