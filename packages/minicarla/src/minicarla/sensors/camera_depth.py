"""``sensor.camera.depth``."""

from __future__ import annotations

import numpy as np

from minicarla.geometry import Pose
from minicarla.sensors.camera import GeometryCamera
from minicarla.sensors.raster.geometry import FAR
from minicarla.sensors.view import WorldView
from minicarla.wire.stream import SensorType


class DepthCamera(GeometryCamera):
    """Metres along the optical axis, 1000 at most, in CARLA's 24 bits: R low, G middle, B high."""

    blueprint = "sensor.camera.depth"
    wire_type = SensorType.DEPTH_CAMERA

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """An image, BGRA."""
        picture = self.render(view, pose)
        value = np.rint(picture.depth * ((256.0**3 - 1.0) / FAR)).astype(np.uint32)
        np.minimum(value, 256**3 - 1, out=value)
        return self.image(blue=value >> 16, green=(value >> 8) & 255, red=value & 255)
