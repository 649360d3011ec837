"""The ground as one top-down texture: which surface is where, and its colour.

It is drawn once for each map, at 0.1 m a pixel.  Maps larger than about 500 x 500 m have larger pixels,
so that memory is bounded.  A pyramid of halved copies serves for the distance.  Painted lines are up to
one pixel wider than the map says.
Columns run along CARLA's x, rows along y.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.maps import Marking, RoadMap
from minicarla.sensors.cache import per_ground
from minicarla.sensors.raster import kernels
from minicarla.sensors.tags import Tag

FINEST = 0.1  # metres a pixel
MOST_PIXELS = 25_000_000
LONGEST_SIDE = 32_000  # pixels; OpenCV's warp allows up to 32767
MARGIN = 42.0  # metres of terrain around the map's bounds
LEVELS = 6
DASH, GAP = 3.0, 3.0  # metres with and without paint in a broken line
SHORTEST_STEP = 1e-6  # metres between two points of a painted line; closer ones count as one

TERRAIN, ROAD, SHOULDER, SIDEWALK, VERGE, KERB, WHITE, YELLOW = range(8)

# label: (tag, albedo BGR, grain)
_LABELS = {
    TERRAIN: (Tag.TERRAIN, (58, 104, 92), 13),
    ROAD: (Tag.ROADS, (86, 84, 82), 6),
    SHOULDER: (Tag.ROADS, (98, 97, 96), 7),
    SIDEWALK: (Tag.SIDEWALKS, (148, 152, 156), 7),
    VERGE: (Tag.TERRAIN, (52, 112, 88), 13),
    KERB: (Tag.SIDEWALKS, (178, 182, 184), 4),
    WHITE: (Tag.ROAD_LINES, (232, 234, 235), 4),
    YELLOW: (Tag.ROAD_LINES, (60, 186, 228), 4),
}
TAGS = np.zeros(256, np.uint8)
_ALBEDO = np.zeros((256, 3), np.uint8)
_GRAIN = np.zeros(256, np.uint8)
for _label, (_tag, _colour, _grain) in _LABELS.items():
    TAGS[_label], _ALBEDO[_label], _GRAIN[_label] = int(_tag), _colour, _grain

_SHIFT = 5


class GroundPicture:
    """Texture of a map's ground; see the module."""

    def __init__(self, roadmap: RoadMap) -> None:
        x0, y0, x1, y1 = roadmap.bounds
        self.x0, self.y0 = float(x0) - MARGIN, float(y0) - MARGIN
        width, height = float(x1) + MARGIN - self.x0, float(y1) + MARGIN - self.y0
        fitting = max(float(np.sqrt(width * height / MOST_PIXELS)), max(width, height) / LONGEST_SIDE)
        self.resolution = max(FINEST, fitting)
        shape = (int(np.ceil(height / self.resolution)), int(np.ceil(width / self.resolution)))
        self.labels = np.full(shape, TERRAIN, np.uint8)
        self._draw(roadmap)

    @cached_property
    def pyramid(self) -> kernels.Pyramid:
        """The colours.  Only colour pictures need them, and they take much longer than the labels."""
        return kernels.Pyramid(self._colours(), self.x0, self.y0, self.resolution)

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """Fixed-point texture coordinates of world points (n, 2 or more)."""
        xy = (np.asarray(points, dtype=np.float64)[:, :2] - (self.x0, self.y0)) / self.resolution - 0.5
        return np.rint(xy * (1 << _SHIFT)).astype(np.int32)

    def _draw(self, roadmap: RoadMap) -> None:
        order = {"verge": 0, "sidewalk": 1, "shoulder": 2, "road": 3}
        label = {"verge": VERGE, "sidewalk": SIDEWALK, "shoulder": SHOULDER, "road": ROAD}
        kerb = max(1, round(0.3 / self.resolution))
        for surface in sorted(roadmap.surfaces(), key=lambda s: order.get(s.kind, 0)):
            outline = self._pixels(np.concatenate([surface.left, surface.right[::-1]]))
            cv2.fillPoly(self.labels, [outline], label.get(surface.kind, TERRAIN), cv2.LINE_8, _SHIFT)
            if (
                surface.kind == "sidewalk"
            ):  # roads are drawn over this outline; what is left of it is the kerb
                cv2.polylines(self.labels, [outline], True, KERB, kerb, cv2.LINE_8, _SHIFT)
        self._paint: list[tuple[int, NDArray[np.int32]]] = []
        for marking in roadmap.markings():
            colour = YELLOW if marking.colour[2] < 0.6 * marking.colour[0] else WHITE
            self._paint += [(colour, self._pixels(piece)) for piece in marking_outlines(marking)]
        for colour, outline in self._paint:
            cv2.fillPoly(self.labels, [outline], colour, cv2.LINE_8, _SHIFT)

    def _colours(self) -> list[NDArray[np.uint32]]:
        """Pyramid of pixels, each BGRA in one number; finest first."""
        rng = np.random.default_rng(20)
        tile = rng.standard_normal((256, 256)).astype(np.float32)
        patches = cv2.resize(rng.standard_normal((16, 16)).astype(np.float32), (256, 256), interpolation=2)
        grain = np.clip((0.8 * tile + 0.9 * patches) * 16.0, -64, 63)
        # One tile for each label, repeated all over the map.  A pixel is one number, for speed.
        tiles = np.full((len(_LABELS), 256, 256, 4), 255, np.uint8)
        for label in _LABELS:
            colour = _ALBEDO[label] + np.rint(grain * (_GRAIN[label] / 32.0))[..., None]
            tiles[label, ..., :3] = np.clip(colour, 0, 255).astype(np.uint8)
        pixels = tiles.view(np.uint32)[..., 0]
        rows, columns = self.labels.shape
        whole = np.empty((rows, columns), np.uint32)
        base = np.tile(pixels[TERRAIN], (1, columns // 256 + 1))[:, :columns]
        for top in range(0, rows, 256):
            labels = np.where(self.labels[top : top + 256] < WHITE, self.labels[top : top + 256], ROAD)
            part = whole[top : top + 256]
            part[:] = base[: len(labels)]
            row, column = np.nonzero(labels)  # TERRAIN is 0
            part[row, column] = pixels[labels[row, column], row, column & 255]
        finest = whole.view(np.uint8).reshape(rows, columns, 4)
        self._smooth(finest)
        for colour, outline in self._paint:  # lines once more, with smooth edges
            cv2.fillPoly(finest, [outline], (*_LABELS[colour][1], 255), cv2.LINE_AA, _SHIFT)
        levels: list[Any] = [finest]
        while len(levels) < LEVELS and min(levels[-1].shape[:2]) >= 4:
            last = levels[-1]
            half = (last.shape[1] // 2, last.shape[0] // 2)
            even = last[: half[1] * 2, : half[0] * 2]
            levels.append(cv2.resize(even, half, interpolation=cv2.INTER_AREA))
        for level in levels:  # beyond the texture its outermost pixels are repeated: plain terrain
            level[[0, -1]] = level[:, [0, -1]] = (*_LABELS[TERRAIN][1], 255)
        return [level.view(np.uint32)[..., 0] for level in levels]

    def _smooth(self, finest: NDArray[np.uint8]) -> None:
        """Blur the edges between kinds of ground."""
        kernel = np.ones((3, 3), np.uint8)
        for top in range(0, len(finest), 512):
            bottom = min(top + 512, len(finest))
            low, high = max(top - 1, 0), min(bottom + 1, len(finest))
            paintless = np.where(self.labels[low:high] < WHITE, self.labels[low:high], ROAD)
            edges = cv2.morphologyEx(paintless, cv2.MORPH_GRADIENT, kernel)[top - low : bottom - low]
            if edges.any():
                blurred = cv2.GaussianBlur(finest[low:high], (3, 3), 0.0)[top - low : bottom - low]
                cv2.copyTo(blurred, edges, finest[top:bottom])


def marking_outlines(marking: Marking) -> list[NDArray[np.float64]]:
    """Polygons (n, 2) of the paint of a line: one, or one for each dash of a broken line.

    A line without length has none.
    """
    points = np.asarray(marking.points, dtype=np.float64)[:, :2]
    steps = np.hypot(*np.diff(points, axis=0).T)
    keep = np.concatenate([[True], steps > SHORTEST_STEP])
    points, s = points[keep], np.concatenate([[0.0], np.cumsum(steps)])[keep]
    if len(points) < 2:
        return []
    if marking.broken:
        starts = np.arange(0.5 * GAP, s[-1], DASH + GAP)
        pieces = [(a, min(a + DASH, s[-1])) for a in starts]
    else:
        pieces = [(0.0, s[-1])]
    tangent = np.gradient(points, s, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-12)[:, None]
    aside = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * (0.5 * float(marking.width))
    outlines = []
    for a, b in pieces:
        at = np.concatenate([[a], s[(s > a) & (s < b)], [b]])
        middle = np.stack([np.interp(at, s, points[:, k]) for k in (0, 1)], axis=1)
        offset = np.stack([np.interp(at, s, aside[:, k]) for k in (0, 1)], axis=1)
        outlines.append(np.concatenate([middle + offset, (middle - offset)[::-1]]))
    return outlines


@per_ground
def ground_of(roadmap: RoadMap) -> GroundPicture:
    """The map's ground, drawn once."""
    return GroundPicture(roadmap)


def tags_at(roadmap: RoadMap, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Semantic tags (n,) of the ground at world ``points`` (n, 2 or 3)."""
    ground = ground_of(roadmap)
    column = np.floor((points[:, 0] - ground.x0) / ground.resolution).astype(np.int64)
    row = np.floor((points[:, 1] - ground.y0) / ground.resolution).astype(np.int64)
    rows, columns = ground.labels.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    labels = ground.labels[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
    return TAGS.take(np.where(inside, labels, TERRAIN))
