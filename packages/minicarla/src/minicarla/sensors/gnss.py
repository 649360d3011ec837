"""``sensor.other.gnss``: latitude, longitude and altitude by the map's geoReference."""

from __future__ import annotations

import math
import re

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.base import FLOAT, INT, ROLE_NAME_ANY, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.cache import per_map
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType

EARTH_RADIUS = 6378137.0
"""Metres, at the equator, as in CARLA."""

SCALE = 0.9996
"""Scale of the projection on its central meridian."""

DEFAULT_REFERENCE = (42.0, 2.0)
"""What CARLA takes for a map without a usable geoReference: latitude, longitude."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@per_map
def reference(roadmap: RoadMap) -> tuple[float, float]:
    """Latitude and longitude of a map's origin, degrees."""
    latitude = re.search(rf"\+lat_0=({_NUMBER})", roadmap.data.geo_reference)
    longitude = re.search(rf"\+lon_0=({_NUMBER})", roadmap.data.geo_reference)
    if latitude and longitude:
        place = float(latitude[1]), float(longitude[1])
        if abs(place[0]) <= 90.0 and abs(place[1]) <= 360.0:
            return place
    return DEFAULT_REFERENCE


def geolocation(origin: tuple[float, float], x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude of CARLA's (x, y): transverse Mercator on a sphere around ``origin``.

    The same as ``carla.Map.transform_to_geolocation`` of 0.9.16, which takes x as easting and
    y as northing (older clients had y point south), whatever projection the map names.
    """
    latitude, longitude = math.radians(origin[0]), math.radians(origin[1])
    east = x / (EARTH_RADIUS * SCALE)
    north = y / (EARTH_RADIUS * SCALE) + latitude
    return (
        math.degrees(math.asin(math.sin(north) / math.cosh(east))),
        math.degrees(longitude + math.atan2(math.sinh(east), math.cos(north))),
    )


class GnssSensor(Sensor):
    """Position on the globe, with a bias and Gaussian noise on each coordinate."""

    blueprint = "sensor.other.gnss"
    wire_type = SensorType.GNSS
    attributes = (
        ROLE_NAME_ANY,
        SENSOR_TICK,
        Attribute("noise_seed", INT, "0"),
        Attribute("noise_lat_stddev", FLOAT, "0.0"),
        Attribute("noise_lat_bias", FLOAT, "0.0"),
        Attribute("noise_lon_stddev", FLOAT, "0.0"),
        Attribute("noise_lon_bias", FLOAT, "0.0"),
        Attribute("noise_alt_stddev", FLOAT, "0.0"),
        Attribute("noise_alt_bias", FLOAT, "0.0"),
    )

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """Latitude and longitude in degrees, altitude in metres."""
        latitude, longitude = geolocation(reference(view.roadmap), pose.x, pose.y)
        noise = [
            self.number(f"noise_{name}_bias")
            + self.random.normal(0.0, abs(self.number(f"noise_{name}_stddev")))
            for name in ("lat", "lon", "alt")
        ]
        return sensor_data.gnss(latitude + noise[0], longitude + noise[1], pose.z + noise[2])
