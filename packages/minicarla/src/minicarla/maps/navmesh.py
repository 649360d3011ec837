"""Where pedestrians walk: convex polygons over the sidewalks, the crossings and the streets between.

Each section of a road is a few bands side by side (sidewalk, road, sidewalk).  All bands are cut across
at the same places, so that neighbours share their corners.  The ends of sidewalks that meet are joined.
Where the roads of a junction have no sidewalks, a strip leads around each corner.  A crossing joins the
two sides of a street before every junction, and in the middle of a long street without junctions.

If no road of a map has a sidewalk, pedestrians walk on the shoulders, or on a strip beside the road.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import navmesh_file
from minicarla.maps import opendrive as od
from minicarla.maps.navmesh_file import MOST_POLYGONS, MOST_VERTICES, WALKER_RADIUS
from minicarla.maps.navmesh_file import Area as Area
from minicarla.maps.roadmap import _SURFACES as SURFACES
from minicarla.maps.roadmap import MAX_POINTS, RoadMap, _stations

Array = NDArray[np.float64]
log = logging.getLogger("minicarla")

CROSSING_WIDTH = 3.0
STRIP_WIDTH = 1.5
"""Metres: width of the strip that takes the place of a missing sidewalk."""
TOLERANCE = 0.06
"""Metres that an edge of the mesh may be away from the curve that it approximates."""
_NARROWEST = 0.25  # metres: width of a sidewalk less a walker's radius on both sides
_LONGEST = 40.0  # metres: length of a polygon; paths are searched from edge to edge
_BETWEEN = 40.0  # metres: a longer street without junctions has a crossing in its middle
_JOIN = 1.5  # metres that the ends of two sidewalks may be apart and are still joined
_EASE = 3.0  # metres from its end over which a sidewalk bends to the one that it meets
_CORNER = 45.0  # metres: the longest strip around a corner of a junction
_ABOVE = 2.5  # metres: a road that much higher or lower is a bridge or an underpass
_MOST_TOGETHER = 64  # ends of sidewalks in one place; damaged maps may have more, which would take long


@dataclass(frozen=True)
class NavMesh:
    """Convex polygons that share corners.

    ``vertices`` (n, 3) are on the ground, in CARLA's frame.  The corners of a polygon go round in the
    direction that turns from y to x, as Detour wants them.  ``neighbours[i][k]`` is the polygon beyond
    the edge from corner k to the next one, -1 at the border.
    """

    vertices: Array
    polygons: list[tuple[int, ...]]
    areas: list[Area]
    neighbours: list[tuple[int, ...]]
    name: str = "map"

    @cached_property
    def file(self) -> bytes:
        """The mesh as CARLA's client loads it."""
        return navmesh_file.pack(self)

    @cached_property
    def file_name(self) -> str:
        """Path under which clients keep :attr:`file`.

        A client that has a file of that name already does not ask for it, so the name contains a hash.
        """
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self.name)[:64]
        return f"minicarla/Nav/{name}-{hashlib.sha256(self.file).hexdigest()[:16]}.bin"

    @cached_property
    def components(self) -> NDArray[np.int64]:
        """(m,) number of the part that each polygon belongs to.

        A part is connected over sidewalks and crossings.  Every polygon of another area is its own part.
        """
        parent = _Sets(len(self.polygons))
        walked = {Area.SIDEWALK, Area.CROSSWALK}
        for a, beyond in enumerate(self.neighbours):
            for b in beyond:
                if b >= 0 and self.areas[a] in walked and self.areas[b] in walked:
                    parent.join(a, b)
        return np.array([parent.find(a) for a in range(len(self.polygons))])

    def size(self, polygon: int) -> float:
        """Square metres, seen from above."""
        return -_signed_area(self.vertices[list(self.polygons[polygon])])

    def find(self, x: float, y: float, slack: float = 1e-3) -> int | None:
        """The polygon at this place, or within ``slack`` metres of it; None if there is none.

        Of several, the one whose edges are farthest away.
        """
        inside = self._inside(np.array([x, y]))
        best = int(inside.argmax())
        return best if inside[best] >= -slack else None

    def nearest(self, x: float, y: float) -> int:
        """The polygon of a sidewalk or crossing at this place, or the nearest one."""
        walked = [area in (Area.SIDEWALK, Area.CROSSWALK) for area in self.areas]
        return int(np.where(walked, self._inside(np.array([x, y])), -np.inf).argmax())

    def _inside(self, point: Array) -> Array:
        """(m,) metres from a point to the nearest edge of each polygon, negative outside."""
        start, normal = self._edges
        return np.asarray((normal * (point - start)).sum(-1).min(1))

    @cached_property
    def _edges(self) -> tuple[Array, Array]:
        """Starts and inward normals (m, 6, 2) of all edges; missing ones repeat the first."""
        most = max(map(len, self.polygons))
        corners = np.array([[*p, *[p[0]] * (most - len(p))] for p in self.polygons])
        ends = np.array([[*p[1:], p[0], *[p[1]] * (most - len(p))] for p in self.polygons])
        start = self.vertices[corners, :2]
        along = self.vertices[ends, :2] - start
        along /= np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
        return start, np.stack([along[..., 1], -along[..., 0]], -1)


def build(roadmap: RoadMap) -> NavMesh | None:
    """The mesh of a map.  None when there is nowhere to walk, or more than a client can hold."""
    walks = any(
        SURFACES.get(record.kind) == "sidewalk"
        for road in roadmap.data.roads.values()
        for section in road.sections
        for record in section.lanes.values()
    )
    # Finite numbers can still overflow together.  What comes out is checked.
    with np.errstate(all="ignore"):
        mesh = _NavMeshBuilder(roadmap, walks).build()
    if mesh is None:
        log.warning("there is nowhere to walk on the map %s", roadmap.name)
    elif len(mesh.polygons) > MOST_POLYGONS or len(mesh.vertices) > MOST_VERTICES:
        log.warning("the map %s has more sidewalks than a client can hold", roadmap.name)
        return None
    return mesh


# ---------------------------------------------------------------------- pieces


@dataclass
class _Cell:
    """A quadrilateral of a band; its corners are left and right at one cut, right and left at the next."""

    corners: tuple[int, int, int, int]
    area: Area


@dataclass
class _End:
    """An end of a strip of sidewalk: the corner on the side of the road (inner), and the other one."""

    inner: int
    outer: int
    away: tuple[float, float]  # unit vector in which the strip would go on
    strip: list[_Cell] = field(repr=False)
    street: str  # the road that it belongs to
    junction: str = ""  # the junction that it leads to, "" for none
    partner: _End | None = field(default=None, repr=False)


class _Sets:
    """Union and find."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, a: int) -> int:
        parent = self.parent
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)


class _NavMeshBuilder:
    def __init__(self, roadmap: RoadMap, walks: bool) -> None:
        self.roadmap, self.walks = roadmap, walks
        self.points: list[tuple[float, float, float]] = []
        self.strips: list[list[_Cell]] = []  # one for each band of a section
        self.ends: list[_End] = []
        self.left = MAX_POINTS

    def build(self) -> NavMesh | None:
        # Streets before junctions: where both claim the same ground, the street gets it.
        roads = sorted(self.roadmap.data.roads.values(), key=lambda road: road.junction != "-1")
        for road in roads:
            self._add_road(road)
        if not self.points:
            return None
        joined = _Sets(len(self.points))
        self._meet(joined)
        self._corners()
        return self._assemble(joined)

    # ------------------------------------------------------------------ roads

    def _add_road(self, road: od.Road) -> None:
        junctions = [
            link.id if link is not None and link.element == "junction" else ""
            for link in (road.predecessor, road.successor)
        ]
        in_junction = road.junction != "-1"
        crossings = [] if in_junction else _crossings(road.length, bool(junctions[0]), bool(junctions[1]))
        for number, section in enumerate(road.sections):
            if section.length < 0.05:
                continue
            first, last = number == 0, number == len(road.sections) - 1
            self._add_section(
                road, section, crossings, junctions[0] if first else "", junctions[1] if last else ""
            )

    def _add_section(
        self,
        road: od.Road,
        section: od.LaneSection,
        crossings: list[tuple[float, float]],
        before: str,
        after: str,
    ) -> None:
        in_junction = road.junction != "-1"
        fine = _stations(road, section, self.left)
        self.left -= len(fine)
        end = section.s + section.length
        wanted = {s for crossing in crossings for s in crossing}
        if section.length > 3.0 * _EASE:
            wanted |= {section.s + _EASE, end - _EASE}
        s = np.unique(np.concatenate([fine, [w for w in wanted if section.s < w < end]]))
        bands, offsets = self._bands(road, section, s)
        if not bands:
            return
        x, y, heading = road.at(s)
        z = road.elevation(s)
        across_x, across_y = -np.sin(heading), np.cos(heading)
        lines = np.stack(
            [np.stack([x + t * across_x, -(y + t * across_y), z], -1) for t in offsets]
        )  # (lines, stations, 3)
        if not (np.abs(lines) < od.MAX_COORDINATE).all():
            return
        walks = [k for k, area in enumerate(bands) if area is Area.SIDEWALK]
        driven = {k: self._overrun(lines[k], lines[k + 1]) for k in walks}
        fixed = np.isin(s, list(wanted))
        for over in driven.values():
            change = np.flatnonzero(over[1:] != over[:-1])
            fixed[change] = fixed[change + 1] = True
        # In a junction only the sidewalks are used.
        shaping = lines[sorted({*walks, *(k + 1 for k in walks)})] if in_junction else lines
        keep = _simplify(shaping, fixed)
        s, lines = s[keep], lines[:, keep]
        base, count = len(self.points), len(s)
        self.points.extend((px, py, pz) for px, py, pz in lines.reshape(-1, 3).tolist())
        crossed = np.zeros(count - 1, np.bool_)
        for start, stop in crossings:
            middle = 0.5 * (s[1:] + s[:-1])
            crossed |= (middle > start) & (middle < stop)
        for k, area in enumerate(bands):
            wide = np.hypot(*(lines[k] - lines[k + 1])[:, :2].T) >= _NARROWEST
            usable = wide[1:] & wide[:-1]
            if area is Area.SIDEWALK:
                over = driven[k]
                usable &= [not over[i : j + 1].any() for i, j in itertools.pairwise(keep.tolist())]
                if in_junction and over.any():
                    continue  # half of a way around a corner leads nowhere
            elif in_junction:
                continue
            if not usable.any():
                continue
            between = area is Area.ROAD and 0 < k < len(bands) - 1
            left, right = base + k * count, base + (k + 1) * count
            strip = [
                # A crossing leads from one sidewalk to another.
                _Cell(
                    (left + i, right + i, right + i + 1, left + i + 1),
                    Area.CROSSWALK if between and crossed[i] else area,
                )
                for i in np.flatnonzero(usable).tolist()
            ]
            self.strips.append(strip)
            if area is not Area.SIDEWALK:
                continue
            road_at_right = k + 1 < len(bands) or (k == 0 and offsets[0].mean() + offsets[1].mean() > 0.0)
            inner, outer = (right, left) if road_at_right else (left, right)
            for i, cell, sense, junction in ((0, 0, -1.0, before), (count - 1, count - 2, 1.0, after)):
                if not usable[cell]:
                    continue
                angle = float(heading[keep][i])
                away = (sense * math.cos(angle), -sense * math.sin(angle))
                leads_to = "" if in_junction else junction
                self.ends.append(_End(inner + i, outer + i, away, strip, road.id, leads_to))

    def _overrun(self, left: Array, right: Array) -> NDArray[np.bool_]:
        """Whether another road runs over a sidewalk between two lines (n, 3), for each of its stations."""
        spots = [left + share * (right - left) for share in (0.15, 0.5, 0.85)]
        return np.asarray(self._driven_on(np.concatenate(spots)).reshape(3, -1).any(0))

    def _bands(self, road: od.Road, section: od.LaneSection, s: Array) -> tuple[list[Area], list[Array]]:
        """The areas of a section from left to right, and the lines between them.

        The lines are metres to the left of the reference line at each s; there is one more than areas.
        """
        ids = sorted((i for i in section.lanes if i != 0), reverse=True)
        ds = s - section.s
        widths = {i: np.maximum(section.lanes[i].widths(ds), 0.0) for i in ids}
        base = road.lane_offset(s)
        left = [base]
        for i in sorted(i for i in ids if i > 0):
            left.append(left[-1] + widths[i])
        right = [base]
        for i in sorted((i for i in ids if i < 0), reverse=True):
            right.append(right[-1] - widths[i])
        edges = [*reversed(left), *right[1:]]
        kinds = [SURFACES.get(section.lanes[i].kind, "verge") for i in ids]
        if not self.walks:
            kinds, edges = _beside(kinds, edges)
        if "sidewalk" not in kinds:
            return [], []
        # Neighbouring lanes of one kind form one band.  What lies between sidewalks is road or grass.
        areas: list[Area] = []
        lines: list[Array] = []
        for is_walk, run in itertools.groupby(range(len(kinds)), lambda k: kinds[k] == "sidewalk"):
            lanes = list(run)
            area = Area.SIDEWALK
            if not is_walk:
                driven = [k for k in lanes if kinds[k] in ("road", "shoulder")]
                area = Area.ROAD if driven else Area.GRASS
                # At the outer edge of the road only as far as it is paved.
                if lanes[0] == 0:
                    lanes = lanes[driven[0] :] if driven else []
                elif lanes[-1] == len(kinds) - 1:
                    lanes = list(range(lanes[0], driven[-1] + 1)) if driven else []
            if lanes:
                areas.append(area)
                lines = lines or [edges[lanes[0]]]
                lines.append(edges[lanes[-1] + 1])
        # The middle of a walker stays one radius away from the kerb.
        moved = list(lines)
        for k, area in enumerate(areas):
            if area is Area.SIDEWALK:
                margin = np.minimum(WALKER_RADIUS, 0.25 * (lines[k] - lines[k + 1]))
                moved[k], moved[k + 1] = lines[k] - margin, lines[k + 1] + margin
        return areas, moved

    # ------------------------------------------------------------------ joining

    def _driven_on(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of (n, 3) points lies on a driving lane."""
        lanes = self.roadmap.lanes
        index, s, side = self.roadmap.locate_many(points[:, :2])
        found = np.flatnonzero(index >= 0)
        half = np.array([0.5 * lanes[i].width for i in index[found]])
        height = np.zeros(len(found))
        if not self.roadmap.flat:
            places = zip(index[found], s[found], strict=True)
            height[:] = [np.interp(at, lanes[i].s, lanes[i].points[:, 2]) for i, at in places]
        on = np.zeros(len(points), np.bool_)
        on[found] = (np.abs(side[found]) < half - 0.1) & (np.abs(height - points[found, 2]) < _ABOVE)
        return on

    def _meet(self, joined: _Sets) -> None:
        """Join the ends of sidewalks where one continues the other."""
        places: dict[tuple[int, int], list[int]] = defaultdict(list)
        middles = [self._middle(end) for end in self.ends]
        size = 2.0 * _JOIN
        for k, (x, y) in enumerate(middles):
            cell = places[math.floor(x / size), math.floor(y / size)]
            if len(cell) < _MOST_TOGETHER:
                cell.append(k)
        pairs = []
        for k, (x, y) in enumerate(middles):
            column, row = math.floor(x / size), math.floor(y / size)
            for dx, dy in itertools.product((-1, 0, 1), repeat=2):
                for other in places.get((column + dx, row + dy), ()):
                    if other > k:
                        apart = self._apart(self.ends[k], self.ends[other])
                        if apart is not None:
                            pairs.append((apart, k, other))
        for _, a, b in sorted(pairs, key=lambda pair: (pair[0][0], *pair[1:])):
            one, two = self.ends[a], self.ends[b]
            if one.partner is None and two.partner is None:
                one.partner, two.partner = two, one
                crossed = self._apart(one, two)
                assert crossed is not None
                ours, theirs = (one.inner, one.outer), (two.inner, two.outer)
                for v, w in zip(ours, theirs[::-1] if crossed[1] else theirs, strict=True):
                    joined.join(v, w)

    def _middle(self, end: _End) -> tuple[float, float]:
        a, b = self.points[end.inner], self.points[end.outer]
        return 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])

    def _apart(self, a: _End, b: _End) -> tuple[float, bool] | None:
        """Metres between two ends of which one can continue the other, and whether inner meets outer.

        None if they cannot be joined.
        """
        if a.strip is b.strip and len(a.strip) < 3:
            return None
        if a.away[0] * b.away[0] + a.away[1] * b.away[1] > -0.3:
            return None
        p, q, u, v = (np.array(self.points[i]) for i in (a.inner, a.outer, b.inner, b.outer))
        straight = max(math.dist(p, u), math.dist(q, v))
        across = max(math.dist(p, v), math.dist(q, u))
        best = min(straight, across)
        return (best, across < straight) if best < _JOIN else None

    def _corners(self) -> None:
        """Strips around the corners of junctions where no sidewalk leads around them."""
        open_ends: dict[str, list[_End]] = defaultdict(list)
        for end in self.ends:
            if end.junction and end.partner is None and len(open_ends[end.junction]) < _MOST_TOGETHER:
                open_ends[end.junction].append(end)
        for ends in open_ends.values():
            pairs = sorted(
                (math.dist(self._middle(a), self._middle(b)), i, j)
                for i, a in enumerate(ends)
                for j, b in enumerate(ends)
                if i < j and (a.street != b.street or len(ends) == 2)
            )
            for apart, i, j in pairs:
                a, b = ends[i], ends[j]
                if apart > _CORNER or a.partner is not None or b.partner is not None:
                    continue
                a.partner, b.partner = b, a
                corners = (a.inner, a.outer, b.outer, b.inner)
                points = np.array([self.points[v] for v in corners])
                share = np.linspace(0.1, 0.9, 9)[:, None]
                way = (1 - share) * 0.5 * (points[0] + points[1]) + share * 0.5 * (points[2] + points[3])
                area = Area.CROSSWALK if self._driven_on(way).any() else Area.SIDEWALK
                self.strips.append([_Cell(corners, area)])

    # ------------------------------------------------------------------ the mesh

    def _assemble(self, joined: _Sets) -> NavMesh | None:
        roots = np.array([joined.find(v) for v in range(len(self.points))])
        points = np.array(self.points)
        count = np.bincount(roots, minlength=len(points))[:, None]
        total = np.zeros_like(points)
        np.add.at(total, roots, points)
        points = total / np.maximum(count, 1)
        polygons: list[tuple[int, ...]] = []
        areas: list[Area] = []
        beyond: dict[tuple[int, int], int] = {}
        for strip in self.strips:
            for cell in strip:
                for corners in _convex([int(roots[v]) for v in cell.corners], points):
                    edges = list(zip(corners, (*corners[1:], corners[0]), strict=True))
                    if any(edge in beyond for edge in edges):
                        continue  # another polygon lies there
                    for edge in edges:
                        beyond[edge] = len(polygons)
                    polygons.append(corners)
                    areas.append(cell.area)
        used = sorted({v for corners in polygons for v in corners})
        if not any(area is Area.SIDEWALK for area in areas):
            return None
        number = {v: k for k, v in enumerate(used)}
        neighbours = [
            tuple(beyond.get((b, a), -1) for a, b in zip(corners, (*corners[1:], corners[0]), strict=True))
            for corners in polygons
        ]
        return NavMesh(
            np.ascontiguousarray(points[used]),
            [tuple(number[v] for v in corners) for corners in polygons],
            areas,
            neighbours,
            self.roadmap.name,
        )


def _crossings(length: float, before: bool, after: bool) -> list[tuple[float, float]]:
    """Crossings of a street, each from an s to an s.

    before, after: whether there is a junction at the start and at the end of the street.
    """
    width = CROSSING_WIDTH
    if length < 2.0 * width:
        return [(0.0, length)] if before or after else []
    found = []
    if before:
        found.append((0.0, width))
    if after and (not before or length > 6.0 * width):
        found.append((length - width, length))
    if not found and length > _BETWEEN:
        found.append((0.5 * (length - width), 0.5 * (length + width)))
    return found


def _beside(kinds: list[str], edges: list[Array]) -> tuple[list[str], list[Array]]:
    """The lanes of a road without sidewalks, with one added on each side: the shoulder, or a strip."""
    driven = [k for k, kind in enumerate(kinds) if kind == "road"]
    if not driven:
        return kinds, edges
    kinds, edges = list(kinds), list(edges)
    first, last = driven[0], driven[-1]

    def wide(k: int) -> bool:
        width = edges[k] - edges[k + 1]
        return kinds[k] == "shoulder" and float(width.min()) >= 2.0 * WALKER_RADIUS + _NARROWEST

    at_right = next((k for k in range(last + 1, len(kinds)) if wide(k)), None)
    if at_right is not None:
        kinds[at_right] = "sidewalk"
    else:
        kinds, edges = [*kinds, "sidewalk"], [*edges, edges[-1] - STRIP_WIDTH]
    at_left = next((k for k in range(first - 1, -1, -1) if wide(k)), None)
    if at_left is not None:
        kinds[at_left] = "sidewalk"
    else:
        kinds, edges = ["sidewalk", *kinds], [edges[0] + STRIP_WIDTH, *edges]
    return kinds, edges


def _simplify(lines: Array, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Stations of lines (k, n, 3) to keep so that all lines stay near their chords (Douglas and Peucker).

    wanted: (n,) stations that are kept in any case.
    """
    kept: list[int] = [0]
    fixed = [0, *np.flatnonzero(wanted).tolist(), lines.shape[1] - 1]
    for start, stop in itertools.pairwise(sorted(set(fixed))):
        stack = [(start, stop)]
        while stack:
            a, b = stack.pop()
            if b - a > 1:
                chord = lines[:, b] - lines[:, a]  # (k, 3)
                length = np.linalg.norm(chord, axis=1)
                way = lines[:, a + 1 : b] - lines[:, a : a + 1]
                unit = (chord / np.maximum(length, 1e-9)[:, None])[:, None]
                away = np.linalg.norm(way - (way * unit).sum(2, keepdims=True) * unit, axis=2).max(0)
                worst = a + 1 + int(away.argmax())
                if away.max() > TOLERANCE or length.max() > _LONGEST:
                    if away.max() <= TOLERANCE:
                        worst = (a + b) // 2
                    stack += [(worst, b), (a, worst)]
                    continue
            kept.append(b)
    return np.array(kept)


def _signed_area(points: Array) -> float:
    """Square metres; positive when the corners (n, 2 or more) go round in the direction from x to y."""
    x0, y0 = points[0, :2].tolist()
    # With plain floats, which are faster than arrays of three or four points.
    around = [(x - x0, y - y0) for x, y in points[:, :2].tolist()]
    return 0.5 * sum(x * v - u * y for (x, y), (u, v) in zip(around, [*around[1:], around[0]], strict=True))


def _convex(corners: Sequence[int], points: Array) -> Iterable[tuple[int, ...]]:
    """A quadrilateral as convex polygons with Detour's direction; nothing if it has no area."""
    loop = [v for k, v in enumerate(corners) if v != corners[k - 1]]
    if len(set(loop)) != len(loop) or len(loop) < 3:
        return
    if _signed_area(points[loop]) > 0.0:
        loop.reverse()
    n = len(loop)
    turns = [-_signed_area(points[[loop[k - 1], loop[k], loop[(k + 1) % n]]]) for k in range(n)]
    if min(turns) > 1e-6:
        yield tuple(loop)
    elif n == 4:
        # Cut it from the corner that points inwards, or is flat.
        k = int(np.argmin(turns))
        a, b, c, d = (loop[(k + i) % 4] for i in range(4))
        for part in ((a, b, c), (a, c, d)):
            if -_signed_area(points[list(part)]) > 1e-3:
                yield part
