"""How actors come and go: one function for each kind of actor, and whether there is room for it."""

from __future__ import annotations

import logging
from typing import NamedTuple

from minicarla.bodies import PROP, VEHICLE, WALKER
from minicarla.geometry import Pose, compose
from minicarla.maps import RoadMap
from minicarla.sensors.absent import ABSENT
from minicarla.traffic import Traffic
from minicarla.wire import structs
from minicarla.wire.structs import AttachmentType
from minicarla.world import blueprints
from minicarla.world.actors import (
    Actor,
    Prop,
    SensorActor,
    Spectator,
    TrafficLight,
    TrafficSign,
    Vehicle,
    Walker,
    WalkerController,
)
from minicarla.world.blueprints import AUTOPILOT_ROLE
from minicarla.world.friction import FrictionTrigger
from minicarla.world.outlet import CarlaError
from minicarla.world.placement import FreeSpace
from minicarla.world.props import PROPS
from minicarla.world.sane import colour, sane_pose
from minicarla.world.table import MAX_ACTORS, ActorTable
from minicarla.world.vehicles import VehicleControls
from minicarla.world.walkers import WalkerControls

log = logging.getLogger("minicarla")

SPAWN_COLLISION = "Spawn failed because of collision at spawn position"
SPAWN_INVALID = "Spawn failed because of invalid actor description"


class _Order(NamedTuple):
    """What is to be spawned.  ``pose`` is relative to ``parent`` where there is one."""

    description: structs.ActorDescription
    pose: Pose
    parent: Actor | None
    attachment: AttachmentType
    require_room: bool


class Spawner:
    """Makes actors and removes them, and tells the other parts of the episode.

    seed: of the sensors' noise.
    """

    def __init__(
        self,
        actors: ActorTable,
        roadmap: RoadMap,
        traffic: Traffic,
        vehicles: VehicleControls,
        walkers: WalkerControls,
        seed: int,
    ) -> None:
        self.actors = actors
        self.room = FreeSpace(actors.bodies)
        self.show(roadmap)
        self._traffic, self._vehicles, self._walkers = traffic, vehicles, walkers
        self._seed = seed
        self._mentioned: set[tuple[str, str]] = set()

    def show(self, roadmap: RoadMap) -> None:
        """From now on the map looks like this; sensors compute at once what they need of it."""
        self._roadmap = roadmap
        self.room.take(roadmap.statics)
        for sensor in self.actors.sensors:
            sensor.device.prepare(roadmap)

    def spawn(
        self,
        description: structs.ActorDescription,
        pose: Pose,
        parent_id: int = 0,
        attachment: int = AttachmentType.RIGID,
        *,
        require_room: bool = True,
    ) -> Actor:
        """Add an actor; CarlaError, with CARLA's text, when that is not possible.

        pose: relative to the parent where there is one (``parent_id`` not 0).
        require_room: refuse a vehicle or walker that would overlap something.
        """
        known = blueprints.complete(description)
        if known is None:
            raise CarlaError(SPAWN_INVALID)
        pose = sane_pose(pose)
        if len(self.actors) >= MAX_ACTORS:
            raise CarlaError(f"Spawn failed because there are {MAX_ACTORS} actors already")
        parent = None
        if parent_id:
            parent = self.actors.get(parent_id)
            if parent is None:
                raise CarlaError("unable to attach actor: parent actor not found")
            if attachment not in (0, 1, 2):
                raise CarlaError("unable to attach actor: unknown attachment type")
        order = _Order(
            known, pose, parent, AttachmentType(attachment if parent is not None else 0), require_room
        )
        match known.id.split(".", 1)[0]:
            case "vehicle":
                return self._vehicle(order)
            case "walker":
                return self._walker(order)
            case "sensor":
                return self._sensor(order)
            case "controller":
                return self._enter(WalkerController(self.actors.new_id(), *order[:4]))
        if known.id == blueprints.FRICTION_TRIGGER:
            return self._enter(FrictionTrigger(self.actors.new_id(), *order[:4]))
        return self._prop(order)

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor.  False when there is none, or when it belongs to the map."""
        actor = self.actors.get(actor_id)
        if actor is None or isinstance(actor, Spectator | TrafficLight | TrafficSign):
            return False
        if isinstance(actor, Vehicle) and actor.autopilot:
            self._traffic.remove(actor_id)
        self._vehicles.forget(actor)
        self._walkers.forget(actor)
        self.actors.remove(actor)
        return True

    # ------------------------------------------------------------------ kinds of actor

    def _vehicle(self, order: _Order) -> Actor:
        type_id = order.description.id
        blueprint, body = blueprints.VEHICLE_BY_ID[type_id], blueprints.vehicle_body(type_id)
        pose = self._world_pose(order)
        if order.require_room and not self.room.fits(pose, body.centre, body.extent):
            raise CarlaError(SPAWN_COLLISION)
        vehicle = Vehicle(self.actors.new_id(), order.description, pose, order.parent, order.attachment)
        role = vehicle.attributes.get("role_name", "")
        pace = blueprints.pace_of(role)
        vehicle.tags = bytes([blueprint.tag])
        vehicle.box = structs.BoundingBox(
            structs.Vector3D(*body.centre), structs.Vector3D(*body.extent), actor_id=vehicle.id
        )
        self.actors.bodies.add(
            vehicle.id,
            kind=VEHICLE,
            model=body.model,
            position=pose[:3],
            rotation=pose[3:],
            extent=body.extent,
            centre=body.centre,
            mass=body.mass,
            tag=blueprint.tag,
            colour=colour(vehicle.attributes.get("color", "")),
        )
        self.actors.admit(vehicle)
        if role.startswith(AUTOPILOT_ROLE):
            vehicle.autopilot = True
            self._traffic.add(vehicle.id, pace)
        elif vehicle.attributes.get("sticky_control", "true").lower() == "false":
            self._vehicles.keep_for_one_tick(vehicle.id)
        return vehicle

    def _walker(self, order: _Order) -> Actor:
        pose = self._world_pose(order)
        age = blueprints.age_of(order.description)
        extent = blueprints.WALKER_EXTENT[age]
        if self._roadmap.flat and abs(pose.z) < extent[2]:
            # Locations of the navigation mesh are on the ground, a walker's own is half its height above.
            pose = pose._replace(z=extent[2])
        if order.require_room and not self.room.fits(pose, (0.0, 0.0, 0.0), extent):
            raise CarlaError(SPAWN_COLLISION)
        walker = Walker(self.actors.new_id(), order.description, pose, order.parent, order.attachment)
        walker.tags = bytes([blueprints.PEDESTRIAN])
        walker.box = structs.BoundingBox(extent=structs.Vector3D(*extent), actor_id=walker.id)
        self.actors.bodies.add(
            walker.id,
            kind=WALKER,
            position=pose[:3],
            rotation=pose[3:],
            extent=extent,
            mass=blueprints.WALKER_MASS[age],
            tag=blueprints.PEDESTRIAN,
        )
        self.actors.admit(walker)
        if walker.attributes.get("role_name", "").startswith(AUTOPILOT_ROLE):
            self._walkers.stroll(walker.id)
        return walker

    def _sensor(self, order: _Order) -> Actor:
        type_id = order.description.id
        if type_id in ABSENT:
            raise CarlaError(f"minicarla does not have the sensor {type_id}")
        actor_id = self.actors.new_id()
        attributes = {row.id: row.value for row in order.description.attributes}
        device = blueprints.sensor_class(type_id)(attributes, self._seed * 1_000_003 + actor_id)
        idle = ", ".join(device.without_effect())
        if idle and (type_id, idle) not in self._mentioned:
            self._mentioned.add((type_id, idle))
            log.warning("%s: these attributes have no effect: %s", type_id, idle)
        device.prepare(self._roadmap)
        sensor = SensorActor(actor_id, *order[:4], device=device)
        if device.streams:
            sensor.stream = self.actors.new_stream()
        return self._enter(sensor)

    def _prop(self, order: _Order) -> Actor:
        blueprint = PROPS[order.description.id]
        extent = blueprint.extent
        prop = Prop(self.actors.new_id(), *order[:4])
        prop.box = structs.BoundingBox(
            structs.Vector3D(0.0, 0.0, extent[2]), structs.Vector3D(*extent), actor_id=prop.id
        )
        prop.tags = bytes([blueprints.STATIC])
        if prop.embodied:
            self.actors.bodies.add(
                prop.id,
                kind=PROP,
                position=order.pose[:3],
                rotation=order.pose[3:],
                extent=extent,
                centre=(0.0, 0.0, extent[2]),
                simulate_physics=False,
                intangible=not blueprint.solid,
                tag=blueprints.STATIC,
                colour=blueprint.colour,
            )
        return self._enter(prop)

    def _enter(self, actor: Actor) -> Actor:
        if actor.parent is not None:
            actor.follow(self.actors.pose(actor.parent), 0.0)
        return self.actors.admit(actor)

    def _world_pose(self, order: _Order) -> Pose:
        if order.parent is None:
            return order.pose
        return compose(self.actors.pose(order.parent), order.pose)
