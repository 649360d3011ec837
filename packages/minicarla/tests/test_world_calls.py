"""Calls of the real client about what there is in a world: never silently empty, never wrong."""

from __future__ import annotations

import json
import re
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


@pytest.mark.slow
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


OBJECTS = """
import json
import numpy as np
world = synchronous()
library = world.get_blueprint_library()
Label = carla.CityObjectLabel
things = world.get_environment_objects(Label.Any)
house = max(world.get_environment_objects(Label.Buildings), key=lambda thing: thing.bounding_box.extent.z)
box = house.bounding_box
# A camera and a lidar look at the broad side of the house from six metres; a car runs into it.
side = box.rotation.get_right_vector() if box.extent.x > box.extent.y else box.rotation.get_forward_vector()
eye = box.location + side * (min(box.extent.x, box.extent.y) + 6.0)
eye.z = 1.5
ahead = carla.Transform(eye, carla.Rotation(yaw=float(np.degrees(np.arctan2(-side.y, -side.x)))))
def sensor(kind, **attributes):
    blueprint = library.find(kind)
    for name, value in attributes.items():
        blueprint.set_attribute(name, value)
    actor, messages = world.spawn_actor(blueprint, ahead), queue.Queue()
    actor.listen(messages.put)
    return actor, messages
cameras = [sensor(f"sensor.camera.{kind}", image_size_x="60", image_size_y="40")
           for kind in ("instance_segmentation", "semantic_segmentation", "rgb")]
lidar = sensor("sensor.lidar.ray_cast", channels="1", range="9", upper_fov="0", lower_fov="0",
               points_per_second="2000", rotation_frequency="20", dropoff_general_rate="0")
def seen():
    frame = world.tick()
    images = [np.frombuffer(message(messages, frame).raw_data, np.uint8).reshape(40, 60, 4).astype(int)
              for _, messages in cameras]
    points = np.frombuffer(message(lidar[1], frame).raw_data, np.float32).reshape(-1, 4)
    return {
        "instance": (images[0][20, 30, 1] + 256 * images[0][20, 30, 0]).item(),
        "tag": images[1][20, 30, 2].item(), "colour": images[2][20, 30, :3].tolist(),
        "ahead": int(((np.abs(points[:, 1]) < 1.0) & (points[:, 0] > 0)).sum()),
        "ray": [str(hit.label) for hit in world.cast_ray(eye, eye - side * 8.0)],
        "boxes": len(world.get_level_bbs(Label.Buildings)),
        "listed": len(world.get_environment_objects(Label.Buildings)),
    }
def drive():
    start = carla.Transform(eye - side * 0.5 + carla.Location(z=-1.0), ahead.rotation)
    car = world.spawn_actor(library.find("vehicle.mini.cooper_s"), start)
    car.set_target_velocity(-8.0 * side)
    for _ in range(30):
        world.tick()
    there = car.get_location().distance(start.location)
    car.destroy()
    return there
def fits():
    place = carla.Transform(carla.Location(box.location.x, box.location.y, 0.3))
    car = world.try_spawn_actor(library.find("vehicle.mini.cooper_s"), place)
    world.tick()
    return car is not None and car.destroy()
out = {"before": [seen(), drive(), fits()]}
world.enable_environment_objects({house.id}, False)
out["off"] = [seen(), drive(), fits()]
world.enable_environment_objects({house.id}, True)
out["on"] = [seen(), drive(), fits()]
world.unload_map_layer(carla.MapLayer.Buildings)
out["unloaded"] = [seen(), drive(), fits()]
out["others"] = [len(world.get_environment_objects(label)) for label in (Label.Vegetation, Label.Roads)]
world.load_map_layer(carla.MapLayer.Buildings)
out["loaded"] = [seen(), drive(), fits()]
out["all"] = [[a.id, a.name] for a in world.get_environment_objects(Label.Any)] == \
             [[a.id, a.name] for a in things]
# A marking of the road, a sign and a light.
for actor, _ in [*cameras, lidar]:
    actor.stop()
    actor.destroy()
def tags(kind):
    thing = world.get_environment_objects(kind)[0]
    where, back = thing.transform.location, thing.transform.rotation.get_forward_vector()
    flat = kind == Label.RoadLines
    eye = where + (carla.Location(z=4.0) if flat else back * 3.0)
    turn = carla.Rotation(pitch=-90.0) if flat else carla.Rotation(yaw=thing.transform.rotation.yaw + 180.0)
    camera = library.find("sensor.camera.semantic_segmentation")
    camera.set_attribute("image_size_x", "400")
    camera.set_attribute("image_size_y", "400")
    camera = world.spawn_actor(camera, carla.Transform(eye, turn))
    messages, shares = queue.Queue(), []
    camera.listen(messages.put)
    for on in (True, False, True):
        ids = {other.id for other in world.get_environment_objects(kind)}
        world.enable_environment_objects(ids, on)
        data = np.frombuffer(message(messages, world.tick()).raw_data, np.uint8)
        shares.append(int((data.reshape(400, 400, 4)[..., 2] == int(kind)).sum()))
    camera.stop()
    camera.destroy()
    return shares
out["parts"] = {str(kind): tags(kind) for kind in (Label.RoadLines, Label.TrafficLight)}
layers = carla.MapLayer(int(carla.MapLayer.Walls) | int(carla.MapLayer.StreetLights))
world = client.load_world("grid", map_layers=layers)
out["chosen"] = [len(world.get_environment_objects(label))
                 for label in (Label.Buildings, Label.Vegetation, Label.Poles, Label.Roads)]
world = client.reload_world()
out["again"] = len(world.get_environment_objects(Label.Buildings))
print(json.dumps(out))
"""


@pytest.mark.slow
def test_objects_of_the_map_and_its_layers_are_switched_off_and_on(serve: Serve) -> None:
    """For cameras, lidars, rays, collisions and spawning alike; what is off is still listed, as in CARLA."""
    out = found(serve, OBJECTS, map="grid")
    before, driven, fits = out["before"]
    assert before["tag"] == 3 and before["ahead"] > 0 and before["ray"] == ["Buildings"]
    assert driven < 6.0 and not fits
    for name in ("off", "unloaded"):
        seen, through, fits = out[name]
        assert seen["tag"] != 3 or seen["instance"] != before["instance"]
        assert seen["colour"] != before["colour"] and seen["ahead"] == 0 and seen["ray"] == []
        assert through > driven + 2.0 and fits
    assert (out["off"][0]["boxes"], out["off"][0]["listed"]) == (before["boxes"] - 1, before["listed"])
    assert (out["unloaded"][0]["boxes"], out["unloaded"][0]["listed"]) == (0, 0)
    assert out["on"] == out["loaded"] == out["before"]
    assert out["all"] and min(out["others"]) > 0
    for kind, (on, off, again) in out["parts"].items():
        assert on == again > 20 and off == 0, kind
    houses, trees, poles, roads = out["chosen"]
    assert houses == trees == 0 < poles and roads > 0
    assert out["again"] == before["listed"]


def test_what_a_client_is_not_told_is_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It throws away the answers of calls for which it does not wait."""
    found(
        serve,
        """
world = synchronous()
library = world.get_blueprint_library()
points = world.get_map().get_spawn_points()
car = world.spawn_actor(library.find("vehicle.tesla.model3"), points[0])
world.tick()
for _ in range(3):
    car.open_door(carla.VehicleDoor.FL)
    car.apply_physics_control(carla.VehiclePhysicsControl(mass=-1.0))
    world.enable_environment_objects({10**9, 10**10}, False)
    car.enable_carsim("somewhere")
    car.set_wheel_steer_direction(carla.VehicleWheelLocation.FL_Wheel, 20.0)
    client.apply_batch([carla.command.DestroyActor(12345)])
    world.set_weather(carla.WeatherParameters(cloudiness=float("nan")))
    try:
        car.get_bone_names()
        raise SystemExit("an error was expected")
    except RuntimeError as error:
        assert "bones" in str(error)
    world.tick()
car.set_simulate_physics(False)
car.set_wheel_steer_direction(carla.VehicleWheelLocation.FL_Wheel, 20.0)
world.tick()
assert car.get_wheel_steer_angle(carla.VehicleWheelLocation.FL_Wheel) == 20.0
print("null")
""",
    )
    lines = [record.getMessage() for record in caplog.records if record.name == "minicarla"]
    expected = (
        "open_vehicle_door has no effect: no vehicle has doors",
        "apply_physics_control was refused, which its client does not report: .*mass is -1",
        "enable_environment_objects was refused.*no objects with the ids 1000000000, 10000000000",
        "enable_carsim was refused.*there is no CarSim",
        "set_wheel_steer_direction was refused.*physics of vehicle .* are on",
        "apply_batch was refused.*unable to destroy actor",
        "set_weather_parameters was refused.*cloudiness of the weather is nan",
    )
    for text in expected:
        assert sum(bool(re.match(text, line)) for line in lines) == 1, (text, lines)
    assert len(lines) == len(expected)
