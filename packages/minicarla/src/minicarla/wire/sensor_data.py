"""The bodies of sensor messages, which follow the 48-byte header.  All numbers are little-endian.

The client does not check them: a message that is one byte short ends it with a segmentation fault.
So every sensor packs its messages by these functions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from minicarla.wire.structs import ActorRecord

IMAGE = struct.Struct("<IIf")
"""Width, height, field of view in degrees; then width * height pixels, BGRA, top row first."""

LIDAR_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
SEMANTIC_LIDAR_POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("cos_inc_angle", "<f4"),
        ("object_idx", "<u4"),
        ("object_tag", "<u4"),
    ]
)
RADAR_DETECTION = np.dtype([("velocity", "<f4"), ("azimuth", "<f4"), ("altitude", "<f4"), ("depth", "<f4")])
LIDAR_HEADER = struct.Struct("<fI")
"""Horizontal angle in radians, number of channels.

Then a uint32 for each channel, the number of its points; then the points, channel by channel.
"""

assert LIDAR_POINT.itemsize == 16 and SEMANTIC_LIDAR_POINT.itemsize == 24
assert RADAR_DETECTION.itemsize == 16


def image(pixels: NDArray[np.uint8], fov: float) -> bytes:
    """Body of a camera's message.

    pixels: (height, width, 4), BGRA.  fov: horizontal field of view, degrees.
    """
    height, width, channels = pixels.shape
    if channels != 4 or pixels.dtype != np.uint8:
        raise ValueError(f"an image is (h, w, 4) uint8, not {pixels.shape} {pixels.dtype}")
    return IMAGE.pack(width, height, fov) + pixels.tobytes()


def parse_image(body: bytes | memoryview) -> NDArray[np.uint8]:
    """Pixels (height, width, 4), BGRA, of a camera's body; ValueError or struct.error if malformed."""
    width, height, _ = IMAGE.unpack_from(body)
    return np.frombuffer(body, np.uint8, offset=IMAGE.size).reshape(height, width, 4)


def lidar(angle: float, counts: Sequence[int], points: NDArray[Any]) -> bytes:
    """Body of a lidar's message.

    angle: where the scan stopped, radians.
    counts: number of points of each channel.
    points: (sum of counts,), channel by channel, of :data:`LIDAR_POINT` or :data:`SEMANTIC_LIDAR_POINT`.
    """
    if sum(counts) != len(points):
        raise ValueError(f"{sum(counts)} points announced, {len(points)} given")
    if points.dtype not in (LIDAR_POINT, SEMANTIC_LIDAR_POINT):
        raise ValueError(f"not a lidar's points: {points.dtype}")
    return LIDAR_HEADER.pack(angle, len(counts)) + np.asarray(counts, "<u4").tobytes() + points.tobytes()


def radar(detections: NDArray[Any]) -> bytes:
    """Body of a radar's message.

    detections: (n,) of :data:`RADAR_DETECTION`: m/s (negative when approaching), radians, radians, metres.
    """
    if detections.dtype != RADAR_DETECTION:
        raise ValueError(f"not radar detections: {detections.dtype}")
    return detections.tobytes()


def gnss(latitude: float, longitude: float, altitude: float) -> bytes:
    """Body of a GNSS receiver's message: degrees, degrees, metres."""
    return _pack([float(latitude), float(longitude), float(altitude)])


def imu(accelerometer: Sequence[float], gyroscope: Sequence[float], compass: float) -> bytes:
    """Body of an inertial sensor's message: m/s^2, rad/s, radians (0 is north, clockwise)."""
    return _pack([[float(v) for v in accelerometer], [float(v) for v in gyroscope], float(compass)])


def collision(actor: ActorRecord, other: ActorRecord, impulse: Sequence[float]) -> bytes:
    """Body of a collision: the actor, what it hit, and the impulse on the actor (3,), N*s."""
    return _pack([actor, other, [float(v) for v in impulse]])


def obstacle(actor: ActorRecord, other: ActorRecord, distance: float) -> bytes:
    """Body of an obstacle: the actor, what is ahead of it, and the distance in metres."""
    return _pack([actor, other, float(distance)])


def _pack(value: object) -> bytes:
    return bytes(msgpack.packb(value))
