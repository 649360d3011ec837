"""Oriented boxes, and what rays and swept balls hit of them.

Used by the obstacle sensor, the lidars and the radar.  They hit the bounding boxes of bodies and statics,
exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.cache import per_map
from minicarla.sensors.things import things_of
from minicarla.sensors.view import WorldView

Array = NDArray[np.float64]


def rotation_matrices(angles: Array) -> Array:
    """(n, 3, 3) rotation matrices of ``angles`` (n, 3): pitch, yaw, roll in degrees.

    Row for row the same as ``geometry.rotation_matrix``.
    """
    if not angles[:, ::2].any():  # all are upright, as most things are
        yaw = np.deg2rad(angles[:, 1])
        out = np.zeros((len(angles), 3, 3))
        out[:, 0, 0] = out[:, 1, 1] = np.cos(yaw)
        out[:, 1, 0] = sine = np.sin(yaw)
        np.negative(sine, out=out[:, 0, 1])
        out[:, 2, 2] = 1.0
        return out
    turn = np.deg2rad(angles)
    cp, cy, cr = np.cos(turn).T
    sp, sy, sr = np.sin(turn).T
    out = np.empty((len(angles), 3, 3))
    out[..., 0, 0] = cp * cy
    out[..., 0, 1] = cy * sp * sr - sy * cr
    out[..., 0, 2] = -cy * sp * cr - sy * sr
    out[..., 1, 0] = cp * sy
    out[..., 1, 1] = sy * sp * sr + cy * cr
    out[..., 1, 2] = -sy * sp * cr + cy * sr
    out[..., 2, 0] = sp
    out[..., 2, 1] = -cp * sr
    out[..., 2, 2] = cp * cr
    return out


class Boxes:
    """n oriented boxes: ``centre`` (n, 3), ``axes`` (n, 3, 3) columns, ``extent`` (n, 3).

    ``actor`` (n,) actor ids, 0 for statics; ``static`` (n,) index into the map's statics, -1
    for actors; ``tag`` (n,) semantic tags; ``velocity`` (n, 3).
    """

    def __init__(
        self,
        centre: Array,
        axes: Array,
        extent: Array,
        actor: NDArray[np.int64],
        static: NDArray[np.int64],
        tag: NDArray[np.uint8],
        velocity: Array,
    ) -> None:
        self.centre, self.axes, self.extent = centre, axes, extent
        self.actor, self.static, self.tag, self.velocity = actor, static, tag, velocity

    def __len__(self) -> int:
        return len(self.centre)

    def take(self, rows: NDArray[np.int64]) -> Boxes:
        """The boxes at ``rows``."""
        return Boxes(*(getattr(self, name)[rows] for name in _FIELDS))

    def joined(self, other: Boxes) -> Boxes:
        """These boxes followed by those of ``other``."""
        return Boxes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _FIELDS))

    def sweep(
        self, origin: Sequence[float], direction: Array, reach: float, radius: float
    ) -> tuple[float, int]:
        """First touch of a ball that moves along ``direction`` (unit) from ``origin``.

        Returns (metres travelled, row), or (inf, -1) when nothing is touched within
        ``reach``.  The ball's distance to a box is a safe step ahead, and the distance
        along a line to a convex body has no false minima, so stepping by it converges
        on the exact touch (sphere tracing).
        """
        if len(self) == 0:
            return np.inf, -1
        local = np.einsum("nij,ni->nj", self.axes, np.asarray(origin, dtype=np.float64) - self.centre)
        heading = np.einsum("nij,i->nj", self.axes, direction)
        travelled = np.zeros(len(self))
        for _ in range(256):
            at = np.abs(local + travelled[:, None] * heading) - self.extent
            outside = np.maximum(at, 0.0)
            gap = np.sqrt((outside * outside).sum(1)) + np.minimum(at.max(1), 0.0) - radius
            gap[travelled > reach] = 0.0
            if not (gap > 1e-7).any():
                break
            travelled += np.maximum(gap, 0.0)
        travelled[(travelled > reach) | (gap > 1e-3)] = np.inf
        row = int(np.argmin(travelled))
        return (float(travelled[row]), row) if np.isfinite(travelled[row]) else (np.inf, -1)

    def cast(
        self, origin: Sequence[float], directions: Array, reach: float
    ) -> tuple[Array, NDArray[np.int64], Array]:
        """First hits of rays from ``origin`` along ``directions`` (n, 3), unit vectors.

        Returns (metres (n,), inf without a hit; row (n,), -1 without; cosine (n,) of the angle
        between ray and surface normal).  A ray that starts inside a box goes through it.
        """
        count = len(directions)
        distance = np.full(count, np.inf)
        row = np.full(count, -1, np.int64)
        cosine = np.zeros(count)
        if len(self) == 0 or count == 0:
            return distance, row, cosine
        away = self.centre - np.asarray(origin, dtype=np.float64)
        local = np.einsum("nij,ni->nj", self.axes, -away)
        for rays, boxes in self._wedges(away, directions):
            to = away[boxes]
            some = directions[rays]
            radius = np.sqrt((self.extent[boxes] ** 2).sum(1))
            # Rays that pass within the ball around a box: |to - (to . d) d| <= radius, ahead of the origin.
            along = some @ to.T  # (rays, boxes)
            near = (along > -radius) & (along - radius < reach)
            near &= (to * to).sum(1) - along * along <= radius * radius
            ray, box = near.nonzero()
            if not len(ray):
                continue
            ray, box = rays[ray], boxes[box]
            heading = np.einsum("pij,pi->pj", self.axes[box], directions[ray])
            heading[heading == 0.0] = 1e-300
            to_low = (-self.extent[box] - local[box]) / heading
            to_high = (self.extent[box] - local[box]) / heading
            enter = np.minimum(to_low, to_high)
            axis = enter.argmax(1)
            first = enter.max(1)
            last = np.maximum(to_low, to_high).min(1)
            hit = ((first <= last) & (first > 0.0) & (first <= reach)).nonzero()[0]
            hit = hit[(-first[hit]).argsort(kind="stable")]  # the nearest is written last and stays
            ray = ray[hit]
            distance[ray] = first[hit]
            row[ray] = box[hit]
            cosine[ray] = np.abs(heading[hit, axis[hit]])
        return distance, row, cosine

    def _wedges(self, away: Array, directions: Array) -> Iterator[tuple[Any, Any]]:
        """The rays in parts (their rows), each with the rows of the boxes that they may meet.

        A table of all rays of a dense lidar by all boxes would be large, and nearly all of it far from
        any hit.  So the rays are divided by their direction on the plane.  ``away`` (n, 3): from the
        origin to the centres of the boxes.
        """
        count = len(directions)
        if count <= _PART:
            yield np.arange(count), np.arange(len(self))
            return
        azimuth = np.arctan2(directions[:, 1], directions[:, 0])
        order = azimuth.argsort(kind="stable")
        centre = np.arctan2(away[:, 1], away[:, 0])
        span = np.einsum("nij,nj->ni", np.abs(self.axes[:, :2]), self.extent)
        gap = np.hypot(away[:, 0], away[:, 1])
        seen = np.arcsin(np.clip(np.hypot(span[:, 0], span[:, 1]) / np.maximum(gap, 1e-9), 0.0, 1.0))
        seen[seen >= 0.5 * np.pi] = np.pi  # the origin may be above or below the box
        for start in range(0, count, _PART):
            rays = order[start : start + _PART]
            low, high = azimuth[rays[0]], azimuth[rays[-1]]
            aside = np.abs((centre - 0.5 * (low + high) + np.pi) % (2.0 * np.pi) - np.pi)
            boxes = (aside <= seen + 0.5 * (high - low) + 1e-6).nonzero()[0]
            if len(boxes):
                yield rays, boxes


_PART = 1024  # rays
_FIELDS = ("centre", "axes", "extent", "actor", "static", "tag", "velocity")


@per_map
def static_boxes(roadmap: RoadMap) -> tuple[Boxes, Array]:
    """All statics of a map, and the radius (n,) of the ball around each."""
    statics = roadmap.statics
    count = len(statics)
    extent = np.array([s.extent for s in statics], dtype=np.float64).reshape(-1, 3)
    angles = np.zeros((count, 3))
    angles[:, 1] = [s.yaw for s in statics]
    boxes = Boxes(
        np.array([s.centre for s in statics], dtype=np.float64).reshape(-1, 3),
        rotation_matrices(angles),
        extent,
        np.zeros(count, np.int64),
        np.arange(count, dtype=np.int64),
        np.array([s.tag for s in statics], np.uint8),
        np.zeros((count, 3)),
    )
    return boxes, np.sqrt((extent * extent).sum(1))


def boxes_of(
    view: WorldView,
    pose: Pose,
    reach: float,
    ignore: int,
    with_statics: bool = True,
    along: Array | None = None,
    width: float = 0.0,
) -> Boxes:
    """Boxes within ``reach`` metres of ``pose``, without that of the actor ``ignore``.

    along: unit vector.  If given, only boxes that a ball of radius ``width`` may touch when it moves in
        that direction.
    """
    here = np.array(pose[:3])

    def near(centre: Array, radius: Array) -> Any:
        away = centre - here
        squared = np.einsum("ij,ij->i", away, away)
        if along is None:
            return squared < (reach + radius) ** 2
        ahead = away @ along
        margin = radius + width
        return (squared - ahead * ahead <= margin * margin) & (ahead < reach + margin) & (ahead > -margin)

    bodies = things_of(view)
    size, shift = bodies.extent, bodies.centre
    radius = np.sqrt(np.einsum("ij,ij->i", size, size)) + np.sqrt(np.einsum("ij,ij->i", shift, shift))
    rows = (near(bodies.position, radius) & (bodies.id != ignore)).nonzero()[0]
    axes = rotation_matrices(bodies.rotation[rows])
    moving = Boxes(
        bodies.position[rows] + np.einsum("nij,nj->ni", axes, bodies.centre[rows]),
        axes,
        bodies.extent[rows],
        bodies.id[rows],
        np.full(len(rows), -1, np.int64),
        bodies.tag[rows],
        bodies.velocity[rows],
    )
    if not with_statics:
        return moving
    statics, static_radius = static_boxes(view.roadmap)
    rows = near(statics.centre, static_radius).nonzero()[0]
    if not len(rows):
        return moving
    return statics.take(rows) if not len(moving) else moving.joined(statics.take(rows))
