"""How clients control vehicles: pedals, Ackermann controller, constant velocity, physics control."""

from __future__ import annotations

from collections.abc import Sequence

from minicarla.geometry import Pose, compose, rotation_matrix
from minicarla.physics.handling import Handling
from minicarla.wire import structs
from minicarla.world import blueprints
from minicarla.world.ackermann import AckermannController, AxialMotion
from minicarla.world.actors import Actor, Vehicle
from minicarla.world.outlet import CarlaError
from minicarla.world.sane import FASTEST, bounded, clipped, finite
from minicarla.world.table import ActorTable


class VehicleControls:
    """The controls of all vehicles of an episode.

    Methods that take an actor id raise CarlaError when it is not a vehicle's.
    """

    def __init__(self, actors: ActorTable) -> None:
        self._actors = actors
        self._bodies = actors.bodies
        self._controlled: dict[int, Vehicle] = {}
        """Vehicles with an Ackermann controller or a constant velocity."""
        self._forgetful: dict[int, bool] = {}
        """Vehicles without ``sticky_control``: whether a control came since the last tick."""

    # ------------------------------------------------------------------ each tick

    def release(self) -> None:
        """Reset vehicles without ``sticky_control`` that got no new control since the last tick."""
        for actor_id, told in self._forgetful.items():
            if not told:
                self._write(actor_id, structs.VehicleControl())
            self._forgetful[actor_id] = False

    def drive(self, dt: float) -> None:
        """Run the Ackermann controllers for ``dt`` seconds and set the constant velocities."""
        bodies = self._bodies
        for vehicle in self._controlled.values():
            row = bodies.row(vehicle.id)
            axes = rotation_matrix(*bodies.rotation[row].tolist())
            if vehicle.ackermann is not None:
                forward = axes[:, 0]
                motion = AxialMotion(
                    float(bodies.velocity[row] @ forward), float(bodies.acceleration[row] @ forward)
                )
                self._write(vehicle.id, vehicle.ackermann.run(motion, vehicle.ackermann_settings, dt))
            if vehicle.constant_velocity is not None:
                bodies.velocity[row] = axes @ vehicle.constant_velocity

    def forget(self, actor: Actor) -> None:
        """The actor is being destroyed."""
        self._controlled.pop(actor.id, None)
        self._forgetful.pop(actor.id, None)

    # ------------------------------------------------------------------ what clients order

    def apply(self, actor_id: int, control: structs.VehicleControl) -> None:
        """Set a vehicle's controls.  Values are clipped to their range; NaN counts as 0."""
        vehicle = self._actors.find_vehicle(actor_id)
        if vehicle.ackermann is not None:
            vehicle.ackermann = None
            self._enlist(vehicle)
        if actor_id in self._forgetful:
            self._forgetful[actor_id] = True
        self._write(actor_id, control)

    def apply_ackermann(self, actor_id: int, control: structs.VehicleAckermannControl) -> None:
        """Let CARLA's Ackermann controller drive the vehicle until the next :meth:`apply`."""
        vehicle = self._actors.find_vehicle(actor_id)
        if not finite(*control):
            raise CarlaError("a field of the Ackermann control is not a finite number")
        if vehicle.ackermann is None:
            vehicle.ackermann = AckermannController()
        vehicle.ackermann.target = control
        self._enlist(vehicle)

    def hold_velocity(self, actor_id: int, velocity: Sequence[float] | None) -> None:
        """Keep a vehicle at a velocity in its own frame (m/s); None ends it."""
        vehicle = self._actors.find_vehicle(actor_id)
        vehicle.constant_velocity = None if velocity is None else clipped(velocity, FASTEST)
        self._enlist(vehicle)

    def keep_for_one_tick(self, actor_id: int) -> None:
        """Let each control of this vehicle last one tick only (attribute ``sticky_control`` = false)."""
        self._forgetful[actor_id] = False

    def _enlist(self, vehicle: Vehicle) -> None:
        if vehicle.ackermann is None and vehicle.constant_velocity is None:
            self._controlled.pop(vehicle.id, None)
        else:
            self._controlled[vehicle.id] = vehicle

    def _write(self, actor_id: int, control: structs.VehicleControl) -> None:
        bodies, row = self._bodies, self._bodies.row(actor_id)
        bodies.throttle[row] = bounded(control.throttle, 0.0, 1.0)
        bodies.steer[row] = bounded(control.steer, -1.0, 1.0)
        bodies.brake[row] = bounded(control.brake, 0.0, 1.0)
        bodies.hand_brake[row] = control.hand_brake
        bodies.reverse[row] = control.reverse
        bodies.manual_gear[row] = control.manual_gear_shift
        if control.manual_gear_shift:
            bodies.gear[row] = max(-1, min(control.gear, 16))

    # ------------------------------------------------------------------ physics control

    def physics_control(self, actor_id: int) -> structs.VehiclePhysicsControl:
        """A vehicle's physics control: the one set last, or its model's.

        The wheels' positions are where they are now, in the world frame and in centimetres.
        """
        vehicle = self._actors.find_vehicle(actor_id)
        usual = blueprints.physics_control(vehicle.type_id)
        control = vehicle.physics_control or usual
        pose = self._actors.pose(vehicle)
        road = float(self._bodies.road_grip[self._bodies.row(actor_id)])
        wheels = []
        for wheel, own in zip(control.wheels, usual.wheels, strict=True):
            x, y, z, *_ = compose(pose, Pose(*(0.01 * part for part in own.position)))
            wheel = wheel._replace(position=structs.Vector3D(100.0 * x, 100.0 * y, 100.0 * z))
            wheels.append(wheel if road < 0.0 else wheel._replace(tire_friction=road * own.tire_friction))
        return control._replace(wheels=wheels)

    def set_physics_control(self, actor_id: int, control: structs.VehiclePhysicsControl) -> None:
        """Change how a vehicle handles; CarlaError for a control with which no vehicle can move.

        A client's ``carla.VehiclePhysicsControl()`` has neither gears nor wheels.  Then the vehicle
        keeps those that it has.
        """
        vehicle = self._actors.find_vehicle(actor_id)
        usual = blueprints.physics_control(vehicle.type_id)
        if not control.forward_gears and not control.wheels:
            own = vehicle.physics_control or usual
            control = control._replace(forward_gears=own.forward_gears, wheels=own.wheels)
        row = self._bodies.row(actor_id)
        try:
            handling = Handling(int(self._bodies.model[row]), control, usual)
        except ValueError as error:
            raise CarlaError(f"the physics control cannot be applied: {error}") from None
        vehicle.physics_control = control
        self._bodies.mass[row] = control.mass
        if _without_places(control) == _without_places(usual):
            self._bodies.handling.pop(actor_id, None)
        else:
            self._bodies.handling[actor_id] = handling


def _without_places(control: structs.VehiclePhysicsControl) -> structs.VehiclePhysicsControl:
    return control._replace(wheels=[wheel._replace(position=structs.Vector3D()) for wheel in control.wheels])
