"""``sensor.camera.rgb``."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.base import BOOL, FLOAT, INT, STRING, Attribute
from minicarla.sensors.camera import CAMERA_ATTRIBUTES, Camera
from minicarla.sensors.raster.ground import ground_of
from minicarla.sensors.raster.picture import ColourPicture
from minicarla.sensors.things import things_of
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class RgbCamera(Camera):
    """The colour camera.  Of the post-processing attributes only ``gamma`` and
    ``exposure_compensation`` change the picture."""

    blueprint = "sensor.camera.rgb"
    wire_type = SensorType.RGB_CAMERA
    attributes = (
        *CAMERA_ATTRIBUTES,
        Attribute("enable_postprocess_effects", BOOL, "true"),
        Attribute("gamma", FLOAT, "2.2"),
        Attribute("exposure_mode", STRING, "histogram", ("manual", "histogram"), True),
        Attribute("exposure_compensation", FLOAT, "0.0"),
        Attribute("exposure_min_bright", FLOAT, "10.0"),
        Attribute("exposure_max_bright", FLOAT, "12.0"),
        Attribute("exposure_speed_up", FLOAT, "3.0"),
        Attribute("exposure_speed_down", FLOAT, "1.0"),
        Attribute("shutter_speed", FLOAT, "200.0"),
        Attribute("iso", FLOAT, "100.0"),
        Attribute("fstop", FLOAT, "1.4"),
        Attribute("min_fstop", FLOAT, "1.2"),
        Attribute("blade_count", INT, "5"),
        Attribute("focal_distance", FLOAT, "1000.0"),
        Attribute("blur_amount", FLOAT, "1.0"),
        Attribute("blur_radius", FLOAT, "0.0"),
        Attribute("calibration_constant", FLOAT, "16.0"),
        Attribute("motion_blur_intensity", FLOAT, "0.45"),
        Attribute("motion_blur_max_distortion", FLOAT, "0.35"),
        Attribute("motion_blur_min_object_screen_size", FLOAT, "0.1"),
        Attribute("lens_flare_intensity", FLOAT, "0.1"),
        Attribute("bloom_intensity", FLOAT, "0.675"),
        Attribute("slope", FLOAT, "0.88"),
        Attribute("toe", FLOAT, "0.55"),
        Attribute("shoulder", FLOAT, "0.26"),
        Attribute("black_clip", FLOAT, "0.0"),
        Attribute("white_clip", FLOAT, "0.04"),
        Attribute("temp", FLOAT, "6500.0"),
        Attribute("tint", FLOAT, "0.0"),
        Attribute("chromatic_aberration_intensity", FLOAT, "0.0"),
        Attribute("chromatic_aberration_offset", FLOAT, "0.0"),
    )

    unused = frozenset(attribute.id for attribute in attributes) - {
        "role_name",
        "sensor_tick",
        "image_size_x",
        "image_size_y",
        "fov",
        "enable_postprocess_effects",
        "gamma",
        "exposure_compensation",
    }

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self._picture = ColourPicture(self.width, self.height, self.fov)
        self._curve = self._tone_curve()

    def _tone_curve(self) -> NDArray[np.uint8] | None:
        """(1, 256, 4) table from the picture as drawn, which has gamma 2.2; None when it stays so."""
        gamma = min(10.0, max(0.1, self.number("gamma")))
        compensation = min(15.0, max(-15.0, self.number("exposure_compensation")))
        if not self.flag("enable_postprocess_effects") or (gamma == 2.2 and compensation == 0.0):
            return None
        linear = (np.arange(256) / 255.0) ** 2.2 * 2.0**compensation
        table = np.rint(255.0 * np.minimum(linear, 1.0) ** (1.0 / gamma)).astype(np.uint8)
        return np.stack([table, table, table, np.arange(256, dtype=np.uint8)], axis=-1)[None]

    def prepare(self, roadmap: RoadMap) -> None:
        super().prepare(roadmap)
        ground_of(roadmap).pyramid  # noqa: B018  computed by being asked for

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """An image, BGRA."""
        pixels = self._picture.render(view.roadmap, things_of(view), view.weather, pose)
        if self._curve is not None:
            pixels = np.asarray(cv2.LUT(pixels, self._curve), np.uint8)
        return sensor_data.image(pixels, self.fov)
