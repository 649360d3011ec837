"""Planning on a real carla.Map, which needs no server."""

import itertools

import carla
import networkx as nx
import numpy as np
import pytest

from av_td3.config import RouteConfig
from av_td3.driving.errors import MapUnavailableError
from av_td3.driving.route import RoutePlanner, RouteTracker
from minicarla import maps

CONFIG = RouteConfig()


@pytest.fixture(scope="module")
def town():
    """(carla.Map, spawn points) of the default map, as a client of a server would see them."""
    roadmap = maps.load("town")
    points = [
        carla.Transform(carla.Location(t.x, t.y, t.z), carla.Rotation(yaw=t.yaw))
        for t in roadmap.spawn_points
    ]
    return carla.Map("town", roadmap.opendrive), points


@pytest.fixture(scope="module")
def planner(town):
    return RoutePlanner(town[0], CONFIG, town[1])


def test_routes_have_the_wanted_length_and_lead_from_start_to_goal(planner, town):
    routes = planner.routes("train") + planner.routes("held_out")
    assert len(routes) > 200
    assert all(CONFIG.min_length_m <= r.length <= CONFIG.max_length_m for r in routes)
    for choice in routes[:: len(routes) // 100]:
        route = planner.build(choice)
        start, goal = town[1][choice.start].location, town[1][choice.goal].location
        assert np.hypot(*(route.points[0] - [start.x, start.y])) < 0.5
        end = route.ahead(route.length - 1.0, 1, 1.0)[0]
        assert np.hypot(*(end - [goal.x, goal.y])) < 1.0
        run_out = CONFIG.waypoints * CONFIG.waypoint_spacing_m
        assert len(route.points) >= route.length + run_out - 2.0
        assert np.abs(np.diff(route.headings)).max() < 0.5, "no kinks: lanes join"
        assert np.allclose(np.hypot(*np.diff(route.points, axis=0).T), 1.0, atol=0.06)
        assert 1.4 < route.half_width.min() <= route.half_width.max() < 3.0


def test_every_point_of_a_route_lies_on_a_lane_that_leads_the_same_way(planner, town):
    for choice in planner.routes("train")[::400]:
        route = planner.build(choice)
        for k in range(0, len(route.headings), 7):
            x, y = route.points[k]
            options = town[0].get_waypoint(carla.Location(float(x), float(y)), project_to_road=True)
            assert options.transform.location.distance(carla.Location(float(x), float(y))) < 0.6
            if not options.is_junction:  # there several lanes lie on top of each other
                yaw = np.degrees(route.headings[k])
                assert np.cos(np.radians(options.transform.rotation.yaw - yaw)) > 0.97


def test_a_car_that_follows_the_points_arrives(planner):
    for choice in planner.routes("held_out")[::300]:
        route = planner.build(choice)
        tracker = RouteTracker(route)
        for x, y in route.points:
            tracker.update(x, y)
            assert abs(tracker.lateral) < 1e-6
            if tracker.finished:
                break
        assert tracker.completion == 1.0


def test_the_split_is_the_same_always_and_never_shares_lanes(planner, town):
    again = RoutePlanner(carla.Map("town", town[0].to_opendrive()), CONFIG, town[1])
    for split in ("train", "held_out"):
        assert again.routes(split) == planner.routes(split)
    train, held_out = ({r.lanes for r in planner.routes(split)} for split in ("train", "held_out"))
    assert train and held_out and not train & held_out
    share = len(held_out) / (len(train) + len(held_out))
    assert 0.1 < share < 0.35


def test_a_start_further_down_the_lane_stays_in_its_split(town):
    """What is held out is a way through town, not a pair of spawn points."""
    xodr, points = town
    full = RoutePlanner(xodr, CONFIG, points)
    some = RoutePlanner(xodr, CONFIG, points[::2])
    assert {r.lanes for r in some.routes("train")} <= {r.lanes for r in full.routes("train")}
    assert {r.lanes for r in some.routes("held_out")} <= {r.lanes for r in full.routes("held_out")}


def test_lengths_are_shortest_paths(planner):
    graph = planner._graph
    for route in planner.routes("train")[::250]:
        for a, b in itertools.pairwise(route.lanes):
            assert graph.has_edge(a, b)
        if route.lanes[0] != route.lanes[-1]:
            shortest = nx.shortest_path_length(graph, route.lanes[0], route.lanes[-1], weight="length")
            own = sum(graph.edges[edge]["length"] for edge in itertools.pairwise(route.lanes))
            assert own == pytest.approx(shortest)


def test_a_map_without_such_routes_is_an_error_that_says_what_to_do(town):
    config = RouteConfig(min_length_m=5000.0, max_length_m=5001.0)
    with pytest.raises(MapUnavailableError, match=r"5000 to 5001 m.*min_length_m"):
        RoutePlanner(town[0], config, town[1])
