"""Traffic lights: whom they stop, how they take turns, what a client can do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minicarla import maps
from minicarla.traffic import lights as tl
from minicarla.traffic.lights import GREEN, RED, YELLOW, MapTrafficLights


@pytest.fixture(scope="module")
def grid():
    return maps.load("grid")


@pytest.fixture
def lights(grid):
    return MapTrafficLights(grid)


def test_every_way_into_a_signalled_junction_has_one_light(grid, lights):
    signalled = {group.junction for group in lights.groups}
    assert len(signalled) == 2
    inside = [lane.id for lane in grid.driving if lane.junction in signalled]
    closed_by = [light.index for light in lights.lights for _ in light.lanes]
    assert sorted(i for light in lights.lights for i in light.lanes) == sorted(inside)
    assert set(closed_by) == set(range(8))


def test_stop_lines_lie_on_the_lanes_that_lead_into_what_the_light_closes(grid, lights):
    for light in lights.lights:
        for lane_id, s in light.stops:
            lane = grid.lanes[lane_id]
            assert set(light.lanes) <= set(lane.successors)
            assert lane.length - 1.0 < s < lane.length
            # The light looks at the drivers who come: its facing is against their heading.
            heading = lane.headings[-1]
            assert math.cos(math.radians(light.pose.yaw - heading)) == pytest.approx(-1.0, abs=1e-6)
            # Its pole stands beside the lane.
            assert 0.5 * lane.width < math.hypot(*(lane.points[-1, :2] - light.pose[:2])) < 6.0


def test_lights_that_cross_are_never_open_together(grid, lights):
    seen = set()
    for _ in range(2 * 30 * 20):
        lights.step(0.05)
        for group in lights.groups:
            shown = [{lights.lights[i].state for i in controller.lights} for controller in group.controllers]
            assert all(len(states) == 1 for states in shown), "a controller's lights switch together"
            assert sum(states != {RED} for states in shown) <= 1
            seen.add(tuple(states.pop() for states in shown))
    assert seen == {(GREEN, RED), (YELLOW, RED), (RED, RED), (RED, GREEN), (RED, YELLOW)}


def test_the_times_are_carlas_and_can_be_changed(lights):
    first = lights.lights[lights.groups[0].controllers[0].lights[0]]

    def seconds(state):
        count = 0
        while first.state == state:
            lights.step(0.05)
            count += 1
        return count * 0.05

    assert first.state == GREEN
    assert seconds(GREEN) == pytest.approx(tl.GREEN_TIME)
    assert seconds(YELLOW) == pytest.approx(tl.YELLOW_TIME)
    # Its own red time, then the other controller's whole turn.
    assert seconds(RED) == pytest.approx(2 * tl.RED_TIME + tl.GREEN_TIME + tl.YELLOW_TIME)
    lights.controller_of(first).green_time = 1.0
    assert seconds(GREEN) == pytest.approx(1.0)


def test_frozen_lights_keep_their_state_and_a_reset_starts_the_cycle_again(lights):
    lights.step(5.0)
    lights.freeze(True)
    before = [light.state for light in lights.lights]
    for _ in range(1000):
        lights.step(0.05)
    assert [light.state for light in lights.lights] == before
    lights.freeze(False)
    lights.step(6.0)
    assert YELLOW in [light.state for light in lights.lights]
    lights.reset()
    assert [light.state for light in lights.lights] == before
    assert lights.elapsed(0) == 0.0


def test_a_state_set_by_hand_stays_while_frozen(lights):
    lights.freeze(True)
    lights.set_state(1, GREEN)
    lights.step(100.0)
    assert lights.lights[1].state == GREEN
    assert not set(lights.lights[1].lanes) & set(lights.closed())
    with pytest.raises(ValueError):
        lights.set_state(1, 7)


def test_holding_finds_the_light_ahead_and_only_close_to_its_line(grid, lights):
    lane_id, stop = lights.lights[3].stops[0]
    lane = grid.lanes[lane_id]
    places = np.array([lane.at(stop - d)[0] for d in (0.0, 5.0, tl.TRIGGER - 0.5, tl.TRIGGER + 1.0, 40.0)])
    assert lights.holding(places[:, 0], places[:, 1]).tolist() == [3, 3, 3, -1, -1]
    assert lights.holding(np.array([1e4]), np.array([1e4])).tolist() == [-1]


def test_a_map_without_lights_has_none():
    lights = MapTrafficLights(maps.load("loop"))
    lights.step(0.05)
    assert not lights.lights and not lights.groups and not lights.closed()
    assert lights.holding(np.zeros(2), np.zeros(2)).tolist() == [-1, -1]
