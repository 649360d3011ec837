"""What stands beside the roads: houses, trees, street lamps, walls, fences.

They are placed along the edges of the roads as in a small town.  The seed decides, so that the same map
always looks the same.  Nothing stands on or hangs over a lane or sidewalk: every footprint is compared
with a raster of all surfaces before it is placed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.maps.statics import StaticBox

if TYPE_CHECKING:
    from minicarla.maps.lanes import Lane
    from minicarla.maps.roadmap import RoadMap

Array = NDArray[np.float64]
Colour = tuple[int, int, int]

BUILDING, WALL, FENCE, POLE, VEGETATION = 3, 4, 5, 6, 9  # CARLA's semantic tags

MARGIN = 40.0  # metres around the roads where things are placed, too
FROM_LANES = 2.0  # metres between everything and lanes that are driven on
FROM_WALKS = 0.3  # metres between everything and other surfaces
MOST = 6000  # boxes; only a whole city would have more

_STOREY = 3.3
_PLASTER: tuple[Colour, ...] = (
    (196, 178, 150),
    (182, 164, 144),
    (168, 112, 88),
    (146, 92, 74),
    (206, 196, 178),
    (158, 158, 152),
    (188, 168, 120),
    (140, 152, 160),
    (214, 206, 196),
    (126, 108, 96),
)
_LEAVES: tuple[Colour, ...] = ((62, 104, 46), (74, 116, 50), (52, 92, 48), (92, 118, 52), (66, 96, 60))
_BARK: Colour = (88, 70, 54)
_STONE: tuple[Colour, ...] = ((150, 144, 134), (128, 122, 114), (168, 156, 138))
_WOOD: tuple[Colour, ...] = ((122, 92, 64), (150, 120, 84), (214, 210, 200))
_STEEL: Colour = (112, 116, 118)


class _Plots:
    """The free ground: a raster with the distance of each cell from lanes and sidewalks."""

    def __init__(self, roadmap: RoadMap) -> None:
        x0, y0, x1, y1 = roadmap.bounds
        self.x0, self.y0 = x0 - MARGIN, y0 - MARGIN
        width, height = x1 + MARGIN - self.x0, y1 + MARGIN - self.y0
        self.cell = max(0.25, math.sqrt(width * height / 8e6))
        shape = (math.ceil(height / self.cell) + 1, math.ceil(width / self.cell) + 1)
        ground = np.zeros(shape, np.uint8)
        driven = np.zeros(shape, np.uint8)
        for surface in roadmap.surfaces():
            if surface.kind == "verge":
                continue
            outline = np.concatenate([surface.left[:, :2], surface.right[::-1, :2]])
            pixels = np.rint((outline - (self.x0, self.y0)) / self.cell * 16).astype(np.int32)
            cv2.fillPoly(ground, [pixels], 1, cv2.LINE_8, 4)
            if surface.kind != "sidewalk":
                cv2.fillPoly(driven, [pixels], 1, cv2.LINE_8, 4)
        # Metres to the nearest surface, less the error that the raster may have.
        self.to_ground = self._distance(ground)
        self.to_lane = self._distance(driven)
        self.taken = np.zeros(shape, np.uint8)

    def _distance(self, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
        distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) * self.cell - self.cell
        return np.asarray(distance, dtype=np.float32)

    def _at(self, points: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Rows, columns and whether they are on the raster, of points (n, 2); rows, columns are clipped."""
        column = np.rint((points[:, 0] - self.x0) / self.cell).astype(np.int64)
        row = np.rint((points[:, 1] - self.y0) / self.cell).astype(np.int64)
        rows, columns = self.taken.shape
        inside = (row >= 0) & (column >= 0) & (row < rows) & (column < columns)
        return row.clip(0, rows - 1), column.clip(0, columns - 1), inside

    def clear(self, x: float, y: float) -> tuple[float, float]:
        """Metres from a point to the nearest surface, and to the nearest lane.  0 outside the raster."""
        row, column, inside = self._at(np.array([[x, y]]))
        if not inside[0]:
            return 0.0, 0.0
        return float(self.to_ground[row[0], column[0]]), float(self.to_lane[row[0], column[0]])

    def edges(self, points: Array, outward: Array) -> Array:
        """Metres from points (n, 2) along ``outward`` (n, 2) to where the last surface ends.

        inf where that is off the raster or beyond 15 m.
        """
        reach = np.arange(0.5, 15.0, 0.25)
        spots = points[:, None] + reach[:, None] * outward[:, None]
        row, column, inside = self._at(spots.reshape(-1, 2))
        free = (inside & (self.to_ground[row, column] > 0.0)).reshape(len(points), -1)
        return np.where(free.any(1), reach[free.argmax(1)], np.inf)

    def claim(self, x: float, y: float, hx: float, hy: float, yaw: float, apart: float = 0.0) -> bool:
        """Take the footprint of a box (half sizes hx, hy; yaw in degrees) if it is free.

        apart: metres to keep from footprints that are taken.
        """
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        # A little larger than the box, since an edge may cut a cell that it does not fill.
        corners = []
        for sx, sy in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            u, v = sx * (hx + apart + 0.5 * self.cell), sy * (hy + apart + 0.5 * self.cell)
            corners.append((x + cos * u - sin * v - self.x0, y + sin * u + cos * v - self.y0))
        polygon = np.array(corners) / self.cell
        low, high = np.floor(polygon.min(0)).astype(int), np.ceil(polygon.max(0)).astype(int) + 1
        rows, columns = self.taken.shape
        if low.min() < 0 or high[0] > columns or high[1] > rows:
            return False
        part = np.s_[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillConvexPoly(mask, np.rint((polygon - low) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
        inside = mask.view(np.bool_)
        if self.taken[part][inside].any():
            return False
        if self.to_ground[part][inside].min() < FROM_WALKS or self.to_lane[part][inside].min() < FROM_LANES:
            return False
        self.taken[part] |= mask
        return True


class _SceneryBuilder:
    def __init__(self, roadmap: RoadMap, seed: int) -> None:
        self.roadmap = roadmap
        self.random = np.random.default_rng([seed & 0xFFFFFFFF, 0x5CE7E])
        self.plots = _Plots(roadmap)
        self.boxes: list[StaticBox] = []

    def add(
        self,
        kind: str,
        place: tuple[float, float, float],
        half: tuple[float, float, float],
        yaw: float,
        colour: Colour,
        tag: int,
        solid: bool = True,
    ) -> None:
        """A box standing on ``place``."""
        x, y, z = place
        centre = np.array([x, y, z + half[2]])
        self.boxes.append(StaticBox(kind, centre, np.array(half), yaw, colour, tag, solid))

    def pick(self, colours: tuple[Colour, ...]) -> Colour:
        """One of the colours, a little lighter or darker."""
        base = np.array(colours[int(self.random.integers(len(colours)))])
        r, g, b = np.clip(base * self.random.uniform(0.9, 1.1), 0, 255).astype(int).tolist()
        return (r, g, b)

    # ------------------------------------------------------------------ things

    def house(self, edge: Array, along: Array, outward: Array, yaw: float, z: float) -> float | None:
        """A house facing the street; returns its width, or None when there is no room."""
        random = self.random
        for shrink in (1.0, 0.7):
            width = random.uniform(8.0, 17.0) * shrink
            depth = random.uniform(7.0, 11.0) * shrink
            setback = random.uniform(2.5, 5.5)
            storeys = int(random.choice([1, 2, 2, 2, 3, 3, 4]))
            x, y = edge[:2] + along * (0.5 * width) + outward * (setback + 0.5 * depth)
            if self.plots.claim(x, y, 0.5 * width, 0.5 * depth, yaw, 0.8):
                half = (0.5 * width, 0.5 * depth, 0.5 * (storeys * _STOREY + random.uniform(0.2, 0.9)))
                self.add("building", (x, y, z), half, yaw, self.pick(_PLASTER), BUILDING)
                return float(width)
        return None

    def tree(self, x: float, y: float, z: float, most: float = 2.4) -> bool:
        """A tree; its crown hangs over grass only.  Returns whether there was room."""
        ground, lane = self.plots.clear(x, y)
        room = min((ground - FROM_WALKS) / math.sqrt(2.0), (lane - FROM_LANES) / math.sqrt(2.0), most)
        if room < 0.9:
            return False
        crown = min(room, self.random.uniform(1.2, 2.4))
        if not self.plots.claim(x, y, crown, crown, 0.0, 0.2):
            return False
        trunk, height = self.random.uniform(1.8, 2.8), self.random.uniform(1.3, 2.1) * crown
        yaw = float(self.random.uniform(-10.0, 10.0))
        self.add("tree", (x, y, z), (0.17, 0.17, 0.5 * trunk), yaw, _BARK, VEGETATION)
        half = (crown * 0.98, crown * 0.98, 0.5 * height)
        self.add("crown", (x, y, z + trunk), half, yaw, self.pick(_LEAVES), VEGETATION, solid=False)
        return True

    def street_lamp(self, x: float, y: float, z: float, yaw: float) -> None:
        """A pole with a lamp on its top."""
        if self.plots.claim(x, y, 0.2, 0.2, yaw, 0.1):
            self.add("pole", (x, y, z), (0.08, 0.08, 3.0), yaw, _STEEL, POLE)
            self.add("lamp", (x, y, z + 6.0), (0.22, 0.22, 0.14), yaw, _STEEL, POLE, solid=False)

    def barrier(self, edge: Array, along: Array, outward: Array, yaw: float, z: float, length: float) -> None:
        """A wall, a fence or a hedge along the street."""
        kind = int(self.random.integers(3))
        half = (0.5 * length, (0.12, 0.06, 0.35)[kind], (0.55, 0.65, 0.6)[kind])
        x, y = edge[:2] + along * (0.5 * length) + outward * (1.2 + half[1])
        if self.plots.claim(x, y, half[0], half[1], yaw, 0.1):
            colour = self.pick((_STONE, _WOOD, _LEAVES)[kind])
            name, tag = (("wall", WALL), ("fence", FENCE), ("hedge", VEGETATION))[kind]
            self.add(name, (x, y, z), half, yaw, colour, tag)

    # ------------------------------------------------------------------ where

    def along(self, lane: Lane, side: int) -> None:
        """Furnish one side of a lane: 1 right, -1 left."""
        random = self.random

        at = np.arange(0.0, lane.length, 1.0)
        points = np.stack([np.interp(at, lane.s, lane.points[:, k]) for k in range(3)], axis=1)
        yaws = np.interp(at, lane.s, np.unwrap(lane.headings, period=360.0))
        ahead = np.stack([np.cos(np.radians(yaws)), np.sin(np.radians(yaws))], axis=1)
        outward = side * np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        gaps = self.plots.edges(points[:, :2], outward)

        def frontage(s: float) -> tuple[Array, Array, Array, float, float] | None:
            """The edge of the surfaces beside ``s``: point, directions along and outward, yaw, height."""
            k = int(s)
            if not math.isfinite(gaps[k]):
                return None
            point = points[k, :2] + outward[k] * gaps[k]
            return point, ahead[k], outward[k], float(yaws[k]), float(points[k, 2])

        s = float(random.uniform(4.0, 24.0))
        while s < lane.length:
            found = frontage(s)
            if found is not None:
                point, _, aside, yaw, z = found
                x, y = point + aside * 0.9
                self.street_lamp(float(x), float(y), z, yaw)
            s += 30.0
        s = float(random.uniform(0.0, 4.0))
        while s < lane.length - 6.0:
            found = frontage(s)
            if found is None:
                s += 4.0
                continue
            point, along, aside, yaw, z = found
            kind = random.random()
            if kind < 0.72:
                width = self.house(point, along, aside, yaw, z)
                s += 5.0 if width is None else width + float(random.choice([1.5, 2.5, 4.0, 7.0]))
            elif kind < 0.86:
                length = min(float(random.uniform(5.0, 9.0)), lane.length - s)
                self.barrier(point, along, aside, yaw, z, length)
                s += length + 0.5
            else:
                s += float(random.uniform(4.0, 9.0))  # a gap to look through
        s = float(random.uniform(2.0, 8.0))
        while s < lane.length:
            found = frontage(s)
            if found is not None and random.random() < 0.7:
                point, _, aside, _, z = found
                x, y = point + aside * float(random.uniform(1.9, 2.6))
                self.tree(float(x), float(y), z, 1.5)
            s += float(random.uniform(9.0, 15.0))

    def woods(self) -> None:
        """A few trees on the ground that is left."""
        x0, y0 = self.plots.x0, self.plots.y0
        rows, columns = self.plots.taken.shape
        spacing = max(13.0, math.sqrt(rows * columns * self.plots.cell**2 / 3000.0))
        height = _Heights(self.roadmap)
        for y in np.arange(y0 + 3.0, y0 + rows * self.plots.cell - 3.0, spacing):
            for x in np.arange(x0 + 3.0, x0 + columns * self.plots.cell - 3.0, spacing):
                dx, dy, chance = self.random.uniform(size=3)
                if chance < 0.45:
                    place = (float(x + 0.8 * spacing * dx), float(y + 0.8 * spacing * dy))
                    self.tree(*place, height(*place))


class _Heights:
    """Height of the nearest lane, for things away from the roads."""

    def __init__(self, roadmap: RoadMap) -> None:
        self.points: Array | None = None
        if not roadmap.flat:
            self.points = np.concatenate([lane.points[::4] for lane in roadmap.lanes])

    def __call__(self, x: float, y: float) -> float:
        if self.points is None:
            return 0.0
        away = self.points[:, :2] - (x, y)
        return float(self.points[int((away * away).sum(1).argmin()), 2])


def build(roadmap: RoadMap, seed: int) -> list[StaticBox]:
    """Scenery for a map: the same boxes for the same map and seed.

    Kinds: building, tree (the trunk), crown, pole, lamp, wall, fence, hedge.  Crowns and
    lamps are up in the air and not solid.
    """
    builder = _SceneryBuilder(roadmap, seed)
    streets = [lane for lane in roadmap.driving if lane.junction == -1 and lane.length > 0.0]
    for lane in streets:
        if len(builder.boxes) > MOST:
            break
        builder.along(lane, 1)
        builder.along(lane, -1)
    if len(builder.boxes) < MOST:
        builder.woods()
    return builder.boxes
