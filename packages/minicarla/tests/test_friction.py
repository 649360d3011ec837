"""Friction triggers: a road that is slippery in places."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minicarla.geometry import Pose
from minicarla.world import blueprints
from minicarla.world.outlet import CarlaError
from minicarla.world.world import World

from .conftest import Running


def braking_distance(friction: float | None) -> float:
    """Metres from 12 m/s to rest on a straight street, in a trigger of that friction or in none."""
    world = World("grid", synchronous=True)
    straight = [lane for lane in world.roadmap.lanes if np.ptp(lane.headings) < 1.0]
    lane = max(straight, key=lambda lane: lane.length)
    (x, y, z), yaw = lane.at(5.0)
    car = world.spawn(blueprints.describe("vehicle.tesla.model3"), Pose(x, y, z, 0.0, yaw, 0.0))
    if friction is not None:
        attributes = {"friction": str(friction), **{f"extent_{axis}": "1000000" for axis in "xyz"}}
        world.spawn(blueprints.describe(blueprints.FRICTION_TRIGGER, **attributes), Pose(-9000.0))
    world.tick()
    row = world.bodies.row(car.id)
    heading = np.radians(yaw)
    world.bodies.velocity[row, :2] = 12.0 * np.cos(heading), 12.0 * np.sin(heading)
    world.bodies.brake[row] = 1.0
    begin = world.bodies.position[row, :2].copy()
    for _ in range(2000):
        world.tick()
        if not world.bodies.velocity[row].any():
            break
    return float(np.hypot(*(world.bodies.position[row, :2] - begin)))


@pytest.mark.slow
def test_a_slippery_road_takes_longer_to_brake_on():
    dry, usual, wet = braking_distance(None), braking_distance(3.5), braking_distance(1.75)
    assert usual == dry, "3.5 is what tyres have"
    assert wet == pytest.approx(2.0 * dry, rel=0.08)


@pytest.mark.parametrize(("name", "value"), [("friction", "-1"), ("friction", "x"), ("extent_y", "nan")])
def test_a_trigger_that_cannot_be_is_refused(name, value):
    world = World("loop")
    before = len(world.actors)
    with pytest.raises(CarlaError, match=name):
        world.spawn(blueprints.describe(blueprints.FRICTION_TRIGGER, **{name: value}), Pose())
    assert len(world.actors) == before


def test_vehicles_take_on_the_triggers_friction_and_lose_it_again(serve):
    server: Running = serve(map="loop", synchronous=True)
    out = json.loads(
        server.client(
            """
import json
world = synchronous()
library = world.get_blueprint_library()
point = world.get_map().get_spawn_points()[0]
car = world.spawn_actor(library.find("vehicle.tesla.model3"), point)
blueprint = library.find("static.trigger.friction")
blueprint.set_attribute("friction", "0.7")
for axis in "xyz":
    blueprint.set_attribute("extent_" + axis, "500.0")   # centimetres
found = []
def look(ticks=2):
    for _ in range(ticks):
        world.tick()
    found.append(sorted({round(w.tire_friction, 4) for w in car.get_physics_control().wheels}))
look()
trigger = world.spawn_actor(blueprint, point)
assert trigger.type_id == "static.trigger.friction" and trigger.attributes["friction"] == "0.7"
look()
away = carla.Transform(point.location + 12.0 * point.get_forward_vector(), point.rotation)
car.set_transform(away)
look()
trigger.set_transform(away)
look()
control = car.get_physics_control()
wheels = control.wheels
for wheel in wheels:
    wheel.tire_friction = 2.0
control.wheels = wheels
car.apply_physics_control(control)
look()
trigger.destroy()
look()
print(json.dumps(found))
"""
        )
    )
    assert out == [[3.5], [0.7], [3.5], [0.7], [0.7], [2.0]]
