"""Drivers to compare an agent with: two random ones, one that stands still, and a classical one.

The classical driver shows what can be reached with the vector observation.  It follows the route's
points with pure pursuit (Coulter 1992), plans its speed from their curvature, and brakes for what is
ahead.  Given an ``info``, it reads the distance to the obstacle there.  The agent's vector does not
hold that distance: the agent has to see the obstacle with its camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from av_td3.config import EnvConfig, ExplorationConfig
from av_td3.driving.observation import action_space, read_vector
from av_td3.evaluation.rollout import Action, Observation

Array = NDArray[np.float64]


class RandomPolicy:
    """A new action each step, uniform over the action space: Gymnasium's ``action_space.sample()``."""

    def __init__(self, space: gymnasium.spaces.Box | None = None) -> None:
        self._space = space or action_space()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same actions."""
        self._rng = np.random.default_rng([seed, 1])

    def __call__(self, observation: Observation) -> Action:
        return self._rng.uniform(self._space.low, self._space.high).astype(np.float32)


class SmoothRandom:
    """Autocorrelated random actions with a positive mean throttle, as in training before learning starts.

    Independent noise at 20 steps a second averages out before the car moves.  With this noise the car
    drives, so it is the harder of the two random baselines.
    """

    def __init__(self, config: ExplorationConfig | None = None) -> None:
        self._config = config or ExplorationConfig()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same actions."""
        self._rng = np.random.default_rng([seed, 2])
        self._noise = self._rng.standard_normal(2)

    def __call__(self, observation: Observation) -> Action:
        c = self._config
        fresh = self._rng.standard_normal(2)
        rho = c.warmup_correlation
        self._noise = rho * self._noise + math.sqrt(1 - rho**2) * fresh
        mean = np.array([0.0, c.warmup_throttle_mean])
        return np.clip(mean + c.warmup_noise * self._noise, -1, 1).astype(np.float32)


class Stationary:
    """Stands still with the brake on: shows the return of doing nothing."""

    def __call__(self, observation: Observation) -> Action:
        return np.array([0.0, -1.0], np.float32)


@dataclass(frozen=True)
class ClassicalGains:
    """Constants of the classical driver, SI units; the defaults are for a Tesla Model 3."""

    wheelbase: float = 2.875
    rear_axle: float = 1.4
    """Metres from the car's origin back to the rear axle, which pure pursuit steers."""
    max_steer_deg: float = 70.0
    """Wheel angle at steer = 1 and rest: CARLA's ``max_steer_angle``."""
    steering_curve: tuple[tuple[float, ...], tuple[float, ...]] = ((0, 20, 60, 120), (1, 0.9, 0.8, 0.7))
    """(km/h, share of that angle) pairs: CARLA's ``steering_curve`` of cars."""
    characteristic_speed: float = 28.0
    """m/s at which understeer has halved the yaw rate (Rajamani 2012, chapter 3)."""
    look_ahead_s: float = 0.5
    min_look_ahead: float = 3.0
    max_look_ahead: float = 12.0
    lateral_acceleration: float = 2.0
    """Lateral acceleration in curves, m/s^2."""
    braking: float = 2.0
    """Deceleration with which the speed is planned, for curves and for what is ahead, m/s^2."""
    kp: float = 0.35
    ki: float = 0.08
    kd: float = 0.0
    """Gains of the PID controller of the speed: pedal per m/s, per metre, per m/s^2."""
    gap: float = 5.0
    """Metres between the car and what is ahead when it stands still."""
    light_gap: float = 1.5
    """Metres between the car's front and the stop line of a red light when it stands still."""
    firm_braking: float = 3.0
    """Deceleration up to which it stops at a light that turns yellow, m/s^2; nearer, it drives on."""


class ClassicalDriver:
    """Pure pursuit on the route's points, PID on the speed, braking for obstacles.

    Args:
        config: the environment's, which scales the observation and gives the target speed.
    """

    def __init__(self, config: EnvConfig, gains: ClassicalGains | None = None) -> None:
        self._config, self.gains = config, gains or ClassicalGains()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._integral = 0.0
        self._last_error: float | None = None
        self._obstacle, self._closing_time = math.inf, math.inf
        self._their_speed: float | None = None
        self._light, self._light_distance = "", math.inf

    def watch(self, info: Mapping[str, Any]) -> None:
        """Take what is ahead from ``info``; without this call neither obstacle nor light is known.

        Where ``info`` says who is or will be in the way on the route, that is what counts.  Otherwise it is
        what the obstacle sensor sees straight ahead, the oncoming lane of a bend included.
        """
        self._obstacle = float(info.get("obstacle_distance_m", math.inf))
        self._closing_time = float(info.get("time_to_collision_s", math.inf))
        self._their_speed = None
        if "hazard_distance_m" in info:
            self._obstacle = float(info["hazard_distance_m"])
            self._their_speed = float(info["hazard_speed_kmh"]) / 3.6
        self._light = info.get("light") or ""
        self._light_distance = float(info.get("light_distance_m", math.inf))

    def __call__(self, observation: Observation) -> Action:
        reading = read_vector(self._config, np.asarray(observation["vector"]))
        turn = self._turn(reading.waypoints, reading.speed)
        wanted = self._wanted_speed(reading.waypoints, reading.speed, turn)
        return np.array([self._steer(turn, reading.speed), self._pedal(reading.speed, wanted)], np.float32)

    def _turn(self, points: Array, speed: float) -> float:
        """Curvature (1/m, right positive) of the circle through the rear axle and the look-ahead point."""
        g = self.gains
        reach = min(g.max_look_ahead, max(g.min_look_ahead, g.look_ahead_s * speed))
        x, y = look_ahead_point(points + np.array([g.rear_axle, 0.0]), reach + g.rear_axle)
        return 2.0 * y / (x * x + y * y)

    def _steer(self, turn: float, speed: float) -> float:
        """The steer that makes the car follow a curvature."""
        g = self.gains
        wheel = math.atan(g.wheelbase * turn * (1.0 + (speed / g.characteristic_speed) ** 2))
        full = g.max_steer_deg * float(np.interp(3.6 * speed, *g.steering_curve))
        return max(-1.0, min(1.0, math.degrees(wheel) / full))

    def _wanted_speed(self, points: Array, speed: float, turn: float) -> float:
        """Wanted speed, m/s: the target speed, reduced for this curve, curves ahead and obstacles."""
        g = self.gains
        target = self._config.reward.target_speed_kmh / 3.6
        curvature, distance = curvatures(points)
        curvature, distance = np.append(curvature, abs(turn)), np.append(distance, 0.0)
        with np.errstate(divide="ignore"):
            allowed = np.sqrt(g.lateral_acceleration / curvature)
        # The speeds from which the car can still brake to the speed of a later curve.
        wanted = min(target, float(np.sqrt(allowed**2 + 2 * g.braking * distance).min()))
        if math.isfinite(self._obstacle):
            room = max(0.0, self._obstacle - g.gap)
            theirs = self._their_speed
            if theirs is None:  # it follows from its distance and the time to collision
                theirs = speed - self._obstacle / self._closing_time if self._closing_time > 0 else 0.0
            wanted = min(wanted, math.sqrt(max(0.0, theirs) ** 2 + 2 * g.braking * room))
        stops = self._light_distance > speed**2 / (2 * g.firm_braking)
        if self._light == "red" or (self._light == "yellow" and stops):
            room = max(0.0, self._light_distance - g.light_gap)
            wanted = min(wanted, math.sqrt(2 * g.braking * room))
        return wanted

    def _pedal(self, speed: float, wanted: float) -> float:
        g = self.gains
        if wanted < 0.1:
            self._integral = 0.0
            return -1.0
        error = wanted - speed
        change = 0.0 if self._last_error is None else (error - self._last_error) / self._config.step_seconds
        self._last_error = error
        pedal = g.kp * error + g.ki * self._integral + g.kd * change
        if abs(pedal) < 1.0:  # the integral does not grow while the pedal is at its limit (anti-windup)
            self._integral += error * self._config.step_seconds
        return max(-1.0, min(1.0, pedal))


def look_ahead_point(points: Array, reach: float) -> tuple[float, float]:
    """The point at which a path (n, 2) leaves the circle of radius ``reach`` about the origin.

    It is the last point when the path ends inside the circle, and the first when it begins outside.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    beyond = np.flatnonzero(distance >= reach)
    if len(beyond) == 0:
        return float(points[-1, 0]), float(points[-1, 1])
    k = int(beyond[0])
    if k == 0:
        return float(points[0, 0]), float(points[0, 1])
    t = (reach - distance[k - 1]) / max(1e-9, distance[k] - distance[k - 1])
    x, y = points[k - 1] + t * (points[k] - points[k - 1])
    return float(x), float(y)


def curvatures(points: Array) -> tuple[Array, Array]:
    """|curvature| (1/m) at each inner point of a path (n, 2), and its distance along the path.

    The angle between the chords before and after a point over their mean length.
    """
    chords = np.diff(points, axis=0)
    lengths = np.hypot(chords[:, 0], chords[:, 1])
    headings = np.unwrap(np.arctan2(chords[:, 1], chords[:, 0]))
    spacing = np.maximum(1e-6, (lengths[1:] + lengths[:-1]) / 2)
    start = float(np.hypot(*points[0]))
    return np.abs(np.diff(headings)) / spacing, start + np.cumsum(lengths)[:-1]


class PredictingModel(Protocol):
    """The method of a Stable-Baselines3 model that is used here."""

    def predict(self, observation: Any, *, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """(actions, recurrent state)."""
        ...


def sb3_policy(model: PredictingModel) -> Callable[[Observation], Action]:
    """The deterministic policy of a Stable-Baselines3 model, as :func:`rollout.evaluate` wants it."""

    def policy(observation: Observation) -> Action:
        action, _ = model.predict(dict(observation), deterministic=True)
        return np.asarray(action, np.float32)

    return policy
