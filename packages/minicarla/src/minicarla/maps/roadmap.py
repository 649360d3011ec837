"""The map as the rest of the server sees it: lanes, ground, paint, spawn points.

Everything here is in CARLA's frame: OpenDRIVE's (x, y, heading) becomes (x, -y, -heading),
degrees, and a lane's points run in the direction of travel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import opendrive as od
from minicarla.maps.curves import SHORTEST
from minicarla.maps.lane_index import LaneIndex
from minicarla.maps.lanes import Lane, Marking, Surface
from minicarla.maps.spawn_points import spawn_points
from minicarla.maps.statics import StaticBox
from minicarla.maps.stations import LONGEST_STEP, MAX_POINTS, stations

Array = NDArray[np.float64]

DEFAULT_SPEED = 13.9  # m/s, 50 km/h: where neither the map nor the lane before gives a limit
MAX_LANE_WIDTH = 500.0  # metres
SURFACE_KINDS = {
    "driving": "road",
    "parking": "road",
    "stop": "road",
    "entry": "road",
    "exit": "road",
    "onRamp": "road",
    "offRamp": "road",
    "bidirectional": "road",
    "biking": "road",
    "shoulder": "shoulder",
    "border": "shoulder",
    "curb": "sidewalk",
    "sidewalk": "sidewalk",
}
_COLOURS = {"yellow": (222, 184, 45), "red": (190, 40, 40), "blue": (50, 90, 200), "green": (50, 150, 60)}
_WHITE = (235, 235, 235)


class RoadMap:
    """Geometry of an OpenDRIVE map.

    Raises:
        OpenDriveError (a ValueError): the map has no driving lane.
    """

    def __init__(self, name: str, text: str, data: od.OpenDrive) -> None:
        self.name = name
        self.opendrive = text
        self.data = data
        self.statics: list[StaticBox] = []
        self.whole: RoadMap | None = None
        """The map that this one is an altered copy of, if both have the same ground."""
        self._surfaces: list[Surface] = []
        self._markings: list[Marking] = []
        self.lanes: list[Lane] = []
        self._by_key: dict[tuple[str, int, int], int] = {}
        self._points_left = MAX_POINTS
        # Finite numbers can still overflow together.  What comes out is checked.
        with np.errstate(all="ignore"):
            for road in data.roads.values():
                self._add_road(road)
        steps = sum(float(np.ceil(np.diff(lane.s) / LONGEST_STEP).sum()) for lane in self.lanes)
        if steps > 4 * MAX_POINTS:
            raise od.OpenDriveError("the pieces of the roads do not meet")
        self._link()
        self._settle_limits()
        if not any(lane.kind == "driving" for lane in self.lanes):
            raise od.OpenDriveError("the map has no lane of type 'driving'")

    def altered(
        self, statics: list[StaticBox], ground: tuple[list[Surface], list[Marking]] | None = None
    ) -> RoadMap:
        """A copy with other things beside the roads; the roads themselves are shared.

        ground: other surfaces and markings.  Without them the copy has the same ground.
        """
        whole = self.whole or self
        whole.bounds  # noqa: B018  computed once, so that the ground stays where it is
        other = copy.copy(self)
        other.statics = statics
        if ground is None:
            other.whole = whole
        else:
            other.whole = None
            other._surfaces, other._markings = ground
        return other

    # ------------------------------------------------------------------ what others read

    def surfaces(self) -> list[Surface]:
        """All strips of ground."""
        return self._surfaces

    def markings(self) -> list[Marking]:
        """All painted lines."""
        return self._markings

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of all ground, metres."""
        points = np.concatenate([np.concatenate([s.left, s.right]) for s in self._surfaces])
        x0, y0 = points[:, :2].min(0)
        x1, y1 = points[:, :2].max(0)
        return float(x0), float(y0), float(x1), float(y1)

    @cached_property
    def driving(self) -> list[Lane]:
        """Lanes that cars use."""
        return [lane for lane in self.lanes if lane.kind == "driving"]

    @cached_property
    def spawn_points(self) -> list[Pose]:
        """Poses for vehicles, see :func:`spawn_points.spawn_points`."""
        return spawn_points(self.driving, self._lanes_of_road)

    @cached_property
    def _lanes_of_road(self) -> dict[int, list[Lane]]:
        found: dict[int, list[Lane]] = {}
        for lane in self.lanes:
            found.setdefault(lane.road_id, []).append(lane)
        return found

    def locate(self, x: float, y: float) -> tuple[int, float, float] | None:
        """(lane id, metres along it, signed lateral offset, right positive) of the nearest driving lane.

        None further than ``lane_index.REACH`` from every centre line.
        """
        lane, s, lateral = self.locate_many(np.array([[x, y]]))
        return None if lane[0] < 0 else (int(lane[0]), float(s[0]), float(lateral[0]))

    def locate_many(self, points: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """:meth:`locate` for (n, 2) points: lane ids (-1: none), metres along, lateral offsets."""
        return self._index.nearest(points)

    def elevation(self, x: float, y: float) -> float:
        """Height of the nearest lane's centre, metres; 0 away from every lane."""
        place = self.locate(x, y)
        if place is None:
            return 0.0
        lane = self.lanes[place[0]]
        return float(np.interp(place[1], lane.s, lane.points[:, 2]))

    def lanes_for(self, road: od.Road, record: od.SignalRecord) -> list[Lane]:
        """The driving lanes that a road's sign or light is for: of its validity, else of its orientation."""
        section = road.section_at(record.s)
        return [
            lane
            for lane in self._lanes_of_road.get(_as_int(road.id), ())
            if lane.kind == "driving" and lane.section == section
            if (record.covers(lane.lane_id) if record.valid else record.faces(lane.forward))
        ]

    def beside(self, road: od.Road, s: float, t: float) -> tuple[float, float, float, float]:
        """Where a thing at (s, t) of a road stands: x, y, z of the road, and the heading of the road.

        The place is in CARLA's frame, the heading in radians and OpenDRIVE's.
        """
        at = np.array([min(max(s, 0.0), road.length)])
        x, y, heading = (float(v[0]) for v in road.at(at))
        x -= t * math.sin(heading)
        y += t * math.cos(heading)
        return x, -y, float(road.elevation(at)[0]), heading

    @cached_property
    def flat(self) -> bool:
        """Whether all lanes lie at height 0.  On such maps, which are most, heights need not be looked up."""
        return all(not lane.points[:, 2].any() for lane in self.lanes)

    # ------------------------------------------------------------------ building

    def _add_road(self, road: od.Road) -> None:
        for number, section in enumerate(road.sections):
            if section.length < SHORTEST:
                continue
            s = stations(road, section, self._points_left)
            self._points_left -= len(s)
            x, y, heading = road.at(s)
            z = road.elevation(s)
            normal = np.stack([-np.sin(heading), np.cos(heading)], 1)
            ds = s - section.s
            base = road.lane_offset(s)
            base_slope = road.lane_offset.slope(s)

            def line(t: Array, x: Array = x, y: Array = y, z: Array = z, normal: Array = normal) -> Array:
                """(n, 3) in CARLA's frame, ``t`` metres left of the reference line."""
                return np.stack([x + t * normal[:, 0], -(y + t * normal[:, 1]), z], 1)

            self._paint(section.lanes.get(0), line(base), ds)
            for sign in (1, -1):
                inner, inner_slope = base, base_slope
                for lane_id in sorted((i for i in section.lanes if i * sign > 0), key=abs):
                    record = section.lanes[lane_id]
                    width = record.widths(ds)
                    outer = inner + sign * width
                    outer_slope = inner_slope + sign * record.widths.slope(ds)
                    left, right = (line(outer), line(inner)) if sign > 0 else (line(inner), line(outer))
                    if width.max() > 0.05:
                        self._surfaces.append(Surface(SURFACE_KINDS.get(record.kind, "verge"), left, right))
                    self._paint(record, line(outer), ds)
                    drift = np.arctan((inner_slope + outer_slope) / 2)  # angle between the lane and the road
                    middle = line((inner + outer) / 2)
                    self._add_lane(road, number, record, middle, heading + drift, s, width)
                    inner, inner_slope = outer, outer_slope

    def _add_lane(
        self,
        road: od.Road,
        section: int,
        record: od.LaneRecord,
        points: Array,
        heading: Array,
        s: Array,
        width: Array,
    ) -> None:
        backwards = (record.id > 0) == road.right_hand
        yaw = -np.degrees(heading) + (180.0 if backwards else 0.0)
        order = slice(None, None, -1) if backwards else slice(None)
        points, yaw, s = points[order], yaw[order], s[order]
        on_the_map = np.isfinite(yaw).all() and (np.abs(points) < od.MAX_COORDINATE).all()
        if not on_the_map or np.abs(width).max() > MAX_LANE_WIDTH:
            raise od.OpenDriveError(f"road {road.id!r}: lane {record.id} leaves the map or is too wide")
        steps = np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1]))
        middle = float(s[len(s) // 2])
        lane = Lane(
            id=len(self.lanes),
            road_id=_as_int(road.id),
            lane_id=record.id,
            section=section,
            kind=record.kind,
            points=np.ascontiguousarray(points),
            headings=(yaw + 180.0) % 360.0 - 180.0,
            s=np.concatenate([[0.0], np.cumsum(steps)]),
            width=float(width[len(width) // 2]),
            speed_limit=_speed_limit(road, record, middle, road.sections[section].s),
            junction=_as_int(road.junction),
            road_s=np.ascontiguousarray(s),
        )
        self.lanes.append(lane)
        self._by_key[road.id, section, record.id] = lane.id

    def _paint(self, record: od.LaneRecord | None, points: Array, ds: Array) -> None:
        """The marks along a lane's outer edge (along the reference line for lane 0)."""
        if record is None:
            return
        ends = [*(m.s_offset for m in record.marks[1:]), math.inf]
        for mark, end in zip(record.marks, ends, strict=False):
            # Stations are at least SHORTEST apart, so there may be none exactly where a mark begins.
            part = (ds >= mark.s_offset - SHORTEST) & (ds <= end + SHORTEST)
            if mark.kind in ("none", "curb", "") or part.sum() < 2:
                continue
            colour = _COLOURS.get(mark.colour, _WHITE)
            broken = mark.kind.startswith("broken") or mark.kind in ("botts dots",)
            self._markings.append(Marking(points[part], max(0.08, mark.width), colour, broken))

    def _link(self) -> None:
        for (road_id, section, lane_id), index in self._by_key.items():
            road = self.data.roads[road_id]
            lane = self.lanes[index]
            for target in self._following(road, section, lane_id):
                if self.lanes[target].kind == lane.kind and target not in lane.successors:
                    lane.successors.append(target)
                    self.lanes[target].predecessors.append(index)

    def _settle_limits(self) -> None:
        """Give lanes without a stated limit, as in many junctions, the limit of the lane before."""
        settled = [lane for lane in self.lanes if lane.speed_limit]
        while settled:
            reached: dict[int, float] = {}
            for lane in settled:
                for target in lane.successors:
                    if not self.lanes[target].speed_limit:
                        reached[target] = min(lane.speed_limit, reached.get(target, math.inf))
            for target, limit in reached.items():
                self.lanes[target].speed_limit = limit
            settled = [self.lanes[target] for target in reached]
        for lane in self.lanes:
            lane.speed_limit = lane.speed_limit or DEFAULT_SPEED

    def _following(self, road: od.Road, section: int, lane_id: int) -> list[int]:
        """Lanes that one can drive on to at the end of a lane."""
        found: list[int] = []
        # Sections and roads without length have no lanes here, but lead on all the same.
        through: list[tuple[str, int, int]] = [(road.id, section, lane_id)]
        for place in through:  # the list grows in the loop
            for following in self._linked(*place):
                index = self._by_key.get(following)
                if index is not None:
                    found.append(index)
                elif following not in through:
                    through.append(following)
        return found

    def _linked(self, road_id: str, section: int, lane_id: int) -> Iterator[tuple[str, int, int]]:
        """(road, section, lane) that the map's links say follow a lane, in the direction of travel."""
        road = self.data.roads[road_id]
        record = road.sections[section].lanes.get(lane_id)
        if record is None:
            return
        forward = (lane_id < 0) == road.right_hand
        linked = record.successor if forward else record.predecessor
        beside = section + (1 if forward else -1)
        if 0 <= beside < len(road.sections):
            if linked is not None:
                yield road_id, beside, linked
            return
        link = road.successor if forward else road.predecessor
        if link is None:
            return
        if link.element == "road":
            if linked is not None:
                yield from self._entry(link.id, link.contact, linked)
            return
        junction = self.data.junctions.get(link.id)
        for connection in junction.connections if junction is not None else ():
            if connection.incoming == road_id:
                for start, to in connection.lanes:
                    if start == lane_id:
                        yield from self._entry(connection.connecting, connection.contact, to)

    def _entry(self, road_id: str, contact: str, lane_id: int) -> Iterator[tuple[str, int, int]]:
        road = self.data.roads.get(road_id)
        if road is not None:
            yield road_id, 0 if contact == "start" else len(road.sections) - 1, lane_id

    @cached_property
    def _index(self) -> LaneIndex:
        return LaneIndex(self.driving)


def _speed_limit(road: od.Road, record: od.LaneRecord, s: float, section_s: float) -> float:
    """m/s; 0 where the map states no limit."""
    limit = 0.0
    for start, speed in road.speeds:
        if start <= s:
            limit = speed
    for start, speed in record.speeds:
        if start <= s - section_s:
            limit = speed
    return limit


def _as_int(text: str) -> int:
    """An id as a number: in OpenDRIVE ids are strings, but CARLA reads them as numbers."""
    try:
        return int(text)
    except ValueError:
        raise od.OpenDriveError(f"the id {text[:40]!r} is not a number") from None
