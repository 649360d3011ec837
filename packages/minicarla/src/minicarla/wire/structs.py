"""CARLA's RPC structures: the fields, in their order on the wire.

Each class is the table of its structure; see :mod:`minicarla.wire.schema`.
Layouts are those of the 0.9.16 client.  Metres, seconds, degrees, kilograms and
newtons unless a field says otherwise.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from minicarla import geometry


class Vector2D(NamedTuple):
    x: float
    y: float


class Vector3D(NamedTuple):
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


Location = Vector3D


class Rotation(NamedTuple):
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0


class Transform(NamedTuple):
    location: Vector3D = Vector3D()
    rotation: Rotation = Rotation()

    @property
    def pose(self) -> geometry.Pose:
        """The same as the six numbers that the rest of minicarla works with."""
        return geometry.Pose(*self.location, *self.rotation)


def transform(pose: geometry.Pose) -> Transform:
    """Wire form of a pose."""
    return Transform(Vector3D(*pose[:3]), Rotation(*pose[3:]))


class BoundingBox(NamedTuple):
    location: Vector3D = Vector3D()  # of the centre, in the actor's frame
    extent: Vector3D = Vector3D()  # half sizes
    rotation: Rotation = Rotation()
    actor_id: int = 0


class AttributeType(IntEnum):
    BOOL = 1
    INT = 2
    FLOAT = 3
    STRING = 4
    COLOUR = 5  # "r,g,b"


class ActorAttributeValue(NamedTuple):
    id: str
    type: int
    value: str


class ActorAttribute(NamedTuple):
    id: str
    type: int
    value: str  # the default
    recommended_values: list[str]
    is_modifiable: bool
    restrict_to_recommended: bool


class ActorDefinition(NamedTuple):
    uid: int
    id: str
    tags: str  # comma separated
    attributes: list[ActorAttribute]


class ActorDescription(NamedTuple):
    uid: int
    id: str
    attributes: list[ActorAttributeValue]


class ActorRecord(NamedTuple):
    id: int
    parent_id: int  # 0: none
    description: ActorDescription
    bounding_box: BoundingBox
    semantic_tags: bytes
    stream_token: bytes  # 24 bytes, or none


class Token(NamedTuple):
    data: bytes


class EpisodeInfo(NamedTuple):
    id: int
    token: Token


class EpisodeSettings(NamedTuple):
    synchronous_mode: bool = False
    no_rendering_mode: bool = False
    fixed_delta_seconds: float | None = None
    substepping: bool = True
    max_substep_delta_time: float = 0.01
    max_substeps: int = 10
    max_culling_distance: float = 0.0
    deterministic_ragdolls: bool = True
    tile_stream_distance: float = 3000.0
    actor_active_distance: float = 2000.0
    spectator_as_ego: bool = True


class MapInfo(NamedTuple):
    name: str
    recommended_spawn_points: list[Transform]


class OpendriveGenerationParameters(NamedTuple):
    vertex_distance: float = 2.0
    max_road_length: float = 50.0
    wall_height: float = 1.0
    additional_width: float = 0.6
    smooth_junctions: bool = True
    enable_mesh_visibility: bool = True
    enable_pedestrian_navigation: bool = True


class VehicleControl(NamedTuple):
    throttle: float = 0.0  # 0..1
    steer: float = 0.0  # -1..1, right positive
    brake: float = 0.0  # 0..1
    hand_brake: bool = False
    reverse: bool = False
    manual_gear_shift: bool = False
    gear: int = 0


class VehicleAckermannControl(NamedTuple):
    steer: float = 0.0  # radians, right positive
    steer_speed: float = 0.0  # radians/s
    speed: float = 0.0  # m/s
    acceleration: float = 0.0
    jerk: float = 0.0


class AckermannControllerSettings(NamedTuple):
    speed_kp: float = 0.15
    speed_ki: float = 0.0
    speed_kd: float = 0.25
    accel_kp: float = 0.01
    accel_ki: float = 0.0
    accel_kd: float = 0.01


class WalkerControl(NamedTuple):
    direction: Vector3D = Vector3D(1.0, 0.0, 0.0)
    speed: float = 0.0  # m/s
    jump: bool = False


class GearPhysicsControl(NamedTuple):
    ratio: float = 1.0
    down_ratio: float = 0.5
    up_ratio: float = 0.65


class WheelPhysicsControl(NamedTuple):
    tire_friction: float = 2.0
    damping_rate: float = 0.25
    max_steer_angle: float = 70.0
    radius: float = 30.0  # centimetres
    max_brake_torque: float = 1500.0
    max_handbrake_torque: float = 3000.0
    lat_stiff_max_load: float = 2.0
    lat_stiff_value: float = 17.0
    long_stiff_value: float = 1000.0
    position: Vector3D = Vector3D()  # centimetres, world frame


class VehiclePhysicsControl(NamedTuple):
    torque_curve: list[Vector2D]  # rpm -> N m
    max_rpm: float
    moi: float
    damping_rate_full_throttle: float
    damping_rate_zero_throttle_clutch_engaged: float
    damping_rate_zero_throttle_clutch_disengaged: float
    use_gear_autobox: bool
    gear_switch_time: float
    clutch_strength: float
    final_ratio: float
    forward_gears: list[GearPhysicsControl]
    mass: float
    drag_coefficient: float
    center_of_mass: Vector3D
    steering_curve: list[Vector2D]  # km/h -> factor
    wheels: list[WheelPhysicsControl]
    use_sweep_wheel_collision: bool = False


class VehicleLightState(NamedTuple):
    flags: int = 0


class VehicleDoor(IntEnum):
    FRONT_LEFT = 0
    FRONT_RIGHT = 1
    REAR_LEFT = 2
    REAR_RIGHT = 3
    ALL = 6


class WeatherParameters(NamedTuple):
    cloudiness: float = 0.0
    precipitation: float = 0.0
    precipitation_deposits: float = 0.0
    wind_intensity: float = 0.0
    sun_azimuth_angle: float = 0.0
    sun_altitude_angle: float = 75.0
    fog_density: float = 0.0
    fog_distance: float = 0.0
    fog_falloff: float = 0.0
    wetness: float = 0.0
    scattering_intensity: float = 0.0
    mie_scattering_scale: float = 0.0
    rayleigh_scattering_scale: float = 0.0331
    dust_storm: float = 0.0


class LabelledPoint(NamedTuple):
    location: Vector3D
    label: int  # semantic tag


class WheelTelemetryData(NamedTuple):
    tire_friction: float = 0.0
    lat_slip: float = 0.0
    long_slip: float = 0.0
    omega: float = 0.0
    tire_load: float = 0.0
    normalized_tire_load: float = 0.0
    torque: float = 0.0
    long_force: float = 0.0
    lat_force: float = 0.0
    normalized_long_force: float = 0.0
    normalized_lat_force: float = 0.0


class VehicleTelemetryData(NamedTuple):
    speed: float
    steer: float
    throttle: float
    brake: float
    engine_rpm: float
    gear: int
    drag: float
    wheels: list[WheelTelemetryData]


class EnvironmentObject(NamedTuple):
    transform: Transform
    bounding_box: BoundingBox
    id: int
    name: str
    type: int  # semantic tag


class TrafficLightState(IntEnum):
    RED = 0
    YELLOW = 1
    GREEN = 2
    OFF = 3
    UNKNOWN = 4


class AttachmentType(IntEnum):
    RIGID = 0
    SPRING_ARM = 1
    SPRING_ARM_GHOST = 2


class TrafficManagerAddress(NamedTuple):
    host: str
    port: int


class Colour(NamedTuple):
    r: int
    g: int
    b: int


class DebugShape(NamedTuple):
    """A drawing of ``world.debug``; see ``debug`` for its primitive."""

    primitive: Any  # [index, fields]: point, line, arrow, box, string and their head-up forms
    color: Colour
    life_time: float  # seconds; 0 for ever, below 0 one frame
    persistent_lines: bool
