"""Actors of every kind: spawn, move, push, destroy; and switches of sensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicarla.wire import structs
from minicarla.world import blueprints
from minicarla.world.calls.registry import PARTIAL, Call, absent, procedure
from minicarla.world.outlet import CarlaError

MAX_NESTED_COMMANDS = 16


@procedure()
def get_actor_definitions(call: Call) -> list[structs.ActorDefinition]:
    return list(blueprints.definitions())


@procedure()
def get_spectator(call: Call) -> structs.ActorRecord:
    return call.actors.publish(call.actors.spectator)


@procedure()
def get_actors_by_id(call: Call, ids: list[int]) -> list[structs.ActorRecord]:
    actors = call.actors
    return [actors.publish(actors[actor_id]) for actor_id in ids if actor_id in actors]


@procedure()
def spawn_actor(
    call: Call, description: structs.ActorDescription, transform: structs.Transform
) -> structs.ActorRecord:
    return call.actors.publish(call.episode.spawner.spawn(description, transform.pose))


@procedure(PARTIAL, "sockets are ignored: everything is attached to the parent's origin")
def spawn_actor_with_parent(
    call: Call,
    description: structs.ActorDescription,
    transform: structs.Transform,
    parent: int,
    attachment: int = 0,
    socket_name: str = "",
) -> structs.ActorRecord:
    if not parent:
        raise CarlaError("unable to attach actor: parent actor not found")
    return call.actors.publish(call.episode.spawner.spawn(description, transform.pose, parent, attachment))


@procedure()
def destroy_actor(call: Call, actor_id: int) -> bool:
    if not call.episode.spawner.destroy(actor_id):
        raise CarlaError("Responding error: unable to destroy actor: not found")
    return True


@procedure()
def get_actor_bounding_box(call: Call, actor_id: int) -> structs.BoundingBox:
    return call.actors.bounding_box(actor_id)


@procedure()
def set_actor_location(call: Call, actor_id: int, location: structs.Vector3D) -> None:
    call.episode.mechanics.set_location(actor_id, location)


@procedure()
def set_actor_transform(call: Call, actor_id: int, transform: structs.Transform) -> None:
    call.episode.mechanics.set_pose(actor_id, transform.pose)


@procedure()
def set_actor_target_velocity(call: Call, actor_id: int, velocity: structs.Vector3D) -> None:
    call.episode.mechanics.set_velocity(actor_id, velocity)


@procedure(PARTIAL, "turns about the vertical axis alone")
def set_actor_target_angular_velocity(call: Call, actor_id: int, velocity: structs.Vector3D) -> None:
    call.episode.mechanics.set_angular_velocity(actor_id, velocity)


@procedure()
def enable_actor_constant_velocity(call: Call, actor_id: int, velocity: structs.Vector3D) -> None:
    call.episode.vehicles.hold_velocity(actor_id, velocity)


@procedure()
def disable_actor_constant_velocity(call: Call, actor_id: int) -> None:
    call.episode.vehicles.hold_velocity(actor_id, None)


@procedure()
def add_actor_impulse(call: Call, actor_id: int, impulse: structs.Vector3D) -> None:
    call.episode.mechanics.push(actor_id, impulse)


@procedure()
def add_actor_force(call: Call, actor_id: int, force: structs.Vector3D) -> None:
    call.episode.mechanics.push(actor_id, tuple(part * call.world.delta for part in force))


@procedure(PARTIAL, "acts at the centre of mass and turns about the vertical axis")
def add_actor_impulse_at_location(
    call: Call, actor_id: int, impulse: structs.Vector3D, location: structs.Vector3D
) -> None:
    _push_at(call, actor_id, impulse, location)


@procedure(PARTIAL, "acts at the centre of mass and turns about the vertical axis")
def add_actor_force_at_location(
    call: Call, actor_id: int, force: structs.Vector3D, location: structs.Vector3D
) -> None:
    _push_at(call, actor_id, structs.Vector3D(*(part * call.world.delta for part in force)), location)


def _push_at(call: Call, actor_id: int, impulse: structs.Vector3D, location: structs.Vector3D) -> None:
    call.episode.mechanics.push(actor_id, impulse)
    pose = call.actors.pose(call.actors.find(actor_id))
    arm = np.array(location) - np.array(pose[:3])
    call.episode.mechanics.twist(actor_id, tuple(np.degrees(np.cross(arm, impulse)).tolist()))


@procedure(PARTIAL, "turns about the vertical axis alone")
def add_actor_angular_impulse(call: Call, actor_id: int, impulse: structs.Vector3D) -> None:
    call.episode.mechanics.twist(actor_id, impulse)


@procedure(PARTIAL, "turns about the vertical axis alone")
def add_actor_torque(call: Call, actor_id: int, torque: structs.Vector3D) -> None:
    call.episode.mechanics.twist(actor_id, tuple(part * call.world.delta for part in torque))


@procedure()
def set_actor_simulate_physics(call: Call, actor_id: int, enabled: bool) -> None:
    call.episode.mechanics.set_simulate_physics(actor_id, enabled)


@procedure()
def set_actor_enable_gravity(call: Call, actor_id: int, enabled: bool) -> None:
    call.episode.mechanics.set_gravity(actor_id, enabled)


@procedure(PARTIAL, "without collisions a body touches nothing, but lidar, radar and rays still hit it")
def set_actor_collisions(call: Call, actor_id: int, enabled: bool) -> None:
    call.episode.mechanics.set_collisions(actor_id, enabled)


@procedure(PARTIAL, "a walker stops for good and does not fall; as in CARLA it has no effect on others")
def set_actor_dead(call: Call, actor_id: int) -> None:
    call.episode.walkers.kill(actor_id)


absent(
    "actors",
    "actors have no components, bones or sockets",
    "get_actor_component_world_transform",
    "get_actor_component_relative_transform",
    "get_actor_bone_world_transforms",
    "get_actor_bone_relative_transforms",
    "get_actor_component_names",
    "get_actor_bone_names",
    "get_actor_socket_world_transforms",
    "get_actor_socket_relative_transforms",
    "get_actor_socket_names",
)

# ---------------------------------------------------------------------- sensors


@procedure()
def is_sensor_enabled_for_ros(call: Call, stream_id: Any) -> bool:
    return False


@procedure()
def are_gbuffers_enabled(call: Call, actor_id: int) -> bool:
    return False


absent("actors", "there is no ROS bridge", "enable_sensor_for_ros", "disable_sensor_for_ros", void=True)
absent("actors", "cameras have no G-buffers", "get_gbuffer_token")
absent("actors", "cameras have no G-buffers", "enable_gbuffers", void=True)
absent("actors", "there is no V2X", "send", void=True)
absent("actors", "sensors see every vehicle", "set_ignored_vehicles", void=True)


@procedure()
def get_imui_gravity(call: Call) -> float:
    return call.world.imu_gravity


@procedure()
def set_imui_gravity(call: Call, gravity: float) -> None:
    if not abs(gravity) <= 1e6:
        raise CarlaError(f"gravity cannot be {gravity}")
    call.world.imu_gravity = gravity
