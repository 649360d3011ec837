"""What one step measured; reward, termination and ``info`` are functions of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Colour = Literal["green", "yellow", "red"]
"""What a traffic light shows."""


@dataclass(frozen=True)
class StepState:
    """The ego and its surroundings after one tick.  Metres, seconds, radians."""

    speed: float = 0.0
    """m/s in the ground plane."""
    lateral: float = 0.0
    """Signed distance to the route's lane centre, right positive."""
    heading_error: float = 0.0
    """Yaw of the car minus heading of the lane, in [-pi, pi); positive points right of it."""
    half_width: float = 1.75
    """Half the lane's width."""
    reference_speed: float = math.inf
    """m/s that the coming curves allow."""
    new_ground: float = 0.0
    """Metres of route covered for the first time."""
    finished: bool = False
    """The route's end was reached."""
    acceleration: float = 0.0
    """m/s^2, length of the change of velocity."""
    jerk: float = 0.0
    """m/s^3, length of the change of acceleration."""
    longitudinal_acceleration: float = 0.0
    """m/s^2 along the car; braking is negative."""
    longitudinal_jerk: float = 0.0
    """m/s^3, change of the longitudinal acceleration."""
    lateral_acceleration: float = 0.0
    """m/s^2, speed times yaw rate; right positive."""
    yaw_rate: float = 0.0
    """rad/s, right positive."""
    steer_change: float = 0.0
    """|steer - previous steer|, 0..2."""
    obstacle_distance: float = math.inf
    """To the nearest thing ahead, inf when there is none."""
    obstacle_speed: float = 0.0
    """m/s of that thing along the ego's heading."""
    collisions: int = 0
    """Collisions that began in this step."""
    lane_invasions: int = 0
    """Lane markings touched in this step."""
    hazard_distance: float = math.inf
    """Along the route, from the car's front to a vehicle or walker that is or will be in the way."""
    hazard_speed: float = 0.0
    """m/s of it along the route."""
    light_distance: float = math.inf
    """From the car's front to the stop line of the route's next traffic light; inf when none is near."""
    light: Colour | None = None
    """What that light shows; None when there is none."""
    red_lights_run: int = 0
    """Red lights run in this step."""
    waiting: bool = False
    """Held up by a vehicle close ahead or by a red light."""
    slow_seconds: float = 0.0
    """How long the car has been slower than 1 m/s without being held up."""
    steps: int = 0
    """Steps made in this episode, this one included."""

    @property
    def time_to_collision(self) -> float:
        """Seconds until the gap ahead is closed at the present speeds; inf when it is not closing."""
        closing = self.speed - self.obstacle_speed
        return self.obstacle_distance / closing if closing > 0.1 else math.inf
