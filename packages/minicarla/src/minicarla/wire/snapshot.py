"""The world snapshot: a header of 36 bytes, and a record of 119 bytes for each actor.

A record ends in a union of 54 bytes whose meaning depends on the kind of actor.  :data:`RECORD` is a numpy
dtype with overlapping fields, so that a field of all actors can be written at once.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

# uint64 episode id, double platform timestamp, float32 delta seconds, int32 map origin x y z,
# uint32 simulation state
_EPISODE = struct.Struct("<Qdf3iI")
assert _EPISODE.size == 36

RECORD_SIZE = 119
_UNION = 65  # offset of the part that depends on the kind


class SimulationState(IntFlag):
    """Flags of a snapshot."""

    NONE = 0
    MAP_CHANGE = 1
    PENDING_LIGHT_UPDATE = 2


class ActorState(IntEnum):
    """State of an actor in a snapshot."""

    INVALID = 0
    ACTIVE = 1
    DORMANT = 2
    PENDING_KILL = 3


# (name, offset, format).  Metres, m/s, m/s^2, degrees, degrees/s.
_FIELDS: tuple[tuple[str, int, Any], ...] = (
    ("id", 0, "<u4"),
    ("state", 4, "u1"),
    ("location", 5, ("<f4", 3)),
    ("rotation", 17, ("<f4", 3)),  # pitch, yaw, roll
    ("velocity", 29, ("<f4", 3)),
    ("angular_velocity", 41, ("<f4", 3)),
    ("acceleration", 53, ("<f4", 3)),
    # vehicles
    ("throttle", _UNION, "<f4"),
    ("steer", _UNION + 4, "<f4"),
    ("brake", _UNION + 8, "<f4"),
    ("hand_brake", _UNION + 12, "u1"),
    ("reverse", _UNION + 13, "u1"),
    ("manual_gear_shift", _UNION + 14, "u1"),
    ("gear", _UNION + 15, "<i4"),
    ("speed_limit", _UNION + 19, "<f4"),  # km/h
    ("traffic_light_state", _UNION + 23, "u1"),
    ("has_traffic_light", _UNION + 24, "u1"),
    ("traffic_light_id", _UNION + 25, "<u4"),
    ("failure_state", _UNION + 29, "u1"),
    # walkers
    ("walk_direction", _UNION, ("<f4", 3)),
    ("walk_speed", _UNION + 12, "<f4"),
    ("jump", _UNION + 16, "u1"),
    # traffic lights and signs
    ("sign_id", _UNION, "S32"),
    ("green_time", _UNION + 32, "<f4"),
    ("yellow_time", _UNION + 36, "<f4"),
    ("red_time", _UNION + 40, "<f4"),
    ("elapsed_time", _UNION + 44, "<f4"),
    ("pole_index", _UNION + 48, "<u4"),
    ("time_is_frozen", _UNION + 52, "u1"),
    ("light_state", _UNION + 53, "u1"),
    ("union", _UNION, "V54"),
)

RECORD = np.dtype(
    {
        "names": [name for name, _, _ in _FIELDS],
        "offsets": [offset for _, offset, _ in _FIELDS],
        "formats": [form for _, _, form in _FIELDS],
        "itemsize": RECORD_SIZE,
    }
)


def episode_header(
    episode_id: int,
    platform_timestamp: float,
    delta_seconds: float,
    state: int = SimulationState.NONE,
    map_origin: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """The 36 bytes between the header of the message and the records.

    platform_timestamp, delta_seconds: seconds.  state: of :class:`SimulationState`.
    """
    return _EPISODE.pack(episode_id, platform_timestamp, delta_seconds, *map_origin, state)


def parse(body: bytes | memoryview) -> tuple[int, float, NDArray[Any]]:
    """Episode id, seconds of the tick, and records (n,) of :data:`RECORD`, from the body of a snapshot.

    Raises ValueError or struct.error when it is malformed.
    """
    episode_id, _, delta, *_ = _EPISODE.unpack_from(body)
    return episode_id, delta, np.frombuffer(body, RECORD, offset=_EPISODE.size)
