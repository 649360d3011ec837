"""Sensors of CARLA that cannot be spawned here.

Programs look up all their sensors before they spawn one.  So the blueprints exist, and spawning one of
them is refused with an error that names the sensor.
"""

from __future__ import annotations

from minicarla.sensors.base import BOOL, FLOAT, INT, Attribute
from minicarla.sensors.camera import CAMERA_ATTRIBUTES

ABSENT: dict[str, tuple[Attribute, ...]] = {
    "sensor.camera.normals": CAMERA_ATTRIBUTES,
    "sensor.camera.optical_flow": CAMERA_ATTRIBUTES,
    "sensor.camera.cosmos_visualization": CAMERA_ATTRIBUTES,
    "sensor.camera.dvs": (
        *CAMERA_ATTRIBUTES,
        Attribute("positive_threshold", FLOAT, "0.3"),
        Attribute("negative_threshold", FLOAT, "0.3"),
        Attribute("sigma_positive_threshold", FLOAT, "0.0"),
        Attribute("sigma_negative_threshold", FLOAT, "0.0"),
        Attribute("refractory_period_ns", INT, "0"),
        Attribute("use_log", BOOL, "true"),
        Attribute("log_eps", FLOAT, "0.001"),
    ),
}
"""Attributes by blueprint id."""
