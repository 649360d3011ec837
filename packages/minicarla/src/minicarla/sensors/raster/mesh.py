"""Boxes as quadrilaterals: each box gets the shape of what it stands for, see :mod:`.shapes`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minicarla.bodies import Bodies
from minicarla.sensors.boxes import rotation_matrices
from minicarla.sensors.raster.shapes import ALBEDO, Role, Shape, body_shape, static_shape
from minicarla.sensors.tags import Tag

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Mesh:
    """Shapes of many objects in one set of arrays: M objects, Q quadrilaterals, V vertices.

    Local coordinates are metres from each object's origin; ``normal`` (Q, 3) points
    outwards and ``offset`` (Q,) is normal . p for p on the plane, in the same coordinates.
    """

    def __init__(self, shapes: list[Shape], centre: Array, extent: Array, colour: NDArray[Any]) -> None:
        """centre, extent (M, 3): box in the object's frame; colour (M, 3): BGR albedo of its paint."""
        count = len(shapes)
        sizes_v = np.array([len(s.vertices) for s in shapes], np.int64)
        sizes_q = np.array([len(s.quads) for s in shapes], np.int64)
        self.vertex_object = np.repeat(np.arange(count), sizes_v)
        self.object = np.repeat(np.arange(count), sizes_q)
        first_v = np.concatenate([[0], np.cumsum(sizes_v)[:-1]]) if count else np.zeros(0, np.int64)
        first_q = np.concatenate([[0], np.cumsum(sizes_q)[:-1]]) if count else np.zeros(0, np.int64)

        def join(name: str, empty: tuple[int, ...], kind: DTypeLike) -> Any:
            return np.concatenate([getattr(s, name) for s in shapes]) if count else np.zeros(empty, kind)

        unit = join("vertices", (0, 3), np.float64)
        self.vertices = centre[self.vertex_object] + unit * extent[self.vertex_object]
        self.quads = join("quads", (0, 4), np.int64) + first_v[self.object][:, None]
        base = join("base", (0,), np.int64) + first_q[self.object]
        self.role = join("role", (0,), np.int64)
        self.layer = join("layer", (0,), np.int64)
        self.least = join("least", (0,), np.float64)
        self.most = join("most", (0,), np.float64)
        half = extent[self.object, 2]
        middle = centre[self.object, 2]
        self.part_middle = middle + 0.5 * half * (
            join("part_low", (0,), np.float64) + join("part_high", (0,), np.float64)
        )
        corners = self.vertices[self.quads]
        normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        length = np.sqrt((normal * normal).sum(1, keepdims=True))
        normal /= np.maximum(length, 1e-12)
        # Outwards: away from the middle of the part.
        inside = centre[self.object].copy()
        inside[:, 2] = self.part_middle
        flip = ((corners.mean(1) - inside) * normal).sum(1) < 0.0
        flip &= self.role != Role.SHADOW
        normal[flip] *= -1.0
        normal[(self.role == Role.SHADOW) & (normal[:, 2] < 0.0)] *= -1.0
        plane = np.concatenate([normal, (normal * corners[:, 0]).sum(1, keepdims=True)], axis=1)
        self.normal = np.ascontiguousarray(plane[base, :3])
        self.offset = np.ascontiguousarray(plane[base, 3])
        self.albedo = ALBEDO[self.role]
        painted = self.role == Role.PAINT
        self.albedo[painted] = np.asarray(colour, dtype=np.float64)[self.object[painted]]
        self.radius = np.sqrt((extent * extent).sum(1))
        self.extent = extent
        self.shadow = self.role == Role.SHADOW


def body_mesh(bodies: Bodies) -> Mesh:
    """Mesh of all bodies, in each body's frame."""
    looks = getattr(bodies, "look", np.zeros(len(bodies), np.int64)).tolist()
    rows = zip(bodies.tag.tolist(), bodies.extent, looks, strict=True)
    shapes = [body_shape(tag, extent, look) for tag, extent, look in rows]
    return Mesh(shapes, bodies.centre.copy(), bodies.extent.copy(), bodies.colour[:, ::-1])


def _leaders(statics: list[Any]) -> Ints:
    """For each static object, the object that it is painted together with.

    Objects on the same spot (a trunk and its crown) are painted together, in the place of the widest.
    """
    stacks: dict[tuple[float, float], int] = {}
    for k, static in enumerate(statics):
        spot = (round(float(static.centre[0]), 3), round(float(static.centre[1]), 3))
        best = stacks.setdefault(spot, k)
        if float(static.extent[0]) > float(statics[best].extent[0]):
            stacks[spot] = k
    return np.array(
        [stacks[round(float(s.centre[0]), 3), round(float(s.centre[1]), 3)] for s in statics], np.int64
    )


class StaticMesh(Mesh):
    """Mesh of all statics of a map, in the world's frame.

    centre (M, 3): centres of their boxes.  axis (M, 2): their forward directions in plan.
    screen (M,): whether an object is large enough to hide others.  leader (M,): the object that each
    one is painted together with.
    """

    def __init__(self, statics: list[Any], centre: Array) -> None:
        """centre (M, 3): where they are drawn."""
        count = len(statics)
        extent = np.array([s.extent for s in statics], dtype=np.float64).reshape(count, 3)
        yaw = np.array([s.yaw for s in statics], dtype=np.float64)
        colour = np.array([s.colour for s in statics], dtype=np.float64).reshape(count, 3)[:, ::-1]
        super().__init__([static_shape(s) for s in statics], np.zeros_like(centre), extent, colour)
        angles = np.zeros((count, 3))
        angles[:, 1] = yaw
        axes = rotation_matrices(angles)
        turn_v = axes[self.vertex_object]
        self.vertices = np.einsum("nij,nj->ni", turn_v, self.vertices) + centre[self.vertex_object]
        self.normal = np.einsum("nij,nj->ni", axes[self.object], self.normal)
        self.offset = self.offset + (self.normal * centre[self.object]).sum(1)
        self.part_middle = self.part_middle + centre[self.object, 2]
        self.centre = centre
        self.axis = np.stack([np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))], axis=1)
        self.screen = np.array([s.tag == Tag.BUILDINGS for s in statics], np.bool_)
        self.leader = _leaders(statics)
