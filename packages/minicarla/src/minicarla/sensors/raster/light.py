"""Light, sky and fog for CARLA's weather.  Colours are BGR; 255 is white."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicarla.wire.structs import WeatherParameters

Array = NDArray[np.float64]

ELEVATIONS = 512
"""Number of colours in the sky's table, which goes from 0 to 90 degrees above the horizon."""


def _ramp(value: float, low: float, high: float) -> float:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


def _mix(a: ArrayLike, b: ArrayLike, share: float) -> Array:
    return np.asarray(a, dtype=np.float64) * (1.0 - share) + np.asarray(b, dtype=np.float64) * share


class Illumination:
    """What a picture needs to know of the weather.

    sun: unit vector towards the sun.
    direct, ambient: BGR factors; the albedo of a surface with normal n is multiplied by
    ``ambient + direct * max(0, n . sun)``.
    sky: (ELEVATIONS, 3) BGR.
    fog: BGR colour of the fog.
    extinction: coefficient per metre of the exponential loss of light; it begins at ``clear`` metres.
    night: 0 by day, 1 at night.
    wet: wetness of the ground, 0 to 1.
    """

    def __init__(self, weather: WeatherParameters) -> None:
        altitude = float(weather.sun_altitude_angle)
        azimuth = math.radians(float(weather.sun_azimuth_angle))
        cloud = min(1.0, max(0.0, float(weather.cloudiness) / 100.0))
        rain = min(1.0, max(0.0, float(weather.precipitation) / 100.0))
        fog = min(1.0, max(0.0, float(weather.fog_density) / 100.0))
        dust = min(1.0, max(0.0, float(weather.dust_storm) / 100.0))
        ponds = min(1.0, max(0.0, float(weather.precipitation_deposits) / 100.0))
        self.wet = min(1.0, max(0.0, float(weather.wetness) / 100.0, 0.8 * ponds, 0.5 * rain))

        flat = math.cos(math.radians(altitude))
        self.sun = np.array(
            [flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(math.radians(altitude))]
        )
        day = _ramp(altitude, -9.0, 10.0)
        low = _ramp(altitude, -6.0, 3.0) * (1.0 - _ramp(altitude, 6.0, 28.0))  # sunrise and sunset
        self.night = 1.0 - day
        grey = 1.0 - 0.85 * cloud
        self.direct = _mix([0.56, 0.56, 0.56], [0.32, 0.48, 0.68], low) * _ramp(altitude, -1.0, 12.0) * grey
        ambient = _mix([0.44, 0.42, 0.40], [0.42, 0.37, 0.36], low) + 0.20 * cloud
        self.ambient = _mix([0.27, 0.225, 0.21], ambient, day) * (1.0 - 0.25 * rain)

        zenith = _mix(_mix([205, 140, 78], [140, 100, 84], low), [182, 176, 170], 0.9 * cloud)
        horizon = _mix(_mix([232, 216, 200], [120, 178, 236], low), [208, 206, 204], 0.8 * cloud)
        zenith = _mix([34, 20, 14], zenith, day) * (1.0 - 0.25 * rain)
        horizon = _mix([52, 38, 32], horizon, day) * (1.0 - 0.2 * rain)
        haze = _mix(_mix(horizon, [214, 212, 210], 0.6 * fog * day), [96, 140, 176], dust * day)
        self.fog = haze

        # Chosen so that 5 % of the contrast is left at 50 m with fog_density 100, and at 2 km in clear air.
        self.extinction = 0.0015 + 0.0585 * fog**1.5 + 0.006 * rain + 0.03 * dust
        self.clear = max(0.0, float(weather.fog_distance)) if fog > 0.0 else 0.0

        elevation = np.linspace(0.0, 90.0, ELEVATIONS)[:, None]
        sky = horizon + (zenith - horizon) * (1.0 - np.exp(-elevation / 16.0))
        veil = np.exp(-elevation / 12.0) * min(1.0, 0.1 + 1.6 * fog + dust + 0.3 * rain)
        veil = np.maximum(veil, min(1.0, 0.9 * fog**0.5 + dust) if fog + dust > 0.0 else 0.0)
        self.sky = sky + (haze - sky) * np.clip(veil, 0.0, 1.0)

    def transmission(self, distance: Array) -> Array:
        """Share of an object's light that reaches the eye from ``distance`` metres; the rest is fog."""
        return np.asarray(np.exp(-self.extinction * np.maximum(distance - self.clear, 0.0)))

    def ground(self) -> Array:
        """The BGR factor by which the albedo of level ground is multiplied."""
        factor: Array = self.ambient + self.direct * max(0.0, float(self.sun[2]))
        return factor
