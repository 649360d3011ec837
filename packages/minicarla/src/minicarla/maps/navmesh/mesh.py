"""The mesh: convex polygons that share corners."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minicarla.maps.navmesh import file
from minicarla.maps.navmesh.file import WALKED, Area
from minicarla.maps.navmesh.polygons import DisjointSets, signed_area

Array = NDArray[np.float64]


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
        return file.pack(self)

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
        parent = DisjointSets(len(self.polygons))
        for a, beyond in enumerate(self.neighbours):
            for b in beyond:
                if b >= 0 and self.areas[a] in WALKED and self.areas[b] in WALKED:
                    parent.join(a, b)
        return np.array([parent.find(a) for a in range(len(self.polygons))])

    def size(self, polygon: int) -> float:
        """Square metres, seen from above."""
        return -signed_area(self.vertices[list(self.polygons[polygon])])

    def find(self, x: float, y: float, slack: float = 1e-3) -> int | None:
        """The polygon at this place, or within ``slack`` metres of it; None if there is none.

        Of several, the one whose edges are farthest away.
        """
        inside = self._inside(np.array([x, y]))
        best = int(inside.argmax())
        return best if inside[best] >= -slack else None

    def nearest(self, x: float, y: float) -> int:
        """The polygon of a sidewalk or crossing at this place, or the nearest one."""
        walked = [area in WALKED for area in self.areas]
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
