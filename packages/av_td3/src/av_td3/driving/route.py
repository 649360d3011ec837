"""Routes: how they are planned on the map's lanes, split into train and held-out, and followed.

Nothing here imports ``carla``; :class:`RoutePlanner` takes a ``carla.Map`` and only calls
``get_topology``, ``get_waypoint`` and ``Waypoint.next_until_lane_end`` on it.

Routes follow lanes and junctions; they never change lanes.  Coordinates are CARLA's (metres,
x forward, y right), headings are radians, positive towards y (clockwise from above).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from av_td3.config import RouteConfig, Split
from av_td3.driving.errors import MapUnavailableError

if TYPE_CHECKING:
    import carla

Array = NDArray[np.float64]
LaneKey = tuple[int, int, int]

SPACING = 1.0
"""Metres between the points of a route."""
Command = Literal["follow", "left", "straight", "right"]
"""What to do at the next junction; "follow" the lane when none is near.  CARLA's agents: ``RoadOption``."""
COMMANDS: tuple[Command, ...] = ("follow", "left", "straight", "right")
STRAIGHT = math.radians(30.0)
"""Change of heading through a junction below which the command is "straight"."""
LATERAL_ACCELERATION = 3.0
"""Lateral acceleration in curves at the reference speed, m/s^2: brisk, but comfortable."""
BRAKING = 2.0
"""Deceleration of the reference speed ahead of a curve, m/s^2."""
SLOWEST_CURVE = 2.0
"""Least reference speed, m/s, however tight the curve."""
_SAMPLING = 0.5  # metres between the waypoints asked of carla.Map
_BACK, _AHEAD = 5.0, 10.0  # metres around the last position in which the next one is sought


def wrap(angle: float) -> float:
    """``angle`` in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


class Turn(NamedTuple):
    """A junction on a route."""

    command: Command
    begin: float
    """Metres along the route at which the junction begins."""
    end: float


class Route:
    """A path along lanes from a start to a goal, resampled to one point a metre.

    Args:
        path: (n, 2) lane-centre points, n >= 2, from the start to beyond the goal.
        length: metres from the start to the goal along the path.
        width: (n,) lane width at each point, metres.
        start: the start's pose (x, y, z, yaw in degrees), as the map's spawn point has it.
        goal_index, start_index: numbers of the map's spawn points.
        junctions: (begin, end) of each junction, metres along the path.
    """

    def __init__(
        self,
        path: Array,
        length: float,
        width: Array,
        start: tuple[float, float, float, float],
        start_index: int = 0,
        goal_index: int = 0,
        junctions: Sequence[tuple[float, float]] = (),
    ) -> None:
        keep = np.concatenate([[True], np.hypot(*np.diff(path, axis=0).T) > 1e-3])
        path, width = path[keep], width[keep]
        if len(path) < 2 or not np.isfinite(path).all():
            raise ValueError("a route needs two different, finite points")
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
        count = max(2, int(along[-1] / SPACING) + 1)
        s = np.minimum(np.arange(count) * SPACING, along[-1])
        self.points: Array = np.stack([np.interp(s, along, path[:, k]) for k in (0, 1)], axis=1)
        """(n, 2); ``points[i]`` lies about ``i * SPACING`` metres along the route."""
        self.half_width: Array = np.interp(s, along, width) / 2.0
        self.length = float(min(length, (count - 1) * SPACING))
        self.start, self.start_index, self.goal_index = start, start_index, goal_index

        self._steps = np.diff(self.points, axis=0)
        self._squared = np.einsum("ij,ij->i", self._steps, self._steps)
        self.headings: Array = np.unwrap(np.arctan2(self._steps[:, 1], self._steps[:, 0]))
        """(n - 1,) heading of each one-metre segment, radians, continuous."""
        self.reference_speed = _reference_speed(self.headings)
        """(n,) m/s: the speed that the curves allow.  Speed limits are not considered."""
        self.turns = [Turn(self._command(begin, end), begin, end) for begin, end in junctions]
        """The junctions, in their order."""

    @property
    def name(self) -> str:
        """``start->goal`` as numbers of spawn points."""
        return f"{self.start_index}->{self.goal_index}"

    def project(self, x: float, y: float, near: float) -> tuple[float, float, float]:
        """The nearest point of the route to (x, y), searched around ``near`` metres along it.

        Returns (s, lateral, heading): metres along the route, signed distance to it (right
        positive), heading of the lane there in radians.  Only the piece from 5 m behind to 10 m ahead of
        ``near`` is searched, so a route may cross itself.
        """
        low = max(0, int((near - _BACK) / SPACING))
        high = min(len(self._steps), int((near + _AHEAD) / SPACING) + 1)
        low = min(low, high - 1)
        origin = self.points[low:high]
        step = self._steps[low:high]
        offset = np.array([x, y]) - origin
        t = np.clip(np.einsum("ij,ij->i", offset, step) / self._squared[low:high], 0.0, 1.0)
        gap = offset - t[:, None] * step
        i = int(np.argmin(np.einsum("ij,ij->i", gap, gap)))
        index, fraction = low + i, float(t[i])
        s = (index + fraction) * SPACING
        # The heading is that of a segment at its middle, and interpolated in between.
        place = min(max(index + fraction - 0.5, 0.0), len(self.headings) - 1.0)
        left = min(int(place), len(self.headings) - 2) if len(self.headings) > 1 else 0
        right = min(left + 1, len(self.headings) - 1)
        heading = self.headings[left] + (place - left) * (self.headings[right] - self.headings[left])
        cross = step[i, 0] * offset[i, 1] - step[i, 1] * offset[i, 0]
        lateral = math.copysign(float(np.hypot(*gap[i])), cross)
        return s, lateral, wrap(float(heading))

    def ahead(self, s: float, count: int, spacing: float) -> Array:
        """(count, 2) points ``spacing``, ``2 * spacing``, ... metres beyond ``s``.

        Past the path's last point they go on straight.
        """
        place = (s + spacing * np.arange(1, count + 1)) / SPACING
        last = len(self.points) - 1
        index = np.minimum(place.astype(np.intp), last - 1)
        return self.points[index] + (place - index)[:, None] * self._steps[index]

    def _command(self, begin: float, end: float) -> Command:
        """What to do between two places, by the change of the heading from just before to just after."""
        change = self.at(self.headings, end + 1.0) - self.at(self.headings, begin - 1.0)
        if abs(change) < STRAIGHT:
            return "straight"
        return "right" if change > 0 else "left"

    def next_turn(self, s: float) -> tuple[Command, float]:
        """The command of the junction at or after ``s``, and the metres to it; ("follow", inf) for none."""
        for turn in self.turns:
            if s < turn.end:
                return turn.command, max(0.0, turn.begin - s)
        return "follow", math.inf

    def at(self, values: Array, s: float) -> float:
        """The entry of a per-point array (``half_width``, ``reference_speed``) nearest to ``s``."""
        return float(values[min(max(round(s / SPACING), 0), len(values) - 1)])


def _reference_speed(headings: Array) -> Array:
    curvature = np.abs(np.diff(headings)) / SPACING
    curvature = np.concatenate([curvature[:1], curvature, curvature[-1:]]) if len(curvature) else np.zeros(2)
    with np.errstate(divide="ignore"):
        speed = np.sqrt(LATERAL_ACCELERATION / curvature)
    speed = np.maximum(speed, SLOWEST_CURVE)
    for i in range(len(speed) - 2, -1, -1):  # the speed has to be reached before the curve begins
        speed[i] = min(speed[i], math.sqrt(speed[i + 1] ** 2 + 2.0 * BRAKING * SPACING))
    return np.minimum(speed, 100.0)


class RouteTracker:
    """Where the car is along its route.

    ``s`` follows the car forwards and backwards.  ``furthest`` is the largest ``s`` so far.  Progress is
    the growth of ``furthest``, so a car that goes back and forth makes no progress.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.s = self.furthest = 0.0
        self.lateral = self.heading = 0.0

    def update(self, x: float, y: float) -> float:
        """Follow the car to (x, y).  Returns the growth of ``furthest`` in metres, >= 0."""
        self.s, self.lateral, self.heading = self.route.project(x, y, self.s)
        gained = max(0.0, min(self.s, self.route.length) - self.furthest)
        self.furthest += gained
        return gained

    @property
    def completion(self) -> float:
        """Share of the route covered, 0..1."""
        return 1.0 if self.finished else self.furthest / self.route.length

    @property
    def finished(self) -> bool:
        """Whether the goal was reached, to half a metre."""
        return self.furthest >= self.route.length - 0.5


class RouteId(NamedTuple):
    """A route before its geometry is built."""

    start: int
    goal: int
    lanes: tuple[LaneKey, ...]
    length: float


@dataclass
class _Lane:
    points: Array  # (n, 2), from the lane's start in driving direction
    width: Array
    length: float


class RoutePlanner:
    """All routes between a map's spawn points, in a fixed order, and their geometry.

    Args:
        carla_map: a ``carla.Map``; it may be built from OpenDRIVE text without a server.
        config: wanted lengths and the held-out share.
        spawn_points: ``carla.Transform`` each; the map's own when None.
        run_out_m: how far paths go on beyond the goal.

    Raises:
        MapUnavailableError: no route has a length in the wanted range, or all fall into one split.
    """

    def __init__(
        self,
        carla_map: carla.Map,
        config: RouteConfig,
        spawn_points: Sequence[carla.Transform] | None = None,
        run_out_m: float | None = None,
    ) -> None:
        self._map, self._config = carla_map, config
        self._run_out = run_out_m if run_out_m is not None else config.waypoints * config.waypoint_spacing_m
        self._graph, self._entry = _lane_graph(carla_map)
        self._lanes: dict[LaneKey, _Lane] = {}
        self.spawn_points = list(carla_map.get_spawn_points() if spawn_points is None else spawn_points)
        self._places = {i: place for i, t in enumerate(self.spawn_points) if (place := self._place(t))}
        everything = self._enumerate()
        if not everything:
            raise MapUnavailableError(
                f"map {carla_map.name}: none of the {len(self.spawn_points)} spawn points is connected to "
                f"another by a route of {config.min_length_m:g} to {config.max_length_m:g} m; change "
                "env.route.min_length_m and env.route.max_length_m, or take another map"
            )
        self._splits = _split(everything, config.held_out_fraction)
        if not self._splits["train"] or not self._splits["held_out"]:
            raise MapUnavailableError(
                f"map {carla_map.name}: all {len(everything)} routes of {config.min_length_m:g} to "
                f"{config.max_length_m:g} m take the same lanes, so none can be held out; widen the range"
            )

    def routes(self, split: Split) -> list[RouteId]:
        """The routes of one split.  The same map and configuration always give the same list."""
        return self._splits[split]

    def build(self, route: RouteId) -> Route:
        """The geometry of a route."""
        lanes = list(route.lanes)
        reach = sum(self._lane(key).length for key in lanes) - self._places[route.start][1]
        while reach < route.length + self._run_out:  # straight on beyond the goal
            following = self._straightest(lanes[-1])
            if following is None:
                break
            lanes.append(following)
            reach += self._lane(following).length
        path = np.concatenate([self._lane(key).points for key in lanes])
        width = np.concatenate([self._lane(key).width for key in lanes])
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
        begin = self._places[route.start][1]
        first = np.array([[np.interp(begin, along, path[:, 0]), np.interp(begin, along, path[:, 1])]])
        rest = along > begin + 0.05
        transform = self.spawn_points[route.start]
        return Route(
            np.concatenate([first, path[rest]]),
            route.length,
            np.concatenate([np.interp([begin], along, width), width[rest]]),
            (transform.location.x, transform.location.y, transform.location.z, transform.rotation.yaw),
            route.start,
            route.goal,
            self._junctions(lanes, begin),
        )

    def _junctions(self, lanes: Sequence[LaneKey], begin: float) -> list[tuple[float, float]]:
        """(begin, end) of each run of junction lanes, metres along a path that starts at ``begin``."""
        found: list[tuple[float, float]] = []
        place, inside = -begin, False
        for i, key in enumerate(lanes):
            length = self._lane(key).length
            if i + 1 < len(lanes):
                length += self._gap(key, lanes[i + 1])
            if self._entry[key].is_junction:
                start = found.pop()[0] if inside else place
                found.append((start, place + length))
            inside = self._entry[key].is_junction
            place += length
        return [(max(0.0, start), end) for start, end in found if end > 0.0]

    def _gap(self, key: LaneKey, following: LaneKey) -> float:
        """Metres between the last sample of a lane and the first of the next."""
        return float(np.hypot(*(self._lane(following).points[0] - self._lane(key).points[-1])))

    def _place(self, transform: carla.Transform) -> tuple[LaneKey, float] | None:
        """Lane of a spawn point and metres along it; None off the lanes."""
        waypoint = self._map.get_waypoint(transform.location)
        if waypoint is None:
            return None
        key = _key(waypoint)
        if key not in self._entry:
            return None
        here = waypoint.transform.location
        return key, _along(self._lane(key).points, here.x, here.y)

    def _lane(self, key: LaneKey) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            first = self._entry[key]
            waypoints = [first, *first.next_until_lane_end(_SAMPLING)]
            xy = np.array([(w.transform.location.x, w.transform.location.y) for w in waypoints])
            width = np.array([w.lane_width for w in waypoints])
            if (
                len(xy) == 1
            ):  # a lane shorter than the distance of the samples: the path goes on in its successor
                length = 0.0
            else:
                length = float(np.hypot(*np.diff(xy, axis=0).T).sum())
            lane = self._lanes[key] = _Lane(xy, width, length)
        return lane

    def _straightest(self, key: LaneKey) -> LaneKey | None:
        options = list(self._graph.successors(key))
        if not options:
            return None

        def turn(option: LaneKey) -> float:
            points = self._lane(option).points
            before = self._lane(key).points
            if len(points) < 2 or len(before) < 2:
                return 0.0
            a, b = before[-1] - before[-2], points[-1] - points[-2]
            return abs(wrap(math.atan2(b[1], b[0]) - math.atan2(a[1], a[0])))

        best: LaneKey = min(options, key=lambda option: (turn(option), option))
        return best

    def _enumerate(self) -> list[RouteId]:
        low, high = self._config.min_length_m, self._config.max_length_m
        for a, b, data in self._graph.edges(data=True):
            # Includes the gap between the last sample of a lane and the first of the next.
            data["length"] = self._lane(a).length + self._gap(a, b)
        goals: dict[LaneKey, list[int]] = {}
        for index, place in self._places.items():
            goals.setdefault(place[0], []).append(index)
        found = []
        for start, (key, begin) in self._places.items():
            # Distances to the entries of all lanes within reach.  The path leaves the start's lane
            # first, so a goal behind the start on the same lane is reached by a loop.
            reach: dict[LaneKey, tuple[float, tuple[LaneKey, ...]]] = {key: (-begin, (key,))}
            lengths, paths = nx.single_source_dijkstra(self._graph, key, cutoff=high + begin, weight="length")
            for lane, length in lengths.items():
                if lane != key:
                    reach[lane] = (length - begin, tuple(paths[lane]))
            loops = [
                (lengths[p] + self._graph.edges[p, key]["length"] - begin, (*paths[p], key))
                for p in self._graph.predecessors(key)
                if p in lengths
            ]
            for lane in sorted(goals):
                ways = [reach[lane]] if lane in reach else []
                if lane == key:
                    ways += [min(loops)] if loops else []
                for to_entry, lanes in ways:
                    for goal in goals[lane]:
                        length = to_entry + self._places[goal][1]
                        if low <= length <= high:
                            found.append(RouteId(start, goal, lanes, length))
        return found


def _along(points: Array, x: float, y: float) -> float:
    """Metres along a polyline to its point nearest to (x, y)."""
    if len(points) < 2:
        return 0.0
    step = np.diff(points, axis=0)
    length = np.hypot(*step.T)
    offset = np.array([x, y]) - points[:-1]
    t = np.clip(np.einsum("ij,ij->i", offset, step) / np.maximum(length, 1e-9) ** 2, 0.0, 1.0)
    gap = offset - t[:, None] * step
    i = int(np.argmin(np.einsum("ij,ij->i", gap, gap)))
    return float(length[:i].sum() + t[i] * length[i])


def _key(waypoint: carla.Waypoint) -> LaneKey:
    return (waypoint.road_id, waypoint.section_id, waypoint.lane_id)


def _lane_graph(carla_map: carla.Map) -> tuple[nx.DiGraph, dict[LaneKey, carla.Waypoint]]:
    """Lanes as nodes, "continues into" as edges, and the waypoint at which each lane begins."""
    graph = nx.DiGraph()
    entry: dict[LaneKey, carla.Waypoint] = {}
    for begin, end in sorted(carla_map.get_topology(), key=lambda pair: (_key(pair[0]), _key(pair[1]))):
        a, b = _key(begin), _key(end)
        entry[a] = begin
        entry.setdefault(b, end)
        graph.add_edge(a, b)
    return graph, entry


def _split(routes: list[RouteId], held_out: float) -> dict[Split, list[RouteId]]:
    """Routes over the same lanes fall into the same split, so no held-out route is nearly a training route.

    A hash of the lanes decides, so the split depends neither on an order nor on a seed.
    """
    groups: dict[tuple[LaneKey, ...], list[RouteId]] = {}
    for route in routes:
        groups.setdefault(route.lanes, []).append(route)
    ranked = sorted(groups, key=_hash)
    chosen = {lanes for lanes in ranked if _hash(lanes) < held_out}
    if not chosen and len(ranked) > 1:
        chosen = {ranked[0]}
    elif len(chosen) == len(ranked):
        chosen.discard(ranked[-1])
    return {
        "train": [r for r in routes if r.lanes not in chosen],
        "held_out": [r for r in routes if r.lanes in chosen],
    }


def _hash(lanes: tuple[LaneKey, ...]) -> float:
    """A number in [0, 1) from a lane sequence; the same on every machine."""
    text = ",".join(map(str, itertools.chain.from_iterable(lanes)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
