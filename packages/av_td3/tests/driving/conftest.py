"""One minicarla for all tests here, and a driver that uses nothing but the vector observation."""

import subprocess
import sys

import numpy as np
import pytest

from av_td3.config import EnvConfig
from av_td3.driving.observation import read_vector

WHEELBASE, MAX_WHEEL_ANGLE = 2.875, np.radians(70.0)  # Tesla Model 3 as CARLA has it


@pytest.fixture(scope="session")
def server():
    """``host:port`` of a minicarla."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minicarla", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().split(" ready on ")[1].split()[0]
    finally:
        process.kill()
        process.wait()


def pursue(config: EnvConfig, observation, speed=7.0):
    """Pure pursuit and a proportional speed controller."""
    reading = read_vector(config, observation["vector"])
    points = reading.waypoints
    x, y = points[min(max(2, int(0.4 * reading.speed)), len(points) - 1)]
    steer = np.arctan(2.0 * WHEELBASE * y / (x * x + y * y)) / MAX_WHEEL_ANGLE
    x, y = points[min(9, len(points) - 1)]
    bend = abs(2.0 * y / (x * x + y * y))
    wanted = min(speed, np.sqrt(2.5 / max(bend, 1e-3)))
    return np.clip([steer, 0.5 * (wanted - reading.speed)], -1.0, 1.0).astype(np.float32)
