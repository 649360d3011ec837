"""The streaming side: length-prefixed messages, each with a 48-byte header."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from minicarla.geometry import Transform

WORLD_STREAM = 1
"""Stream id of the world snapshot; sensors have higher ones."""

SUBSCRIPTION = struct.Struct("<I")
"""All that a client ever sends on a stream: the id that it wants."""

LENGTH = struct.Struct("<I")
"""Before every message: the bytes that follow."""

# uint64 sensor type, uint64 frame, double timestamp (simulated seconds), float32 x y z pitch yaw roll
_HEADER = struct.Struct("<QQd6f")
HEADER_SIZE = _HEADER.size
assert HEADER_SIZE == 48


class SensorType(IntEnum):
    """Place in the client's registry of sensors, which selects its decoder."""

    COLLISION = 0
    DEPTH_CAMERA = 1
    NORMALS_CAMERA = 2
    DVS_CAMERA = 3
    GNSS = 4
    IMU = 5
    LANE_INVASION = 6
    OBSTACLE = 7
    OPTICAL_FLOW_CAMERA = 8
    RADAR = 9
    SEMANTIC_LIDAR = 10
    LIDAR = 11
    RSS = 12
    RGB_CAMERA = 13
    SEMANTIC_CAMERA = 14
    INSTANCE_CAMERA = 15
    COSMOS_CONTROL = 16
    WORLD = 17
    GBUFFER_UINT8 = 18
    GBUFFER_FLOAT = 19
    V2X = 20
    CUSTOM_V2X = 21


def header(kind: int, frame: int, timestamp: float, pose: Transform) -> bytes:
    """Header of a message of sensor type ``kind``, measured at ``pose`` (world frame)."""
    return _HEADER.pack(kind, frame, timestamp, *pose)


class Header(NamedTuple):
    """What :func:`header` packs."""

    kind: int
    frame: int
    timestamp: float
    pose: Transform


def parse_header(message: bytes | memoryview) -> Header:
    """The header of a received message; struct.error when it is shorter than one."""
    kind, frame, timestamp, *pose = _HEADER.unpack_from(message)
    return Header(kind, frame, timestamp, Transform(*pose))
