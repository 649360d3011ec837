"""Which motion counts as comfortable: the bounds of nuPlan's comfort metric, as CaRL uses them.

They are applied to the simulator's motion as it is, tick by tick and unfiltered, which is stricter than
for a smoothed trajectory.
"""

from __future__ import annotations

from av_td3.driving.state import StepState

MAX_JERK = 8.37
"""m/s^3, length of the change of acceleration."""
MAX_LONGITUDINAL_JERK = 4.13
"""m/s^3, along the car."""
LONGITUDINAL_ACCELERATION = (-4.05, 2.40)
"""m/s^2, along the car."""
MAX_LATERAL_ACCELERATION = 4.89
"""m/s^2"""
MAX_YAW_RATE = 0.95
"""rad/s"""


def comfortable(state: StepState) -> bool:
    """Whether the motion of this tick keeps every bound."""
    low, high = LONGITUDINAL_ACCELERATION
    return (
        state.jerk <= MAX_JERK
        and abs(state.longitudinal_jerk) <= MAX_LONGITUDINAL_JERK
        and low <= state.longitudinal_acceleration <= high
        and abs(state.lateral_acceleration) <= MAX_LATERAL_ACCELERATION
        and abs(state.yaw_rate) <= MAX_YAW_RATE
    )
