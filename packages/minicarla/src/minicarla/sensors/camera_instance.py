"""``sensor.camera.instance_segmentation``."""

from __future__ import annotations

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.camera import GeometryCamera
from minicarla.sensors.raster.ground import ground_of
from minicarla.sensors.view import WorldView
from minicarla.wire.stream import SensorType


class InstanceCamera(GeometryCamera):
    """The semantic tag in R, and in G (low byte) and B (high byte) which thing of that kind it is.

    Vehicles and walkers have their actor ids, buildings and the like ids from 0x8000 on,
    ground and sky 0.
    """

    blueprint = "sensor.camera.instance_segmentation"
    wire_type = SensorType.INSTANCE_CAMERA

    def prepare(self, roadmap: RoadMap) -> None:
        super().prepare(roadmap)
        ground_of(roadmap)

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """An image, BGRA."""
        picture = self.render(view, pose)
        instance = picture.instance
        return self.image(blue=instance >> 8, green=instance & 255, red=picture.tag)
