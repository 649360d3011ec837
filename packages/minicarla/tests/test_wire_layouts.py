"""Byte layouts against independent struct formats: one byte off kills the client."""

from __future__ import annotations

import struct

import numpy as np

from minicarla.geometry import Pose
from minicarla.wire import snapshot, stream, token
from minicarla.wire.snapshot import RECORD


def test_token() -> None:
    packed = token.pack(7, 2001)
    assert packed == struct.pack("<IHBB16x", 7, 2001, 1, 0), "on the host that is asked, as CARLA's"
    assert token.unpack(packed) == (7, "", 2001)
    assert token.unpack(struct.pack("<IHBB4B12x", 7, 2001, 1, 1, 127, 0, 0, 1)) == (7, "127.0.0.1", 2001)
    assert token.unpack(struct.pack("<IHBB15xB", 1, 5, 1, 2, 1)) == (1, "::1", 5)
    assert token.unpack(struct.pack("<IHBB16x", 3, 5, 1, 1)) == (3, "", 5)


def test_sensor_header() -> None:
    pose = Pose(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    packed = stream.header(stream.SensorType.WORLD, 9, 0.45, pose)
    assert packed == struct.pack("<QQd6f", 17, 9, 0.45, 1, 2, 3, 4, 5, 6)


def test_episode_header() -> None:
    packed = snapshot.episode_header(3, 1.5, 0.05, 1, (4, 5, 6))
    assert packed == struct.pack("<Qdf3iI", 3, 1.5, 0.05, 4, 5, 6, 1)


def test_vehicle_record() -> None:
    record = np.zeros(1, RECORD)
    for name, value in (
        ("id", 5),
        ("state", 1),
        ("location", (1, 2, 3)),
        ("rotation", (4, 5, 6)),
        ("velocity", (7, 8, 9)),
        ("angular_velocity", (10, 11, 12)),
        ("acceleration", (13, 14, 15)),
        ("throttle", 0.25),
        ("steer", -0.5),
        ("brake", 0.75),
        ("hand_brake", 1),
        ("reverse", 0),
        ("manual_gear_shift", 1),
        ("gear", -1),
        ("speed_limit", 50.0),
        ("traffic_light_state", 2),
        ("has_traffic_light", 1),
        ("traffic_light_id", 77),
        ("failure_state", 3),
    ):
        record[name] = value
    expected = struct.pack("<IB15f", 5, 1, *range(1, 16))
    expected += struct.pack("<3f3Bif2BIB", 0.25, -0.5, 0.75, 1, 0, 1, -1, 50.0, 2, 1, 77, 3)
    assert record.tobytes() == expected.ljust(119, b"\0")


def test_walker_and_light_records() -> None:
    record = np.zeros(1, RECORD)
    record["walk_direction"], record["walk_speed"], record["jump"] = (1, 2, 3), 1.5, 1
    assert record.tobytes()[65:] == struct.pack("<4fB", 1, 2, 3, 1.5, 1).ljust(54, b"\0")
    record = np.zeros(1, RECORD)
    record["sign_id"], record["green_time"], record["yellow_time"] = b"952", 10, 3
    record["red_time"], record["elapsed_time"], record["pole_index"] = 2, 1, 4
    record["time_is_frozen"], record["light_state"] = 1, 2
    assert record.tobytes()[65:] == b"952".ljust(32, b"\0") + struct.pack("<4fIBB", 10, 3, 2, 1, 4, 1, 2)
