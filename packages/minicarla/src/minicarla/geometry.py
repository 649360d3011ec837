"""Transforms in CARLA's convention.

Metres and degrees; left-handed axes: x forward, y right, z up.  Positive yaw
turns x towards y (clockwise seen from above), positive pitch lifts the nose,
positive roll lowers the right side (Unreal's convention, which
``carla.Transform`` shares).  OpenDRIVE's right-handed (x, y, hdg) maps to
CARLA's (x, -y, yaw = -hdg).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Pose(NamedTuple):
    """A pose: location in metres, rotation in degrees (``carla.Transform``)."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0


def rotation_matrix(pitch: float, yaw: float, roll: float) -> Array:
    """(3, 3) matrix whose columns are the forward, right and up axes.

    Angles in degrees.  Same result as the upper-left block of
    ``carla.Transform.get_matrix``.
    """
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return np.array(
        [
            [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
            [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
            [sp, -cp * sr, cp * cr],
        ]
    )


def rotation_angles(matrix: Array) -> tuple[float, float, float]:
    """(pitch, yaw, roll) in degrees of a rotation matrix; inverse of :func:`rotation_matrix`."""
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, float(matrix[2, 0])))))
    yaw = math.degrees(math.atan2(float(matrix[1, 0]), float(matrix[0, 0])))
    roll = math.degrees(math.atan2(-float(matrix[2, 1]), float(matrix[2, 2])))
    return pitch, yaw, roll


def compose(parent: Pose, child: Pose) -> Pose:
    """World pose of ``child``, which is given relative to ``parent`` (a rigid attachment).

    It is written out in floats because it runs for every attached sensor in every tick, and small
    matrices cost ten times as much.
    """
    x, y, z, pitch, yaw, roll = parent
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    # Rows of the parent's rotation_matrix.
    xx, xy, xz = cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr
    yx, yy, yz = cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr
    zx, zy, zz = sp, -cp * sr, cp * cr
    u, v, w, pitch, yaw, roll = child
    place = (x + xx * u + xy * v + xz * w, y + yx * u + yy * v + yz * w, z + zx * u + zy * v + zz * w)
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    # The forward axis of the product, and the third row of its other two.
    fx, fy, fz = cp * cy, cp * sy, sp
    forward_x = xx * fx + xy * fy + xz * fz
    forward_y = yx * fx + yy * fy + yz * fz
    forward_z = zx * fx + zy * fy + zz * fz
    right_z = zx * (cy * sp * sr - sy * cr) + zy * (sy * sp * sr + cy * cr) - zz * cp * sr
    up_z = zx * (-cy * sp * cr - sy * sr) + zy * (-sy * sp * cr + cy * sr) + zz * cp * cr
    return Pose(
        *place,
        math.degrees(math.asin(max(-1.0, min(1.0, forward_z)))),
        math.degrees(math.atan2(forward_y, forward_x)),
        math.degrees(math.atan2(-right_z, up_z)),
    )


def wrap_degrees(angle: float) -> float:
    """``angle`` in [-180, 180)."""
    return (angle + 180.0) % 360.0 - 180.0
