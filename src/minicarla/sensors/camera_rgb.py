"""``sensor.camera.rgb``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from minicarla.geometry import Transform
from minicarla.sensors.base import BOOL, FLOAT, INT, ROLE_NAME, SENSOR_TICK, STRING, Attribute, Sensor
from minicarla.sensors.raster.picture import ColourPicture
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType

MOST_PIXELS = 8192

CAMERA_ATTRIBUTES = (
    ROLE_NAME,
    SENSOR_TICK,
    Attribute("image_size_x", INT, "800"),
    Attribute("image_size_y", INT, "600"),
    Attribute("fov", FLOAT, "90.0"),
    Attribute("lens_circle_falloff", FLOAT, "5.0"),
    Attribute("lens_circle_multiplier", FLOAT, "0.0"),
    Attribute("lens_k", FLOAT, "-1.0"),
    Attribute("lens_kcube", FLOAT, "0.0"),
    Attribute("lens_x_size", FLOAT, "0.08"),
    Attribute("lens_y_size", FLOAT, "0.08"),
)
"""Of every camera.  Size, field of view and tick are respected; the lens is always a pinhole."""


class Camera(Sensor):
    """Base of the cameras: ``width``, ``height`` in pixels, horizontal ``fov`` in degrees."""

    attributes: ClassVar[tuple[Attribute, ...]] = CAMERA_ATTRIBUTES

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self.width = min(MOST_PIXELS, max(1, int(self.number("image_size_x"))))
        self.height = min(MOST_PIXELS, max(1, int(self.number("image_size_y"))))
        self.fov = min(170.0, max(1.0, self.number("fov")))


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

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self._picture = ColourPicture(self.width, self.height, self.fov)

    def measure(self, view: WorldView, pose: Transform, parent_id: int) -> bytes:
        """An image, BGRA."""
        pixels = self._picture.render(view.roadmap, view.bodies, view.weather, pose)
        return sensor_data.image(pixels, self.fov)
