"""Sensors: one file each, one row each in :data:`SENSORS`."""

from __future__ import annotations

from minicarla.sensors.base import Attribute, Sensor
from minicarla.sensors.camera_depth import DepthCamera
from minicarla.sensors.camera_instance import InstanceCamera
from minicarla.sensors.camera_rgb import RgbCamera
from minicarla.sensors.camera_semantic import SemanticCamera
from minicarla.sensors.collision import CollisionSensor
from minicarla.sensors.gnss import GnssSensor
from minicarla.sensors.imu import ImuSensor
from minicarla.sensors.lane_invasion import LaneInvasionSensor
from minicarla.sensors.lidar import RayCastLidar
from minicarla.sensors.lidar_semantic import SemanticLidar
from minicarla.sensors.obstacle import ObstacleSensor
from minicarla.sensors.radar import RadarSensor

SENSORS: tuple[type[Sensor], ...] = (
    RgbCamera,
    DepthCamera,
    SemanticCamera,
    InstanceCamera,
    CollisionSensor,
    ObstacleSensor,
    LaneInvasionSensor,
    GnssSensor,
    ImuSensor,
    RayCastLidar,
    SemanticLidar,
    RadarSensor,
)
"""Every sensor there is."""

REGISTRY: dict[str, type[Sensor]] = {sensor.blueprint: sensor for sensor in SENSORS}
"""The same by blueprint id."""

__all__ = ["REGISTRY", "SENSORS", "Attribute", "Sensor"]
