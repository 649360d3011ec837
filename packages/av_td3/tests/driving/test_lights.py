"""Traffic lights on a route: where the stop lines are found, and when a red light counts as run."""

from types import SimpleNamespace

import carla
import numpy as np
import pytest

from av_td3.config import EnvConfig, RewardConfig, RouteConfig, TerminationConfig
from av_td3.driving.light_tracker import LightTracker
from av_td3.driving.lights import TrafficLights, crossings
from av_td3.driving.meter import EpisodeMeter, Reading
from av_td3.driving.reward import (
    no_reward,
    return_bound,
    reward_bound,
    reward_components,
    total,
    wanted_speed,
)
from av_td3.driving.route import Route, RoutePlanner
from av_td3.driving.state import StepState
from av_td3.driving.termination import termination
from minicarla import maps

FRONT = 2.4
FIRST = Reading(0.0, 0.0, 0.0, (0.0, 0.0), lights=("red",))


def straight(length=150.0):
    return Route(np.array([[0.0, 0.0], [length, 0.0]]), length, np.full(2, 3.5), (0, 0, 0, 0))


def drive(places, colours, path):
    """[(distance, light, run)] of a car that is at these places while the lights show these colours."""
    tracker = LightTracker(places, FRONT)
    return [tracker.update(s, shown) for s, shown in zip(path, colours, strict=True)]


def test_the_distance_is_from_the_front_to_the_line_and_ends_at_sixty_metres():
    seen = drive([100.0], [("green",)] * 3, [37.5, 38.0, 97.0])
    assert seen[0] == (np.inf, None, 0)
    assert seen[1] == (pytest.approx(59.6), "green", 0) and seen[2][0] == pytest.approx(0.6)


def test_a_red_light_is_run_once_when_the_middle_of_the_car_passes_its_line():
    seen = drive([20.0], [("red",)] * 6, [17.0, 18.0, 19.9, 20.1, 21.0, 30.0])
    assert [run for _, _, run in seen] == [0, 0, 0, 1, 0, 0]
    assert seen[1][:2] == (0.0, "red") and seen[4][:2] == (np.inf, None)


@pytest.mark.parametrize(
    "colours",
    [
        ["green", "green", "green", "green"],
        ["green", "yellow", "yellow", "red"],  # it turned red when the front had passed
        ["red", "red", "green", "green"],  # it waited with its front over the line
        ["red", "red", None, "red"],  # switched off
    ],
)
def test_these_are_not_run(colours):
    seen = drive([20.0], [(c,) for c in colours], [17.0, 18.0, 18.5, 21.0])
    assert sum(run for _, _, run in seen) == 0


def test_lights_follow_one_another_and_those_behind_the_start_do_not_count():
    tracker = LightTracker([2.0, 20.0, 40.0], FRONT, s=0.0)
    assert tracker.update(0.0, ("red", "red", "green")) == (pytest.approx(17.6), "red", 0)
    assert tracker.update(21.0, ("red", "red", "green")) == (pytest.approx(16.6), "green", 1)


def test_a_light_that_is_off_does_not_concern_anybody():
    assert drive([20.0], [(None,)], [10.0]) == [(np.inf, None, 0)]


def test_the_meter_counts_them_and_knows_who_waits():
    meter = EpisodeMeter(EnvConfig(), straight(), FIRST, [20.0], FRONT)

    def at(x, colour, speed=5.0):
        state = meter.update(Reading(x, 0.0, 0.0, (speed, 0.0), lights=(colour,)), 0.0)
        return state, meter.info(no_reward(), frame=0, npc=0)

    state, info = at(9.0, "red", speed=0.0)
    assert state.waiting and state.slow_seconds == 0.0
    assert (info["light"], info["light_distance_m"]) == ("red", pytest.approx(8.6))
    assert not at(9.0, "green", speed=0.0)[0].waiting
    at(17.0, "red"), at(19.0, "red")
    state, info = at(21.0, "red")
    assert state.red_lights_run == 1 and info["red_lights_run"] == 1
    state, info = at(23.0, "red")
    assert state.red_lights_run == 0 and info["red_lights_run"] == 1 and info["light"] is None


def test_running_one_costs_and_ends_by_configuration_only():
    ran = StepState(speed=5.0, new_ground=0.25, red_lights_run=1)
    assert termination(ran, TerminationConfig()) is None
    assert termination(ran, TerminationConfig(red_light=True)) == "red_light"
    free, dear = RewardConfig(), RewardConfig(red_light=7.0)
    without = total(reward_components(ran, None, free))
    assert without == total(reward_components(StepState(speed=5.0, new_ground=0.25), None, free))
    for weight in (1.0, 0.5):  # a step of several ticks pays it whole
        assert reward_components(ran, None, dear, weight)["red_light"] == -7.0
    ended = reward_components(ran, "red_light", dear)
    assert ended["safety"] <= -dear.terminal_penalty and ended["red_light"] == -7.0
    assert reward_bound(dear)[0] == reward_bound(free)[0] - 7.0
    assert return_bound(dear, 0.99)[0] == pytest.approx(return_bound(free, 0.99)[0] - 7.0 * 11)


def test_the_wanted_speed_falls_to_zero_before_a_red_light_if_wanted():
    stops = RewardConfig(stop_at_red=True)
    speeds = [wanted_speed(StepState(light="red", light_distance=d), stops) for d in (40, 10, 5, 1, 0)]
    assert speeds[0] == pytest.approx(30 / 3.6) and speeds == sorted(speeds, reverse=True)
    assert speeds[1] == pytest.approx(np.sqrt(4.0 * (10 - 1.0))) and speeds[-2:] == [0.0, 0.0]
    early = RewardConfig(stop_at_red=True, light_gap_m=3.0)
    speeds = [wanted_speed(StepState(light="red", light_distance=d), early) for d in (10, 3)]
    assert speeds == [pytest.approx(np.sqrt(4.0 * (10 - 3.0))), 0.0]
    for colour in ("green", "yellow"):
        assert wanted_speed(StepState(light=colour, light_distance=0.0), stops) > 8.0
    assert wanted_speed(StepState(light="red", light_distance=0.0), RewardConfig()) > 8.0


def test_a_place_is_crossed_in_the_routes_direction_and_as_often_as_the_route_comes_by():
    around = [(0.0, 0.0), (60.0, 0.0), (60.0, 40.0), (0.0, 40.0), (0.0, 0.0), (60.0, 0.0)]
    route = Route(np.array(around), 250.0, np.full(6, 3.5), (0, 0, 0, 0))
    assert crossings(route, 30.0, 0.4, 0.0) == [pytest.approx(30.0, abs=0.6), pytest.approx(230.0, abs=0.6)]
    assert crossings(route, 30.0, 0.4, np.pi) == [] == crossings(route, 30.0, 2.0, 0.0)


@pytest.fixture(scope="module")
def grid():
    """(carla.Map, its planner) of the bundled map that has lights."""
    roadmap = maps.load("grid")
    points = [
        carla.Transform(carla.Location(t.x, t.y, t.z), carla.Rotation(yaw=t.yaw))
        for t in roadmap.spawn_points
    ]
    carla_map = carla.Map("grid", roadmap.opendrive)
    return carla_map, RoutePlanner(carla_map, RouteConfig(), points)


class Light:
    """A light whose stop waypoint lies 6 m before the junction, as CARLA's trigger volumes have it."""

    def __init__(self, waypoint, number, affected_only=False):
        self.id, self.state = number, carla.TrafficLightState.Red
        self._waypoints, self._affected_only = [waypoint], affected_only

    def get_stop_waypoints(self):
        return [] if self._affected_only else self._waypoints

    def get_affected_lane_waypoints(self):
        return self._waypoints

    def get_state(self):
        return self.state


@pytest.mark.parametrize("affected_only", [False, True])
def test_the_line_of_a_light_is_at_the_edge_of_the_junction(grid, affected_only):
    carla_map, planner = grid
    route = next(r for r in map(planner.build, planner.routes("train")) if r.turns[0].begin > 30.0)
    junction = route.turns[0].begin
    x, y = route.points[round(junction) - 6]
    waypoint = carla_map.get_waypoint(carla.Location(float(x), float(y)))
    light = Light(waypoint, 7, affected_only)
    world = SimpleNamespace(get_actors=lambda: SimpleNamespace(filter=lambda pattern: [light]))
    found = TrafficLights(world).on(route)
    assert found.places[0] == pytest.approx(junction, abs=1.0)
    assert found.colours()[0] == "red"
    light.state = carla.TrafficLightState.Off
    assert found.colours()[0] is None


def test_a_map_without_lights_has_none():
    world = SimpleNamespace(get_actors=lambda: SimpleNamespace(filter=lambda pattern: []))
    assert TrafficLights(world).on(straight()).places == ()
