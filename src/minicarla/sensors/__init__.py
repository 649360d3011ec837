"""Sensors: one file each, one row each in :data:`REGISTRY`."""

from __future__ import annotations

from minicarla.sensors.base import Attribute, Sensor
from minicarla.sensors.camera_rgb import RgbCamera
from minicarla.sensors.collision import CollisionSensor
from minicarla.sensors.obstacle import ObstacleSensor

REGISTRY: dict[str, type[Sensor]] = {
    sensor.blueprint: sensor
    for sensor in (
        RgbCamera,
        CollisionSensor,
        ObstacleSensor,
    )
}
"""Sensor classes by blueprint id."""

__all__ = ["REGISTRY", "Attribute", "Sensor"]
