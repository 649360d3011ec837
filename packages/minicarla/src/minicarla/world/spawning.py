"""How actors come into the world, one function a kind; room for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicarla.bodies import PROP, VEHICLE, WALKER
from minicarla.geometry import Transform, compose, rotation_matrix
from minicarla.sensors.absent import ABSENT
from minicarla.traffic.walkers import places
from minicarla.wire import structs
from minicarla.wire.structs import AttachmentType
from minicarla.world import blueprints, placement
from minicarla.world.actors import Actor, Prop, Sensor, Vehicle, Walker, WalkerController
from minicarla.world.blueprints import AUTOPILOT_ROLE
from minicarla.world.friction import FrictionTrigger
from minicarla.world.outlet import CarlaError
from minicarla.world.sane import colour

if TYPE_CHECKING:
    from minicarla.world.world import World

log = logging.getLogger("minicarla")

SPAWN_COLLISION = "Spawn failed because of collision at spawn position"
SPAWN_INVALID = "Spawn failed because of invalid actor description"


def place(
    world: World,
    description: structs.ActorDescription,
    pose: Transform,
    parent: Actor | None,
    attachment: AttachmentType,
    require_room: bool,
) -> Actor:
    """Add an actor of a known blueprint; CarlaError where there is no room for it and it needs some."""
    kind = description.id.split(".", 1)[0]
    if kind == "vehicle":
        return _spawn_vehicle(world, description, pose, parent, attachment, require_room)
    if kind == "walker":
        return _spawn_walker(world, description, pose, parent, attachment, require_room)
    if kind == "sensor":
        return _spawn_sensor(world, description, pose, parent, attachment)
    if kind == "controller":
        return _enter(world, WalkerController(world.new_id(), description, pose, parent, attachment))
    if description.id == blueprints.FRICTION_TRIGGER:
        return _enter(world, FrictionTrigger(world.new_id(), description, pose, parent, attachment))
    return _spawn_prop(world, description, pose, parent, attachment)


def _enter(world: World, actor: Actor) -> Actor:
    if actor.parent is not None:
        actor.follow(world.pose(actor.parent), 0.0)
    return world.admit(actor)


def _world_pose(world: World, pose: Transform, parent: Actor | None) -> Transform:
    if parent is None:
        return pose
    return compose(world.pose(parent), pose)


def _spawn_vehicle(
    world: World,
    description: structs.ActorDescription,
    pose: Transform,
    parent: Actor | None,
    attachment: AttachmentType,
    require_room: bool,
) -> Actor:
    blueprint = blueprints.VEHICLE_BY_ID[description.id]
    pose = _world_pose(world, pose, parent)
    body = blueprints.vehicle_body(description.id)
    if require_room and not has_room(world, pose, body.centre, body.extent):
        raise CarlaError(SPAWN_COLLISION)
    vehicle = Vehicle(world.new_id(), description, pose, parent, attachment)
    vehicle.tags = bytes([blueprint.tag])
    vehicle.box = structs.BoundingBox(
        structs.Vector3D(*body.centre), structs.Vector3D(*body.extent), actor_id=vehicle.id
    )
    world.bodies.add(
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
    world.admit(vehicle)
    if vehicle.attributes.get("role_name", "").startswith(AUTOPILOT_ROLE):
        vehicle.autopilot = True
        world.traffic.add(vehicle.id)
    elif vehicle.attributes.get("sticky_control", "true").lower() == "false":
        world.forget_controls(vehicle.id)
    return vehicle


def _spawn_walker(
    world: World,
    description: structs.ActorDescription,
    pose: Transform,
    parent: Actor | None,
    attachment: AttachmentType,
    require_room: bool,
) -> Actor:
    pose = _world_pose(world, pose, parent)
    age = {row.id: row.value for row in description.attributes}["age"]
    extent = blueprints.WALKER_EXTENT[age]
    if world.roadmap.flat and abs(pose.z) < extent[2]:
        # Locations of the navigation mesh are on the ground, walkers' own half their height above.
        pose = pose._replace(z=extent[2])
    if require_room and not has_room(world, pose, (0.0, 0.0, 0.0), extent):
        raise CarlaError(SPAWN_COLLISION)
    walker = Walker(world.new_id(), description, pose, parent, attachment)
    walker.tags = bytes([blueprints.PEDESTRIAN])
    walker.box = structs.BoundingBox(extent=structs.Vector3D(*extent), actor_id=walker.id)
    world.bodies.add(
        walker.id,
        kind=WALKER,
        position=pose[:3],
        rotation=pose[3:],
        extent=extent,
        mass=blueprints.WALKER_MASS[age],
        tag=blueprints.PEDESTRIAN,
    )
    world.admit(walker)
    if walker.attributes.get("role_name", "").startswith(AUTOPILOT_ROLE):
        world.stroll(walker.id)
    return walker


def _spawn_sensor(
    world: World,
    description: structs.ActorDescription,
    pose: Transform,
    parent: Actor | None,
    attachment: AttachmentType,
) -> Actor:
    if description.id in ABSENT:
        raise CarlaError(f"minicarla does not have the sensor {description.id}")
    device_class = blueprints.sensor_class(description.id)
    sensor = Sensor(world.new_id(), description, pose, parent, attachment)
    sensor.device = device_class(sensor.attributes, world.seed * 1_000_003 + sensor.id)
    sensor.period = sensor.device.period
    if device_class.streams:
        sensor.stream = world._next_stream
        world._next_stream += 1
        world.sensors.append(sensor)
    return _enter(world, sensor)


def _spawn_prop(
    world: World,
    description: structs.ActorDescription,
    pose: Transform,
    parent: Actor | None,
    attachment: AttachmentType,
) -> Actor:
    prop = Prop(world.new_id(), description, pose, parent, attachment)
    extent = blueprints.PROP_EXTENT[description.id]
    prop.box = structs.BoundingBox(
        structs.Vector3D(0.0, 0.0, extent[2]), structs.Vector3D(*extent), actor_id=prop.id
    )
    prop.tags = bytes([blueprints.STATIC])
    if prop.embodied:
        world.bodies.add(
            prop.id,
            kind=PROP,
            position=pose[:3],
            rotation=pose[3:],
            extent=extent,
            centre=(0.0, 0.0, extent[2]),
            simulate_physics=False,
            tag=blueprints.STATIC,
            colour=blueprints.prop_colour(description.id),
        )
    return _enter(world, prop)


def has_room(world: World, pose: Transform, centre: Sequence[float], extent: Sequence[float]) -> bool:
    """Whether a box put there would touch nothing that moves and nothing solid."""
    middle = np.array(pose[:3]) + rotation_matrix(*pose[3:]) @ np.asarray(centre)
    bodies = world.bodies
    if len(bodies):
        near = (np.hypot(*(bodies.position[:, :2] - middle[:2]).T) < 30.0) & ~bodies.intangible
        centres = bodies.position[near] + _turned(bodies.centre[near], bodies.rotation[near, 1])
        if placement.overlaps(
            middle, extent, pose.yaw, centres, bodies.extent[near], bodies.rotation[near, 1]
        ).any():
            return False
    solid = _solids(world)
    return not placement.overlaps(middle, extent, pose.yaw, *solid).any()


def _solids(world: World) -> tuple[Any, Any, Any]:
    cached = world.solid_boxes
    if cached is None or cached[0] is not world.roadmap:
        solid = [box for box in world.roadmap.statics if box.solid]
        cached = (
            world.roadmap,
            np.array([box.centre for box in solid], np.float64).reshape(-1, 3),
            np.array([box.extent for box in solid], np.float64).reshape(-1, 3),
            np.array([box.yaw for box in solid], np.float64),
        )
        world.solid_boxes = cached
    return cached[1:]


def populate(world: World, count: int) -> None:
    """Put ``count`` vehicles of the server's own traffic on spawn points, by the seed."""
    random = np.random.default_rng([world.seed, 2])
    points = world.roadmap.spawn_points
    cars = [row for row in blueprints.VEHICLES if row.base_type in ("car", "van")]
    placed = 0
    for index in random.permutation(len(points)):
        if placed == count:
            return
        car = cars[int(random.integers(len(cars)))]
        paint = str(random.choice(car.colours)) if car.colours else "33,33,33"
        description = blueprints.describe(car.id, role_name=AUTOPILOT_ROLE, color=paint)
        try:
            world.spawn(description, points[int(index)])
            placed += 1
        except CarlaError:
            continue
    if placed < count:
        log.warning("the map has room for %d of %d vehicles", placed, count)


def populate_sidewalks(world: World, count: int) -> None:
    """Put ``count`` pedestrians that walk by themselves on the sidewalks, by the seed."""
    placed = 0
    mesh = world.navigation
    if mesh is not None:
        random = np.random.default_rng([world.seed, 4])
        for x, y, z in places(mesh, 4 * count, world.seed):
            if placed == count:
                return
            who = blueprints.WALKERS[int(random.integers(len(blueprints.WALKERS)))]
            description = blueprints.describe(who, role_name=AUTOPILOT_ROLE)
            age = {row.id: row.value for row in description.attributes}["age"]
            yaw = float(random.uniform(-180.0, 180.0))
            pose = Transform(x, y, z + blueprints.WALKER_EXTENT[age][2], yaw=yaw)
            try:
                world.spawn(description, pose)
                placed += 1
            except CarlaError:
                continue
    if placed < count:
        log.warning("the sidewalks have room for %d of %d pedestrians", placed, count)


def _turned(offsets: Any, yaws: Any) -> Any:
    """(n, 3) offsets turned by (n,) yaws in degrees."""
    cos, sin = np.cos(np.radians(yaws)), np.sin(np.radians(yaws))
    x, y, z = offsets.T
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)
