"""Tests of CARLA code, each with a clean world: no GPU, no CARLA installation.

    pytest examples/carla_tests.py
    pytest examples/carla_tests.py --carla-address HOST:2000     # the same tests on CARLA 0.9.16

The fixtures come with minicarla: docs/testing.md.
"""

from __future__ import annotations

import queue

import carla
import numpy as np
import pytest

# --------------------------------------------------------------- the code that is tested


def time_to_collision(car: carla.Actor, obstacle: carla.Actor) -> float:
    """Seconds until ``car`` reaches ``obstacle`` at its present speed; inf when it does not come closer."""
    away = obstacle.get_location() - car.get_location()
    closing = (car.get_velocity() - obstacle.get_velocity()).dot(away.make_unit_vector())
    return float("inf") if closing <= 0.0 else away.length() / closing


def emergency_brake(car: carla.Vehicle, obstacle: carla.Actor, limit: float = 2.0) -> bool:
    """Brake when the time to collision is below ``limit`` seconds; returns whether it did."""
    if time_to_collision(car, obstacle) >= limit:
        return False
    car.apply_control(carla.VehicleControl(brake=1.0))
    return True


# --------------------------------------------------------------- its tests


def spawn(world: carla.World, blueprint: str, ahead: float = 0.0) -> carla.Actor:
    """An actor ``ahead`` metres along the lane from the first spawn point."""
    town = world.get_map()
    place = town.get_waypoint(town.get_spawn_points()[0].location)
    transform = (place.next(ahead)[0] if ahead else place).transform
    transform.location.z += 0.3
    return world.spawn_actor(world.get_blueprint_library().find(blueprint), transform)


@pytest.mark.parametrize("speed", [5.0, 8.0])
def test_the_car_stops_before_the_obstacle(carla_world: carla.World, speed: float) -> None:
    car = spawn(carla_world, "vehicle.tesla.model3")
    bus = spawn(carla_world, "vehicle.mitsubishi.fusorosa", ahead=25.0)
    carla_world.tick()
    assert time_to_collision(car, bus) == float("inf")
    car.set_target_velocity(car.get_transform().get_forward_vector() * speed)
    braked = False
    for _ in range(200):
        if not braked:
            car.apply_control(carla.VehicleControl(throttle=0.3))
        carla_world.tick()
        braked = emergency_brake(car, bus) or braked
    gap = car.get_location().distance(bus.get_location())
    assert braked and car.get_velocity().length() < 0.1
    assert gap > car.bounding_box.extent.x + bus.bounding_box.extent.x


def test_the_camera_sees_the_bus(carla_world: carla.World) -> None:
    car = spawn(carla_world, "vehicle.tesla.model3")
    bus = spawn(carla_world, "vehicle.mitsubishi.fusorosa", ahead=15.0)
    blueprint = carla_world.get_blueprint_library().find("sensor.camera.instance_segmentation")
    blueprint.set_attribute("image_size_x", "160")
    blueprint.set_attribute("image_size_y", "120")
    camera = carla_world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.0, z=1.6)), attach_to=car)
    pictures: queue.Queue[carla.Image] = queue.Queue()
    camera.listen(pictures.put)
    carla_world.tick()
    image = pictures.get(timeout=20.0)
    pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
    tag, number = pixels[..., 2], pixels[..., 1] + 256 * pixels[..., 0].astype(int)
    assert (tag == 16).sum() > 500  # CityObjectLabel.Bus
    assert set(number[tag == 16].tolist()) == {bus.id & 0xFFFF}


def test_traffic_drives(carla_world: carla.World, carla_traffic_manager: carla.TrafficManager) -> None:
    blueprint = carla_world.get_blueprint_library().find("vehicle.audi.a2")
    cars = [
        carla_world.spawn_actor(blueprint, place) for place in carla_world.get_map().get_spawn_points()[:5]
    ]
    for car in cars:
        car.set_autopilot(True, carla_traffic_manager.get_port())
    for _ in range(100):
        carla_world.tick()
    assert max(car.get_velocity().length() for car in cars) > 3.0


@pytest.mark.carla(map="loop", delta=0.1)
def test_another_map_and_a_longer_tick(carla_world: carla.World) -> None:
    before = carla_world.get_snapshot().timestamp.elapsed_seconds
    carla_world.tick()
    assert carla_world.get_snapshot().timestamp.elapsed_seconds == pytest.approx(before + 0.1)
