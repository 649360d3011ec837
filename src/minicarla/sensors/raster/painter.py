"""Which quadrilaterals a camera sees, where on the picture, and in which order to paint them.

Hidden surfaces: faces turned away are dropped, the rest is painted from far to near.
The order of objects is by distance, corrected where that is wrong: of two boxes, one
is in front of the other when it lies wholly on the viewer's side of one of the other's
faces.  Boxes that do not touch always have such an order as seen from one point.
Inside an object, parts are stacked in height, so the part farther in height from the
eye comes first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Transform, rotation_matrix
from minicarla.sensors.boxes import rotation_matrices
from minicarla.sensors.cache import per_map
from minicarla.sensors.raster.mesh import Mesh, StaticMesh, body_mesh
from minicarla.world.bodies import Bodies

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAR = 0.2  # metres
REACH = 250.0  # metres; nothing beyond is drawn
_CELL = 12.0  # metres; what may be seen is looked up by cell of the map
_SECTORS = 16
_CACHED = 512


class Camera:
    """Pinhole camera of CARLA: square pixels, ``fov`` is horizontal.

    A point right, down, ahead of the eye lands on pixel coordinates
    ``width / 2 + focal * right / ahead`` and ``height / 2 + focal * down / ahead``;
    pixel (i, j) covers [i, i + 1) x [j, j + 1).
    """

    def __init__(self, width: int, height: int, fov: float) -> None:
        self.width, self.height, self.fov = width, height, fov
        self.focal = width / (2.0 * math.tan(math.radians(fov) / 2.0))
        self.slope_x = 0.5 * width / self.focal
        self.slope_y = 0.5 * height / self.focal
        self.half_diagonal = math.atan(math.hypot(self.slope_x, self.slope_y))


class Eye(NamedTuple):
    """Where a camera is: ``axes`` columns are right, down, ahead in the world."""

    position: Array
    axes: Array
    yaw: float


def eye_of(pose: Transform) -> Eye:
    """The eye of a sensor at ``pose``."""
    turn = rotation_matrix(pose.pitch, pose.yaw, pose.roll)
    axes = np.stack([turn[:, 1], -turn[:, 2], turn[:, 0]], axis=1)
    return Eye(np.array(pose[:3], dtype=np.float64), axes, pose.yaw)


class Quads(NamedTuple):
    """What is seen, farthest first.

    polygons: list of F arrays (4 or 5, 2), pixel coordinates, float64.
    dynamic: (F,) whether the row is of a body; row: (F,) quadrilateral in its mesh;
    object: (F,) row in Bodies or index of a static; depth: (F,) mean metres ahead.
    """

    polygons: Any
    dynamic: NDArray[np.bool_]
    row: Ints
    object: Ints
    depth: Array


class _Seen(NamedTuple):
    """Visible quadrilaterals of one mesh, before ordering."""

    uv: Array  # (F, 4, 2)
    row: Ints
    object: Ints
    depth: Array
    cut: dict[int, Array]  # polygons that cross the near plane, by position
    height: Array  # (F,) part's middle, metres above the world's origin
    layer: Ints


class _Foot(NamedTuple):
    """Boxes on the ground as seen from above, for ordering; one row an object."""

    xy: Array  # (M, 2) centre relative to the eye
    axis: Array  # (M, 2) unit vector of the box's x
    half: Array  # (M, 2)


class _Nearby(NamedTuple):
    """Statics that may be seen from one cell in one sector, as a mesh of their own."""

    objects: Ints
    mesh: StaticMesh
    rows: Ints  # of its quadrilaterals in the whole mesh
    centre: Array


class Statics:
    """The map's statics, with a cache of what may be seen from where."""

    def __init__(self, roadmap: Any) -> None:
        self.mesh = StaticMesh(list(roadmap.statics))
        self._near: OrderedDict[tuple[int, int, int, int], _Nearby] = OrderedDict()

    def nearby(self, eye: Eye, camera: Camera) -> _Nearby:
        """Statics that may be in view from the eye's cell and sector, however the eye moves in it."""
        x, y = float(eye.position[0]), float(eye.position[1])
        sector = int((eye.yaw % 360.0) * _SECTORS / 360.0) % _SECTORS
        steep = abs(float(eye.axes[2, 2])) > 0.6  # looking far up or down: the sector means little
        scale = round(math.log2(camera.focal) * 2)
        key = (math.floor(x / _CELL), math.floor(y / _CELL), -1 if steep else sector, scale)
        found = self._near.get(key)
        if found is not None:
            self._near.move_to_end(key)
            return found
        mesh = self.mesh
        middle = (np.array(key[:2]) + 0.5) * _CELL
        slack = _CELL * math.sqrt(0.5)
        away = mesh.centre[:, :2] - middle
        distance = np.sqrt((away * away).sum(1))
        near = np.maximum(distance - mesh.radius - slack, 0.0)
        keep = (near < REACH) & (mesh.radius * 2.0 ** (scale / 2 + 0.25) / np.maximum(near, 1.0) > 0.6)
        if not steep:
            half = camera.half_diagonal + math.pi / _SECTORS
            if half < math.pi / 2:
                heading = (sector + 0.5) * 2.0 * math.pi / _SECTORS
                toward = np.arctan2(away[:, 1], away[:, 0]) - heading
                toward = np.abs((toward + math.pi) % (2.0 * math.pi) - math.pi)
                spread = np.arcsin(np.minimum((mesh.radius + slack) / np.maximum(distance, 1e-9), 1.0))
                keep &= (toward < half + spread) | (distance < mesh.radius + slack)
        objects = np.nonzero(keep)[0]
        rows = np.nonzero(keep[mesh.object])[0]
        vertices = np.nonzero(keep[mesh.vertex_object])[0]
        part = _subset(mesh, rows, vertices, keep)
        found = _Nearby(objects, part, rows, np.ascontiguousarray(mesh.centre[objects]))
        self._near[key] = found
        if len(self._near) > _CACHED:
            self._near.popitem(last=False)
        return found


def _subset(mesh: StaticMesh, rows: Ints, vertices: Ints, keep: NDArray[np.bool_]) -> StaticMesh:
    """Mesh of the kept objects only; rows and vertices are theirs."""
    part = object.__new__(StaticMesh)
    number = np.cumsum(keep) - 1
    renamed = np.full(len(mesh.vertices), -1, np.int64)
    renamed[vertices] = np.arange(len(vertices))
    part.vertices = np.ascontiguousarray(mesh.vertices[vertices])
    part.vertex_object = number[mesh.vertex_object[vertices]]
    part.quads = renamed[mesh.quads[rows]]
    part.object = number[mesh.object[rows]]
    for name in ("role", "layer", "least", "part_middle", "normal", "offset", "albedo", "shadow"):
        setattr(part, name, np.ascontiguousarray(getattr(mesh, name)[rows]))
    objects = np.nonzero(keep)[0]
    for name in ("radius", "centre", "extent", "yaw", "tag", "axis"):
        setattr(part, name, np.ascontiguousarray(getattr(mesh, name)[objects]))
    return part


@per_map
def statics_of(roadmap: Any) -> Statics:
    """The map's statics, meshed once."""
    return Statics(roadmap)


class BodyMeshes:
    """The mesh of all bodies, made anew only when bodies come, go or change their looks."""

    def __init__(self) -> None:
        self._key: tuple[bytes, ...] = ()
        self.mesh = Mesh([], np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))

    def of(self, bodies: Bodies) -> Mesh:
        """Mesh of ``bodies``."""
        columns = (bodies.id, bodies.tag, bodies.extent, bodies.centre, bodies.colour)
        key = tuple(column.tobytes() for column in columns)
        if key != self._key:
            self._key, self.mesh = key, body_mesh(bodies)
        return self.mesh


def see(
    roadmap: Any, bodies: Bodies, meshes: BodyMeshes, eye: Eye, camera: Camera, shadows: bool = True
) -> tuple[Quads, Mesh, Mesh]:
    """All quadrilaterals in view, farthest first, and the two meshes (statics, bodies) they are of."""
    statics = statics_of(roadmap).nearby(eye, camera)
    fixed, fixed_alive = _see_statics(statics, eye, camera)
    moving_mesh = meshes.of(bodies)
    moving, moving_alive, foot = _see_bodies(moving_mesh, bodies, eye, camera, shadows)

    still = statics.mesh
    part_foot = _Foot(
        still.centre[fixed_alive, :2] - eye.position[:2],
        still.axis[fixed_alive],
        still.extent[fixed_alive, :2],
    )
    whole = _Foot(*(np.concatenate(pair) for pair in zip(part_foot, foot, strict=True)))
    rank = _ranks(whole)
    rank_fixed = np.zeros(len(still.radius))
    rank_fixed[fixed_alive] = rank[: len(fixed_alive)]
    rank_moving = np.zeros(len(bodies))
    rank_moving[moving_alive] = rank[len(fixed_alive) :]

    row = np.concatenate([fixed.row, moving.row])
    dynamic = np.zeros(len(row), np.bool_)
    dynamic[len(fixed.row) :] = True
    group = np.concatenate([rank_fixed[fixed.object], rank_moving[moving.object]])
    height = np.abs(np.concatenate([fixed.height, moving.height]) - eye.position[2])
    layer = np.concatenate([fixed.layer, moving.layer])
    order = np.lexsort((layer, -height, group))
    uv = np.concatenate([fixed.uv, moving.uv])
    polygons: Any = uv
    if fixed.cut or moving.cut:
        polygons = list(uv)
        for at, polygon in fixed.cut.items():
            polygons[at] = polygon
        for at, polygon in moving.cut.items():
            polygons[len(fixed.row) + at] = polygon
        polygons = [polygons[k] for k in order]
    else:
        polygons = uv[order]
    objects = np.concatenate([statics.objects[fixed.object], moving.object])
    depth = np.concatenate([fixed.depth, moving.depth])
    return Quads(polygons, dynamic[order], row[order], objects[order], depth[order]), still, moving_mesh


def _in_view(relative: Array, radius: Array, eye: Eye, camera: Camera) -> tuple[NDArray[np.bool_], Array]:
    """Which balls may be in view, and how far ahead (n,) their centres are."""
    local = relative @ eye.axes
    ahead = local[:, 2]
    sx, sy = camera.slope_x, camera.slope_y
    keep = ahead > NEAR - radius
    keep &= np.abs(local[:, 0]) < sx * ahead + radius * math.sqrt(1.0 + sx * sx)
    keep &= np.abs(local[:, 1]) < sy * ahead + radius * math.sqrt(1.0 + sy * sy)
    keep &= radius * camera.focal > 0.4 * ahead
    return keep, ahead


def _project(
    mesh: Mesh, rows: Ints, local: Array, camera: Camera
) -> tuple[Array, Array, dict[int, Array], NDArray[np.bool_]]:
    """Pixel coordinates of the quadrilaterals ``rows``; ``local`` are all vertices as the eye sees them."""
    z = local[:, 2]
    scale = camera.focal / np.maximum(z, NEAR)
    uv = local[:, :2] * scale[:, None]
    uv += (0.5 * camera.width, 0.5 * camera.height)
    corners = mesh.quads[rows]
    zs = z[corners]
    far = zs.max(1)
    alive = far > NEAR
    points = uv[corners]
    cut: dict[int, Array] = {}
    for k in np.nonzero((zs.min(1) < NEAR) & alive)[0].tolist():
        cut[k] = _clip(local[corners[k]], camera)
    return points, zs.mean(1), cut, alive


def _clip(corners: Array, camera: Camera) -> Array:
    """The part of a polygon (4, 3) that is beyond the near plane, on the picture."""
    out: list[tuple[float, float]] = []
    points = corners.tolist()
    cx, cy, focal = 0.5 * camera.width, 0.5 * camera.height, camera.focal
    px, py, pz = points[-1]
    for x, y, z in points:
        if (z >= NEAR) != (pz >= NEAR):
            t = (NEAR - pz) / (z - pz)
            out.append((cx + focal * (px + t * (x - px)) / NEAR, cy + focal * (py + t * (y - py)) / NEAR))
        if z >= NEAR:
            out.append((cx + focal * x / z, cy + focal * y / z))
        px, py, pz = x, y, z
    return np.array(out)


def _see_statics(statics: _Nearby, eye: Eye, camera: Camera) -> tuple[_Seen, Ints]:
    mesh = statics.mesh
    keep, ahead = _in_view(statics.centre - eye.position, mesh.radius, eye, camera)
    scale = camera.focal / np.maximum(ahead, 1.0)
    facing = (mesh.normal @ eye.position > mesh.offset) & keep[mesh.object]
    facing &= mesh.least < scale[mesh.object]
    rows = np.nonzero(facing)[0]
    local = (mesh.vertices - eye.position) @ eye.axes
    uv, depth, cut, alive = _project(mesh, rows, local, camera)
    if not alive.all():
        uv, depth, rows, cut = uv[alive], depth[alive], rows[alive], _renumber(cut, alive)
    seen = _Seen(uv, rows, mesh.object[rows], depth, cut, mesh.part_middle[rows], mesh.layer[rows])
    return seen, np.nonzero(keep)[0]


def _see_bodies(
    mesh: Mesh, bodies: Bodies, eye: Eye, camera: Camera, shadows: bool
) -> tuple[_Seen, Ints, _Foot]:
    relative = bodies.position - eye.position
    keep, ahead = _in_view(relative, mesh.radius + np.sqrt((bodies.centre**2).sum(1)), eye, camera)
    keep &= ahead < REACH
    objects = np.nonzero(keep)[0]
    axes = rotation_matrices(bodies.rotation)
    # The eye in each body's frame says which faces are turned to it.
    seen_from = -np.einsum("nij,ni->nj", axes, relative)
    scale = camera.focal / np.maximum(ahead, 1.0)
    of = mesh.object
    facing = keep[of]
    facing &= (mesh.normal * seen_from[of]).sum(1) > mesh.offset
    facing &= mesh.least < scale[of]
    if not shadows:
        facing &= ~mesh.shadow
    rows = np.nonzero(facing)[0]
    to_eye = axes.transpose(0, 2, 1) @ eye.axes  # body frame to the eye's
    offset = relative @ eye.axes
    owner = mesh.vertex_object
    local = np.einsum("nj,njk->nk", mesh.vertices, to_eye[owner]) + offset[owner]
    uv, depth, cut, alive = _project(mesh, rows, local, camera)
    if not alive.all():
        uv, depth, rows, cut = uv[alive], depth[alive], rows[alive], _renumber(cut, alive)
    owner = of[rows]
    height = mesh.part_middle[rows] + bodies.position[owner, 2]
    seen = _Seen(uv, rows, owner, depth, cut, height, mesh.layer[rows])
    middle = relative[objects] + np.einsum("nij,nj->ni", axes[objects], bodies.centre[objects])
    axis = axes[objects, :2, 0]
    axis = axis / np.maximum(np.sqrt((axis * axis).sum(1, keepdims=True)), 1e-9)
    return seen, objects, _Foot(middle[:, :2], axis, bodies.extent[objects, :2])


def _renumber(cut: dict[int, Array], alive: NDArray[np.bool_]) -> dict[int, Array]:
    number = np.cumsum(alive) - 1
    return {int(number[k]): polygon for k, polygon in cut.items() if alive[k]}


def _ranks(foot: _Foot) -> Array:
    """Place of each object in the order of painting, farthest first."""
    count = len(foot.xy)
    distance = np.sqrt((foot.xy * foot.xy).sum(1))
    order = np.argsort(-distance, kind="stable")
    if count > 1:
        order = _corrected(order, foot)
    ranks = np.empty(count)
    ranks[order] = np.arange(count)
    return ranks


def _corrected(order: Ints, foot: _Foot) -> Ints:
    """``order`` with those pairs turned round where the nearer centre is the one behind."""
    xy, axis, half = foot.xy[order], foot.axis[order], foot.half[order]
    across = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    along_x = xy @ axis.T  # [i, j]: centre of i along j's x axis
    along_y = xy @ across.T
    own_x, own_y = np.diagonal(along_x), np.diagonal(along_y)
    cos, sin = np.abs(axis @ axis.T), np.abs(axis @ across.T)
    reach_x = half[:, :1] * cos + half[:, 1:] * sin
    reach_y = half[:, :1] * sin + half[:, 1:] * cos
    # The eye is at the origin; j's face on the eye's side is at |own| - half.
    sign_x, sign_y = np.where(own_x > 0, -1.0, 1.0), np.where(own_y > 0, -1.0, 1.0)
    face_x, face_y = half[:, 0] - np.abs(own_x), half[:, 1] - np.abs(own_y)
    front = (sign_x * along_x - reach_x > face_x - 1e-6) & (face_x < 0)
    front |= (sign_y * along_y - reach_y > face_y - 1e-6) & (face_y < 0)
    # front[i, j]: i cannot be hidden by j.  Wrong: i painted before j although only i can hide j.
    wrong = np.triu(front & ~front.T, 1)
    if not wrong.any():
        return order
    # Only pairs that share a direction of view matter.
    radius = np.sqrt((half * half).sum(1))
    distance = np.maximum(np.sqrt((xy * xy).sum(1)), 1e-6)
    spread = np.arcsin(np.minimum(radius / distance, 1.0))
    bearing = np.arctan2(xy[:, 1], xy[:, 0])
    apart = np.abs((bearing[:, None] - bearing[None, :] + math.pi) % (2 * math.pi) - math.pi)
    share = apart < spread[:, None] + spread[None, :]
    if not (wrong & share).any():
        return order
    after = front & ~front.T & share  # after[i, j]: i must come after j
    waiting = after.sum(1)
    done: list[int] = []
    left = np.ones(len(order), np.bool_)
    while len(done) < len(order):
        free = np.nonzero(left & (waiting == 0))[0]
        pick = int(free[0]) if len(free) else int(np.nonzero(left)[0][0])  # a cycle: touching boxes
        done.append(pick)
        left[pick] = False
        waiting = waiting - after[:, pick]
    return order[np.array(done)]
