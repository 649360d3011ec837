"""Inverse of the vehicle dynamics: the controls that produce a wanted motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minicarla.physics import models
from minicarla.physics.models import CHARACTERISTIC_SPEED, ROLLING

Floats = NDArray[np.float64]


def pedals(parameters: Floats, speed: Floats, acceleration: Floats) -> tuple[Floats, Floats]:
    """Throttle and brake, each (n,), with which n vehicles have the wanted acceleration in m/s^2.

    parameters: columns of ``models.table()``, (rows, n).
    speed: (n,) m/s, forward.
    """
    mass, power, thrust = parameters[: models.THRUST + 1]
    force = acceleration + ROLLING + parameters[models.DRAG] / mass * speed * speed
    coasting = parameters[models.COASTING] * np.minimum(speed, 1.0)
    pull = np.minimum(thrust, power / (mass * np.maximum(speed, 0.1)))
    throttle = ((force + coasting) / (pull + coasting)).clip(0.0, 1.0)
    brake = ((force + coasting) * (-1.0 / np.maximum(parameters[models.BRAKE], 0.1))).clip(0.0, 1.0)
    return throttle, brake


def steering(parameters: Floats, speed: Floats, curvature: Floats) -> Floats:
    """``steer`` (n,) in [-1, 1] with which n vehicles drive this curvature (1/m, to the right positive)."""
    wheelbase, half_track = parameters[models.WHEELBASE], parameters[models.HALF_TRACK]
    curvature = curvature * (1.0 + (speed * (1.0 / CHARACTERISTIC_SPEED)) ** 2)
    inner = np.arctan(wheelbase * curvature / (1.0 - half_track * np.abs(curvature)).clip(0.05))
    share = np.interp(speed * 3.6, *models.STEERING_CURVE)
    return (inner / (share * np.maximum(parameters[models.STEER_RANGE], 0.01))).clip(-1.0, 1.0)
