"""``env``: the driving environment, and its sections but ``simulator``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from av_td3.config.section import Section, flat
from av_td3.config.simulator import SimulatorConfig

STEP_SECONDS = 0.05
"""Simulated seconds of one tick of the synchronous simulator."""
ACTION_SIZE = 2
"""Numbers of an action: steering and the pedals, each from -1 to 1."""
NEIGHBOURS = 6
"""How many of the nearest vehicles the simulator's state describes."""

Split = Literal["train", "held_out"]
"""Which of a map's routes: those of training, or those that only evaluation drives."""
Weather = Literal["fixed", "train", "held_out", "all"]
"""Which weather and light an episode may have."""


class CameraConfig(Section):
    """The front camera (``sensor.camera.rgb``) and the picture the agent sees."""

    width: int = Field(default=84, ge=16, le=1920)
    """Width of the camera's picture, pixels."""
    height: int = Field(default=84, ge=16, le=1080)
    """Height of the camera's picture, pixels."""
    fov: float = Field(default=90.0, gt=10, lt=170)
    """Horizontal field of view, degrees."""
    x: float = 1.5
    """Where the camera is mounted: metres ahead of the car's origin."""
    z: float = 2.4
    """Where the camera is mounted: metres above the car's origin."""
    pitch: float = -10.0
    """Degrees that the camera looks up; negative looks down.  The default sees the road from the front edge
    of the roof, over the bonnet."""
    frame_stack: int = Field(default=4, ge=1, le=8)
    """Pictures in an observation: this many steps, the newest last.  More than one shows motion."""
    size: int = Field(default=84, ge=36, le=256)
    """Side of the square grayscale picture in the observation, pixels."""


class RouteConfig(Section):
    """Routes between spawn points, planned on the map's topology."""

    min_length_m: float = Field(default=120.0, gt=10)
    """Shortest route, metres."""
    max_length_m: float = Field(default=220.0, gt=20)
    """Longest route, metres."""
    waypoints: int = Field(default=25, ge=1, le=100)
    """How many route points ahead the vector observation holds."""
    waypoint_spacing_m: float = Field(default=2.0, gt=0)
    """Metres between two of these points."""
    held_out_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of all routes, 0 to 1, that training never drives and evaluation drives only."""

    @model_validator(mode="after")
    def _ordered(self) -> RouteConfig:
        if self.max_length_m <= self.min_length_m:
            raise ValueError("max_length_m must be greater than min_length_m")
        return self


class ObservationConfig(Section):
    """What the agent is told beside the picture, and what only its critic is told."""

    vector: Literal["route", "sight", "state"] = "route"
    """route: speed, distance from the lane's centre, heading error, and points of the route.
    state: that and the simulator's state (see privileged), for the actor too; no camera shows as much.
    sight: speed and the navigation command (follow the lane, or at the next junction left, straight or right,
    and how far it is); where the lane lies must be seen in the picture."""
    previous_action: bool = False
    """Whether the vector also holds the steer and the pedal that are applied."""
    traffic_light: bool = False
    """Whether the vector also holds the route's next traffic light: how far its stop line is, and whether it
    shows green.  In a grey picture of 84 pixels its colour cannot be seen, and from the stop line the light
    itself is out of view."""
    privileged: bool = False
    """Whether the vector ends with the simulator's state: lane, route, vehicles around, traffic light.  The
    agent's critic sees these entries, its actor never does; they take about 150 bytes a step more."""
    picture: Literal["camera", "black"] = "camera"
    """black: every picture is black.  An agent that is trained so shows what the picture is worth."""
    lateral_unit_m: float | None = Field(default=None, gt=0)
    """Metres from the lane's centre that the vector shows as 1.  null: ``termination.off_road_m``.  An
    evaluation keeps the unit of the training, whatever it takes for off the road."""
    standing_unit_s: float | None = Field(default=None, gt=0)
    """Seconds of standing that the simulator's state shows as 1.  null: ``termination.stuck_s``.  An
    evaluation keeps the unit of the training."""


class RewardConfig(Section):
    """Weights of the components; the scale is documented in docs/reward.md.

    With the defaults a step's reward lies in [-0.75, 1] and an episode's end adds
    ``terminal_penalty`` (failure) or ``success_bonus`` (the route's end).
    """

    target_speed_kmh: float = Field(default=30.0, gt=0)
    """Wanted speed on a free, straight road, km/h."""
    progress: float = Field(default=1.0, ge=0)
    """Reward of a step that covers as much of the route as the target speed allows."""
    lane_keeping: float = Field(default=0.3, ge=0)
    """Largest penalty of a step for being off the lane's centre or heading; charged on covered ground."""
    progress_up_to: Literal["target", "wanted"] = "target"
    """Speed up to which covered ground is paid.  wanted: less than the target speed before curves, red lights
    (with ``stop_at_red``) and slow vehicles, so that nothing is earned by driving on faster than that."""
    efficiency: float = Field(default=0.1, ge=0)
    """Largest penalty of a step for being slower than the wanted speed."""
    overspeed: float = Field(default=0.5, ge=0)
    """Largest penalty of a step for being faster than the wanted speed; part of the efficiency component."""
    comfort: float = Field(default=0.05, ge=0)
    """Largest penalty of a step for jerk, lateral acceleration and a change of the steering."""
    safety: float = Field(default=0.3, ge=0)
    """Largest penalty of a step for a short time to collision."""
    red_light: float = Field(default=0.0, ge=0)
    """Penalty, once, for each red light that is run."""
    stop_at_red: bool = False
    """Whether the wanted speed falls to 0 before a red light.  Without it, waiting there costs
    ``efficiency``.  Set it where a map has lights."""
    light_gap_m: float = Field(default=1.0, ge=0, le=10)
    """With ``stop_at_red``: metres before the stop line at which the wanted speed is 0."""
    terminal_penalty: float = Field(default=10.0, ge=0)
    """Penalty, once, when a failure ends the episode."""
    success_bonus: float = Field(default=10.0, ge=0)
    """Reward, once, when the route's end is reached."""


class TerminationConfig(Section):
    """Which events end an episode.  All but time_limit terminate; the limit truncates."""

    collision: bool = True
    """End the episode at a collision."""
    off_road: bool = True
    """End the episode when the car is off the road."""
    wrong_way: bool = True
    """End the episode when the car points against its lane."""
    stuck: bool = True
    """End the episode when the car has been standing for too long."""
    lane_invasion: bool = False
    """End the episode when a lane marking is touched.  Off by default: nobody learns to drive from
    episodes that end at the first touch."""
    red_light: bool = False
    """End the episode when a red light is run."""
    off_road_m: float = Field(default=2.5, gt=0)
    """Distance from the route's lane centre, metres, at which the car counts as off the road."""
    wrong_way_deg: float = Field(default=100.0, gt=45, le=180)
    """Angle between car and lane, degrees, at which it counts as going the wrong way."""
    stuck_s: float = Field(default=6.0, gt=0)
    """Seconds below 1 m/s after which the car counts as stuck.  Waiting behind a vehicle or at a red light
    does not count."""
    max_steps: int = Field(default=1000, ge=10)
    """Ticks (of 0.05 s) after which the episode is truncated."""


KEPT = (
    "observation.",
    "camera.",
    "route.waypoints",
    "route.waypoint_spacing_m",
    "route.held_out_fraction",
    "action_repeat",
    "action_smoothing",
)
"""Settings, or beginnings of such, that an agent keeps wherever it drives.  What else ``observation.py``
reads has the same meaning in every scene."""


class EnvConfig(Section):
    """The driving environment."""

    simulator: SimulatorConfig = SimulatorConfig()
    """The server."""
    camera: CameraConfig = CameraConfig()
    """The front camera."""
    route: RouteConfig = RouteConfig()
    """The routes."""
    reward: RewardConfig = RewardConfig()
    """The reward."""
    termination: TerminationConfig = TerminationConfig()
    """The ends of an episode."""
    observation: ObservationConfig = ObservationConfig()
    """The vector observation."""
    weather: Weather = "fixed"
    """Weather and light, drawn for each episode with its seed.  fixed: the server's own, always the same.
    train: ClearNoon, WetNoon, HardRainNoon, ClearSunset.  held_out: WetSunset, SoftRainSunset, which training
    never sees.  all: every preset of CARLA, night and dust included."""
    vehicle: str = "vehicle.tesla.model3"
    """Blueprint id of the ego vehicle."""
    action_repeat: int = Field(default=1, ge=1, le=10)
    """Ticks of 0.05 s in one step, with the same action.  2: control at 10 Hz."""
    action_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the applied action that stays from one tick to the next: a low-pass filter on steer and pedal.
    0: none.  With a filter, ``observation.previous_action`` tells the agent what is applied now."""

    @property
    def step_seconds(self) -> float:
        """Simulated seconds of one step."""
        return STEP_SECONDS * self.action_repeat

    @property
    def lateral_unit_m(self) -> float:
        """Metres from the lane's centre that read 1 in the vector."""
        given = self.observation.lateral_unit_m
        return self.termination.off_road_m if given is None else given

    @property
    def standing_unit_s(self) -> float:
        """Seconds of standing that read 1 in the vector."""
        given = self.observation.standing_unit_s
        return self.termination.stuck_s if given is None else given

    def with_units(self) -> EnvConfig:
        """The same, with the units of the vector written out: other ends of an episode leave them alone."""
        units = {"lateral_unit_m": self.lateral_unit_m, "standing_unit_s": self.standing_unit_s}
        return self.model_copy(update={"observation": self.observation.model_copy(update=units)})

    def why_not_driven_in(self, other: EnvConfig) -> str:
        """Why an agent that was trained in this environment cannot drive in another one; empty when it can.

        The text names the first of the :data:`KEPT` settings that differs.
        """
        here, there = (flat(env.with_units().model_dump()) for env in (self, other))
        for key, value in here.items():
            if key.startswith(KEPT) and there[key] != value:
                differs = f"{key}: it was {value} in training and is to be {there[key]}: "
                return differs + "what an agent sees, how it acts and its held-out routes cannot change"
        return ""

    @property
    def visible_entries(self) -> dict[str, int]:
        """Name -> number of the vector's entries that the actor sees; they come first, in this order."""
        observation = self.observation
        if observation.vector == "state":
            return self._state_entries
        if observation.vector == "sight":
            entries = {"speed": 1, "command": 5}
        else:
            entries = {"speed": 1, "lateral": 1, "heading": 1, "route": 2 * self.route.waypoints}
        if observation.previous_action:
            entries["previous_action"] = 2
        if observation.traffic_light:
            entries["light"] = 2
        return entries

    @property
    def _state_entries(self) -> dict[str, int]:
        return {
            "speed": 1,
            "lateral": 1,
            "heading": 1,
            "route": 2 * self.route.waypoints,
            "previous_action": 2,
            "motion": 3,
            "lead": 2,
            "obstacle": 2,
            "light": 2,
            "neighbours": 4 * NEIGHBOURS,  # the last: no camera shows them all
        }

    @property
    def privileged_entries(self) -> dict[str, int]:
        """Name -> number of the entries that follow, which only the critic sees."""
        if not self.observation.privileged:
            return {}
        seen = self.visible_entries
        return {name: count for name, count in self._state_entries.items() if name not in seen}

    @property
    def described(self) -> dict[str, int]:
        """Name -> number of all entries of the vector."""
        return self.visible_entries | self.privileged_entries

    @property
    def visible_size(self) -> int:
        """Length of the vector's part that the actor sees."""
        return sum(self.visible_entries.values())

    @property
    def picture_size(self) -> int:
        """How many of the privileged entries the front camera can show: all but the vehicles all around."""
        return sum(count for name, count in self.privileged_entries.items() if name != "neighbours")

    @property
    def vector_size(self) -> int:
        """Length of the vector; ``driving/observation.py`` says what it holds."""
        return sum(self.described.values())
