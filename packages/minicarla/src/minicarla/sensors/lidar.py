"""``sensor.lidar.ray_cast``, and the rotating fan of lasers that both lidars share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, rotation_matrix
from minicarla.maps import RoadMap
from minicarla.sensors import rays
from minicarla.sensors.base import FLOAT, INT, ROLE_NAME, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.rays import Hits, cast
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType

Array = NDArray[np.float64]

MOST_RAYS = 1_000_000
"""Most points of one measurement.  More would take minutes and gigabytes."""

FAN = (
    ROLE_NAME,
    SENSOR_TICK,
    Attribute("channels", INT, "32"),
    Attribute("range", FLOAT, "10.0"),
    Attribute("points_per_second", INT, "56000"),
    Attribute("rotation_frequency", FLOAT, "10.0"),
    Attribute("upper_fov", FLOAT, "10.0"),
    Attribute("lower_fov", FLOAT, "-30.0"),
    Attribute("horizontal_fov", FLOAT, "360.0"),
    Attribute("noise_seed", INT, "0"),
)


class Lidar(Sensor):
    """Base of the lidars.

    As in CARLA, the lasers are spread evenly from ``upper_fov`` down to ``lower_fov``.  Between two
    measurements the fan turns by ``rotation_frequency`` * ``horizontal_fov`` * seconds (degrees).
    Each laser fires at even intervals during that turn.
    """

    attributes: ClassVar[tuple[Attribute, ...]] = FAN

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self.channels = min(1024, max(1, int(self.number("channels"))))
        self.range = max(0.0, self.number("range"))
        self.fov = min(360.0, max(1e-3, self.number("horizontal_fov")))
        self._elevations = np.linspace(self.number("upper_fov"), self.number("lower_fov"), self.channels)
        self._angle = 0.0  # degrees
        self._since = 0.0

    def prepare(self, roadmap: RoadMap) -> None:
        rays.prepare(roadmap)

    def scan(self, view: WorldView, pose: Pose, parent_id: int) -> tuple[Array, Hits]:
        """The rays of this measurement and their hits.  Rays: (n, 3), sensor's frame, ordered by channel."""
        seconds = max(view.dt, view.time - self._since) if self._since else view.dt
        seconds = min(seconds, max(self.period, view.dt))
        self._since = view.time
        steps = round(max(0.0, self.number("points_per_second")) * seconds / self.channels)
        steps = min(steps, MOST_RAYS // self.channels)
        sweep = self.number("rotation_frequency") * self.fov * seconds
        azimuth = (self._angle + sweep / max(steps, 1) * np.arange(steps)) % self.fov - 0.5 * self.fov
        self._angle = (self._angle + sweep) % self.fov
        up, around = np.meshgrid(np.deg2rad(self._elevations), np.deg2rad(azimuth), indexing="ij")
        local = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
        local = local.reshape(-1, 3)
        turn = rotation_matrix(pose.pitch, pose.yaw, pose.roll)
        return local, cast(view, pose, local @ turn.T, self.range, parent_id)

    def message(self, points: NDArray[Any], kept: NDArray[np.bool_]) -> bytes:
        """The message's body.  ``points`` (k,) are those of the rays that ``kept`` (n,) selects."""
        counts = kept.reshape(self.channels, -1).sum(1) if len(kept) else np.zeros(self.channels, np.int64)
        return sensor_data.lidar(math.radians(self._angle), counts.tolist(), points)


class RayCastLidar(Lidar):
    """Points with an intensity of exp(-attenuation * metres); drop-off and noise follow CARLA's model."""

    blueprint = "sensor.lidar.ray_cast"
    wire_type = SensorType.LIDAR
    attributes = (
        *FAN,
        Attribute("atmosphere_attenuation_rate", FLOAT, "0.004"),
        Attribute("dropoff_general_rate", FLOAT, "0.45"),
        Attribute("dropoff_intensity_limit", FLOAT, "0.8"),
        Attribute("dropoff_zero_intensity", FLOAT, "0.4"),
        Attribute("noise_stddev", FLOAT, "0.0"),
    )

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """Points in the sensor's frame, metres."""
        local, hits = self.scan(view, pose, parent_id)
        distance = hits.distance
        kept = np.isfinite(distance)
        intensity = np.exp(-self.number("atmosphere_attenuation_rate") * np.where(kept, distance, 0.0))
        general = self.number("dropoff_general_rate")
        if general > 0.0:
            kept &= self.random.random(len(kept)) >= general
        limit, at_zero = self.number("dropoff_intensity_limit"), self.number("dropoff_zero_intensity")
        if limit > 0.0 and at_zero > 0.0:
            chance = at_zero / limit * intensity + (1.0 - at_zero)
            kept &= (intensity > limit) | (self.random.random(len(kept)) < chance)
        spread = abs(self.number("noise_stddev"))
        distance = distance[kept]
        if spread > 0.0:
            distance = distance + self.random.normal(0.0, spread, len(distance))
        points = np.empty(len(distance), sensor_data.LIDAR_POINT)
        for k, name in enumerate("xyz"):
            points[name] = local[kept, k] * distance
        points["intensity"] = intensity[kept]
        return self.message(points, kept)
