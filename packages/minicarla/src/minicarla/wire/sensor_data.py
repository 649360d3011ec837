"""Bodies of sensor messages: what follows the 48-byte header, as tables.

The client trusts these blindly (a byte too few is a segmentation fault on its
side), so every sensor packs through here.  Little-endian throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

IMAGE = struct.Struct("<IIf")
"""width, height, fov in degrees; then width * height BGRA pixels, top row first."""

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
"""horizontal angle (radians), channels; then uint32 points of each channel, then the points by channel."""

assert LIDAR_POINT.itemsize == 16 and SEMANTIC_LIDAR_POINT.itemsize == 24
assert RADAR_DETECTION.itemsize == 16


def image(pixels: NDArray[np.uint8], fov: float) -> bytes:
    """Cameras. ``pixels`` (height, width, 4), BGRA."""
    height, width, channels = pixels.shape
    if channels != 4 or pixels.dtype != np.uint8:
        raise ValueError(f"an image is (h, w, 4) uint8, not {pixels.shape} {pixels.dtype}")
    return IMAGE.pack(width, height, fov) + pixels.tobytes()


def parse_image(body: bytes | memoryview) -> NDArray[np.uint8]:
    """(height, width, 4) BGRA of a received camera's body; ValueError or struct.error when it is none."""
    width, height, _ = IMAGE.unpack_from(body)
    return np.frombuffer(body, np.uint8, offset=IMAGE.size).reshape(height, width, 4)


def lidar(angle: float, counts: Sequence[int], points: NDArray[Any]) -> bytes:
    """Both lidars.

    angle: where the scan stopped, radians.  counts: points of each channel.  points:
    all of them, channel by channel, of :data:`LIDAR_POINT` or :data:`SEMANTIC_LIDAR_POINT`.
    """
    if sum(counts) != len(points):
        raise ValueError(f"{sum(counts)} points announced, {len(points)} given")
    if points.dtype not in (LIDAR_POINT, SEMANTIC_LIDAR_POINT):
        raise ValueError(f"not a lidar's points: {points.dtype}")
    return LIDAR_HEADER.pack(angle, len(counts)) + np.asarray(counts, "<u4").tobytes() + points.tobytes()


def radar(detections: NDArray[Any]) -> bytes:
    """``detections`` of :data:`RADAR_DETECTION`: m/s (negative approaches), radians, radians, metres."""
    if detections.dtype != RADAR_DETECTION:
        raise ValueError(f"not radar detections: {detections.dtype}")
    return detections.tobytes()


def gnss(latitude: float, longitude: float, altitude: float) -> bytes:
    """Degrees, degrees, metres."""
    return _pack([float(latitude), float(longitude), float(altitude)])


def imu(accelerometer: Sequence[float], gyroscope: Sequence[float], compass: float) -> bytes:
    """m/s^2, rad/s, radians (0 is north, clockwise)."""
    return _pack([[float(v) for v in accelerometer], [float(v) for v in gyroscope], float(compass)])


def collision(actor: Any, other: Any, impulse: Sequence[float]) -> bytes:
    """Two ``wire.structs.Actor`` and the impulse on the first, N*s."""
    return _pack([actor, other, [float(v) for v in impulse]])


def obstacle(actor: Any, other: Any, distance: float) -> bytes:
    """Two ``wire.structs.Actor`` and metres."""
    return _pack([actor, other, float(distance)])


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))
