"""Which quadrilaterals a camera sees, where on the picture, and in which order to paint them.

Hidden surfaces: faces turned away are dropped, the rest is painted from far to near.
The order of objects is by distance, corrected where that is wrong: of two boxes, one
is in front of the other when it lies wholly on the viewer's side of one of the other's
faces.  Boxes that do not touch always have such an order as seen from one point.
Inside an object, parts are stacked in height, so the part farther in height from the
eye comes first.

Everything per frame works on whole arrays; the cost is some eighty calls of numpy and
one of OpenCV for each quadrilateral.
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
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.sensors.tags import Tag
from minicarla.world.bodies import Bodies

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_RIGHT_UP_AHEAD = (1, 2, 0)  # columns of a rotation matrix
NEAR = 0.2  # metres
REACH = 250.0  # metres; nothing beyond is drawn
_CELL = 12.0  # metres; what may be seen is looked up by cell of the map
_SECTORS = 16
_CACHED = 128
_BIG = 2.9  # metres: radius in plan of what is compared with everything near it
_SCREENS = 16  # buildings, nearest first, that are tried for hiding others


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
        self.middle = np.array([0.5 * width, 0.5 * height])
        self.half_diagonal = math.atan(math.hypot(self.slope_x, self.slope_y))
        # (3, 4): their product with a point is positive beyond the right, left, lower, upper edge.
        self.edges = np.array(
            [
                [1.0, -1.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, -1.0],
                [-self.slope_x, -self.slope_x, -self.slope_y, -self.slope_y],
            ]
        )


class Eye(NamedTuple):
    """Where a camera is: ``axes`` columns are right, down, ahead in the world."""

    position: Array
    axes: Array
    yaw: float


def eye_of(pose: Transform) -> Eye:
    """The eye of a sensor at ``pose``."""
    turn = rotation_matrix(pose.pitch, pose.yaw, pose.roll)
    axes = turn.take(_RIGHT_UP_AHEAD, 1)
    axes[:, 1] *= -1.0
    return Eye(np.array(pose[:3], dtype=np.float64), axes, pose.yaw)


class Quads(NamedTuple):
    """What is seen, farthest first; F quadrilaterals.

    corners: (F, 4, 2) pixel coordinates.  cut: those that the near plane cuts, by position: (3 to 5, 2).
    row: (F,) in the scene's mesh.  owner: (F,) object in the scene.  ahead: (F, 4) metres of each
    corner.
    """

    corners: Array
    cut: dict[int, Array]
    row: Ints
    owner: Ints
    ahead: Array


class _Plan(NamedTuple):
    """Objects from above, relative to the eye, as complex numbers: real ahead, imaginary to the right.

    ``ahead`` turns the world into that frame.
    """

    alive: Ints  # (n,) objects of the scene
    ahead: complex
    place: NDArray[np.complex128]  # (n,) centres
    distance: Array  # (n,)
    radius: Array  # (n,) of the circle around the box
    bearing: Array  # (n,) radians
    spread: Array  # (n,) half the angle that the circle takes

    def only(self, rows: Ints) -> _Plan:
        """The objects at ``rows``."""
        return self._replace(
            alive=self.alive.take(rows),
            place=self.place.take(rows),
            distance=self.distance.take(rows),
            radius=self.radius.take(rows),
            bearing=self.bearing.take(rows),
            spread=self.spread.take(rows),
        )


class _Pairs(NamedTuple):
    """Pairs of statics that stand so close that distance may not tell which hides which.

    first, second: (n,).  before_second: (n,) bits of those faces of the second (see :func:`_outside`)
    on whose outer side the first lies wholly; before_first: the other way round.
    """

    first: Ints
    second: Ints
    before_second: NDArray[np.uint8]
    before_first: NDArray[np.uint8]


class _Nearby(NamedTuple):
    """What may be seen from a cell: indices of the map's statics, the mesh of just them, their pairs."""

    objects: Ints
    mesh: StaticMesh
    pairs: _Pairs


def _neighbours(mesh: StaticMesh) -> _Pairs:
    """All pairs with something large in them that are close enough to need a test."""
    half = mesh.extent[:, :2]
    radius = np.sqrt((half * half).sum(1))
    big = (radius > _BIG).nonzero()[0]
    place = mesh.centre[:, 0] + 1j * mesh.centre[:, 1]
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for k in big.tolist():
        # Apart by more in distance or in bearing, circles around boxes cannot be in conflict.
        close = np.abs(place - place[k]) < 3.0 * (radius + radius[k])
        close[big[big <= k]] = False  # each pair once
        other = close.nonzero()[0]
        firsts.append(np.full(len(other), k))
        seconds.append(other)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    axis = mesh.axis[:, 0] + 1j * mesh.axis[:, 1]
    return _Pairs(
        first,
        second,
        _outside(place, axis, half, first, second),
        _outside(place, axis, half, second, first),
    )


def _outside(
    place: NDArray[np.complex128], axis: NDArray[np.complex128], half: Array, a: Ints, b: Ints
) -> NDArray[np.uint8]:
    """For pairs of boxes in plan: bits of those faces of b on whose outer side a lies wholly.

    1: the face towards b's own +x, 2: -x, 4: +y, 8: -y.
    """
    to_b = np.conj(axis.take(b))
    turned = axis.take(a) * to_b
    cos, sin = np.abs(turned.real), np.abs(turned.imag)
    centre = (place.take(a) - place.take(b)) * to_b
    long_a, wide_a = half[:, 0].take(a), half[:, 1].take(a)
    reach_x = half[:, 0].take(b) + long_a * cos + wide_a * sin - 1e-3
    reach_y = half[:, 1].take(b) + long_a * sin + wide_a * cos - 1e-3
    x, y = centre.real, centre.imag
    bits = (x > reach_x) * np.uint8(1) + (x < -reach_x) * np.uint8(2)
    bits += (y > reach_y) * np.uint8(4) + (y < -reach_y) * np.uint8(8)
    return bits


class Statics:
    """The map's statics, with a cache of what may be seen from where."""

    def __init__(self, roadmap: Any) -> None:
        statics = list(roadmap.statics)
        self.mesh = StaticMesh(statics, terrain_of(roadmap).flattened_statics(statics))
        self._pairs = _neighbours(self.mesh)
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
        largest = 2.0 ** (scale / 2 + 0.25) / np.maximum(near, 1.0)  # pixels per metre
        keep = (near < REACH) & (mesh.radius * largest > 0.4)
        if not steep:
            half = camera.half_diagonal + math.pi / _SECTORS
            heading = (sector + 0.5) * 2.0 * math.pi / _SECTORS
            toward = np.arctan2(away[:, 1], away[:, 0]) - heading
            toward = np.abs((toward + math.pi) % (2.0 * math.pi) - math.pi)
            spread = np.arcsin(np.minimum((mesh.radius + slack) / np.maximum(distance, 1e-9), 1.0))
            keep &= (toward < half + spread) | (distance < mesh.radius + slack)
        # A detail that is never large enough from this cell is left out for good.
        wanted = keep[mesh.object] & (mesh.least < largest[mesh.object])
        both = keep[self._pairs.first] & keep[self._pairs.second]
        number = np.cumsum(keep) - 1
        pairs = _Pairs(
            number[self._pairs.first[both]],
            number[self._pairs.second[both]],
            self._pairs.before_second[both],
            self._pairs.before_first[both],
        )
        found = _Nearby(np.nonzero(keep)[0], mesh.subset(keep, wanted), pairs)
        self._near[key] = found
        if len(self._near) > _CACHED:
            self._near.popitem(last=False)
        return found


@per_map
def statics_of(roadmap: Any) -> Statics:
    """The map's statics, meshed once."""
    return Statics(roadmap)


class Scene:
    """The objects around one camera as one mesh: S statics near the eye, then all B bodies.

    The mesh is put together anew only when the eye enters another cell or bodies come
    and go.  After :meth:`look`, ``still`` holds the statics' indices in the map.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._bodies_key: tuple[bytes, ...] = ()
        self._bodies = Mesh([], np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
        self._parts: tuple[StaticMesh, Mesh] | None = None
        self.still: Ints = np.zeros(0, np.int64)
        self.mesh: Mesh = self._bodies
        self.version = 0
        """Changes whenever ``mesh`` does."""
        self.count = 0
        """S, number of statics in the mesh."""
        self.turn: Array = np.zeros((0, 3, 3))
        """(B, 3, 3) rotation of each body, of the last look."""

    def _assemble(self, still: StaticMesh, moving: Mesh) -> None:
        self._parts = (still, moving)
        self.mesh = still.joined(moving)
        self.version += 1
        self.count = count = len(still.radius)
        total = count + len(moving.radius)
        half = np.concatenate([still.extent[:, :2], moving.extent[:, :2]])
        self._half = half
        self._axis = np.zeros(total, np.complex128)
        self._axis[:count] = still.axis[:, 0] + 1j * still.axis[:, 1]
        self._flat_radius = np.sqrt((half * half).sum(1))
        self._matrix = np.empty((total, 3, 3))
        self._offset = np.empty((total, 3))
        # Planes and eyes in homogeneous coordinates: their product is the eye's height over the plane.
        self._plane = np.concatenate([self.mesh.normal, -self.mesh.offset[:, None]], axis=1)
        self._seen_from = np.ones((total, 4))
        self._corners = self.mesh.vertices[self.mesh.quads]
        self._relative = np.empty((total, 3))
        self._base_height = np.zeros(total)
        self._big = self._flat_radius > _BIG
        # Of the ball around each object: by how much it may be outside the view's edges, and how far
        # ahead it may be before it is too small to see.
        radius = self.mesh.radius
        self._margin_x = radius * math.hypot(1.0, self.camera.slope_x)
        self._margin_y = radius * math.hypot(1.0, self.camera.slope_y)
        self._nearest = NEAR - radius
        self._farthest = np.minimum(radius * self.camera.focal / 0.4, REACH)
        # Quadrilaterals lie object by object: where each object's begin, and how many there are.
        self._size = np.bincount(self.mesh.object, minlength=total)
        self._first = np.cumsum(self._size) - self._size
        # What hides others: buildings.  Their corners in plan, and their tops.
        self._screens = (still.tag == Tag.BUILDINGS).nonzero()[0]
        aside = np.stack([-still.axis[:, 1], still.axis[:, 0]], axis=1)
        x = (still.axis * half[:count, :1])[self._screens]
        y = (aside * half[:count, 1:])[self._screens]
        middle = still.centre[self._screens, :2]
        corners = np.stack([middle + x + y, middle + x - y, middle - x + y, middle - x - y], axis=1)
        self._screen_corners = corners[..., 0] + 1j * corners[..., 1]
        self._screen_tops = (still.centre[:, 2] + still.extent[:, 2])[self._screens]

    def look(self, roadmap: Any, bodies: Bodies, eye: Eye, shadows: bool = True) -> Quads:
        """All quadrilaterals in view, farthest first."""
        camera = self.camera
        self.still, still, self._pairs = statics_of(roadmap).nearby(eye, camera)
        columns = (bodies.id, bodies.tag, bodies.extent, bodies.centre, bodies.colour)
        key = tuple(column.tobytes() for column in columns)
        look = getattr(bodies, "look", None)
        if look is not None:
            key += (look.tobytes(),)
        if key != self._bodies_key:
            self._bodies_key, self._bodies = key, body_mesh(bodies)
        if self._parts is None or self._parts[0] is not still or self._parts[1] is not self._bodies:
            self._assemble(still, self._bodies)
        mesh, count = self.mesh, self.count
        position, axes = eye.position, eye.axes

        # Where each object is, seen from the eye, and the eye seen from each object.
        relative, matrix, offset, seen_from = self._relative, self._matrix, self._offset, self._seen_from
        np.subtract(still.centre, position, out=relative[:count])
        matrix[:count] = axes
        offset[:count] = -(position @ axes)
        seen_from[:count, :3] = position
        if len(bodies):
            self.turn = turn = rotation_matrices(bodies.rotation)
            away = bodies.position - position
            np.add(away, (turn @ bodies.centre[:, :, None])[:, :, 0], out=relative[count:])
            np.matmul(turn.transpose(0, 2, 1), axes, out=matrix[count:])
            np.matmul(away, axes, out=offset[count:])
            np.negative((away[:, None] @ turn)[:, 0], out=seen_from[count:, :3])
            self._axis[count:] = turn[:, 0, 0] + 1j * turn[:, 1, 0]
            self._base_height[count:] = bodies.position[:, 2]

        # Objects in the pyramid of view.
        local = relative @ axes
        ahead = local[:, 2]
        keep = np.abs(local[:, 0]) < ahead * camera.slope_x + self._margin_x
        keep &= np.abs(local[:, 1]) < ahead * camera.slope_y + self._margin_y
        keep &= ahead > self._nearest
        keep &= ahead < self._farthest
        scale = camera.focal / np.maximum(ahead, 1.0)
        plan = self._plan(keep.nonzero()[0], eye)
        hidden = self._hidden(plan, keep, eye)
        if hidden.any():
            shown = (~hidden).nonzero()[0]
            plan = plan.only(shown)
        alive = plan.alive

        # Their faces that are turned to the eye and large enough.
        sizes = self._size.take(alive)
        ends = sizes.cumsum()
        row = np.arange(ends[-1] if len(ends) else 0)
        row += np.repeat(self._first.take(alive) - ends + sizes, sizes)
        owner = np.repeat(alive, sizes)
        size = np.repeat(scale.take(alive), sizes)
        facing = (mesh.least.take(row) < size) & (mesh.most.take(row) >= size)
        facing &= np.einsum("qk,qk->q", self._plane.take(row, 0), seen_from.take(owner, 0)) > 0.0
        if not shadows:
            facing &= ~mesh.shadow.take(row)
        row, owner = row[facing], owner[facing]
        points = self._corners.take(row, 0) @ matrix.take(owner, 0)
        points += offset.take(owner, 0)[:, None]
        z = points[..., 2]
        uv = points[..., :2] * (camera.focal / np.maximum(z, NEAR))[..., None]
        uv += camera.middle
        near = z < NEAR
        cut: dict[int, Array] = {}
        beyond = (points.reshape(-1, 3) @ camera.edges > 0.0).reshape(-1, 4, 4)
        visible = ~beyond.all(1).any(1)  # not wholly beyond one edge of the picture
        if near.any():
            visible &= ~near.all(1)
            for k in (near.any(1) & visible).nonzero()[0].tolist():
                cut[k] = _clip(points[k], camera)
        diagonal_1, diagonal_2 = uv[:, 2] - uv[:, 0], uv[:, 3] - uv[:, 1]
        area = np.abs(diagonal_1[:, 0] * diagonal_2[:, 1] - diagonal_1[:, 1] * diagonal_2[:, 0])
        large = area > 3.0  # twice the area in pixels
        if cut:
            large[list(cut)] = True
        large &= visible

        # From far to near: by object, then by height from the eye, then details over faces.
        rank = np.full(len(keep), -1.0)
        rank[alive] = self._ranks(plan)
        leading = rank.take(mesh.leader)
        rank = np.where(leading < 0.0, rank, leading)
        up = np.abs(mesh.part_middle.take(row) + self._base_height.take(owner) - position[2])
        sequence = rank.take(owner) * 1e4 - up * 10.0 + mesh.layer.take(row) * 0.1
        sequence[~large] = -1e9
        order = sequence.argsort(kind="stable")[len(row) - int(large.sum()) :]
        if cut:
            cut = {int((order == k).argmax()): polygon for k, polygon in cut.items()}
        return Quads(uv.take(order, 0), cut, row.take(order), owner.take(order), z.take(order, 0))

    def planes(self, quads: Quads) -> Array:
        """(F, 3): c such that 1 / depth = c . (right / ahead, down / ahead, 1) on each, of the last look."""
        normal = self.mesh.normal.take(quads.row, 0)
        turned = np.einsum("qi,qij->qj", normal, self._matrix.take(quads.owner, 0))
        offset = self.mesh.offset.take(quads.row)
        offset = offset + np.einsum("qj,qj->q", turned, self._offset.take(quads.owner, 0))
        planes: Array = turned / np.where(np.abs(offset) > 1e-9, offset, 1e-9)[:, None]
        return planes

    def _plan(self, alive: Ints, eye: Eye) -> _Plan:
        """The objects ``alive`` as seen from above, in a frame that looks where the eye looks."""
        x, y = float(eye.axes[0, 2]), float(eye.axes[1, 2])
        length = math.hypot(x, y)
        ahead = complex(x, -y) / length if length > 0.2 else 1.0 + 0.0j
        xy = self._relative.take(alive, 0)
        place = (xy[:, 0] + 1j * xy[:, 1]) * ahead
        distance = np.abs(place)
        radius = self._flat_radius.take(alive)
        spread = np.arcsin(np.minimum(radius / np.maximum(distance, 1e-9), 1.0))
        return _Plan(alive, ahead, place, distance, radius, np.angle(place), spread)

    def _hidden(self, plan: _Plan, keep: Bools, eye: Eye) -> Bools:
        """Which of the objects in ``plan`` are wholly behind one building.

        As seen from above: within its corners' bearings, farther than its farthest corner,
        and not rising above the line of sight over its top.
        """
        screens = keep.take(self._screens).nonzero()[0]
        if not len(screens) or len(plan.alive) < 2 or abs(float(eye.axes[2, 2])) > 0.9:
            return np.zeros(len(plan.alive), np.bool_)
        corners = self._screen_corners.take(screens, 0) - complex(eye.position[0], eye.position[1])
        corners *= plan.ahead
        far = np.abs(corners).max(1)
        if len(screens) > _SCREENS:
            nearest = far.argpartition(_SCREENS)[:_SCREENS]
            screens, corners, far = screens[nearest], corners[nearest], far[nearest]
        bearing = np.angle(corners)
        low, high = bearing.min(1), bearing.max(1)
        low[high - low > math.pi] = 9.0  # it reaches round behind the eye: no screen
        slope = (self._screen_tops.take(screens) - eye.position[2]) / far
        top = self._relative[:, 2].take(plan.alive) + self.mesh.extent[:, 2].take(plan.alive)
        near = plan.distance - plan.radius
        rise = top / np.maximum(np.where(top > 0.0, near, plan.distance + plan.radius), 1e-9)
        hidden = low[:, None] <= plan.bearing - plan.spread
        hidden &= plan.bearing + plan.spread <= high[:, None]
        hidden &= far[:, None] <= near
        hidden &= slope[:, None] >= rise
        return np.logical_or.reduce(hidden, axis=0)  # type: ignore[no-any-return]

    def _ranks(self, plan: _Plan) -> Array:
        """Place of each object of the plan in the order of painting, farthest first."""
        distance = plan.distance
        behind, front = self._conflicts(plan)
        # What is behind moves back, and so does what is behind that.  Rings, which only
        # boxes that run into each other make, are left after a few rounds.
        for _ in range(8):
            pushed = distance.take(front) + 1e-3
            if (distance.take(behind) >= pushed).all():
                break
            np.maximum.at(distance, behind, pushed)
        ranks = np.empty(len(distance))
        ranks[(-distance).argsort(kind="stable")] = np.arange(len(distance))
        return ranks

    def _conflicts(self, plan: _Plan) -> tuple[Ints, Ints]:
        """Pairs (behind, in front), positions in the plan, whose order distance may get wrong.

        Only pairs with something as large as a house or a truck in them: between smaller
        things distance is right but for grazing contact.
        """
        alive = plan.alive
        axis = self._axis.take(alive)
        half = self._half.take(alive, 0)
        # On whose outer side the eye is, of each object's four faces in plan.
        eye = -plan.place * np.conj(axis) / plan.ahead
        x, y = eye.real, eye.imag
        sides = (x > half[:, 0]) * np.uint8(1) + (x < -half[:, 0]) * np.uint8(2)
        sides += (y > half[:, 1]) * np.uint8(4) + (y < -half[:, 1]) * np.uint8(8)

        # Statics: which faces matter was found out once.
        pairs = self._pairs
        position = np.full(len(self._half), -1)
        position[alive] = np.arange(len(alive))
        first, second = position.take(pairs.first), position.take(pairs.second)
        shown = ((first >= 0) & (second >= 0)).nonzero()[0]
        first, second = first.take(shown), second.take(shown)
        before_second, before_first = pairs.before_second.take(shown), pairs.before_first.take(shown)

        # Bodies against what is large, and large bodies against everything.
        still = int(np.searchsorted(alive, self.count))
        if still < len(alive):
            one, other = self._close(plan, still)
            if len(one):
                place = plan.place / plan.ahead
                first, second = np.concatenate([first, one]), np.concatenate([second, other])
                here, there = _outside(place, axis, half, one, other), _outside(place, axis, half, other, one)
                before_second = np.concatenate([before_second, here])
                before_first = np.concatenate([before_first, there])

        # The eye and all of one box on the outer side of a face of the other: it cannot be hidden by it.
        first_clear = (sides.take(second) & before_second) != 0
        second_clear = (sides.take(first) & before_first) != 0
        first_in_front = (first_clear & ~second_clear).nonzero()[0]
        second_in_front = (second_clear & ~first_clear).nonzero()[0]
        return (
            np.concatenate([second.take(first_in_front), first.take(second_in_front)]),
            np.concatenate([first.take(first_in_front), second.take(second_in_front)]),
        )

    def _close(self, plan: _Plan, still: int) -> tuple[Ints, Ints]:
        """Pairs of positions in the plan, one of them a body (from ``still`` on) and one of them large.

        Circles around them that are apart in distance, or in bearing, cannot be in conflict.
        """
        big = self._big.take(plan.alive).nonzero()[0]
        if not len(big):
            return big, big
        start = still if big[-1] < still else 0
        distance, radius, bearing, spread = plan.distance, plan.radius, plan.bearing, plan.spread
        close = (
            np.abs(distance.take(big)[:, None] - distance[start:])
            < radius.take(big)[:, None] + radius[start:]
        )
        close &= (
            np.abs(bearing.take(big)[:, None] - bearing[start:]) < spread.take(big)[:, None] + spread[start:]
        )
        first, second = close.nonzero()
        first, second = big.take(first), second + start
        if start == 0:  # statics among themselves are known already
            fresh = (first != second) & ((first >= still) | (second >= still))
            first, second = first[fresh], second[fresh]
        return first, second


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
