"""What all cameras share: size, field of view, and the picture of geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.base import FLOAT, INT, ROLE_NAME, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.raster.geometry import GeometryPicture
from minicarla.sensors.raster.painter import statics_of
from minicarla.sensors.things import things_of
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data

MOST_PIXELS = 8192
"""Largest width and height of a picture."""

Channel = NDArray[np.integer[Any]] | int

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
"""Attributes of every camera.  Size, field of view and tick have an effect; the lens is always a pinhole."""


class Camera(Sensor):
    """Base of the cameras: ``width``, ``height`` in pixels, horizontal ``fov`` in degrees."""

    attributes: ClassVar[tuple[Attribute, ...]] = CAMERA_ATTRIBUTES
    unused: ClassVar[frozenset[str]] = frozenset(
        attribute.id for attribute in CAMERA_ATTRIBUTES if attribute.id.startswith("lens_")
    )

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self.width = min(MOST_PIXELS, max(1, int(self.number("image_size_x"))))
        self.height = min(MOST_PIXELS, max(1, int(self.number("image_size_y"))))
        self.fov = min(170.0, max(1.0, self.number("fov")))

    def prepare(self, roadmap: RoadMap) -> None:
        statics_of(roadmap)


class GeometryCamera(Camera):
    """Base of the cameras that show geometry instead of colour."""

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self._picture = GeometryPicture(self.width, self.height, self.fov)

    def render(self, view: WorldView, pose: Pose) -> GeometryPicture:
        """The picture as seen from ``pose``."""
        self._picture.render(view.roadmap, things_of(view), pose)
        return self._picture

    def image(self, *, red: Channel, green: Channel = 0, blue: Channel = 0) -> bytes:
        """Message of an opaque picture; each channel is (height, width), or one value for all pixels."""
        pixels = np.empty((self.height, self.width, 4), np.uint8)
        pixels[..., 0], pixels[..., 1], pixels[..., 2], pixels[..., 3] = blue, green, red, 255
        return sensor_data.image(pixels, self.fov)
