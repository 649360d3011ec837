"""Calls of the real client about what there is in a world: never silently empty, never wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minicarla import maps

from .conftest import Running

Serve = Callable[..., Running]


def found(serve: Serve, script: str, **options: Any) -> Any:
    """What a script of the real client prints, read as JSON."""
    return json.loads(serve(synchronous=True, **options).client(script).splitlines()[-1])


@pytest.mark.slow
def test_objects_and_boxes_of_every_label(serve: Serve) -> None:
    out = found(
        serve,
        """
import json, math
world = synchronous()
library = world.get_blueprint_library()
points = world.get_map().get_spawn_points()
cars = [world.spawn_actor(library.find("vehicle.tesla.model3"), point) for point in points[:3]]
world.spawn_actor(library.find("vehicle.yamaha.yzf"), points[5])
far = carla.Transform(carla.Location(600, 600, 1))
walker = world.spawn_actor(library.find("walker.pedestrian.0001"), far)
world.tick()
lights = world.get_actors().filter("traffic.traffic_light")
Label = carla.CityObjectLabel
objects = {str(label): len(world.get_environment_objects(label)) for label in Label.values.values()}
boxes = {str(label): len(world.get_level_bbs(label)) for label in Label.values.values()}
box = min(world.get_level_bbs(Label.Car), key=lambda box: box.location.distance(cars[0].get_location()))
own = cars[0].bounding_box
centre = cars[0].get_transform().transform(own.location)
head = world.get_level_bbs(Label.TrafficLight)
things = world.get_environment_objects(Label.Any)
print(json.dumps({
    "objects": objects, "boxes": boxes, "lights": len(lights),
    "car": [box.location.distance(centre), (box.extent - own.extent).length(),
            abs(box.rotation.yaw - cars[0].get_transform().rotation.yaw)],
    "heads": max(min(head_box.location.distance(light_box.location) for head_box in head)
                 for light in lights for light_box in light.get_light_boxes()),
    "ids": len({thing.id for thing in things}) == len(things),
    "again": [thing.id for thing in things] ==
             [thing.id for thing in world.get_environment_objects(Label.Any)],
    "kinds": all(thing.type == Label.TrafficLight
                 for thing in world.get_environment_objects(Label.TrafficLight)),
    "names": len(world.get_names_of_all_objects()),
}))
""",
        map="grid",
    )
    objects, boxes = out["objects"], out["boxes"]
    assert out["lights"] == 8 == objects["TrafficLight"] == boxes["TrafficLight"]
    assert (boxes["Car"], boxes["Motorcycle"], boxes["Pedestrians"]) == (3, 1, 1)
    assert objects["Car"] == 0, "vehicles of clients are no part of the environment"
    assert all(objects[label] > 0 for label in ("Roads", "RoadLines", "Sidewalks", "Buildings", "Vegetation"))
    assert objects["Any"] == sum(count for label, count in objects.items() if label != "Any") == out["names"]
    assert boxes["Any"] == objects["Any"] + 5
    assert max(out["car"]) < 1e-3 and out["heads"] < 1e-3
    assert out["ids"] and out["again"] and out["kinds"]


def test_a_physics_control_made_afresh_is_taken(serve: Serve) -> None:
    """As a client makes it, it has neither gears nor wheels."""
    out = found(
        serve,
        """
import json
world = synchronous()
car = world.spawn_actor(world.get_blueprint_library().find("vehicle.tesla.model3"),
                        world.get_map().get_spawn_points()[0])
world.tick()
before = car.get_physics_control()
car.apply_physics_control(carla.VehiclePhysicsControl())
world.tick()
after = car.get_physics_control()
start = car.get_location()
for _ in range(60):
    car.apply_control(carla.VehicleControl(throttle=0.5))
    world.tick()
print(json.dumps({
    "mass": after.mass, "drag": after.drag_coefficient, "rpm": after.max_rpm,
    "gears": len(after.forward_gears) == len(before.forward_gears) > 0,
    "wheels": [a.radius == b.radius for a, b in zip(after.wheels, before.wheels)],
    "driven": car.get_location().distance(start),
}))
""",
        map="town",
    )
    assert (out["mass"], out["rpm"]) == (1000.0, 5000.0) and out["drag"] == pytest.approx(0.3)
    assert out["gears"] and out["wheels"] == 4 * [True]
    assert out["driven"] > 3.0


def test_signs_and_lights_are_found_by_their_landmarks(serve: Serve, tmp_path: Path) -> None:
    """Of a map as RoadRunner writes it, with speed limits as objects."""
    text = maps.load("grid").opendrive
    sign = '<object id="900" name="Speed_60" s="20" t="-5" zOffset="0" hdg="0" orientation="-"/>'
    assert "<objects>" not in text
    (tmp_path / "Signed.xodr").write_text(text.replace("</lanes>", f"</lanes><objects>{sign}</objects>", 1))
    out = found(
        serve,
        """
import json
world = synchronous()
world.tick()
town = world.get_map()
landmarks = town.get_all_landmarks()
limits = [landmark for landmark in landmarks if landmark.type == "274"]
lights = [landmark for landmark in landmarks if landmark.type == "1000001"]
print(json.dumps({
    "signs": [actor.type_id for actor in world.get_actors().filter("traffic.speed_limit*")],
    "limits": sorted({world.get_traffic_sign(landmark).type_id for landmark in limits}),
    "lights": all(world.get_traffic_light(landmark) is not None for landmark in lights),
    "count": len(lights),
}))
""",
        map=str(tmp_path / "Signed.xodr"),
    )
    assert out == {
        "signs": ["traffic.speed_limit.60"],
        "limits": ["traffic.speed_limit.60"],
        "lights": True,
        "count": 8,
    }


def test_map_layers_are_accepted(serve: Serve) -> None:
    """As on CARLA's maps without layers, nothing happens."""
    out = found(
        serve,
        """
import json
world = synchronous()
before = len(world.get_environment_objects(carla.CityObjectLabel.Any))
world.unload_map_layer(carla.MapLayer.Buildings)
world.load_map_layer(carla.MapLayer.All)
world.tick()
print(json.dumps(before == len(world.get_environment_objects(carla.CityObjectLabel.Any)) > 0))
""",
    )
    assert out is True
