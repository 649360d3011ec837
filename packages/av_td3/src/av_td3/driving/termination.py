"""When an episode ends, and under which name."""

from __future__ import annotations

import math

from av_td3.config import STEP_SECONDS, TerminationConfig
from av_td3.driving.state import StepState

FAILURES = ("collision", "off_road", "wrong_way", "lane_invasion", "red_light", "stuck")
"""Ends that carry the terminal penalty, in order of precedence."""
SUCCESS = "success"
TIME_LIMIT = "time_limit"
SIMULATOR_FAULT = "simulator_fault"
TRUNCATIONS = (TIME_LIMIT, SIMULATOR_FAULT)
"""Ends that say nothing about the state: the value of what would have followed is bootstrapped."""

STUCK_SPEED = 1.0
"""m/s below which the car counts as standing."""


def is_off_road(state: StepState, config: TerminationConfig) -> bool:
    """Whether the car is further from the route's lane centre than ``off_road_m``."""
    return abs(state.lateral) > config.off_road_m


def termination(state: StepState, config: TerminationConfig) -> str | None:
    """Name of the event that ends the episode at this step, or None.

    A failure beats success in the same step, and both beat the time limit.
    """
    happened = {
        "collision": config.collision and state.collisions > 0,
        "off_road": config.off_road and is_off_road(state, config),
        "wrong_way": config.wrong_way and abs(state.heading_error) > math.radians(config.wrong_way_deg),
        "lane_invasion": config.lane_invasion and state.lane_invasions > 0,
        "red_light": config.red_light and state.red_lights_run > 0,
        "stuck": config.stuck and state.slow_seconds >= config.stuck_s - STEP_SECONDS / 2,
    }
    for name in FAILURES:
        if happened[name]:
            return name
    if state.finished:
        return SUCCESS
    return TIME_LIMIT if state.steps >= config.max_steps else None
