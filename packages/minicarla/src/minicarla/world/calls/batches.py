"""Batches of commands (``Client.apply_batch``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicarla.wire import commands, rpc
from minicarla.wire.schema import WireError
from minicarla.world.calls import actors, lights, vehicles, walkers
from minicarla.world.calls.registry import PARTIAL, Call, procedure
from minicarla.world.outlet import CarlaError

MAX_NESTED_COMMANDS = 16


@procedure(PARTIAL, "console commands are ignored", bare=True)
def apply_batch(call: Call, batch: list[Any], do_tick: bool = False) -> list[Any]:
    results = [_entry(call, command, 0) for command in batch]
    if do_tick:
        call.world.cue()
    return results


def _entry(call: Call, command: object, depth: int) -> object:
    """``[[1, actor id]]``, or ``[[0, [message]]]`` for a command that failed."""
    try:
        return rpc.value(_execute(call, commands.read(command), depth))
    except (CarlaError, WireError) as error:
        return rpc.value_error(str(error))


def _execute(call: Call, command: Any, depth: int) -> int:
    """Carry out one command; returns the id of the actor that it was about."""
    spawner = call.episode.spawner
    match command:
        case commands.SpawnActor():
            actor = spawner.spawn(
                command.description,
                command.transform.pose,
                command.parent or 0,
                # Uninitialised memory of the client unless its caller named a type.
                command.attachment if command.parent and command.attachment in (0, 1, 2) else 0,
            )
            if depth < MAX_NESTED_COMMANDS:
                for after in command.do_after:
                    _entry(call, _addressed(after, actor.id), depth + 1)
            return actor.id
        case commands.DestroyActor(actor_id):
            if not spawner.destroy(actor_id):
                raise CarlaError("unable to destroy actor: not found")
            return actor_id
        case commands.ConsoleCommand():
            return 0
        case _:
            _HANDLERS[type(command)](call, *command)
            return int(command[0])


def _addressed(command: Any, actor_id: int) -> Any:
    """The command with the id 0, CARLA's ``FutureActor``, replaced by the new actor's."""
    try:
        ((index, fields),) = command
        if fields[0] == 0:
            return [[index, [actor_id, *fields[1:]]]]
    except (TypeError, ValueError, LookupError):
        pass
    return command


_HANDLERS: dict[type[Any], Callable[..., None]] = {
    commands.ApplyVehicleControl: vehicles.apply_control_to_vehicle,
    commands.ApplyVehicleAckermannControl: vehicles.apply_ackermann_control_to_vehicle,
    commands.ApplyWalkerControl: walkers.apply_control_to_walker,
    commands.ApplyVehiclePhysicsControl: vehicles.apply_physics_control,
    commands.ApplyTransform: actors.set_actor_transform,
    commands.ApplyWalkerState: walkers.apply_walker_state,
    commands.ApplyTargetVelocity: actors.set_actor_target_velocity,
    commands.ApplyTargetAngularVelocity: actors.set_actor_target_angular_velocity,
    commands.ApplyImpulse: actors.add_actor_impulse,
    commands.ApplyForce: actors.add_actor_force,
    commands.ApplyAngularImpulse: actors.add_actor_angular_impulse,
    commands.ApplyTorque: actors.add_actor_torque,
    commands.SetSimulatePhysics: actors.set_actor_simulate_physics,
    commands.SetEnableGravity: actors.set_actor_enable_gravity,
    commands.SetAutopilot: lambda call, actor_id, enabled, port: None,  # the client acts on it
    commands.ShowDebugTelemetry: lambda call, actor_id, enabled: None,
    commands.SetVehicleLightState: vehicles.set_light_flags,
    commands.ApplyLocation: actors.set_actor_location,
    commands.SetTrafficLightState: lights.set_traffic_light_state,
}
"""What carries out each command: the same function as the remote procedure's."""
