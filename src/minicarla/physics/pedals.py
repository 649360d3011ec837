"""The dynamics turned round: which controls give a wanted motion."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minicarla.physics.dynamics import BRAKING, CHARACTERISTIC_SPEED, ENGINE_DRAG, ROLLING
from minicarla.physics.models import MAX_STEER_DEG, STEERING_CURVE

Floats = NDArray[np.float64]


def pedals(parameters: Floats, speed: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
    """(throttle, brake), each (n,), that give n vehicles an acceleration in m/s^2.

    parameters: columns of ``models.table()``, (rows, n); the vehicles' own mass.
    speed: (n,) m/s, forward.
    """
    mass, power, thrust, drag = parameters[0], parameters[1], parameters[2], parameters[9]
    force = acceleration + ROLLING + drag / mass * speed * speed
    coasting = ENGINE_DRAG * np.minimum(speed, 1.0)
    pull = np.minimum(thrust, power / (mass * np.maximum(speed, 0.1)))
    throttle = ((force + coasting) / (pull + coasting)).clip(0.0, 1.0)
    brake = ((force + coasting) * (-1.0 / BRAKING)).clip(0.0, 1.0)
    return throttle, brake


def steering(parameters: Floats, speed: Floats, curvature: Floats) -> Floats:
    """``steer`` (n,) in [-1, 1] that gives n vehicles a path of this curvature (1/m, right positive)."""
    wheelbase, half_track = parameters[5], parameters[6]
    curvature = curvature * (1.0 + (speed * (1.0 / CHARACTERISTIC_SPEED)) ** 2)
    inner = np.arctan(wheelbase * curvature / (1.0 - half_track * np.abs(curvature)).clip(0.05))
    share = np.interp(speed * 3.6, *STEERING_CURVE)
    return (inner / (share * math.radians(MAX_STEER_DEG))).clip(-1.0, 1.0)
