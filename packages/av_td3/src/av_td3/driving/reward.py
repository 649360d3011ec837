"""The reward: components that sum to it.  Formulas and scale: docs/reward.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

from av_td3.config import STEP_SECONDS, RewardConfig
from av_td3.driving.info import RewardComponents
from av_td3.driving.route import BRAKING
from av_td3.driving.state import StepState
from av_td3.driving.termination import FAILURES, SUCCESS

SAFE_TIME_TO_COLLISION = 2.0
"""Seconds; below it the safety component falls linearly to its minimum at 0."""
HEADWAY = 1.0
"""Seconds of distance to keep to what is ahead, on top of ``STANDSTILL_GAP``."""
STANDSTILL_GAP = 4.0
"""Metres to what is ahead at which standing is right."""
HEADING_SCALE = 0.5
"""Radians of heading error that cost as much as a wheel on the lane's edge."""
JERK_SCALE = 60.0
"""m/s^3: throttle from nothing to full within one step."""
LATERAL_SCALE = 5.0
"""m/s^2 in a curve that nobody enjoys."""
LIGHT_STEPS = 10
"""Steps that lie at least between two red lights that are run, for the bound of a return."""
FASTEST = 1.0
"""m/s that a wanted speed never falls below when it divides something."""


def wanted_speed(state: StepState, config: RewardConfig) -> float:
    """m/s: the target speed, less in curves, behind something slow and, if wanted, before a red light."""
    speed = min(config.target_speed_kmh / 3.6, state.reference_speed)
    room = max(0.0, state.obstacle_distance - STANDSTILL_GAP)
    speed = min(speed, max(0.0, state.obstacle_speed) + room / HEADWAY)
    if config.stop_at_red and state.light == "red":
        speed = min(speed, math.sqrt(2.0 * BRAKING * max(0.0, state.light_distance - config.light_gap_m)))
    return speed


def reward_components(
    state: StepState, ended: str | None, config: RewardConfig, weight: float = 1.0
) -> RewardComponents:
    """The components of one tick's reward.

    Args:
        ended: the tick's termination, or None.
        weight: the tick's share in its step.  The penalty of a red light, and the penalty or bonus of an
            episode's end, are not shared.
    """
    target = config.target_speed_kmh / 3.6
    covered = min(1.0, state.new_ground / (target * STEP_SECONDS))

    off_centre = min(1.0, abs(state.lateral) / state.half_width) ** 2
    off_heading = min(1.0, abs(state.heading_error) / HEADING_SCALE) ** 2

    wanted = wanted_speed(state, config)
    mismatch = (state.speed - wanted) / max(wanted, FASTEST)
    too_slow, too_fast = min(1.0, max(0.0, -mismatch)), min(1.0, max(0.0, mismatch))

    paid = min(covered, wanted / target) if config.progress_up_to == "wanted" else covered

    discomfort = (
        min(1.0, state.jerk / JERK_SCALE)
        + min(1.0, abs(state.lateral_acceleration) / LATERAL_SCALE)
        + min(1.0, state.steer_change)
    ) / 3.0

    danger = 1.0 - min(1.0, state.time_to_collision / SAFE_TIME_TO_COLLISION)
    if state.collisions:
        danger = 1.0

    components: RewardComponents = {
        "progress": weight * config.progress * paid,
        "safety": weight * -config.safety * danger,
        # Paid per metre covered, not per second: staying put never costs less than driving on.
        "lane_keeping": weight * -config.lane_keeping * covered * (off_centre + off_heading) / 2.0,
        # So is speeding: it takes from what the metres earn, and never makes an end worth having.
        "efficiency": weight * (-config.efficiency * too_slow - config.overspeed * covered * too_fast),
        "comfort": weight * -config.comfort * discomfort,
        "red_light": -config.red_light * state.red_lights_run,
    }
    if ended in FAILURES:
        components["safety"] -= config.terminal_penalty
    elif ended == SUCCESS:
        components["progress"] += config.success_bonus
    return components


def added(ticks: Sequence[RewardComponents]) -> RewardComponents:
    """The components of a step from those of its ticks."""
    if len(ticks) == 1:
        return ticks[0]
    return {
        "progress": sum(t["progress"] for t in ticks),
        "safety": sum(t["safety"] for t in ticks),
        "lane_keeping": sum(t["lane_keeping"] for t in ticks),
        "efficiency": sum(t["efficiency"] for t in ticks),
        "comfort": sum(t["comfort"] for t in ticks),
        "red_light": sum(t["red_light"] for t in ticks),
    }


def no_reward() -> RewardComponents:
    """The components of a step that earned nothing."""
    return {
        "progress": 0.0,
        "safety": 0.0,
        "lane_keeping": 0.0,
        "efficiency": 0.0,
        "comfort": 0.0,
        "red_light": 0.0,
    }


def total(components: RewardComponents) -> float:
    """The reward: the sum of its components."""
    c = components
    driving = c["progress"] + c["safety"] + c["lane_keeping"] + c["efficiency"] + c["comfort"]
    return driving + c["red_light"]


def reward_bound(config: RewardConfig) -> tuple[float, float]:
    """(low, high) that no step's reward leaves, the last step of an episode included."""
    low = _worst_step(config) - config.red_light - config.terminal_penalty
    return low, config.progress + config.success_bonus


def return_bound(config: RewardConfig, gamma: float) -> tuple[float, float]:
    """(low, high) that no discounted return leaves: what a Q value can truthfully be.

    The penalty and the bonus come at most once an episode, so they are not multiplied by the horizon.  A red
    light can be run at most every ``LIGHT_STEPS`` steps.
    """
    horizon = 1.0 / (1.0 - gamma)
    low = _worst_step(config) * horizon - config.terminal_penalty
    low -= config.red_light * (1.0 + horizon / LIGHT_STEPS)
    return low, config.progress * horizon + config.success_bonus


def _worst_step(config: RewardConfig) -> float:
    """A reward that no step is below, its terminal part left out.

    Speeding is charged on metres that earn ``progress`` themselves: only what it takes beyond that counts.
    """
    speeding = max(0.0, config.overspeed - config.progress)
    return -(config.safety + config.lane_keeping + config.efficiency + config.comfort + speeding)
