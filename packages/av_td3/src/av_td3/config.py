"""The configuration: typed, frozen, validated; every field is read by something.

A run is described by one :class:`Config`.  It starts from a preset (a YAML file
in ``presets/``), is changed by ``--set section.key=value``, and the one that ran
is written into the run directory.  Unknown keys are errors.
"""

from __future__ import annotations

import difflib
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
"""Simulated seconds of one environment step: one tick of the synchronous simulator."""


Split = Literal["train", "held_out"]
"""Which of a map's routes: those of training, or those that only evaluation drives."""

REWARD_COMPONENTS = ("progress", "safety", "lane_keeping", "efficiency", "comfort")
"""The names under which a reward's parts are logged; they sum to the reward."""


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

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class SimulatorConfig(Section):
    """Which CARLA server, and how its failures are handled."""

    address: str | None = None
    """``host:port`` of a running CARLA 0.9.16 server; None starts a minicarla for this run."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is not None:
            parse_address(address)
        return address

    map: str = "town"
    """Map to load: a bundled minicarla map, an .xodr file, or a CARLA map name such as Town01."""
    npc: int = Field(default=0, ge=0, le=500)
    """Number of other vehicles."""
    traffic: Literal["auto", "server", "traffic_manager"] = "auto"
    """Who drives them: minicarla itself, or the client's Traffic Manager.  auto: the server on
    minicarla, the Traffic Manager on CARLA proper."""
    traffic_manager_port: int = Field(default=8000, ge=1024, le=65535)
    """Port of the Traffic Manager of training environments; evaluation takes the next free ones."""
    client_timeout_s: float = Field(default=5.0, gt=0)
    """``carla.Client.set_timeout`` from the first episode on: bounds one call to the server."""
    start_deadline_s: float = Field(default=60.0, gt=0)
    """Longest time to start server and worker and to load the map."""
    reset_deadline_s: float = Field(default=30.0, gt=0)
    step_deadline_s: float = Field(default=10.0, gt=0)
    """Longest time for one environment step; after it worker and server are replaced."""
    max_consecutive_restarts: int = Field(default=5, ge=0)
    """Give up after so many restarts in a row without one finished step between them."""
    faults: str | None = None
    """Faults for the embedded minicarla to commit (``minicarla serve --faults``); for testing."""


class CameraConfig(Section):
    """The front camera (``sensor.camera.rgb``) and the picture the agent sees."""

    width: int = Field(default=84, ge=16, le=1920)
    height: int = Field(default=84, ge=16, le=1080)
    fov: float = Field(default=90.0, gt=10, lt=170)
    x: float = 1.5
    z: float = 2.4
    pitch: float = -10.0
    """Mounting relative to the car's origin: metres forward, metres up, degrees.  The default
    looks from the front of the roof, over the bonnet."""
    frame_stack: int = Field(default=4, ge=1, le=8)
    size: int = Field(default=84, ge=36, le=256)
    """Side of the square grayscale picture in the observation, pixels."""


class RouteConfig(Section):
    """Routes between spawn points, planned on the map's topology."""

    min_length_m: float = Field(default=120.0, gt=10)
    max_length_m: float = Field(default=220.0, gt=20)
    waypoints: int = Field(default=25, ge=1, le=100)
    """How many route points ahead are in the vector observation."""
    waypoint_spacing_m: float = Field(default=2.0, gt=0)
    held_out_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of all routes that training never drives; evaluation drives only these."""

    @model_validator(mode="after")
    def _ordered(self) -> RouteConfig:
        if self.max_length_m <= self.min_length_m:
            raise ValueError("max_length_m must be greater than min_length_m")
        return self


class RewardConfig(Section):
    """Weights of the five components; the scale is documented in docs/reward.md.

    With the defaults a step's reward lies in [-0.75, 1] and an episode's end adds
    ``terminal_penalty`` (failure) or ``success_bonus`` (the route's end).
    """

    target_speed_kmh: float = Field(default=30.0, gt=0)
    progress: float = Field(default=1.0, ge=0)
    """Per step at target speed along the route (metres of progress, normalised)."""
    lane_keeping: float = Field(default=0.3, ge=0)
    efficiency: float = Field(default=0.1, ge=0)
    """For being slower than the wanted speed."""
    overspeed: float = Field(default=0.5, ge=0)
    """For being faster than the wanted speed; part of the efficiency component."""
    comfort: float = Field(default=0.05, ge=0)
    safety: float = Field(default=0.3, ge=0)
    terminal_penalty: float = Field(default=10.0, ge=0)
    success_bonus: float = Field(default=10.0, ge=0)


class TerminationConfig(Section):
    """Which events end an episode.  All but time_limit terminate; the limit truncates."""

    collision: bool = True
    off_road: bool = True
    wrong_way: bool = True
    stuck: bool = True
    lane_invasion: bool = False
    """The predecessor's rule: the first touched marking ends the episode.  Off on purpose."""
    off_road_m: float = Field(default=2.5, gt=0)
    """Distance from the route's lane centre at which the car is off the road."""
    wrong_way_deg: float = Field(default=100.0, gt=45, le=180)
    stuck_s: float = Field(default=6.0, gt=0)
    """Seconds slower than 1 m/s after which the car is stuck."""
    max_steps: int = Field(default=1000, ge=10)


class EnvConfig(Section):
    """The driving environment."""

    simulator: SimulatorConfig = SimulatorConfig()
    camera: CameraConfig = CameraConfig()
    route: RouteConfig = RouteConfig()
    reward: RewardConfig = RewardConfig()
    termination: TerminationConfig = TerminationConfig()
    vehicle: str = "vehicle.tesla.model3"

    @property
    def vector_size(self) -> int:
        """speed, lateral deviation, heading error, then (x, y) of each waypoint."""
        return 3 + 2 * self.route.waypoints


class AgentConfig(Section):
    """TD3 (Fujimoto et al. 2018) on images.  Defaults are the paper's where it has them."""

    encoder: Literal["separate", "shared"] = "separate"
    """separate: one encoder each for actor and critic, each trained by its own loss.
    shared: one, trained by the critic; the actor sees its features held constant."""
    encoder_net: Literal["nature", "small"] = "nature"
    """The convolutions.  nature: 32-64-64 channels (Mnih et al. 2015).  small: 16-32-32 channels and
    larger strides: 2.2 million multiply-adds a picture instead of 7.7 million."""
    feature_size: int = Field(default=512, ge=8)
    feature_norm: Literal["none", "layernorm_tanh"] = "layernorm_tanh"
    """What bounds the encoder's output.  none: plain ReLU, as the recorded system had it."""
    hidden: tuple[int, ...] = (256, 256)
    gamma: float = Field(default=0.99, gt=0, lt=1)
    tau: float = Field(default=0.005, gt=0, le=1)
    batch_size: int = Field(default=256, ge=1)
    actor_lr: float = Field(default=3e-4, gt=0)
    critic_lr: float = Field(default=3e-4, gt=0)
    actor_encoder_lr: float = Field(default=3e-4, gt=0)
    critic_encoder_lr: float = Field(default=3e-4, gt=0)
    policy_delay: int = Field(default=2, ge=1)
    policy_noise: float = Field(default=0.2, ge=0)
    noise_clip: float = Field(default=0.5, ge=0)
    actor_clip_norm: float | None = Field(default=1.0, gt=0)
    """Joint L2 clip of all gradients of the actor's optimiser; null: none."""
    critic_clip_norm: float | None = Field(default=10.0, gt=0)
    pre_tanh_penalty: float = Field(default=0.01, ge=0)
    """Weight of mean(pre-tanh^2) in the actor loss: keeps tanh out of saturation."""
    action_change_penalty: float = Field(default=0.0, ge=0)
    """Weight, in the actor loss, of the mean squared change of the policy's action from one step to the
    next (the temporal term of CAPS, Mysore et al. 2021).  0: none, as in TD3; more drives more calmly."""
    imitation: float = Field(default=0.0, ge=0)
    """Initial weight, in the actor loss, of the squared distance to demonstrated actions.  It counts where
    the critic prefers the demonstrated action (Q-filter of Nair et al. 2018).  0: none, as in TD3."""
    imitation_updates: int = Field(default=10_000, ge=1)
    """Updates after which that weight has fallen to 0."""
    actor_final_init: float = Field(default=1e-3, gt=0)
    """Bound of the uniform initialisation of the actor's last layer."""
    critic_warmup: int = Field(default=500, ge=0)
    """Updates of the critic alone before the policy's first."""
    actor_q: Literal["q1", "min"] = "q1"
    """Which critic the actor climbs: Q1 as in the paper, or the smaller of the twins."""
    actor_q_clamp: float | None = Field(default=None, gt=0)
    """Clamp the actor's Q to +-this before the mean.  Kills the gradient when active."""
    critic_layer_norm: bool = False
    """LayerNorm after each hidden layer of the critics."""
    twin_min_weight: float = Field(default=1.0, ge=0.5, le=1)
    """Target = w * min(Q1, Q2) + (1 - w) * max(Q1, Q2); 1 is TD3."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the convolutions; heads, losses and optimisers stay float32."""


class ExplorationConfig(Section):
    """Actions while collecting data."""

    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the Gaussian noise on the policy's action at the end of the decay."""
    initial_noise: float = Field(default=0.3, ge=0)
    noise_decay_steps: int = Field(default=10_000, ge=1)
    warmup_steps: int = Field(default=1_000, ge=0)
    """Steps before the policy takes over.  Who drives them: ``warmup_driver``."""
    warmup_driver: Literal["random", "classical"] = "random"
    """Who drives the warm-up.  random: autocorrelated noise; the agent learns from its own driving alone.
    classical: the classical driver (pure pursuit and PID), whose episodes are demonstrations."""
    demonstration_noise: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 0.1, 0.3), min_length=1)
    """Standard deviations of the noise on the classical driver's actions, taken in turn, one an episode:
    noise takes the car off the lane's centre, and so the replay shows how to come back."""
    noise_correlation: float = Field(default=0.0, ge=0, lt=1)
    """Autocorrelation of that noise from step to step; 0 is the paper's white noise."""
    warmup_noise: float = Field(default=0.4, ge=0)
    """Standard deviation of the random driving."""
    warmup_correlation: float = Field(default=0.9, ge=0, lt=1)
    """Autocorrelation of the random driving; white noise goes nowhere at 20 steps a second."""
    warmup_throttle_mean: float = Field(default=0.3, ge=-1, le=1)


class ReplayConfig(Section):
    capacity: int = Field(default=100_000, ge=100)
    """Observations kept; about 7.3 kB each at 84x84."""
    n_step: int = Field(default=1, ge=1, le=10)
    """Length of the returns in the Bellman target; 1 is the paper's."""


class TrainConfig(Section):
    steps: int = Field(default=100_000, ge=1)
    """Environment steps of the whole run."""
    seed: int = Field(default=0, ge=0)
    updates_per_step: float = Field(default=1.0, gt=0, le=20)
    learning_starts: int = Field(default=1_000, ge=1)
    """Steps before the first update."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop training after this long (and evaluate), however many steps were made."""
    log_interval: int = Field(default=100, ge=1)
    """Steps between two rows of scalars."""
    checkpoint_interval: int = Field(default=5_000, ge=1)
    checkpoint_replay: bool = True
    keep_checkpoints: int = Field(default=2, ge=1)
    stop_on: Literal["never", "warning", "critical"] = "never"
    """End training when an alert reaches this level, keeping the checkpoint from before it."""
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    """torch's intra-op threads; null: all cores.  On a machine that is shared, one fewer."""
    debug: bool = False
    """Tracebacks instead of one-line errors."""


class EvaluationConfig(Section):
    interval: int = Field(default=10_000, ge=1)
    """Environment steps between two evaluations while training."""
    episodes: int = Field(default=5, ge=1)
    """Held-out episodes of one evaluation while training."""
    final_episodes: int = Field(default=20, ge=2)
    """Held-out episodes of the evaluation at the end and of ``av-td3 evaluate``."""
    seed: int = Field(default=1_000_000, ge=0)
    """Seeds of evaluation episodes start here; training seeds stay below."""


class Config(Section):
    """Everything that determines a run."""

    env: EnvConfig = EnvConfig()
    agent: AgentConfig = AgentConfig()
    exploration: ExplorationConfig = ExplorationConfig()
    replay: ReplayConfig = ReplayConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _batch_fits_into_replay(self) -> Config:
        if self.agent.batch_size > self.replay.capacity:
            raise ValueError(
                f"agent.batch_size ({self.agent.batch_size}) is larger than replay.capacity "
                f"({self.replay.capacity}): a batch would hold the same transitions several times"
            )
        return self

    def to_yaml(self) -> str:
        """The whole configuration, every key written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


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
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} must hold a mapping of sections, not {type(tree).__name__}")
    return _numbers(tree)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return _number(value) if isinstance(value, str) else value


def _number(value: str) -> str | float:
    # YAML 1.1 reads 1e-4 as a string; everybody who writes it means the number.
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
