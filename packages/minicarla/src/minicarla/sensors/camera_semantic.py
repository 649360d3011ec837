"""``sensor.camera.semantic_segmentation``."""

from __future__ import annotations

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.camera import GeometryCamera
from minicarla.sensors.raster.ground import ground_of
from minicarla.sensors.view import WorldView
from minicarla.wire.stream import SensorType


class SemanticCamera(GeometryCamera):
    """The semantic tag of what each pixel shows, in R."""

    blueprint = "sensor.camera.semantic_segmentation"
    wire_type = SensorType.SEMANTIC_CAMERA

    def prepare(self, roadmap: RoadMap) -> None:
        super().prepare(roadmap)
        ground_of(roadmap)

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """An image, BGRA."""
        return self.image(red=self.render(view, pose).tag)
