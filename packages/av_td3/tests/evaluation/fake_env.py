"""A driving environment of one page: a bicycle on a winding route, with docs/architecture.md's contract."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from av_td3.config import STEP_SECONDS, EnvConfig
from av_td3.driving.observation import Scene, action_space, check_action, observation_space, vector
from av_td3.driving.state import StepState
from av_td3.evaluation.rollout import SIMULATOR_FAULT


class FakeDrivingEnv(gymnasium.Env):
    """A route of straights and bends drawn from the seed; no other cars unless ``obstacle_at`` is set."""

    def __init__(self, config: EnvConfig | None = None, length: float = 60.0) -> None:
        self.config = config or EnvConfig()
        self.length = length
        self.observation_space = observation_space(self.config)
        self.action_space = action_space()
        self.render_mode = "rgb_array"
        self.seeds: list[int | None] = []
        self.recorded: list[bool] = []  # whether each drive was to be filmed
        self.faults: dict[int, int] = {}  # seed -> drives that the simulator breaks off
        self.obstacle_at: float | None = None  # metres along the route
        self.light_at: float | None = None  # the same, of a stop line
        self.light: str | None = None  # what it shows
        self.max_steps = 600

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.recorded.append(bool((options or {}).get("record")))
        self.seed = seed
        s = np.arange(0.0, self.length + 60.0)
        bend = self.np_random.uniform(-0.03, 0.03, 3)
        heading = np.cumsum(np.interp(s, [0, 20, 30, 40, 60, 200], [0, 0, *bend, 0]))
        self.path = np.stack([np.cumsum(np.cos(heading)), np.cumsum(np.sin(heading))], 1)
        self.heading = heading
        self.x, self.y = self.path[0]
        self.yaw, self.speed, self.steps, self.off_road, self.best = float(heading[0]), 0.0, 0, 0, 0.0
        self.lane_invasions = self.collisions = 0
        self._locate()
        return self._observation(), self._info(0.0, 0.0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        check_action(action)
        assert self.action_space.contains(action)
        self.steps += 1
        if self.steps == 5 and self.faults.get(self.seed or 0, 0) > 0:
            self.faults[self.seed or 0] -= 1
            info = self._info(0.0, 0.0) | {"termination": SIMULATOR_FAULT}
            return self._observation(), 0.0, False, True, info
        old_speed, old_lateral = self.speed, self.lateral
        pedal = float(action[1])
        self.speed = max(0.0, self.speed + STEP_SECONDS * (4.0 * max(0, pedal) - 8.0 * max(0, -pedal) - 0.05))
        rate = self.speed / 2.875 * math.tan(math.radians(70.0) * float(action[0]))
        self.yaw += max(-1.5, min(1.5, rate)) * STEP_SECONDS  # tyres give way beyond
        self.x += self.speed * STEP_SECONDS * math.cos(self.yaw)
        self.y += self.speed * STEP_SECONDS * math.sin(self.yaw)
        gained = self._locate()
        self.lane_invasions += abs(self.lateral) > 1.0 >= abs(old_lateral)
        self.off_road += abs(self.lateral) > self.config.termination.off_road_m
        hit = self.obstacle_at is not None and self._gap() <= 0
        self.collisions += hit
        cause = None
        if hit:
            cause = "collision"
        elif abs(self.lateral) > self.config.termination.off_road_m:
            cause = "off_road"
        elif self.best >= self.length - 0.5:
            cause = "success"
        elif self.steps >= self.max_steps:
            cause = "time_limit"
        info = self._info(gained, (self.speed - old_speed) / STEP_SECONDS)
        if cause:
            info["termination"] = cause
        return self._observation(), gained, cause not in (None, "time_limit"), cause == "time_limit", info

    def render(self) -> np.ndarray:
        picture = np.full((120, 160, 3), 60, np.uint8)
        picture[:50] = (120, 170, 220)
        picture[50:, 80 - self.steps % 40] = 255
        return picture

    def _locate(self) -> float:
        """Nearest path point; returns metres of new ground."""
        distance = np.hypot(self.path[:, 0] - self.x, self.path[:, 1] - self.y)
        i = int(np.argmin(distance))
        normal = self.heading[i] + math.pi / 2
        dx, dy = self.x - self.path[i, 0], self.y - self.path[i, 1]
        self.lateral = dx * math.cos(normal) + dy * math.sin(normal)
        along = dx * math.cos(self.heading[i]) + dy * math.sin(self.heading[i])
        self.s = i + along
        gained = max(0.0, min(self.s, self.length) - self.best)
        self.best += gained
        return gained

    def _gap(self) -> float:
        return math.inf if self.obstacle_at is None else self.obstacle_at - self.s - 2.0

    def _observation(self) -> dict[str, Any]:
        count, spacing = self.config.route.waypoints, self.config.route.waypoint_spacing_m
        place = self.s + spacing * np.arange(1, count + 1)
        index = np.arange(len(self.path))
        ahead = np.stack([np.interp(place, index, self.path[:, k]) for k in (0, 1)], 1)
        error = self.yaw - float(np.interp(self.s, index, self.heading))
        values = vector(
            self.config,
            Scene(StepState(self.speed, self.lateral, error), (self.x, self.y), self.yaw, ahead),
        )
        size = self.config.camera.size
        image = np.full((self.config.camera.frame_stack, size, size), self.steps % 256, np.uint8)
        return {"image": image, "vector": values}

    def _info(self, gained: float, acceleration: float) -> dict[str, Any]:
        gap = self._gap()
        return {
            "speed_kmh": 3.6 * self.speed,
            "lateral_deviation_m": self.lateral,
            "heading_error_rad": 0.0,
            "route_length_m": self.length,
            "route_completion": min(1.0, self.best / self.length),
            "distance_m": self.speed * STEP_SECONDS,
            "reward_components": {"progress": gained},
            "collisions": self.collisions,
            "lane_invasions": self.lane_invasions,
            "off_road_steps": self.off_road,
            "acceleration": acceleration,
            "jerk": acceleration / 10,
            "comfortable": float(-4.05 <= acceleration <= 2.4),
            "time_to_collision_s": gap / self.speed if self.speed > 0.1 else math.inf,
            "obstacle_distance_m": gap,
            "light": self.light if self.light_at is not None and self.s < self.light_at else None,
            "light_distance_m": math.inf if self.light_at is None else self.light_at - self.s - 2.0,
            "npc": 0,
            "frame": self.steps,
        }
