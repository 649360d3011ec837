"""Vehicles: controls, physics control, lights, doors."""

from __future__ import annotations

from minicarla.bodies import VEHICLE
from minicarla.physics import models
from minicarla.physics.handling import WHEELS
from minicarla.wire import structs
from minicarla.world.calls.registry import IGNORED, PARTIAL, Call, absent, procedure
from minicarla.world.outlet import CarlaError
from minicarla.world.sane import bounded
from minicarla.world.telemetry import telemetry


@procedure()
def apply_control_to_vehicle(call: Call, actor_id: int, control: structs.VehicleControl) -> None:
    call.episode.vehicles.apply(actor_id, control)


@procedure(PARTIAL, "jerk is ignored")
def apply_ackermann_control_to_vehicle(
    call: Call, actor_id: int, control: structs.VehicleAckermannControl
) -> None:
    call.episode.vehicles.apply_ackermann(actor_id, control)


@procedure()
def get_ackermann_controller_settings(call: Call, actor_id: int) -> structs.AckermannControllerSettings:
    return call.actors.find_vehicle(actor_id).ackermann_settings


@procedure()
def apply_ackermann_controller_settings(
    call: Call, actor_id: int, settings: structs.AckermannControllerSettings
) -> None:
    call.actors.find_vehicle(actor_id).ackermann_settings = settings


@procedure()
def get_physics_control(call: Call, actor_id: int) -> structs.VehiclePhysicsControl:
    return call.episode.vehicles.physics_control(actor_id)


@procedure(
    PARTIAL,
    "engine, gears, mass, drag, steering curve, tyres' friction and lateral stiffness, steering angle, "
    "radius and brakes take effect; clutch, damping at full throttle and of wheels, longitudinal stiffness "
    "and the centre of mass are only read back; without gears and wheels the vehicle keeps its own; values "
    "with which no vehicle can move are refused",
)
def apply_physics_control(call: Call, actor_id: int, control: structs.VehiclePhysicsControl) -> None:
    call.episode.vehicles.set_physics_control(actor_id, control)


@procedure(
    PARTIAL,
    "tyre loads are those at rest, wheels roll without longitudinal slip, and the tyres of an axle share "
    "its force",
)
def get_telemetry_data(call: Call, actor_id: int) -> structs.VehicleTelemetryData:
    return telemetry(call.actors, call.episode.vehicles, actor_id)


@procedure()
def get_vehicle_light_state(call: Call, actor_id: int) -> structs.VehicleLightState:
    return structs.VehicleLightState(int(call.actors.bodies.lamps[_row(call, actor_id)]))


@procedure(
    PARTIAL,
    "cameras show the brake lamps alone, which the brake lights up, too; at night all vehicles show head "
    "and tail lamps",
)
def set_vehicle_light_state(call: Call, actor_id: int, state: structs.VehicleLightState) -> None:
    set_light_flags(call, actor_id, state.flags)


def set_light_flags(call: Call, actor_id: int, flags: int) -> None:
    """Set a vehicle's lights by the bits of ``carla.VehicleLightState``."""
    call.actors.bodies.lamps[_row(call, actor_id)] = flags & 0xFFFFFFFF


@procedure()
def get_vehicle_light_states(call: Call) -> list[tuple[int, int]]:
    bodies = call.actors.bodies
    vehicles = bodies.kind == VEHICLE
    return list(zip(bodies.id[vehicles].tolist(), bodies.lamps[vehicles].tolist(), strict=True))


@procedure(IGNORED, "no vehicle has doors that move")
def open_vehicle_door(call: Call, actor_id: int, door: int) -> None:
    call.actors.find_vehicle(actor_id)


@procedure(IGNORED, "no vehicle has doors that move")
def close_vehicle_door(call: Call, actor_id: int, door: int) -> None:
    call.actors.find_vehicle(actor_id)


@procedure(PARTIAL, "is read back; as in CARLA the physics must be off; wheels are not drawn turned")
def set_wheel_steer_direction(call: Call, actor_id: int, wheel: int, angle: float) -> None:
    _pose_wheel(call, actor_id, wheel, "steer", angle)


@procedure()
def get_wheel_steer_angle(call: Call, actor_id: int, wheel: int) -> float:
    if not _simulated(call, actor_id):
        return call.actors.find_vehicle(actor_id).wheels.get((wheel, "steer"), 0.0)
    bodies, row = call.actors.bodies, call.actors.bodies.row(actor_id)
    model = int(bodies.model[row])
    if wheel not in (0, 1) or (wheel == 1 and models.MODELS[model].track == 0.0):  # a back wheel
        return 0.0
    return models.front_wheels(model, float(bodies.wheel_angle[row]))[wheel]


@procedure(PARTIAL, "is read back; as in CARLA the physics must be off; wheels are not drawn turned")
def set_wheel_pitch_angle(call: Call, actor_id: int, wheel: int, angle: float) -> None:
    _pose_wheel(call, actor_id, wheel, "pitch", angle)


@procedure(PARTIAL, "0 while the physics are on: the rotation of rolling wheels is not simulated")
def get_wheel_pitch_angle(call: Call, actor_id: int, wheel: int) -> float:
    posed = {} if _simulated(call, actor_id) else call.actors.find_vehicle(actor_id).wheels
    return posed.get((wheel, "pitch"), 0.0)


def _known(wheel: int) -> int:
    if wheel not in range(WHEELS):
        raise CarlaError(f"there is no wheel {wheel}; vehicles have wheels 0 to {WHEELS - 1}")
    return wheel


def _row(call: Call, actor_id: int) -> int:
    return call.actors.bodies.row(call.actors.find_vehicle(actor_id).id)


def _simulated(call: Call, actor_id: int) -> bool:
    return bool(call.actors.bodies.simulate_physics[_row(call, actor_id)])


def _pose_wheel(call: Call, actor_id: int, wheel: int, axis: str, angle: float) -> None:
    """Keep the angle at which a client wants a wheel to be shown."""
    if _simulated(call, actor_id):
        raise CarlaError(f"the physics of vehicle {actor_id} are on: they turn its wheels")
    call.actors.find_vehicle(actor_id).wheels[_known(wheel), axis] = bounded(angle, -360.0, 360.0)


@procedure(IGNORED, "the server has no window; get_telemetry_data gives the figures")
def show_vehicle_debug_telemetry(call: Call, actor_id: int, enabled: bool) -> None:
    call.actors.find_vehicle(actor_id)


@procedure(
    IGNORED,
    "the client's Traffic Manager drives, or the server a vehicle with the role_name minicarla:autopilot",
)
def set_actor_autopilot(call: Call, actor_id: int, enabled: bool) -> None:
    call.actors.find_vehicle(actor_id)


absent("vehicles", "there is no CarSim", "enable_carsim", "use_carsim_road", void=True)
absent("vehicles", "there is no Chrono", "enable_chrono_physics", "restore_physx_physics", void=True)
absent("vehicles", "vehicles have no bones", "get_vehicle_bone_world_transforms")
