"""What ``info`` of ``reset`` and ``step`` holds: every key with its unit and its meaning.

The table in docs/architecture.md is made from :class:`StepInfo`; a test compares the two.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypedDict

from av_td3.driving.state import Colour


class Key(NamedTuple):
    """Describes one key of ``info``."""

    unit: str
    """"" when the value has no unit."""
    meaning: str


class RewardComponents(TypedDict):
    """The parts of one step's reward; their sum is the reward (docs/reward.md)."""

    progress: float
    safety: float
    lane_keeping: float
    efficiency: float
    comfort: float
    red_light: float


class _EveryStep(TypedDict):
    speed_kmh: Annotated[float, Key("km/h", "speed of the car in the ground plane")]
    lateral_deviation_m: Annotated[
        float, Key("m", "signed distance from the route's lane centre; positive to the right")
    ]
    heading_error_rad: Annotated[
        float, Key("rad", "heading of the car minus heading of the lane, in [-pi, pi); positive to the right")
    ]
    route: Annotated[str, Key("", "name of the route: `start->goal`, as numbers of the map's spawn points")]
    route_length_m: Annotated[float, Key("m", "length of the route")]
    route_completion: Annotated[float, Key("0..1", "share of the route that was covered so far")]
    distance_m: Annotated[float, Key("m", "distance driven in this step")]
    reward_components: Annotated[
        RewardComponents,
        Key(
            "",
            "`progress`, `safety`, `lane_keeping`, `efficiency`, `comfort`, `red_light`; they sum to the "
            "reward",
        ),
    ]
    collisions: Annotated[int, Key("count", "collisions since the episode began")]
    vehicle_collisions: Annotated[int, Key("count", "those of them that were with a vehicle")]
    walker_collisions: Annotated[int, Key("count", "those of them that were with a walker")]
    lane_invasions: Annotated[int, Key("count", "lane markings crossed since the episode began")]
    off_road_steps: Annotated[
        int, Key("ticks", "ticks since the episode began with the car beyond `termination.off_road_m`")
    ]
    acceleration: Annotated[float, Key("m/s²", "length of the acceleration vector in the ground plane")]
    longitudinal_acceleration: Annotated[
        float, Key("m/s²", "acceleration along the car; braking is negative")
    ]
    lateral_acceleration: Annotated[float, Key("m/s²", "speed times yaw rate; positive to the right")]
    yaw_rate: Annotated[float, Key("rad/s", "positive to the right")]
    jerk: Annotated[float, Key("m/s³", "length of the change of acceleration per second")]
    comfortable: Annotated[
        float, Key("0..1", "share of the step's ticks within the bounds of `driving/comfort.py`")
    ]
    time_to_collision_s: Annotated[
        float,
        Key("s", "time until the gap to the obstacle ahead is closed at the present speeds; `inf` if never"),
    ]
    obstacle_distance_m: Annotated[
        float, Key("m", "gap to the nearest vehicle or walker straight ahead; `inf` when there is none")
    ]
    hazard_distance_m: Annotated[
        float,
        Key(
            "m",
            "along the route, from the car's front to a vehicle or walker that is or will be in the way; "
            "`inf` when there is none",
        ),
    ]
    hazard_speed_kmh: Annotated[float, Key("km/h", "speed of it along the route")]
    light: Annotated[
        Colour | None,
        Key("", "what the route's next traffic light shows: `green`, `yellow`, `red`; None if none is near"),
    ]
    light_distance_m: Annotated[
        float,
        Key("m", "from the car's front to that light's stop line; `inf` when none is within 60 m"),
    ]
    red_lights_run: Annotated[int, Key("count", "red lights run since the episode began")]
    npc: Annotated[
        int,
        Key("count", "other vehicles in this episode; `simulator.npc`, or fewer if the map has less room"),
    ]
    frame: Annotated[int, Key("ticks", "simulator ticks since the episode's first observation")]


class StepInfo(_EveryStep, total=False):
    """``info`` of ``reset`` and ``step``.

    Each annotation holds the type, the unit and the meaning of its key.  Keys of this class (as
    opposed to those that it inherits) are there only in some steps.
    """

    termination: Annotated[
        str,
        Key(
            "",
            "only in an episode's last step, why it ended: `success`, `collision`, `off_road`, `wrong_way`, "
            "`lane_invasion`, `red_light`, `stuck`, `time_limit` or `simulator_fault`",
        ),
    ]
    weather: Annotated[str, Key("", "unless `env.weather` is fixed: name of CARLA's preset")]
    fault: Annotated[str, Key("", "only with `simulator_fault`: what failed")]
