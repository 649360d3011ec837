"""The map as the rest of the server sees it: lanes, ground, paint, spawn points.

Everything here is in CARLA's frame: OpenDRIVE's (x, y, heading) becomes (x, -y, -heading),
degrees, and a lane's points run in the direction of travel.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import opendrive as od
from minicarla.maps.statics import StaticBox

Array = NDArray[np.float64]

SAG = 0.004
"""Metres that a curve may be away from the chord between two of its sampled points."""
LONGEST_CHORD = 2.0
LONGEST_STEP = 1.01 * LONGEST_CHORD
MAX_POINTS = 200_000
"""Sampled points of all roads together.  A town of CARLA has a few thousand."""
DEFAULT_SPEED = 13.9  # m/s, 50 km/h: where neither the map nor the lane before gives a limit
MAX_LANE_WIDTH = 500.0  # metres
SPAWN_SPACING = 12.0
SPAWN_BOX = 3.2, 1.2  # half length and width of the vehicle that must fit: an ambulance
SPAWN_MARGIN = 8.0  # metres kept from a lane's ends, where junctions are
SPAWN_HEIGHT = 0.5
NARROWEST_SPAWN = 1.0  # metres of a lane, below which no vehicle starts there
REACH = 8.0
"""Metres from a lane's centre line within which :meth:`RoadMap.locate` finds it."""
_CELL = 2.0  # metres

_SURFACES = {
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


@dataclass
class Lane:
    """One lane of one section, sampled along its centre."""

    id: int
    """Index into ``RoadMap.lanes``."""
    road_id: int
    lane_id: int
    """OpenDRIVE's lane number: positive to the left of the reference line."""
    section: int
    kind: str
    points: Array
    """(n, 3), in the direction of travel."""
    headings: Array
    """(n,) degrees."""
    s: Array
    """(n,) metres from the first point, along the centre."""
    width: float
    """Metres, at the middle of the lane."""
    speed_limit: float
    """m/s"""
    junction: int
    """The junction that the lane lies in, or -1."""
    road_s: Array = field(repr=False, default_factory=lambda: np.empty(0))
    """(n,) OpenDRIVE's s of each point."""
    successors: list[int] = field(default_factory=list)
    predecessors: list[int] = field(default_factory=list)

    @property
    def length(self) -> float:
        """Metres along the centre."""
        return float(self.s[-1])

    @property
    def forward(self) -> bool:
        """Whether one drives along the road's own direction, in which OpenDRIVE's s grows."""
        return bool(self.road_s[0] <= self.road_s[-1])

    def along(self, road_s: float) -> float:
        """Metres along the centre of the place at OpenDRIVE's ``road_s``."""
        order = slice(None) if self.forward else slice(None, None, -1)
        return float(np.interp(road_s, self.road_s[order], self.s[order]))

    def at(self, s: float) -> tuple[Array, float]:
        """Point (3,) and heading in degrees, ``s`` metres along the centre."""
        point = np.array([np.interp(s, self.s, self.points[:, k]) for k in range(3)])
        return point, float(np.interp(s, self.s, np.unwrap(self.headings, period=360.0)))


@dataclass(frozen=True)
class Surface:
    """A strip of ground between two polylines (n, 3)."""

    kind: str
    """"road", "shoulder", "sidewalk" or "verge"."""
    left: Array
    right: Array


@dataclass(frozen=True)
class Marking:
    """A painted line."""

    points: Array
    width: float
    colour: tuple[int, int, int]
    broken: bool


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
        """Poses on the centres of driving lanes outside junctions, ``SPAWN_HEIGHT`` above the road.

        A lane that leads on has one about every ``SPAWN_SPACING`` metres.  A lane that ends blindly, or
        is too short for that, has one where it enters its road, as every lane has in the maps that
        CARLA generates from OpenDRIVE (``Map::GenerateWaypointsOnRoadEntries``); the whole vehicle
        stands on the lane there, while CARLA puts its middle on the lane's very first point.
        """
        poses, entries = [], []
        for lane in self.driving:
            if lane.junction != -1 or lane.width < NARROWEST_SPAWN:
                continue
            room = lane.length - 2 * SPAWN_MARGIN
            if lane.successors and room >= 0.0:
                count = 1 + int(room // SPAWN_SPACING)
                places = SPAWN_MARGIN + (np.arange(count) + 0.5) * room / count
                poses += [self._spawn_pose(lane, float(s)) for s in places]
            elif self._enters(lane):
                entries.append(self._spawn_pose(lane, min(SPAWN_BOX[0], 0.5 * lane.length)))
        return _apart(poses + entries)

    def _spawn_pose(self, lane: Lane, s: float) -> Pose:
        (x, y, z), yaw = lane.at(s)
        return Pose(float(x), float(y), float(z) + SPAWN_HEIGHT, 0.0, _wrap(yaw), 0.0)

    def _enters(self, lane: Lane) -> bool:
        """Whether a lane lies in the first section of its road, in the direction of travel."""
        sections = [other.section for other in self._lanes_of_road[lane.road_id]]
        return lane.section == (min(sections) if lane.forward else max(sections))

    @cached_property
    def _lanes_of_road(self) -> dict[int, list[Lane]]:
        found: dict[int, list[Lane]] = {}
        for lane in self.lanes:
            found.setdefault(lane.road_id, []).append(lane)
        return found

    def locate(self, x: float, y: float) -> tuple[int, float, float] | None:
        """(lane id, metres along it, signed lateral offset, right positive) of the nearest driving lane.

        None further than ``REACH`` from every centre line.
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
            if section.length < od.SHORTEST:
                continue
            s = _stations(road, section, self._points_left)
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
                        self._surfaces.append(Surface(_SURFACES.get(record.kind, "verge"), left, right))
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
            part = (ds >= mark.s_offset - od.SHORTEST) & (ds <= end + od.SHORTEST)
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
    def _index(self) -> _Index:
        return _Index(self.driving)


class _Index:
    """A grid of cells, each with the segments of lane centres that can be the nearest to a point in it.

    A cell lists every segment that is nearest to some point in it: those not further from
    the cell's middle than the nearest one, give or take the cell's diagonal.
    """

    def __init__(self, lanes: list[Lane]) -> None:
        start = np.concatenate([lane.points[:-1, :2] for lane in lanes])
        end = np.concatenate([lane.points[1:, :2] for lane in lanes])
        lane = np.concatenate([np.full(len(lane.points) - 1, lane.id) for lane in lanes])
        s = np.concatenate([lane.s[:-1] for lane in lanes])
        # Where the pieces of a road do not meet, its points are far apart.  Those gaps are cut up, too.
        vector = end - start
        parts = np.maximum(1, np.ceil(np.hypot(vector[:, 0], vector[:, 1]) / LONGEST_STEP))
        counts = parts.astype(np.int64)
        whole = np.repeat(np.arange(len(start)), counts)
        share = (np.arange(len(whole)) - np.repeat(np.cumsum(counts) - counts, counts)) / parts[whole]
        vector = vector[whole] / parts[whole, None]
        start = start[whole] + share[:, None] * vector * parts[whole, None]
        length = np.hypot(vector[:, 0], vector[:, 1])
        direction = vector / np.maximum(length, 1e-9)[:, None]
        self.lane = lane[whole]
        self.s = s[whole] + share * length * parts[whole]

        # Every cell that comes within REACH of a segment, paired with it.
        middle = start + 0.5 * vector
        half = _CELL * math.sqrt(0.5)
        span = REACH + 0.5 * float(length.max()) + half
        self.origin = middle.min(0) - span
        self.columns = int((middle[:, 1].max() + span - self.origin[1]) / _CELL) + 2
        n = math.ceil(span / _CELL)
        around = np.stack(np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij"), -1)
        around = around.reshape(-1, 2)
        home = np.floor((middle - self.origin) / _CELL).astype(np.int64)
        keys, segments, distances = [], [], []
        for a in range(0, len(home), 4096):  # in parts, to use little memory
            cell = home[a : a + 4096, None] + around
            offset = self.origin + (cell + 0.5) * _CELL - start[a : a + 4096, None]
            d = direction[a : a + 4096, None]
            along = (offset * d).sum(2)
            past = along - np.clip(along, 0.0, length[a : a + 4096, None])
            across = offset[..., 1] * d[..., 0] - offset[..., 0] * d[..., 1]
            distance = np.hypot(past, across)
            near = distance <= REACH + half
            keys.append((cell[..., 0] * self.columns + cell[..., 1])[near])
            distances.append(distance[near])
            segments.append(np.nonzero(near)[0] + a)
        key, segment, distance = np.concatenate(keys), np.concatenate(segments), np.concatenate(distances)
        order = np.argsort(key, kind="stable")
        key, segment, distance = key[order], segment[order], distance[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        counts = np.diff(np.append(first, len(key)))
        best = np.repeat(np.minimum.reduceat(distance, first), counts)
        keep = distance <= best + 2.0 * half
        self.keys = key[first]
        counts = np.add.reduceat(keep.astype(np.int64), first)
        self.counts = np.append(counts, 0)  # the last one stands for all that is outside
        self.first = np.append(np.cumsum(counts) - counts, 0)
        # What a look-up needs of each candidate, each in one array.
        chosen = segment[keep]
        self.segment = chosen
        self.x, self.y = start[chosen].T.copy()
        self.dx, self.dy = direction[chosen].T.copy()
        self.length = length[chosen]

    def nearest(self, points: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """Lane ids (-1: none within REACH), metres along and lateral offsets of (n, 2) points."""
        n = len(points)
        lane, s, side = np.full(n, -1), np.zeros(n), np.zeros(n)
        points = np.where(np.isfinite(points), points, 1e12)
        cell = np.floor((points - self.origin) / _CELL)
        inside = (cell[:, 0] >= 0) & (cell[:, 1] >= 0) & (cell[:, 1] < self.columns)
        key = np.where(inside, np.minimum(cell[:, 0], 1e12) * self.columns + cell[:, 1], -1).astype(np.int64)
        place = np.searchsorted(self.keys, key)
        place = np.where(self.keys[np.minimum(place, len(self.keys) - 1)] == key, place, len(self.keys))
        counts = self.counts[place]
        rows = np.flatnonzero(counts)
        if not len(rows):
            return lane, s, side
        counts = counts[rows]
        begin = np.cumsum(counts) - counts
        pick = np.arange(int(counts.sum())) + np.repeat(self.first[place[rows]] - begin, counts)
        ox = np.repeat(points[rows, 0], counts) - self.x[pick]
        oy = np.repeat(points[rows, 1], counts) - self.y[pick]
        dx, dy = self.dx[pick], self.dy[pick]
        along = ox * dx + oy * dy
        on = np.minimum(np.maximum(along, 0.0), self.length[pick])
        across = oy * dx - ox * dy  # y points right in CARLA's frame
        distance = (along - on) ** 2 + across * across
        least = np.minimum.reduceat(distance, begin)
        hits = np.flatnonzero(distance == np.repeat(least, counts))
        best = hits[np.searchsorted(hits, begin)]
        found = least <= REACH * REACH
        rows, best = rows[found], best[found]
        segment = self.segment[pick[best]]
        lane[rows] = self.lane[segment]
        s[rows] = self.s[segment] + on[best]
        side[rows] = across[best]
        return lane, s, side


def _stations(road: od.Road, section: od.LaneSection, most: int) -> Array:
    """Values of s so close together that chords stay within ``SAG`` of the road's lanes.

    Raises OpenDriveError when there would be more than ``most``.
    """
    end = section.s + section.length
    cuts = {section.s, end}
    cuts.update(g.s for g in road.geometries if section.s < g.s < end)
    for table in (road.elevation, road.lane_offset):
        cuts.update(float(s) for s in table.starts if section.s < s < end)
    for record in section.lanes.values():
        cuts.update(section.s + m.s_offset for m in record.marks if 0 < m.s_offset < section.length)
    edges = [section.s]
    for cut in sorted(cuts):
        if cut - edges[-1] >= od.SHORTEST and end - cut >= od.SHORTEST:
            edges.append(cut)
    edges.append(end)
    parts = []
    for a, b in itertools.pairwise(edges):
        bends = [g.max_curvature() for g in road.geometries if g.s < b and g.s + g.length > a]
        curvature = max(bends, default=0.0)
        # A lane on the outside of a bend is longer than the reference line, so half the chord is taken.
        chord = (
            min(LONGEST_CHORD, max(0.1, 0.5 * math.sqrt(8 * SAG / curvature)))
            if curvature > 1e-6
            else LONGEST_CHORD
        )
        count = max(1, math.ceil((b - a) / chord))
        most -= count
        if most < 0:
            raise od.OpenDriveError(f"road {road.id!r}: the map is larger than can be held")
        parts.append(a + (b - a) * np.arange(count) / count)
    return np.concatenate([*parts, [end]])


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


def _apart(poses: list[Pose]) -> list[Pose]:
    """The poses at which vehicles can stand at the same time.

    Where lanes run into each other, two poses may overlap; the later one is left out.
    """
    places = np.array([pose[:3] for pose in poses]).reshape(-1, 3)
    order = np.argsort(places[:, 0], kind="stable")
    close = 2.0 * math.hypot(*SPAWN_BOX)
    pairs = []
    for step in range(1, len(poses)):  # neighbours in x, then the next but one ...
        a, b = order[:-step], order[step:]
        away = np.abs(places[b] - places[a])
        if not (away[:, 0] < close).any():
            break
        near = (away < (close, close, 3.0)).all(1)
        pairs.append(np.stack([a[near], b[near]], 1))
    if not pairs:
        return poses
    a, b = np.sort(np.concatenate(pairs), axis=1).T
    yaw = np.radians([pose.yaw for pose in poses])
    along = np.stack([np.cos(yaw), np.sin(yaw)], 1)
    across = np.stack([-np.sin(yaw), np.cos(yaw)], 1)
    delta = places[b, :2] - places[a, :2]
    straight = np.abs((along[a] * along[b]).sum(1))
    aslant = np.abs((along[a] * across[b]).sum(1))
    clear = np.zeros(len(a), np.bool_)
    length, width = SPAWN_BOX
    for axis, own, turned in ((along, length, width), (across, width, length)):
        reach = own + own * straight + turned * aslant  # axes of both boxes (separating axes)
        clear |= (np.abs((delta * axis[a]).sum(1)) >= reach) | (np.abs((delta * axis[b]).sum(1)) >= reach)
    dropped: set[int] = set()
    for first, second in sorted(zip(a[~clear].tolist(), b[~clear].tolist(), strict=True)):
        if first not in dropped:
            dropped.add(second)
    return [pose for k, pose in enumerate(poses) if k not in dropped]


def _as_int(text: str) -> int:
    """An id as a number: in OpenDRIVE ids are strings, but CARLA reads them as numbers."""
    try:
        return int(text)
    except ValueError:
        raise od.OpenDriveError(f"the id {text[:40]!r} is not a number") from None


def _wrap(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
