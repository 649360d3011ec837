"""The commands of ``apply_batch``, on the wire ``[[index, fields]]``."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicarla.wire.schema import WireError, reader
from minicarla.wire.structs import (
    ActorDescription,
    Transform,
    Vector3D,
    VehicleAckermannControl,
    VehicleControl,
    VehiclePhysicsControl,
    WalkerControl,
)


class SpawnActor(NamedTuple):
    description: ActorDescription
    transform: Transform
    parent: int | None = None
    attachment: int = 0  # without a parent the client sends uninitialised memory
    socket_name: str = ""
    do_after: list[Any] = []  # commands for the new actor, whose id they give as 0


class DestroyActor(NamedTuple):
    actor: int


class ApplyVehicleControl(NamedTuple):
    actor: int
    control: VehicleControl


class ApplyVehicleAckermannControl(NamedTuple):
    actor: int
    control: VehicleAckermannControl


class ApplyWalkerControl(NamedTuple):
    actor: int
    control: WalkerControl


class ApplyVehiclePhysicsControl(NamedTuple):
    actor: int
    physics_control: VehiclePhysicsControl


class ApplyTransform(NamedTuple):
    actor: int
    transform: Transform


class ApplyWalkerState(NamedTuple):
    actor: int
    transform: Transform
    speed: float


class ApplyTargetVelocity(NamedTuple):
    actor: int
    velocity: Vector3D


class ApplyTargetAngularVelocity(NamedTuple):
    actor: int
    angular_velocity: Vector3D


class ApplyImpulse(NamedTuple):
    actor: int
    impulse: Vector3D


class ApplyForce(NamedTuple):
    actor: int
    force: Vector3D


class ApplyAngularImpulse(NamedTuple):
    actor: int
    impulse: Vector3D


class ApplyTorque(NamedTuple):
    actor: int
    torque: Vector3D


class SetSimulatePhysics(NamedTuple):
    actor: int
    enabled: bool


class SetEnableGravity(NamedTuple):
    actor: int
    enabled: bool


class SetAutopilot(NamedTuple):
    actor: int
    enabled: bool
    port: int = 8000


class ShowDebugTelemetry(NamedTuple):
    actor: int
    enabled: bool


class SetVehicleLightState(NamedTuple):
    actor: int
    flags: int


class ApplyLocation(NamedTuple):
    actor: int
    location: Vector3D


class ConsoleCommand(NamedTuple):
    command: str


class SetTrafficLightState(NamedTuple):
    actor: int
    state: int


TABLE: tuple[type[tuple[Any, ...]], ...] = (
    SpawnActor,
    DestroyActor,
    ApplyVehicleControl,
    ApplyVehicleAckermannControl,
    ApplyWalkerControl,
    ApplyVehiclePhysicsControl,
    ApplyTransform,
    ApplyWalkerState,
    ApplyTargetVelocity,
    ApplyTargetAngularVelocity,
    ApplyImpulse,
    ApplyForce,
    ApplyAngularImpulse,
    ApplyTorque,
    SetSimulatePhysics,
    SetEnableGravity,
    SetAutopilot,
    ShowDebugTelemetry,
    SetVehicleLightState,
    ApplyLocation,
    ConsoleCommand,
    SetTrafficLightState,
)
"""The fields of a command by its index on the wire."""


def read(command: object) -> Any:
    """A command of ``TABLE`` from decoded msgpack; :class:`WireError` when it is malformed."""
    if type(command) is list and len(command) == 1:
        command = command[0]  # the client wraps the variant once more
    if type(command) is not list or len(command) != 2 or type(command[0]) is not int:
        raise WireError("expected a command [index, fields]")
    index, fields = command
    if not 0 <= index < len(TABLE):
        raise WireError(f"no command has the index {index}")
    return reader(TABLE[index])(fields)
