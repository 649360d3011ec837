"""CARLA's Ackermann controller: from a target speed and steering angle to pedals and steering wheel.

As in CARLA, two PID controllers work in a row.  The speed error changes a target acceleration, and the
acceleration error changes the pedals.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from minicarla.wire.structs import AckermannControllerSettings, VehicleAckermannControl, VehicleControl

MAX_STEER = math.radians(70.0)  # wheel angle at steer = 1
MAX_ACCELERATION = 3.0  # m/s^2, if the client sets no limit
MAX_DECELERATION = 8.0
STANDING = 0.1  # m/s
SMOOTHING = 0.3
"""Seconds, time constant of the measured acceleration.  Here it follows the pedals at once; CARLA's gains
expect a vehicle that reacts with a delay."""


class _Pid:
    def __init__(self) -> None:
        self._sum = 0.0
        self._last: float | None = None

    def run(self, error: float, gains: tuple[float, float, float], dt: float) -> float:
        kp, ki, kd = gains
        self._sum = min(max(self._sum + error * dt, -10.0), 10.0)
        slope = 0.0 if self._last is None else (error - self._last) / dt
        self._last = error
        return kp * error + ki * self._sum + kd * slope


class AxialMotion(NamedTuple):
    """Speed and acceleration of a vehicle along its own axis: m/s and m/s^2, negative backwards."""

    speed: float
    acceleration: float


class AckermannController:
    """Controller of one vehicle, from its first Ackermann command until a plain control replaces it."""

    def __init__(self) -> None:
        self.target = VehicleAckermannControl()
        self._speed, self._pedals = _Pid(), _Pid()
        self._acceleration = 0.0  # target, in the direction of the target speed
        self._measured = 0.0  # acceleration, smoothed
        self._pedal = 0.0  # -1 full brake .. 1 full throttle
        self._steer = 0.0  # radians

    def run(self, motion: AxialMotion, settings: AckermannControllerSettings, dt: float) -> VehicleControl:
        """Control for the next ``dt`` seconds."""
        target = self.target
        self._measured += (motion.acceleration - self._measured) * min(1.0, dt / SMOOTHING)
        wanted = min(max(target.steer, -MAX_STEER), MAX_STEER)
        step = abs(target.steer_speed) * dt if target.steer_speed else math.inf
        self._steer += min(max(wanted - self._steer, -step), step)
        steer = self._steer / MAX_STEER
        if abs(target.speed) < STANDING and abs(motion.speed) < 5.0 * STANDING:
            self._acceleration = self._pedal = 0.0
            return VehicleControl(0.0, steer, 1.0)
        reverse = target.speed < 0.0
        sign = -1.0 if reverse else 1.0
        if sign * motion.speed < -STANDING:  # it still rolls in the other direction
            return VehicleControl(0.0, steer, 1.0, reverse=reverse)
        speed, acceleration = sign * motion.speed, sign * self._measured
        upper = abs(target.acceleration) or MAX_ACCELERATION
        lower = -(abs(target.acceleration) or MAX_DECELERATION)
        self._acceleration += self._speed.run(abs(target.speed) - speed, settings[:3], dt)
        self._acceleration = min(max(self._acceleration, lower), upper)
        self._pedal += self._pedals.run(self._acceleration - acceleration, settings[3:], dt)
        self._pedal = min(max(self._pedal, -1.0), 1.0)
        return VehicleControl(max(self._pedal, 0.0), steer, max(-self._pedal, 0.0), reverse=reverse)
