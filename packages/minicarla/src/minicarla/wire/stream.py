"""Streams: messages, each with its length before it, that begin with a header of 48 bytes."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from minicarla.geometry import Pose

WORLD_STREAM = 1
"""Stream id of the world snapshot; sensors have higher ones."""

SUBSCRIPTION = struct.Struct("<I")
"""The id of the stream that a client wants to read; it sends nothing else."""

LENGTH = struct.Struct("<I")
"""Before every message: the number of bytes that follow."""

# uint64 sensor type, uint64 frame, double timestamp (simulated seconds), float32 x y z pitch yaw roll
_HEADER = struct.Struct("<QQd6f")
HEADER_SIZE = _HEADER.size
assert HEADER_SIZE == 48


class SensorType(IntEnum):
    """Type of a message, by which the client chooses its decoder."""

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


def header(kind: int, frame: int, timestamp: float, pose: Pose) -> bytes:
    """Header of a message.

    kind: of :class:`SensorType`.  timestamp: simulated seconds.  pose: of the sensor, world frame.
    """
    return _HEADER.pack(kind, frame, timestamp, *pose)


class Header(NamedTuple):
    """The fields of a message's header, see :func:`header`."""

    kind: int
    frame: int
    timestamp: float
    pose: Pose


def parse_header(message: bytes | memoryview) -> Header:
    """The header of a received message; struct.error when it is shorter than one."""
    kind, frame, timestamp, *pose = _HEADER.unpack_from(message)
    return Header(kind, frame, timestamp, Pose(*pose))
