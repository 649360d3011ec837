"""``sensor.lidar.ray_cast_semantic``."""

from __future__ import annotations

import numpy as np

from minicarla.geometry import Pose
from minicarla.sensors.lidar import Lidar
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class SemanticLidar(Lidar):
    """Points with the cosine of incidence, the actor hit (0: none) and its semantic tag; no noise."""

    blueprint = "sensor.lidar.ray_cast_semantic"
    wire_type = SensorType.SEMANTIC_LIDAR

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """Points in the sensor's frame, metres."""
        local, hits = self.scan(view, pose, parent_id)
        kept = np.isfinite(hits.distance)
        points = np.empty(int(kept.sum()), sensor_data.SEMANTIC_LIDAR_POINT)
        for k, name in enumerate("xyz"):
            points[name] = local[kept, k] * hits.distance[kept]
        points["cos_inc_angle"] = hits.cosine[kept]
        actors = np.append(hits.boxes.actor, 0)  # row -1 is the ground: no actor
        points["object_idx"] = actors[hits.box[kept]]
        points["object_tag"] = hits.tag[kept]
        return self.message(points, kept)
