"""Traffic signs of a map: stop, yield and speed limit signs, and where each takes effect.

They are what CARLA 0.9.16 makes actors of (``ATrafficLightManager::SpawnSignals``), from OpenDRIVE's
signals of the types 205, 206 and 274.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, wrap_degrees
from minicarla.maps import opendrive as od
from minicarla.maps.lanes import Lane
from minicarla.maps.roadmap import RoadMap

Array = NDArray[np.float64]

YIELD, STOP, SPEED_LIMIT = "205", "206", "274"
"""OpenDRIVE's types of the signals that become signs."""

_PAINTED = "Stencil_STOP"
"""Name of stop signs that are painted on the road; CARLA makes no actors of them."""
_STOP_BOX = (1.5, 0.25, 1.0)
"""Half sizes of a stop or yield sign's box: metres along, share of the lane's width, metres upwards."""
_STOP_DISTANCE = 3.0
"""Metres before the sign at which the middle of that box lies."""
_LIMIT_BOX = 0.35
"""Half size of a speed limit's box in all directions, as a share of the lane's width."""
_SMALLEST = 0.01  # metres


@dataclass(frozen=True)
class TriggerBox:
    """An upright box; metres and degrees, in CARLA's frame."""

    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    """Half sizes."""
    yaw: float = 0.0

    def corners(self) -> Array:
        """(8, 3) its corners."""
        cos, sin = math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        return np.asarray(self.centre + (signs * self.extent) @ turn.T)


@dataclass(frozen=True)
class Sign:
    """One sign."""

    sign_id: str
    """OpenDRIVE's id of the signal."""
    kind: str
    """CARLA's type id: ``traffic.stop``, ``traffic.yield`` or ``traffic.speed_limit.<km/h>``."""
    pose: Pose
    """Of its foot.  As in CARLA, the x axis points 90 degrees to the right of the signal's own direction."""
    boxes: tuple[TriggerBox, ...]
    """Where it takes effect: a box on each of its lanes."""
    limit: int = 0
    """km/h of a speed limit sign, 0 of the others."""

    @property
    def trigger(self) -> TriggerBox | None:
        """What encloses the boxes, square to the axes of the map.  None: it is for no driving lane."""
        if not self.boxes:
            return None
        corners = np.concatenate([box.corners() for box in self.boxes])
        low, high = corners.min(0), corners.max(0)
        x, y, z = (0.5 * (low + high)).tolist()
        dx, dy, dz = (0.5 * (high - low)).tolist()
        return TriggerBox((x, y, z), (dx, dy, dz))


def traffic_signs(roadmap: RoadMap) -> list[Sign]:
    """The signs of a map, in the order of the file."""
    places: dict[str, list[tuple[od.Road, od.SignalRecord]]] = {}
    for road in roadmap.data.roads.values():
        for record in (*road.signals, *road.references):
            places.setdefault(record.id, []).append((road, record))
    signs: dict[str, Sign] = {}
    for road in roadmap.data.roads.values():
        for signal in road.signals:
            kind = _kind(signal)
            if kind is None or signal.id in signs:
                continue
            boxes = tuple(
                _box(roadmap, lane, record.s, signal.kind)
                for other, record in places[signal.id]
                for lane in roadmap.lanes_for(other, record)
            )
            x, y, z, heading = roadmap.beside(road, signal.s, signal.t)
            yaw = wrap_degrees(90.0 - math.degrees(heading + signal.heading_offset))
            pose = Pose(x, y, z + signal.z, 0.0, yaw, 0.0)
            limit = _speed_limit(signal) if signal.kind == SPEED_LIMIT else None
            signs[signal.id] = Sign(signal.id, kind, pose, boxes, limit or 0)
    return list(signs.values())


def _kind(signal: od.SignalRecord) -> str | None:
    if signal.kind == YIELD:
        return "traffic.yield"
    if signal.kind == STOP:
        return None if signal.name == _PAINTED else "traffic.stop"
    if signal.kind == SPEED_LIMIT:
        limit = _speed_limit(signal)
        return None if limit is None else f"traffic.speed_limit.{limit}"
    return None


def _speed_limit(signal: od.SignalRecord) -> int | None:
    """km/h: what the subtype says, which is what CARLA goes by; else the value with its unit."""
    try:
        limit = int(signal.subtype)
    except ValueError:
        limit = -1
    if limit <= 0:
        limit = round(signal.value * 3.6 * od.SPEED_UNITS.get(signal.unit, od.SPEED_UNITS["km/h"]))
    return limit if 0 < limit < 1000 else None


def _box(roadmap: RoadMap, lane: Lane, road_s: float, kind: str) -> TriggerBox:
    """A sign's box on one lane; the sign stands at ``road_s`` of the lane's road."""
    s = lane.along(road_s)
    if kind == SPEED_LIMIT:
        half = max(_SMALLEST, _LIMIT_BOX * lane.width)
        extent = (half, half, half)
        s -= half
    else:
        if lane.junction != -1 and len(lane.predecessors) == 1:
            # One stops before a junction, not in it.
            before = roadmap.lanes[lane.predecessors[0]]
            if before.junction == -1:
                lane, s = before, before.length
        extent = (_STOP_BOX[0], max(_SMALLEST, _STOP_BOX[1] * lane.width), _STOP_BOX[2])
        s -= _STOP_DISTANCE
    (x, y, z), yaw = lane.at(max(0.0, s))
    return TriggerBox((float(x), float(y), float(z)), extent, yaw)
