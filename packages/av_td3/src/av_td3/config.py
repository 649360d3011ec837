"""The configuration: typed, frozen, validated.  The text under each key gives its unit and its effect.

A run is described by one :class:`Config`.  It starts from a preset (a YAML file
in ``presets/``), is changed by ``--set section.key=value``, and the one that ran
is written into the run directory.  Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

STEP_SECONDS = 0.05
"""Simulated seconds of one tick of the synchronous simulator."""
NEIGHBOURS = 6
"""How many of the nearest vehicles the simulator's state describes."""


Split = Literal["train", "held_out"]
"""Which of a map's routes: those of training, or those that only evaluation drives."""


def parse_address(address: str) -> tuple[str, int]:
    """``host:port``, or ``host`` for port 2000, as a pair.

    Raises:
        ValueError: it is neither; the message says what is allowed.
    """
    host, separator, port = address.rpartition(":")
    if not separator:
        host, port = address, "2000"
    # The server's two further ports follow the first.
    if not host or any(c.isspace() for c in host) or not port.isdecimal() or not 1 <= int(port) <= 65533:
        raise ValueError(
            f"{address!r} is not an address: give host:port, port 1 to 65533, such as 127.0.0.1:2000"
        )
    return host, int(port)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says which key and what to do."""


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent type conversion of defaults."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,  # the text under a key is its description
    )


Weather = Literal["fixed", "train", "held_out", "all"]
"""Which weather and light an episode may have."""
Pictures = Literal["camera", "black", "frozen", "shuffled", "other"]
"""What an agent gets to see.

``camera``: what its camera shows.  ``black``: nothing.  ``frozen``: the first picture of the episode, all
the time.  ``shuffled``: at each step the pictures of a random earlier step of the episode, so each picture
is a real one of this drive, at the wrong time.  ``other``: the pictures of the episode before, step by
step, as if they were of this one.
"""


class SimulatorConfig(Section):
    """Which CARLA server, and how its failures are handled."""

    address: str | None = None
    """``host:port`` of a running CARLA 0.9.16 server.  null: a server is started for this run."""

    command: str | None = None
    """Command that starts a CARLA server for this run.  {port} in it becomes a port that is free, as the next
    two are.  Such as ``/opt/carla/CarlaUE4.sh -RenderOffScreen -carla-rpc-port={port}``.  null: minicarla."""

    @field_validator("command")
    @classmethod
    def _is_a_command(cls, command: str | None) -> str | None:
        if command is not None:
            try:
                parts = shlex.split(command.format(port=2000))
            except (ValueError, KeyError, IndexError) as error:
                raise ValueError(f"{command!r} cannot be read as a command: {error}") from None
            if not parts or "{port}" not in command:
                raise ValueError(f"{command!r} must have {{port}} where the server is told its port")
        return command

    @model_validator(mode="after")
    def _attached_or_started(self) -> SimulatorConfig:
        if self.address is not None and self.command is not None:
            raise ValueError(
                "give address, for a server that runs, or command, for one to be started; not both"
            )
        return self

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is not None:
            parse_address(address)
        return address

    map: str = "town"
    """Map to drive on: a bundled map of minicarla, the path of an .xodr file, or, on a CARLA server, the
    name of one of its maps, such as Town01."""
    npc: int = Field(default=0, ge=0, le=500)
    """Number of other vehicles.  A small map may have room for fewer; ``info["npc"]`` says how many."""
    npc_speed: tuple[NonNegativeFloat, NonNegativeFloat] | None = None
    """Least and largest share of the speed limit at which the other vehicles drive, such as [0.4, 1.0]; each
    vehicle draws its own.  null: all drive at the limit, or on CARLA as its Traffic Manager does."""

    npc_placement: Literal["anywhere", "near"] = "anywhere"
    """Where they are at an episode's start.  anywhere: at random spawn points of the map.  near: at the spawn
    points nearest to the ego's start, so that it meets them.  With the Traffic Manager they stay on the road
    from one episode to the next, and near has no effect."""

    @field_validator("npc_speed")
    @classmethod
    def _is_a_range(cls, speed: tuple[float, float] | None) -> tuple[float, float] | None:
        if speed is not None and not 0.0 < speed[0] <= speed[1] <= 2.0:
            raise ValueError("give two shares of the speed limit, above 0, up to 2, the smaller one first")
        return speed

    traffic: Literal["auto", "server", "traffic_manager"] = "auto"
    """Who drives the other vehicles: the server itself (minicarla only), or the Traffic Manager of CARLA's
    client.  auto: the server on minicarla, the Traffic Manager on CARLA."""
    traffic_manager_port: int = Field(default=8000, ge=1024, le=65535)
    """TCP port of the Traffic Manager of training; evaluation takes the next port that is free."""
    client_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds that one call to the server may take, once the first episode has begun."""
    start_deadline_s: float = Field(default=60.0, gt=0)
    """Seconds that a server may take to start.  All four deadlines grow with what the run measures of its
    simulator, and after one that was missed."""
    map_deadline_s: float = Field(default=60.0, gt=0)
    """Seconds that a worker may take to connect and to load the map."""
    reset_deadline_s: float = Field(default=30.0, gt=0)
    """Seconds that a reset may take.  After that, worker and server are replaced."""
    step_deadline_s: float = Field(default=10.0, gt=0)
    """Seconds that an environment step may take.  After that, worker and server are replaced."""
    max_consecutive_restarts: int = Field(default=5, ge=0)
    """Failures in a row, without a finished step between them, after which the run gives up."""
    max_restarts_per_hour: int = Field(default=60, ge=0)
    """Failures within an hour after which the run gives up: a simulator that fails again and again."""
    max_restarts: int = Field(default=5_000, ge=0)
    """Failures in all after which the run gives up."""
    renew_after_episodes: int | None = Field(default=None, ge=1)
    """Episodes after which a server that was started for the run is replaced in good order.  null: never."""
    renew_after_hours: float | None = Field(default=None, gt=0)
    """The same by the server's age."""
    renew_above_gib: float | None = Field(default=None, gt=0)
    """The same by its memory, GiB: CARLA needs more the longer it runs."""
    faults: str | None = None
    """For tests: faults that minicarla is to commit, as in ``minicarla serve --faults``."""


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
    """black: every picture is black.  A twin that is trained so shows what the picture is worth."""


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


class AgentConfig(Section):
    """TD3 (Fujimoto et al. 2018) on images.  Defaults are the paper's where it has them."""

    encoder: Literal["separate", "shared", "asymmetric", "none"] = "separate"
    """Who has a convolutional encoder.  separate: actor and critic one each, trained by their own losses.
    shared: one for both, trained by the critic's loss; the actor sees its output as a constant.
    asymmetric: the actor alone; the critic judges by the vector (see ``env.observation.privileged``).
    none: nobody looks at the picture."""
    encoder_net: Literal["nature", "small"] = "nature"
    """The convolutions.  nature: 32-64-64 channels (Mnih et al. 2015).  small: 16-32-32 channels and
    larger strides: 2.2 million multiply-adds a picture instead of 7.7 million."""
    feature_size: int = Field(default=512, ge=8)
    """Length of the encoder's output.  Beside a short vector a long one drowns it (docs/results.md)."""
    feature_norm: Literal["none", "layernorm_tanh"] = "layernorm_tanh"
    """What bounds the encoder's output.  layernorm_tanh: LayerNorm, then tanh, as in DrQ-v2 (Yarats et
    al. 2021).  none: a plain ReLU."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the heads."""
    gamma: float = Field(default=0.99, gt=0, lt=1)
    """Discount factor of one step."""
    tau: float = Field(default=0.005, gt=0, le=1)
    """Polyak factor: the share of a network that its target copy takes over at each policy update."""
    batch_size: int = Field(default=256, ge=1)
    """Transitions in one update."""
    actor_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the actor's head."""
    critic_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the two critic heads."""
    actor_encoder_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the actor's encoder (encoder: separate)."""
    critic_encoder_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the critic's encoder, or of the shared one."""
    policy_delay: int = Field(default=2, ge=1)
    """Updates of the critic for each update of the policy and the targets."""
    policy_noise: float = Field(default=0.2, ge=0)
    """Standard deviation of the noise on the target policy's action (target policy smoothing)."""
    noise_clip: float = Field(default=0.5, ge=0)
    """That noise is clipped to +- this."""
    actor_clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest joint L2 norm of all gradients of the actor's optimiser; larger ones are scaled down.  null: no
    clip."""
    critic_clip_norm: float | None = Field(default=10.0, gt=0)
    """The same for the critic's optimiser."""
    pre_tanh_penalty: float = Field(default=0.01, ge=0)
    """Weight, in the actor loss, of the mean square of the action before its tanh.  It keeps the tanh out of
    saturation, where the gradient vanishes."""
    penalty_scale: Literal["absolute", "q"] = "absolute"
    """Unit of the three weights below.  absolute: 1.  q: the mean |Q| of the batch, so that a penalty weighs
    the same however far Q has grown (as in TD3+BC, Fujimoto and Gu 2021)."""
    action_change_penalty: float = Field(default=0.0, ge=0)
    """Weight, in the actor loss, of the mean squared change of the policy's action from one step to the
    next (the temporal term of CAPS, Mysore et al. 2021).  0: none, as in TD3; more drives more calmly."""
    imitation: float = Field(default=0.0, ge=0)
    """Initial weight, in the actor loss, of the squared distance to demonstrated actions.  It counts where
    the critic prefers the demonstrated action (Q-filter of Nair et al. 2018).  0: none, as in TD3."""
    state_loss: float = Field(default=0.0, ge=0)
    """Weight, in the actor loss, of an auxiliary task: to read the simulator's state
    (``env.observation.privileged``; as much as a camera can show) from the features of the actor's own
    encoder.  0: none, as in TD3."""
    imitation_updates: int = Field(default=10_000, ge=1)
    """Updates after which that weight has fallen to 0."""
    actor_final_init: float = Field(default=1e-3, gt=0)
    """The actor's last layer starts uniform in +- this, so the first actions are near 0."""
    critic_warmup: int = Field(default=500, ge=0)
    """Updates of the critic alone before the first update of the policy."""
    actor_q: Literal["q1", "min"] = "q1"
    """Which value the actor maximises: q1, as in the paper, or the smaller of the two."""
    actor_q_clamp: float | None = Field(default=None, gt=0)
    """The actor's Q is clamped to +- this.  null: not at all.  Beyond it the policy gets no gradient."""
    critic_layer_norm: bool = False
    """LayerNorm after each hidden layer of the critics (Ball et al. 2023)."""
    critic_batch_norm: bool = False
    """BatchNorm there instead.  The critic learns with the statistics of the batch; it judges the policy's
    action, and its target copies judge, with running ones."""
    random_shift: int = Field(default=0, ge=0, le=16)
    """Each stack of pictures in a batch is shifted at random by up to so many pixels along both axes.  4 in
    DrQ-v2 (Yarats et al. 2021).  0: not."""
    target_q: Literal["min", "q1"] = "min"
    """Which value the Bellman target takes.  min: the smaller of the two, TD3.  q1: the first alone; with
    policy_delay=1 and policy_noise=0 this is DDPG (Lillicrap et al. 2016)."""
    twin_min_weight: float = Field(default=1.0, ge=0.5, le=1)
    """w in the target w * min(Q1, Q2) + (1 - w) * max(Q1, Q2); 1 is TD3."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Arithmetic of the convolutions.  Heads, losses and optimisers are float32 in any case.  auto: bfloat16
    where the processor has it in hardware, a trial at the start shows it faster, and the gradients agree."""
    execution: Literal["eager", "graphs"] = "eager"
    """How an update runs.  eager: operation by operation.  graphs: the whole update as CUDA graphs (GPU)."""

    @model_validator(mode="after")
    def _one_normalisation(self) -> AgentConfig:
        if self.critic_batch_norm and self.critic_layer_norm:
            raise ValueError("give critic_layer_norm or critic_batch_norm, not both")
        if self.critic_batch_norm and self.batch_size < 2:
            raise ValueError("critic_batch_norm needs a batch_size of 2 or more")
        return self


class ExplorationConfig(Section):
    """Actions while collecting data."""

    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the Gaussian noise on the policy's action once the decay is over."""
    initial_noise: float = Field(default=0.3, ge=0)
    """The same when the policy takes over from the warm-up."""
    noise_decay_steps: int = Field(default=10_000, ge=1)
    """Environment steps in which the noise falls from initial_noise to noise, linearly."""
    warmup_steps: int = Field(default=1_000, ge=0)
    """Steps before the policy takes over.  Who drives them: ``warmup_driver``."""
    warmup_driver: Literal["random", "classical"] = "random"
    """Who drives the warm-up.  random: autocorrelated noise; the agent learns from its own driving alone.
    classical: the classical driver (pure pursuit and PID), whose episodes are demonstrations."""
    demonstration_noise: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 0.1, 0.3), min_length=1)
    """Standard deviations of the noise on the classical driver's actions, taken in turn, one an episode:
    noise takes the car off the lane's centre, and so the replay shows how to come back."""
    noise_correlation: float = Field(default=0.0, ge=0, lt=1)
    """Correlation of the noise from one step to the next; 0 is the paper's white noise."""
    warmup_noise: float = Field(default=0.4, ge=0)
    """Standard deviation of the actions of random driving (warmup_driver: random)."""
    warmup_correlation: float = Field(default=0.9, ge=0, lt=1)
    """Correlation of these actions from one step to the next.  At 20 steps a second white noise averages out
    before the car moves."""
    warmup_throttle_mean: float = Field(default=0.3, ge=-1, le=1)
    """Mean of the throttle in random driving: above 0, since a car that stands shows nothing."""


class ReplayConfig(Section):
    """The replay memory."""

    capacity: int = Field(default=100_000, ge=100)
    """Observations kept, about 7.3 kB each with pictures of 84 x 84; the oldest are overwritten."""
    device: Literal["auto", "cpu", "train"] = "auto"
    """Where batches are stacked.  cpu: in the host's memory.  train: on the device of the training, where the
    frames then lie as well (7.1 GB a million).  auto: train on a GPU, else cpu."""
    n_step: int = Field(default=1, ge=1, le=10)
    """Steps of reward in the Bellman target before it bootstraps; 1 is the paper's."""


TrackerName = Literal["wandb", "mlflow"]
"""What ``train.loggers`` may name."""


class TrainConfig(Section):
    """The training run."""

    steps: int = Field(default=100_000, ge=1)
    """Environment steps of the whole run."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random: networks, exploration, replay, episodes."""
    envs: int = Field(default=1, ge=1, le=256)
    """Environments that are driven at once, each with a simulator of its own."""
    maps: list[str] = []
    """Maps of these environments, in turn: environment k drives on map k modulo their number.  Empty: all
    drive on ``env.simulator.map``, where evaluations drive in any case."""
    updates_per_step: float = Field(default=1.0, gt=0, le=20)
    """Updates of the critic for each environment step; the steps of all environments count."""
    learning_starts: int = Field(default=1_000, ge=1)
    """Environment steps before the first update."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes after which training ends and evaluates, however many steps were made.  null: no limit."""
    log_interval: int = Field(default=100, ge=1)
    """Environment steps between two rows of scalars."""
    checkpoint_interval: int = Field(default=5_000, ge=1)
    """Environment steps between two checkpoints, which are written between episodes."""
    checkpoint_replay: bool = True
    """Whether a checkpoint holds the replay.  Without it a resumed run starts with an empty one."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints are kept."""
    stop_on: Literal["never", "warning", "critical"] = "never"
    """End training when an alert reaches this level.  The checkpoint from before the alert is kept."""
    device: str = "auto"
    """Where torch computes: auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    threads: int | None = Field(default=None, ge=0)
    """Threads of one torch operation.  null: one a core.  On a machine that others use, take one fewer.
    auto (or 0): measured at the start; each simulator keeps a core to itself."""

    @field_validator("threads", mode="before")
    @classmethod
    def _threads_by_name(cls, threads: object) -> object:
        return 0 if threads == "auto" else threads

    loggers: tuple[TrackerName, ...] = ()
    """Who gets the figures beside TensorBoard's files: wandb, mlflow.  Each is an extra to install."""
    debug: bool = False
    """Show tracebacks instead of errors of one line."""


class EvaluationConfig(Section):
    """Evaluations on held-out routes."""

    interval: int = Field(default=10_000, ge=1)
    """Environment steps between two evaluations while training."""
    episodes: int = Field(default=5, ge=1)
    """Held-out episodes of one evaluation while training."""
    final_episodes: int = Field(default=20, ge=2)
    """Held-out episodes of the evaluation at the end, and of ``av-td3 evaluate``."""
    baselines: bool = True
    """Whether the evaluation at the end also drives the untrained agent, random actions and the classical
    driver.  In a sweep they would be the same in every run."""
    video: bool = True
    """Whether the evaluation at the end films the agent."""
    seed: int = Field(default=1_000_000, ge=0)
    """Evaluation episode i has the seed ``seed + i``.  Seeds of training episodes stay below."""
    averaged: bool = False
    """Evaluate the target policy, whose weights are the moving average (``agent.tau``) of the policy's.
    It drives more steadily than the policy of the last update.  false: the policy itself, as in TD3."""
    keep_best: bool = False
    """Evaluate at the end the best of the policies that were evaluated while training, not the last one (the
    idea of TD7's checkpoints, Fujimoto et al. 2023).  It is chosen on other seeds than it is judged on."""


class Config(Section):
    """Everything that determines a run."""

    env: EnvConfig = EnvConfig()
    """The driving environment."""
    agent: AgentConfig = AgentConfig()
    """Networks and their update."""
    exploration: ExplorationConfig = ExplorationConfig()
    """How actions are chosen to collect data."""
    replay: ReplayConfig = ReplayConfig()
    """What is remembered."""
    train: TrainConfig = TrainConfig()
    """The run."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluations, while training and at the end."""

    @model_validator(mode="after")
    def _batch_fits_into_replay(self) -> Config:
        if self.agent.batch_size > self.replay.capacity:
            raise ValueError(
                f"agent.batch_size ({self.agent.batch_size}) is larger than replay.capacity "
                f"({self.replay.capacity}): a batch would hold the same transitions several times"
            )
        return self

    @model_validator(mode="after")
    def _critic_sees_enough(self) -> Config:
        observation, agent = self.env.observation, self.agent
        if observation.privileged:
            if agent.state_loss and agent.encoder not in ("separate", "asymmetric"):
                raise ValueError(
                    f"agent.state_loss trains an encoder of the actor's own; agent.encoder={agent.encoder} "
                    "has none: set agent.encoder=asymmetric (or separate)"
                )
        elif agent.state_loss:
            raise ValueError("agent.state_loss needs the state to read: set env.observation.privileged=true")
        elif observation.vector == "sight" and agent.encoder in ("asymmetric", "none"):
            raise ValueError(
                f"env.observation.vector=sight leaves the lane to the picture, and with agent.encoder="
                f"{agent.encoder} the critic sees no picture: set env.observation.privileged=true"
            )
        return self

    @model_validator(mode="after")
    def _environments_can_be_served(self) -> Config:
        envs, address = self.train.envs, self.env.simulator.address
        if envs > 1 and address is not None:
            raise ValueError(
                f"train.envs ({envs}) is more than the CARLA server at {address} can serve: a server has one "
                "clock, and so one environment at a time.  Train with one, or give no address: minicarla or "
                "env.simulator.command then starts a server for each"
            )
        if len(self.train.maps) > envs:
            raise ValueError(
                f"train.maps names {len(self.train.maps)} maps for {envs} environment(s), each of which "
                f"keeps its map: set train.envs={len(self.train.maps)} or more, or name fewer"
            )
        if self.replay.capacity < 100 * envs:
            raise ValueError(
                f"replay.capacity ({self.replay.capacity}) is below 100 for each of {envs} environments"
            )
        return self

    def to_yaml(self) -> str:
        """The whole configuration, every key written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested mapping by key, such as ``train.seed``."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def preset_names() -> list[str]:
    """Names of the bundled presets."""
    folder = resources.files("av_td3") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML text of a bundled preset.

    Raises:
        ConfigError: there is none of that name.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}{_suggest(name, names)}; there are: {', '.join(names)}")
    return (resources.files("av_td3") / "presets" / f"{name}.yaml").read_text()


def load_config(preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Build a configuration: defaults, then a preset, then a YAML file, then ``key=value`` overrides.

    Raises:
        ConfigError: unknown preset, key or value, unreadable file.
    """
    tree: dict[str, Any] = {}
    if preset is not None:
        _merge(tree, _parse_yaml(preset_text(preset), f"preset {preset}"))
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {file}: {error}") from None
        _merge(tree, _parse_yaml(text, str(file)))
    return overridden(tree, overrides)


def overridden(tree: dict[str, Any], overrides: Sequence[str]) -> Config:
    """The configuration of a tree of keys and values, with ``section.key=value`` put into it.

    Raises:
        ConfigError: there is no such key, or a value cannot be used.
    """
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override!r} is not of the form section.key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None
        if isinstance(parsed, str):
            parsed = _number(parsed)
        for part in reversed(key.split(".")):
            parsed = {part: parsed}
        _merge(tree, parsed)
    return config_from_dict(tree)


def config_from_dict(tree: Mapping[str, Any]) -> Config:
    """Validate a nested mapping; ConfigError names every offending key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} must hold a mapping of sections, not {type(tree).__name__}")
    return {key: _numbers(value) for key, value in tree.items()}


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return _number(value) if isinstance(value, str) else value


def _number(value: str) -> str | float:
    # YAML 1.1 reads 1e-4 as a string, though everybody who writes it means the number.
    try:
        return float(value)
    except ValueError:
        return value


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def explain(error: ValidationError, prefix: str = "") -> str:
    """Every offending key with its value and what is wrong with it, in one line.

    Args:
        prefix: path of the validated section, such as ``env.``; empty for a whole :class:`Config`.
    """
    return "; ".join(_explain_one(details, prefix) for details in error.errors())


def _explain_one(details: ErrorDetails, prefix: str) -> str:
    path = prefix + ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"unknown key {path!r}{_suggest(path, list(_all_keys(Config)))}"
    if details["type"] == "value_error":  # a message of our own
        return f"{path or 'configuration'}: {details['msg'].removeprefix('Value error, ')}"
    return f"{path or 'configuration'} = {details['input']!r}: {details['msg'].lower()}"


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _all_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
