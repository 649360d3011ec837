"""Each section of a road as strips of quadrilaterals, cut across at the same places."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import opendrive as od
from minicarla.maps.navmesh.bands import NARROWEST, bands_of, crossings_of
from minicarla.maps.navmesh.file import Area
from minicarla.maps.navmesh.polygons import simplify
from minicarla.maps.roadmap import SURFACE_KINDS, RoadMap
from minicarla.maps.stations import MAX_POINTS, stations

Array = NDArray[np.float64]

EASE = 3.0  # metres from its end over which a sidewalk bends to the one that it meets
_ABOVE = 2.5  # metres: a road that much higher or lower is a bridge or an underpass


@dataclass
class Cell:
    """A quadrilateral of a band; its corners are left and right at one cut, right and left at the next."""

    corners: tuple[int, int, int, int]
    area: Area


@dataclass
class StripEnd:
    """An end of a strip of sidewalk: the corner on the side of the road (inner), and the other one."""

    inner: int
    outer: int
    away: tuple[float, float]  # unit vector in which the strip would go on
    strip: list[Cell] = field(repr=False)
    street: str  # the road that it belongs to
    junction: str = ""  # the junction that it leads to, "" for none
    partner: StripEnd | None = field(default=None, repr=False)


class Sidewalks:
    """The strips of all roads of a map.

    points: corners.  strips: one list of cells for each band of a section.  ends: those of the sidewalks.
    """

    def __init__(self, roadmap: RoadMap) -> None:
        self.roadmap = roadmap
        self.walks = any(
            SURFACE_KINDS.get(record.kind) == "sidewalk"
            for road in roadmap.data.roads.values()
            for section in road.sections
            for record in section.lanes.values()
        )
        self.points: list[tuple[float, float, float]] = []
        self.strips: list[list[Cell]] = []
        self.ends: list[StripEnd] = []
        self._left = MAX_POINTS
        # Streets before junctions: where both claim the same ground, the street gets it.
        for road in sorted(roadmap.data.roads.values(), key=lambda road: road.junction != "-1"):
            self._add_road(road)

    def middle(self, end: StripEnd) -> tuple[float, float]:
        """The place between the two corners of an end."""
        a, b = self.points[end.inner], self.points[end.outer]
        return 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])

    def driven_on(self, points: Array) -> NDArray[np.bool_]:
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

    def _add_road(self, road: od.Road) -> None:
        junctions = [
            link.id if link is not None and link.element == "junction" else ""
            for link in (road.predecessor, road.successor)
        ]
        in_junction = road.junction != "-1"
        crossings = [] if in_junction else crossings_of(road.length, bool(junctions[0]), bool(junctions[1]))
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
        fine = stations(road, section, self._left)
        self._left -= len(fine)
        end = section.s + section.length
        wanted = {s for crossing in crossings for s in crossing}
        if section.length > 3.0 * EASE:
            wanted |= {section.s + EASE, end - EASE}
        s = np.unique(np.concatenate([fine, [w for w in wanted if section.s < w < end]]))
        bands, offsets = bands_of(road, section, s, self.walks)
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
        keep = simplify(shaping, fixed)
        s, lines = s[keep], lines[:, keep]
        base, count = len(self.points), len(s)
        self.points.extend((px, py, pz) for px, py, pz in lines.reshape(-1, 3).tolist())
        crossed = np.zeros(count - 1, np.bool_)
        for start, stop in crossings:
            middle = 0.5 * (s[1:] + s[:-1])
            crossed |= (middle > start) & (middle < stop)
        for k, area in enumerate(bands):
            wide = np.hypot(*(lines[k] - lines[k + 1])[:, :2].T) >= NARROWEST
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
                Cell(
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
                self.ends.append(StripEnd(inner + i, outer + i, away, strip, road.id, leads_to))

    def _overrun(self, left: Array, right: Array) -> NDArray[np.bool_]:
        """Whether another road runs over a sidewalk between two lines (n, 3), for each of its stations."""
        spots = [left + share * (right - left) for share in (0.15, 0.5, 0.85)]
        return np.asarray(self.driven_on(np.concatenate(spots)).reshape(3, -1).any(0))
