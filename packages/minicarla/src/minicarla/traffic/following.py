"""Following a path: how hard to accelerate or brake, and how far to steer.

The distance to whatever body is on the path is kept by the intelligent driver model (Treiber, Hennecke
and Helbing, "Congested traffic states in empirical observations and microscopic simulations", Physical
Review E 62, 2000); the path is followed by pure pursuit (Coulter, "Implementation of the pure pursuit
path tracking algorithm", Carnegie Mellon University, 1992).
"""

from __future__ import annotations

import math

import numpy as np

from minicarla.physics import models
from minicarla.physics.pedals import steering
from minicarla.traffic.plans import BRAKING, STANDING_GAP
from minicarla.traffic.table import DriverTable, Floats, Situation

ACCELERATION = 1.8  # m/s^2; the model's a (its b is BRAKING, its s0 STANDING_GAP)
HARDEST = 8.0  # m/s^2, of any braking
HEADWAY = 1.3  # s; the model's T
STOP_LINE = 1.5  # m kept before a junction that may not be entered
GAIN = 1.6  # 1/s: m/s^2 for each m/s that the wanted speed is away
PEDAL_LAG = 0.4  # s ahead on the path at which the wanted speed is read
REACTION = 0.3  # s that count as lost where one comes to a stand
PURSUIT = 0.45, 3.0, 12.0  # s, least m and most m ahead of the point that is steered for


def acceleration(table: DriverTable, situation: Situation) -> Floats:
    """Wanted acceleration of each driver (n,), m/s^2."""
    v = np.maximum(situation.speed, 0.0)
    at = np.maximum(table.at, 0)
    lead = np.minimum(at + 1 + (PEDAL_LAG * v).astype(np.int64), np.maximum(table.count - 1, 0))
    wanted = np.minimum(table.allowed[np.arange(situation.n), lead], situation.limit)
    limit = np.minimum(np.minimum(table.entry - STOP_LINE, table.stop), situation.halt)
    room = limit - situation.s - situation.half
    wanted = np.minimum(wanted, np.sqrt(2.0 * BRAKING * np.maximum(room - REACTION * v, 0.0)))
    free = (GAIN * (wanted - v)).clip(-HARDEST, ACCELERATION)
    # The speed lags behind what is wanted; a driver that would stop too late brakes as hard as needed.
    needed = np.minimum(v * v / (2.0 * np.maximum(room, 0.1)), HARDEST)
    free = np.where(needed > BRAKING, np.minimum(free, -needed), free)
    closing = v * (v - situation.leader_speed) / (2.0 * math.sqrt(ACCELERATION * BRAKING))
    safe = STANDING_GAP + np.maximum(0.0, v * HEADWAY + closing)
    follow = ACCELERATION * (1.0 - (safe / np.maximum(situation.gap, 0.1)) ** 2)
    return np.minimum(free, np.maximum(follow, -HARDEST))


def steer(table: DriverTable, situation: Situation, parameters: Floats) -> Floats:
    """Steering of each driver (n,), -1 to 1: pure pursuit from the rear axle.

    parameters: of the vehicles' models (``models.parameters``).
    """
    v = np.maximum(situation.speed, 0.0)
    at = np.maximum(table.at, 0)
    seconds, least, most = PURSUIT
    reach = (seconds * v).clip(least, most)
    point = np.minimum(at + np.rint(reach).astype(np.int64), np.maximum(table.count - 1, 0))
    rear = parameters[models.REAR]
    index = np.arange(situation.n)
    dx = table.x[index, point] - situation.x + rear * situation.fx
    dy = table.y[index, point] - situation.y + rear * situation.fy
    side = dy * situation.fx - dx * situation.fy
    curvature = 2.0 * side / np.maximum(dx * dx + dy * dy, 1.0)
    return steering(parameters, v, curvature)
