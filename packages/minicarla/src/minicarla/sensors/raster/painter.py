"""Which quadrilaterals a camera sees, where on the picture, and in which order to paint them.

Faces that are turned away from the camera are dropped.  The others are painted from far to near,
so that near ones cover far ones (painter's algorithm).

Objects are ordered by distance.  Where distance gives the wrong order for two boxes, a test
decides: a box is in front of another when it lies wholly on the viewer's side of one of the
other's faces.  Inside an object the parts are stacked in height, and the part whose height is
farther from the eye's is painted first.  Objects wholly behind one building are left out.

The work of each frame is done in ``kernels``.  This module prepares its data.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose, rotation_matrix
from minicarla.maps import RoadMap
from minicarla.sensors.cache import per_map
from minicarla.sensors.raster import kernels
from minicarla.sensors.raster.mesh import StaticMesh, body_mesh
from minicarla.sensors.raster.terrain import terrain_of

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_RIGHT_UP_AHEAD = (1, 2, 0)  # columns of a rotation matrix
NEAR = 0.2  # metres
REACH = 250.0  # metres; nothing beyond is drawn
_BIG = 2.9  # metres: objects with a larger radius in plan are compared with everything near them


class PinholeCamera:
    """CARLA's pinhole camera: square pixels; ``fov`` is the horizontal field of view in degrees.

    A point given by its distances right, down and ahead of the eye lands on the pixel coordinates
    ``width / 2 + focal * right / ahead`` and ``height / 2 + focal * down / ahead``;
    pixel (i, j) covers [i, i + 1) x [j, j + 1).
    """

    def __init__(self, width: int, height: int, fov: float) -> None:
        self.width, self.height, self.fov = width, height, fov
        self.focal = width / (2.0 * math.tan(math.radians(fov) / 2.0))
        self.slope_x = 0.5 * width / self.focal
        self.slope_y = 0.5 * height / self.focal


class Eye(NamedTuple):
    """Where a camera is.  The columns of ``axes`` are its directions right, down and ahead in the world."""

    position: Array
    axes: Array


def eye_of(pose: Pose) -> Eye:
    """The eye of a sensor at ``pose``."""
    turn = rotation_matrix(pose.pitch, pose.yaw, pose.roll)
    axes = turn.take(_RIGHT_UP_AHEAD, 1)
    axes[:, 1] *= -1.0
    return Eye(np.array(pose[:3], dtype=np.float64), axes)


class Pairs(NamedTuple):
    """Pairs of static objects that are so close that their distances may not tell which hides which.

    first, second: (n,) numbers of the objects, ascending by the first.
    before_second: (n,) bits of the second's faces (see :func:`_outside`).  A bit is set when the first
    lies wholly on the outer side of that face.  before_first: the same with the roles exchanged.
    """

    first: Ints
    second: Ints
    before_second: NDArray[np.uint8]
    before_first: NDArray[np.uint8]


def _neighbours(mesh: StaticMesh) -> Pairs:
    """All pairs that contain a large object and are close enough to need a test."""
    half = mesh.extent[:, :2]
    radius = np.sqrt((half * half).sum(1))
    big = (radius > _BIG).nonzero()[0]
    place = mesh.centre[:, 0] + 1j * mesh.centre[:, 1]
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for k in big.tolist():
        # Boxes that are farther apart than this are always in the order of their distances.
        close = np.abs(place - place[k]) < 3.0 * (radius + radius[k])
        close[big[big <= k]] = False  # each pair once
        other = close.nonzero()[0]
        firsts.append(np.full(len(other), k))
        seconds.append(other)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    axis = mesh.axis[:, 0] + 1j * mesh.axis[:, 1]
    return Pairs(
        first,
        second,
        _outside(place, axis, half, first, second),
        _outside(place, axis, half, second, first),
    )


def _outside(
    place: NDArray[np.complex128], axis: NDArray[np.complex128], half: Array, a: Ints, b: Ints
) -> NDArray[np.uint8]:
    """For pairs of boxes in plan: the faces of b on whose outer side a lies wholly, as bits.

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


@per_map
def statics_of(roadmap: RoadMap) -> kernels.Faces:
    """The faces of the map's static objects, numbered as in the map; computed once for each map."""
    statics = list(roadmap.statics)
    mesh = StaticMesh(statics, terrain_of(roadmap).flattened_statics(statics))
    return kernels.Faces(mesh, _neighbours(mesh))


class CameraScene:
    """What one camera sees: the map's static objects, then all bodies, numbered in this order."""

    def __init__(self, camera: PinholeCamera) -> None:
        self._look = kernels.Look(camera.width, camera.height, camera.focal, NEAR, REACH, _BIG)
        self._bodies_key: tuple[bytes, ...] = ()
        self._bodies = kernels.Faces(body_mesh(Bodies()))

    def look(self, roadmap: RoadMap, bodies: Bodies, eye: Eye, shadows: bool = True) -> kernels.Look:
        """What is seen from ``eye``.  The result is valid until the next call."""
        columns = (bodies.id, bodies.tag, bodies.extent, bodies.centre, bodies.colour)
        key = tuple(column.tobytes() for column in columns)
        look = getattr(bodies, "look", None)
        if look is not None:
            key += (look.tobytes(),)
        if key != self._bodies_key:
            self._bodies_key, self._bodies = key, kernels.Faces(body_mesh(bodies))
        places = (bodies.position, bodies.rotation, bodies.centre)
        self._look.look(statics_of(roadmap), self._bodies, *eye, *places, shadows)
        return self._look
