"""``sensor.other.lane_invasion``: the client detects these itself, from poses and the map."""

from __future__ import annotations

from minicarla.geometry import Pose
from minicarla.sensors.base import ROLE_NAME, Sensor
from minicarla.sensors.view import WorldView
from minicarla.wire.stream import SensorType


class LaneInvasionSensor(Sensor):
    """A sensor without a stream."""

    blueprint = "sensor.other.lane_invasion"
    wire_type = SensorType.LANE_INVASION
    attributes = (ROLE_NAME,)
    event = True
    streams = False

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> None:
        """Nothing."""
        return
