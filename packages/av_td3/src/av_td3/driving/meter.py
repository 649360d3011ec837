"""One episode's measurements: from what the sensors say to what the reward needs.

Plain arithmetic on :class:`Reading`; nothing here calls the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS, EnvConfig
from av_td3.driving import observation as obs
from av_td3.driving.comfort import comfortable
from av_td3.driving.hazards import SIGHT, Hazard, hazard
from av_td3.driving.info import RewardComponents, StepInfo
from av_td3.driving.light_tracker import LightTracker
from av_td3.driving.route import SPACING, Route, RouteTracker, wrap
from av_td3.driving.state import Colour, StepState
from av_td3.driving.termination import STUCK_SPEED, is_off_road

WAITING_GAP = 10.0
"""A car that stands with something less than this many metres ahead is waiting, not stuck."""
CONTACT_FRAMES = 10
"""A contact with the same thing within this many ticks is the same collision, not a new one."""


class Contact(NamedTuple):
    """One message of the collision sensor."""

    frame: int
    other: int
    """Actor id of what was hit; 0 for the map itself."""
    kind: Literal["vehicle", "walker", "static"] = "static"


class Reading(NamedTuple):
    """What the ego vehicle's sensors report after one tick.  Map frame, SI units."""

    x: float
    y: float
    yaw: float
    """Radians, positive clockwise from above, as CARLA counts."""
    velocity: tuple[float, float]
    """(x, y), m/s."""
    contacts: tuple[Contact, ...] = ()
    lane_invasions: int = 0
    obstacle_distance: float = math.inf
    """Metres to the nearest vehicle or walker straight ahead; inf when there is none."""
    obstacle_speed: float = 0.0
    """m/s of that obstacle along the ego's heading."""
    at_red_light: bool = False
    lights: tuple[Colour | None, ...] = ()
    """What the lights of the route show, in its order; None: that one is off."""
    others: NDArray[np.float64] | None = None
    """(n, 8) the other vehicles and walkers, as :class:`av_td3.driving.hazards.Other` says; None: nobody."""


class EpisodeMeter:
    """Follows one episode along its route: the latest :class:`StepState` and the running totals.

    Args:
        config: scales of the observation, and when a car counts as off the road.
        route: what the car is to drive.
        first: the reading that belongs to the episode's first observation.
        stop_lines: metres along the route of the stop lines of its traffic lights.
        front: metres from the car's origin to its front.
    """

    def __init__(
        self,
        config: EnvConfig,
        route: Route,
        first: Reading,
        stop_lines: Sequence[float] = (),
        front: float = 0.0,
    ) -> None:
        self.route = route
        self.steps = 0
        self.collisions = self.lane_invasions = self.off_road_steps = self.red_lights_run = 0
        self.vehicle_collisions = self.walker_collisions = 0
        """Totals since the episode began."""
        self._config = config
        self._front = front
        self._tracker = RouteTracker(route)
        # Whatever the sensors report together with the first observation happened before the episode.
        self._reading = first = first._replace(contacts=(), lane_invasions=0)
        self._acceleration = np.zeros(2)
        self._longitudinal = 0.0
        self._action = (0.0, 0.0)
        self._moved = 0.0
        self._jerks: list[float] = []
        self._comfortable: list[bool] = []
        self._slow_seconds = 0.0
        self._in_contact: dict[int, int] = {}  # the other's actor id: frame of the last contact
        self._tracker.update(first.x, first.y)
        self._lights = LightTracker(stop_lines, front, self._tracker.s)
        self.state = self._judge(first)
        """The state after the latest reading."""

    def update(
        self, reading: Reading, steer: float, pedal: float = 0.0, *, new_step: bool = True
    ) -> StepState:
        """Take in the reading after a tick in which ``steer`` and ``pedal`` were applied.

        ``new_step``: it is the first tick of a step; ``info`` adds up the ticks of one step.
        """
        before = self._reading
        new_ground = self._tracker.update(reading.x, reading.y)
        acceleration = (np.array(reading.velocity) - np.array(before.velocity)) / STEP_SECONDS
        # The first step has no earlier acceleration to compare with.
        jerk = float(np.hypot(*(acceleration - self._acceleration))) / STEP_SECONDS if self.steps else 0.0
        steer_change = abs(steer - self._action[0])
        turn = wrap(reading.yaw - before.yaw) / STEP_SECONDS
        longitudinal = float(acceleration @ (math.cos(reading.yaw), math.sin(reading.yaw)))
        longitudinal_jerk = (longitudinal - self._longitudinal) / STEP_SECONDS if self.steps else 0.0
        if new_step:
            self._moved, self._jerks, self._comfortable = 0.0, [], []
        self._moved += math.hypot(reading.x - before.x, reading.y - before.y)
        self._jerks.append(jerk)
        self._reading, self._acceleration, self._action = reading, acceleration, (steer, pedal)
        self._longitudinal = longitudinal
        self.steps += 1
        self.state = self._judge(
            reading,
            new_ground=new_ground,
            acceleration=float(np.hypot(*acceleration)),
            longitudinal=longitudinal,
            jerk=jerk,
            longitudinal_jerk=longitudinal_jerk,
            turn=turn,
            steer_change=steer_change,
        )
        self._comfortable.append(comfortable(self.state))
        return self.state

    def vector(self) -> NDArray[np.float32]:
        """(n,) float32: the vector observation of the latest reading."""
        route, reading, s = self._config.route, self._reading, self._tracker.s
        command, junction_distance = self.route.next_turn(s)
        scene = obs.Scene(
            self.state,
            (reading.x, reading.y),
            reading.yaw,
            self.route.ahead(s, route.waypoints, route.waypoint_spacing_m),
            velocity=reading.velocity,
            previous_action=self._action,
            command=command,
            junction_distance=junction_distance,
        )
        if "lead" in self._config.described:
            path = self.route.ahead(s, int(obs.RANGE / SPACING), SPACING)
            scene = replace(scene, others=_moving(reading.others), path=path)
        return obs.vector(self._config, scene)

    def path_ahead(self, metres: float) -> NDArray[np.float64]:
        """(n, 2) points of the route from here to its goal, or so far: metres ahead and right of the car."""
        reading, s = self._reading, self._tracker.s
        count = int(max(0.0, min(metres, self.route.length - s)) / SPACING)
        offset = self.route.ahead(s, count, SPACING) - (reading.x, reading.y)
        return obs.in_car_frame(offset, reading.yaw)

    def info(self, components: RewardComponents, *, frame: int, npc: int) -> StepInfo:
        """``info`` of the latest step.

        Args:
            frame: ticks since the first observation.
            npc: other vehicles in this episode.
        """
        state = self.state
        return {
            "speed_kmh": state.speed * 3.6,
            "lateral_deviation_m": state.lateral,
            "heading_error_rad": state.heading_error,
            "route": self.route.name,
            "route_length_m": self.route.length,
            "route_completion": self._tracker.completion,
            "distance_m": self._moved,
            "reward_components": components,
            "collisions": self.collisions,
            "vehicle_collisions": self.vehicle_collisions,
            "walker_collisions": self.walker_collisions,
            "lane_invasions": self.lane_invasions,
            "off_road_steps": self.off_road_steps,
            "acceleration": state.acceleration,
            "longitudinal_acceleration": state.longitudinal_acceleration,
            "lateral_acceleration": state.lateral_acceleration,
            "yaw_rate": state.yaw_rate,
            "jerk": sum(self._jerks) / max(1, len(self._jerks)),
            # Before the first step the car stands.
            "comfortable": sum(self._comfortable) / len(self._comfortable) if self._comfortable else 1.0,
            "time_to_collision_s": state.time_to_collision,
            "obstacle_distance_m": state.obstacle_distance,
            "hazard_distance_m": state.hazard_distance,
            "hazard_speed_kmh": state.hazard_speed * 3.6,
            "light": state.light,
            "light_distance_m": state.light_distance,
            "red_lights_run": self.red_lights_run,
            "npc": npc,
            "frame": frame,
        }

    def _judge(
        self,
        reading: Reading,
        *,
        new_ground: float = 0.0,
        acceleration: float = 0.0,
        longitudinal: float = 0.0,
        jerk: float = 0.0,
        longitudinal_jerk: float = 0.0,
        turn: float = 0.0,
        steer_change: float = 0.0,
    ) -> StepState:
        """The state of this moment; adds its events to the totals."""
        route, tracker = self.route, self._tracker
        speed = float(np.hypot(*reading.velocity))
        collisions = self._collisions_that_began(reading.contacts)
        light_distance, light, red_lights_run = self._lights.update(tracker.s, reading.lights)
        at_red = reading.at_red_light or (light == "red" and light_distance < WAITING_GAP)
        danger = self._hazard(reading, speed)
        waiting = min(reading.obstacle_distance, danger.distance) < WAITING_GAP or at_red
        stands = self.steps > 0 and speed < STUCK_SPEED and not waiting
        self._slow_seconds = self._slow_seconds + STEP_SECONDS if stands else 0.0
        state = StepState(
            speed=speed,
            lateral=tracker.lateral,
            heading_error=wrap(reading.yaw - tracker.heading),
            half_width=max(0.5, route.at(route.half_width, tracker.s)),
            reference_speed=route.at(route.reference_speed, tracker.s),
            new_ground=new_ground,
            finished=tracker.finished,
            acceleration=acceleration,
            jerk=jerk,
            longitudinal_acceleration=longitudinal,
            longitudinal_jerk=longitudinal_jerk,
            lateral_acceleration=speed * turn,
            yaw_rate=turn,
            steer_change=steer_change,
            obstacle_distance=reading.obstacle_distance,
            obstacle_speed=reading.obstacle_speed,
            collisions=collisions,
            lane_invasions=reading.lane_invasions,
            hazard_distance=danger.distance,
            hazard_speed=danger.speed,
            light_distance=light_distance,
            light=light,
            red_lights_run=red_lights_run,
            waiting=waiting,
            slow_seconds=self._slow_seconds,
            steps=self.steps,
        )
        self.collisions += collisions
        self.lane_invasions += reading.lane_invasions
        self.red_lights_run += red_lights_run
        self.off_road_steps += is_off_road(state, self._config.termination)
        return state

    def _hazard(self, reading: Reading, speed: float) -> Hazard:
        """Who is in the way on the route."""
        if reading.others is None or not len(reading.others):
            return Hazard()
        path = self.route.ahead(self._tracker.s, int(SIGHT / SPACING), SPACING)
        target = self._config.reward.target_speed_kmh / 3.6
        return hazard(path, SPACING, speed, self._front, target, reading.others)

    def _collisions_that_began(self, contacts: tuple[Contact, ...]) -> int:
        """CARLA reports a contact in every tick that it lasts; it counts once, when it begins."""
        began = 0
        for contact in contacts:
            last = self._in_contact.get(contact.other)
            if last is None or contact.frame - last > CONTACT_FRAMES:
                began += 1
                self.vehicle_collisions += contact.kind == "vehicle"
                self.walker_collisions += contact.kind == "walker"
            self._in_contact[contact.other] = contact.frame
        return began


def _moving(others: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(n, 4) places and velocities of the others."""
    return np.empty((0, 4)) if others is None else others[:, :4]
