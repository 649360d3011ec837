"""Traffic lights on a route: where their stop lines are, and what they show.

The lights and their stop lines are found once for each map, and those of a route once an episode.  What a
light shows is read from the client's snapshot of the tick, without a call to the server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import carla
import numpy as np

from av_td3.driving.route import SPACING, Route
from av_td3.driving.state import Colour

BESIDE = 1.0
"""Metres from the route within which a stop line's middle lies when the route crosses it."""
_ADVANCE = 0.5
"""Metres of one step from CARLA's stop waypoint, which may lie well before the junction, to its edge."""
_MAX_ADVANCE = 40.0
_COLOURS: dict[carla.TrafficLightState, Colour] = {
    carla.TrafficLightState.Green: "green",
    carla.TrafficLightState.Yellow: "yellow",
    carla.TrafficLightState.Red: "red",
}


class StopLine(NamedTuple):
    """The middle of a light's stop line on one lane.  Map frame, metres, radians."""

    light: carla.TrafficLight
    x: float
    y: float
    heading: float


class RouteLights:
    """The lights of one route, in the order in which it comes to them."""

    def __init__(self, places: Sequence[float] = (), lights: Sequence[carla.TrafficLight] = ()) -> None:
        self.places = tuple(places)
        """Metres along the route of each stop line."""
        self._lights = tuple(lights)

    def colours(self) -> tuple[Colour | None, ...]:
        """What each light shows in the present frame; None: it is off."""
        return tuple(_COLOURS.get(light.get_state()) for light in self._lights)


class TrafficLights:
    """All traffic lights of a map, with their stop lines.

    Args:
        world: a ``carla.World``; the client has seen a tick of it.
    """

    def __init__(self, world: carla.World) -> None:
        self.lines = [
            _line(light, waypoint)
            for light in world.get_actors().filter("traffic.traffic_light*")
            for waypoint in light.get_stop_waypoints() or light.get_affected_lane_waypoints()
        ]

    def on(self, route: Route) -> RouteLights:
        """Those whose stop lines the route crosses, its run-out beyond the goal included."""
        found: dict[tuple[int, int], carla.TrafficLight] = {}
        for line in self.lines:
            for place in crossings(route, line.x, line.y, line.heading):
                found[round(place * 100), line.light.id] = line.light  # two waypoints may be one line
        ordered = sorted(found)
        return RouteLights([place / 100 for place, _ in ordered], [found[key] for key in ordered])


def crossings(route: Route, x: float, y: float, heading: float) -> list[float]:
    """Metres along a route at which it passes a place, within ``BESIDE`` of it and in this direction."""
    gap = np.hypot(route.points[:-1, 0] - x, route.points[:-1, 1] - y)
    near = (gap < BESIDE + SPACING) & (np.cos(route.headings - heading) > 0.5)
    found = []
    for run in np.split(np.flatnonzero(near), np.flatnonzero(np.diff(np.flatnonzero(near)) > 1) + 1):
        if len(run):
            s, lateral, _ = route.project(x, y, SPACING * float(run[gap[run].argmin()]))
            if abs(lateral) < BESIDE:
                found.append(s)
    return found


def _line(light: carla.TrafficLight, waypoint: carla.Waypoint) -> StopLine:
    """The stop line of a lane: at the edge of the junction that the lane leads into."""
    gone = 0.0
    while not waypoint.is_junction and gone < _MAX_ADVANCE:
        following = waypoint.next(_ADVANCE)
        if not following or following[0].is_junction:
            break
        waypoint, gone = following[0], gone + _ADVANCE
    pose = waypoint.transform
    return StopLine(light, pose.location.x, pose.location.y, math.radians(pose.rotation.yaw))
