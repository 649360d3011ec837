"""Weather and light of an episode, drawn from CARLA's presets.

``train`` and ``held_out`` are those of the NoCrash benchmark (Codevilla et al. 2019): an agent that was
trained in the former is tested in the latter, which it has never seen.
"""

from __future__ import annotations

import carla
import numpy as np

from av_td3.config import Weather

TRAIN = ("ClearNoon", "WetNoon", "HardRainNoon", "ClearSunset")
HELD_OUT = ("WetSunset", "SoftRainSunset")
ALL = (
    *TRAIN,
    *HELD_OUT,
    *("CloudyNoon", "WetCloudyNoon", "MidRainyNoon", "SoftRainNoon"),
    *("CloudySunset", "WetCloudySunset", "MidRainSunset", "HardRainSunset"),
    *("ClearNight", "CloudyNight", "WetNight", "WetCloudyNight"),
    *("SoftRainNight", "MidRainyNight", "HardRainNight", "DustStorm"),
)
"""Every preset of CARLA 0.9.16 but ``Default``."""
_CHOICES: dict[Weather, tuple[str, ...]] = {"train": TRAIN, "held_out": HELD_OUT, "all": ALL}


def draw(weather: Weather, rng: np.random.Generator) -> str | None:
    """Name of a preset; None for ``fixed``, which draws nothing."""
    if weather == "fixed":
        return None
    names = _CHOICES[weather]
    return names[int(rng.integers(len(names)))]


def parameters(name: str) -> carla.WeatherParameters:
    """The preset of that name."""
    preset: carla.WeatherParameters = getattr(carla.WeatherParameters, name)
    return preset
