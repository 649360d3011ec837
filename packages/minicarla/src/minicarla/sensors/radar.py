"""``sensor.other.radar``."""

from __future__ import annotations

import math

import numpy as np

from minicarla.geometry import Pose, rotation_matrix
from minicarla.maps import RoadMap
from minicarla.sensors import rays
from minicarla.sensors.base import FLOAT, INT, ROLE_NAME_ANY, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.lidar import MOST_RAYS
from minicarla.sensors.rays import cast
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class RadarSensor(Sensor):
    """Random rays in an elliptic cone, each with distance, direction and closing speed of what it hits.

    The speed is that relative to the parent along the ray, in m/s; it is negative when the thing comes
    closer.  Azimuth (to the right) and altitude (upwards) are in radians.
    """

    blueprint = "sensor.other.radar"
    wire_type = SensorType.RADAR
    attributes = (
        ROLE_NAME_ANY,
        SENSOR_TICK,
        Attribute("horizontal_fov", FLOAT, "30.0"),
        Attribute("vertical_fov", FLOAT, "30.0"),
        Attribute("range", FLOAT, "100.0"),
        Attribute("points_per_second", INT, "1500"),
        Attribute("noise_seed", INT, "0"),
    )

    def prepare(self, roadmap: RoadMap) -> None:
        rays.prepare(roadmap)

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """The message with all detections; there may be none."""
        seconds = max(view.dt, self.period)
        count = min(MOST_RAYS, max(0, int(self.number("points_per_second") * seconds)))
        reach = max(0.0, self.number("range"))
        radius = self.random.random(count)
        angle = self.random.random(count) * (2.0 * math.pi)
        wide = math.tan(math.radians(min(170.0, self.number("horizontal_fov"))) / 2.0)
        tall = math.tan(math.radians(min(170.0, self.number("vertical_fov"))) / 2.0)
        local = np.stack(
            [np.ones(count), wide * radius * np.cos(angle), tall * radius * np.sin(angle)], axis=1
        )
        local /= np.sqrt((local * local).sum(1, keepdims=True))
        directions = local @ rotation_matrix(pose.pitch, pose.yaw, pose.roll).T
        hits = cast(view, pose, directions, reach, parent_id)
        kept = np.isfinite(hits.distance)
        own = np.zeros(3)
        if parent_id in view.bodies:
            own = view.bodies.velocity[view.bodies.row(parent_id)]
        velocity = np.concatenate([hits.boxes.velocity, np.zeros((1, 3))])[hits.box[kept]] - own
        found = np.empty(int(kept.sum()), sensor_data.RADAR_DETECTION)
        found["velocity"] = (velocity * directions[kept]).sum(1)
        found["azimuth"] = np.arctan2(local[kept, 1], local[kept, 0])
        found["altitude"] = np.arcsin(np.clip(local[kept, 2], -1.0, 1.0))
        found["depth"] = hits.distance[kept]
        return sensor_data.radar(found)
