"""Route geometry and tracking; no server, no carla."""

import itertools
import math

import numpy as np
import pytest

from av_td3.driving.route import LATERAL_ACCELERATION, Route, RouteTracker


def make(points, length=None, width=3.5):
    points = np.asarray(points, float)
    total = float(np.hypot(*np.diff(points, axis=0).T).sum())
    start = (*points[0], 0.0, 0.0)
    return Route(points, length or total, np.full(len(points), width), start)


def arc(radius, angle, right=True, step=0.01):
    a = np.arange(0, angle + step, step)
    sign = 1 if right else -1
    return np.stack([radius * np.sin(a), sign * radius * (1 - np.cos(a))], axis=1)


def test_projection_is_signed_right_positive_and_headings_are_carlas():
    route = make([[0, 0], [100, 0]])
    assert route.project(20.3, 1.5, near=20) == pytest.approx((20.3, 1.5, 0.0))
    assert route.project(20.3, -1.5, near=20) == pytest.approx((20.3, -1.5, 0.0))
    south = make([[0, 0], [0, 100]])  # y grows to the right of x: heading +90 degrees
    s, lateral, heading = south.project(-2.0, 10.0, near=10)
    assert (s, lateral, heading) == pytest.approx((10.0, 2.0, math.pi / 2))


@pytest.mark.parametrize("right", [True, False])
def test_a_curve_is_followed_without_jumps(right):
    radius = 12.0
    path = arc(radius, 1.5 * math.pi, right)
    route = make(path)
    tracker = RouteTracker(route)
    for a in np.arange(0.06, 1.4 * math.pi, 0.03):
        tracker.update(radius * math.sin(a), (1 if right else -1) * radius * (1 - math.cos(a)))
        assert tracker.s == pytest.approx(radius * a, abs=0.1)
        assert abs(tracker.lateral) < 0.02
        expected = a if right else -a
        assert math.cos(tracker.heading - expected) > math.cos(0.02)
    # Beside the curve's outer edge the deviation has the sign of the side.
    inner = (radius - 1) * math.sin(1.0), (1 if right else -1) * (radius - (radius - 1) * math.cos(1.0))
    _, lateral, _ = route.project(*inner, near=radius * 1.0)
    assert lateral == pytest.approx(1.0 if right else -1.0, abs=0.02)


def test_a_route_that_crosses_itself_is_tracked_on_the_right_branch():
    # East, a big loop, then south across the first leg at x = 50.
    path = [[0, 0], [80, 0], [80, -40], [50, -40], [50, 60]]
    route = make(path)
    tracker = RouteTracker(route)
    tracker.s = tracker.furthest = 50.0
    tracker.update(50.0, 0.0)
    assert tracker.s == pytest.approx(50.0)
    crossing = 80 + 40 + 30 + 40
    tracker.s = tracker.furthest = crossing - 3.0
    tracker.update(50.0, 0.5)
    assert tracker.s == pytest.approx(crossing + 0.5, abs=0.01)


def test_driving_to_and_fro_gains_nothing_twice():
    tracker = RouteTracker(make([[0, 0], [100, 0]]))
    xs = [0, 2, 4, 6, 4, 2, 0, 2, 4, 6, 8]
    gained = [tracker.update(x, 0.0) for x in xs]
    assert sum(gained) == pytest.approx(8.0)
    assert min(gained) == 0.0
    assert gained[4:10] == [0.0] * 6
    assert tracker.completion == pytest.approx(0.08)


def test_the_end_is_the_goal_and_not_the_run_out():
    route = make([[0, 0], [100, 0]], length=60.0)
    tracker = RouteTracker(route)
    for x in np.arange(0, 59.0, 1.0):
        tracker.update(x, 0.0)
    assert not tracker.finished
    tracker.update(59.6, 0.0)
    assert tracker.finished and tracker.completion == 1.0
    for x in (61.0, 64.0, 70.0):
        tracker.update(x, 0.0)
    assert tracker.furthest == 60.0


def test_points_ahead_are_evenly_spaced_and_go_on_straight_past_the_end():
    route = make([[0, 0], [20, 0]])
    ahead = route.ahead(10.25, 8, 2.0)
    assert np.allclose(ahead[:, 0], 10.25 + 2.0 * np.arange(1, 9))
    assert np.allclose(ahead[:, 1], 0.0)


def test_reference_speed_falls_ahead_of_a_curve_not_in_it():
    radius = 10.0
    straight = np.stack([np.arange(0, 60.0), np.zeros(60)], axis=1)
    bend = arc(radius, math.pi / 2) + np.array([60.0, 0.0])
    route = make(np.concatenate([straight, bend]))
    allowed = math.sqrt(LATERAL_ACCELERATION * radius)
    assert route.at(route.reference_speed, 68.0) == pytest.approx(allowed, rel=0.05)
    before = [route.at(route.reference_speed, s) for s in range(0, 60)]
    assert all(a >= b for a, b in itertools.pairwise(before))
    assert before[0] > 1.5 * allowed > before[58]


def test_useless_paths_are_refused():
    with pytest.raises(ValueError, match="two different, finite points"):
        make([[1.0, 1.0], [1.0, 1.0]], length=1.0)
    with pytest.raises(ValueError, match="finite"):
        make([[0, 0], [np.nan, 1.0], [5, 5]], length=1.0)


@pytest.mark.parametrize(("side", "command"), [(1, "right"), (-1, "left")])
def test_a_junction_has_the_command_of_its_change_of_heading(side, command):
    corner = arc(8.0, math.pi / 2, right=side > 0)
    length = 8.0 * math.pi / 2
    path = np.concatenate([[[-40, 0]], corner, [[8, side * 60]]])
    route = make(path)
    route = Route(
        path,
        route.length,
        np.full(len(path), 3.5),
        (-40, 0, 0, 0),
        junctions=[(40.0, 40.0 + length), (75, 80)],
    )
    assert [turn.command for turn in route.turns] == [command, "straight"]
    assert route.next_turn(10.0) == (command, 30.0)
    assert route.next_turn(41.0) == (command, 0.0), "inside, the command holds until the junction ends"
    assert route.next_turn(60.0) == ("straight", 15.0)
    assert route.next_turn(90.0) == ("follow", math.inf)
