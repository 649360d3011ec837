"""The effect of ``apply_physics_control``: what a client changes of a vehicle's engine, gears and wheels.

The dynamics use the figures of a vehicle's model.  A physics control changes each figure by the *ratio*
of the client's value to the blueprint's value: tyres with twice the friction grip twice as well, an engine
with half the torque pushes half as hard as the model does at that speed.  So a control that is applied
as it was read changes nothing.

Some fields mean nothing in a single-track model; clients can only read them back: the clutch, the damping
at full throttle, longitudinal stiffness, the load at which lateral stiffness ends, the damping of wheels,
the centre of mass, sweeping wheels, and the positions of the wheels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.physics import models
from minicarla.wire.structs import VehiclePhysicsControl, WheelPhysicsControl

WHEELS = 4
"""Wheels in every control.  As in CARLA, each wheel of a two-wheeler is listed twice."""
_MOST_POINTS = 1000  # of a curve
_MOST_GEARS = 16
_SHARES = (0.01, 100.0)  # limits of a ratio by which something is divided

# Field: (lowest, highest) value that makes sense.
_RANGES: dict[str, tuple[float, float]] = {
    "max_rpm": (1.0, 1e6),
    "moi": (0.0, 1e6),
    "damping_rate_full_throttle": (0.0, 1e6),
    "damping_rate_zero_throttle_clutch_engaged": (0.0, 1e6),
    "damping_rate_zero_throttle_clutch_disengaged": (0.0, 1e6),
    "gear_switch_time": (0.0, 60.0),
    "clutch_strength": (0.0, 1e9),
    "final_ratio": (1e-3, 1e3),
    "mass": (1.0, 1e7),
    "drag_coefficient": (0.0, 1e6),
}
_WHEEL_RANGES: dict[str, tuple[float, float]] = {
    "tire_friction": (0.0, 1e4),
    "damping_rate": (0.0, 1e6),
    "max_steer_angle": (0.0, 90.0),
    "radius": (1.0, 1000.0),
    "max_brake_torque": (0.0, 1e9),
    "max_handbrake_torque": (0.0, 1e9),
    "lat_stiff_max_load": (0.0, 1e9),
    "lat_stiff_value": (0.0, 1e9),
    "long_stiff_value": (0.0, 1e9),
}


def check(control: VehiclePhysicsControl) -> None:
    """Raise ValueError, with the reason, for a physics control with which no vehicle can move."""
    _check_ranges(control, _RANGES, "")
    if not all(map(math.isfinite, control.center_of_mass)):
        raise ValueError("center_of_mass is not finite")
    for name in ("torque_curve", "steering_curve"):
        curve = getattr(control, name)
        if not 1 <= len(curve) <= _MOST_POINTS:
            raise ValueError(f"{name} has {len(curve)} points; 1 to {_MOST_POINTS} are possible")
        if not all(abs(x) < 1e9 and 0.0 <= y < 1e9 for x, y in curve):
            raise ValueError(f"{name} has a point that is not finite, negative or out of range")
    if not 1 <= len(control.forward_gears) <= _MOST_GEARS:
        raise ValueError(f"{len(control.forward_gears)} forward gears; 1 to {_MOST_GEARS} are possible")
    if not all(1e-3 <= gear.ratio <= 1e3 and all(map(math.isfinite, gear)) for gear in control.forward_gears):
        raise ValueError("a forward gear has a ratio that is not finite or out of range")
    if len(control.wheels) != WHEELS:
        raise ValueError(f"{len(control.wheels)} wheels; a vehicle has {WHEELS}")
    for index, wheel in enumerate(control.wheels):
        _check_ranges(wheel, _WHEEL_RANGES, f" of wheel {index}")


def _check_ranges(
    values: VehiclePhysicsControl | WheelPhysicsControl, ranges: dict[str, tuple[float, float]], of: str
) -> None:
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if not low <= value <= high:  # False for NaN, too
            raise ValueError(f"{name}{of} is {value:g}; it must lie between {low:g} and {high:g}")


class Shift(NamedTuple):
    """What the gearbox does in a tick."""

    gear: int
    share: float
    """Share of the thrust that the model would have."""
    top: float
    """Highest speed that the engine allows in this gear, m/s."""


class Engine:
    """Engine, gears and wheels of a physics control that was checked."""

    def __init__(self, control: VehiclePhysicsControl) -> None:
        radius = _mean(wheel.radius for wheel in control.wheels) / 100.0
        self._rpm, self._torque = np.array(sorted(control.torque_curve), np.float64).T
        self.max_rpm = float(control.max_rpm)
        self._inertia = float(control.moi)
        self._mass = float(control.mass)
        self._gears = [gear.ratio * control.final_ratio / radius for gear in control.forward_gears]  # 1/m
        self._up = [gear.up_ratio * self.max_rpm for gear in control.forward_gears]
        self._down = [gear.down_ratio * self.max_rpm for gear in control.forward_gears]

    def __len__(self) -> int:
        return len(self._gears)

    def rpm(self, speed: float, gear: int) -> float:
        """Engine speed in rpm at a vehicle's speed (m/s).  Reverse counts as the first gear."""
        return speed * self._gears[max(gear, 1) - 1] * 60.0 / math.tau if gear else 0.0

    def top(self, gear: int) -> float:
        """Speed of the vehicle at the highest engine speed, m/s."""
        return self.max_rpm * math.tau / 60.0 / self._gears[gear - 1]

    def choose(self, speed: float, gear: int = 1) -> int:
        """The gear that an automatic gearbox chooses next when it is in ``gear``."""
        chosen = gear
        while chosen < len(self) and self.rpm(speed, chosen) > self._up[chosen - 1]:
            chosen += 1
        while 1 < chosen <= gear and self.rpm(speed, chosen) < self._down[chosen - 1]:
            chosen -= 1
        return chosen

    def push(self, speed: float, gear: int) -> float:
        """Force at the wheels at full throttle (N), less what speeds up the engine itself."""
        gearing = self._gears[gear - 1]
        force = float(np.interp(self.rpm(speed, gear), self._rpm, self._torque)) * gearing
        return force * self._mass / (self._mass + self._inertia * gearing**2)


class Handling:
    """A vehicle whose physics control is no longer its blueprint's.

    model: index into ``models.MODELS``.
    control, usual: what a client applied, and what the blueprint has.

    ``column`` takes the place of the model's column of ``models.table()``.

    Raises:
        ValueError: see :func:`check`.
    """

    def __init__(self, model: int, control: VehiclePhysicsControl, usual: VehiclePhysicsControl) -> None:
        check(control)
        self.engine, self._usual = Engine(control), Engine(usual)
        self._curve = np.array(sorted(control.steering_curve), np.float64).T
        self._automatic = bool(control.use_gear_autobox)
        self._switch_time = float(control.gear_switch_time)
        self._gear = 1
        self._idle = 0.0  # s until the gear is engaged
        self.column = self._column(models.table()[:, model], control, usual)
        self._fastest = float(self.column[models.TOP]) / self._usual.top(len(self._usual))

    @staticmethod
    def _column(
        figures: NDArray[np.float64], control: VehiclePhysicsControl, usual: VehiclePhysicsControl
    ) -> NDArray[np.float64]:
        mass = control.mass / usual.mass
        column = figures.copy()
        column[models.MASS] = control.mass
        column[models.THRUST] /= mass
        # Friction and stiffness are relative to the load, so the mass does not matter.
        column[models.GRIP] *= _ratio(control, usual, lambda wheel: wheel.tire_friction)
        column[models.CORNERING] *= _between(_ratio(control, usual, lambda wheel: wheel.lat_stiff_value))
        column[models.BRAKE] *= _ratio(control, usual, lambda w: w.max_brake_torque / w.radius) / mass
        column[models.PARKING] *= _ratio(control, usual, lambda w: w.max_handbrake_torque / w.radius) / mass
        column[models.DRAG] *= control.drag_coefficient / usual.drag_coefficient
        damping = "damping_rate_zero_throttle_clutch_engaged"
        column[models.COASTING] *= getattr(control, damping) / getattr(usual, damping) / mass
        steer = max(w.max_steer_angle for w in control.wheels[:2]) / usual.wheels[0].max_steer_angle
        column[models.STEER_RANGE] *= steer
        column[models.LOCK] = min(column[models.LOCK] * steer, math.radians(85.0))
        first = Engine(control).top(1) / Engine(usual).top(1)
        column[models.REVERSE_TOP] *= first
        return column

    def steering(self, speed: float) -> float:
        """Share of the steering range at a speed (m/s)."""
        return float(np.interp(speed * 3.6, *self._curve))

    def shift(self, speed: float, direction: float, by_hand: int | None, dt: float) -> Shift:
        """Let the gearbox work for ``dt`` seconds.

        speed: m/s.  direction: below 0 is backwards.  by_hand: the gear that the driver chose, or None.
        """
        engine, usual = self.engine, self._usual
        gear = self._gear
        if by_hand is not None and by_hand > 0:
            gear = min(by_hand, len(engine))
        elif self._automatic and direction > 0.0:
            gear = engine.choose(speed, gear)
        if gear != self._gear:
            self._gear, self._idle = gear, self._switch_time
        share = 0.0
        if self._idle < 1e-9:
            share = engine.push(speed, gear) / usual.push(speed, usual.choose(speed))
        self._idle -= dt
        if direction < 0.0:
            return Shift(-1, share, float(self.column[models.REVERSE_TOP]))
        return Shift(gear, share, engine.top(gear) * self._fastest)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return float(sum(values)) / len(values)


def _ratio(
    control: VehiclePhysicsControl, usual: VehiclePhysicsControl, of: Callable[[WheelPhysicsControl], float]
) -> float:
    return _mean(map(of, control.wheels)) / _mean(map(of, usual.wheels))


def _between(ratio: float) -> float:
    return min(max(ratio, _SHARES[0]), _SHARES[1])
