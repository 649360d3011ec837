"""``apply_physics_control``: what a client sets has the effect that its name promises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from minicarla.physics import MODELS
from minicarla.physics.handling import Engine, Handling
from minicarla.wire import structs
from minicarla.world import blueprints
from minicarla.world.outlet import CarlaError
from minicarla.world.world import World

from .physics_world import DT, Track

MODEL3 = "vehicle.tesla.model3"

_LAB = """
import json, math
world = synchronous()
library = world.get_blueprint_library()
FAR = carla.Transform(carla.Location(2000, 2000, 0))
car = world.spawn_actor(library.find("vehicle.tesla.model3"), FAR)
world.tick()
usual = car.get_physics_control()

def start(speed):
    car.apply_control(carla.VehicleControl())
    car.set_target_velocity(carla.Vector3D())
    world.tick()
    world.tick()  # the wheels straight again
    car.set_transform(FAR)
    car.set_target_velocity(carla.Vector3D(x=speed))

def speed():
    return car.get_velocity().length()

def until_100(limit=60):
    start(0.0)
    car.apply_control(carla.VehicleControl(throttle=1.0))
    for tick in range(20 * limit):
        if speed() > 100 / 3.6:
            return 0.05 * tick
        world.tick()
    return math.inf

def braking():
    start(100 / 3.6)
    car.apply_control(carla.VehicleControl(brake=1.0))
    for _ in range(600):
        world.tick()
        if speed() == 0.0:
            break
    return car.get_location().x - 2000.0

def rolling():
    start(20.0)
    for _ in range(60):
        world.tick()
    return speed()

def top(near=61.0):
    start(near)
    car.apply_control(carla.VehicleControl(throttle=1.0))
    for _ in range(1000):
        before = speed()
        world.tick()
        if abs(speed() - before) < 2e-5:  # it has settled
            break
    return 3.6 * speed()

def circle():
    start(0.0)
    car.apply_control(carla.VehicleControl(steer=1.0, brake=1.0))
    for _ in range(20):
        world.tick()
    car.apply_control(carla.VehicleControl(steer=1.0))
    car.set_target_velocity(carla.Vector3D(x=1.0))
    for _ in range(10):
        world.tick()
    return speed() / math.radians(car.get_angular_velocity().z)  # m

def figure(measure, **changes):
    control = car.get_physics_control()
    wheels = control.wheels
    for name, value in changes.items():
        if hasattr(wheels[0], name):
            for wheel in wheels:
                setattr(wheel, name, value if not callable(value) else value(getattr(wheel, name)))
        else:
            setattr(control, name, value if not callable(value) else value(getattr(control, name)))
    control.wheels = wheels
    car.apply_physics_control(control)
    result = measure()
    car.apply_physics_control(usual)
    return result
"""


@pytest.mark.slow
def test_what_a_client_changes_takes_effect(serve):
    """Each figure beside the usual one: the real client sets, and measures with its own eyes."""
    out = serve().client(
        _LAB
        + """
curve = lambda scale: (lambda points: [carla.Vector2D(p.x, scale * p.y) for p in points])
print(json.dumps({
    "usual": [until_100(), braking(), top(), circle(), rolling()],
    "again": [figure(until_100), figure(braking), figure(top), figure(circle), figure(rolling)],
    "grip doubled": figure(braking, tire_friction=7.0),
    "grip halved": figure(braking, tire_friction=1.75),
    "brakes halved": figure(braking, max_brake_torque=750.0),
    "no drag": figure(top, drag_coefficient=0.0),
    "drag": figure(top, drag_coefficient=lambda d: 4.0 * d),
    "torque halved": figure(until_100, torque_curve=curve(0.5)),
    "short ratio": figure(lambda: top(32.0), final_ratio=18.0),
    "low engine speed": figure(lambda: top(32.0), max_rpm=8000.0),
    "large wheels": figure(until_100, radius=70.0),
    "mass doubled": figure(until_100, mass=3690.0),
    "steer halved": figure(circle, max_steer_angle=35.0),
    "curve": figure(circle, steering_curve=lambda _: [carla.Vector2D(0, 0.2), carla.Vector2D(200, 0.2)]),
    "damped": figure(rolling, damping_rate_zero_throttle_clutch_engaged=6.0),
    "after": [until_100(), braking(), top(), circle(), rolling()],
}))
"""
    )
    seen = json.loads(out.splitlines()[-1])
    seconds, metres, top, radius, rolled = seen["usual"]
    assert seen["again"] == seen["usual"] == seen["after"], "as it was read it changes nothing"
    assert (seconds, metres, top) == pytest.approx((5.4, 37.5, 223.5), abs=0.1)
    assert seen["grip halved"] == pytest.approx(2.0 * metres, rel=0.1)
    assert 0.8 * metres < seen["grip doubled"] < 0.97 * metres, "then the brakes are the limit"
    assert seen["brakes halved"] == pytest.approx((100 / 3.6) ** 2 / 2 / (5.5 + 0.62), rel=0.02)
    assert seen["drag"] == pytest.approx(3.6 * (208e3 / (4.0 * 0.6 * 0.51)) ** (1 / 3), rel=0.03)
    assert top < seen["no drag"] < 225.0, "the engine speed is the limit then"
    assert seen["torque halved"] == pytest.approx(2.0 * seconds, rel=0.12)
    assert seen["short ratio"] == pytest.approx(top / 2.0, rel=0.03)
    assert seen["low engine speed"] == pytest.approx(top * 8000 / 15347, rel=0.03)
    assert seen["large wheels"] > 1.4 * seconds
    assert seen["mass doubled"] > 1.5 * seconds
    assert seen["steer halved"] == pytest.approx(2.0 * radius, rel=0.2)
    assert seen["curve"] > 1.8 * radius
    assert seen["damped"] < rolled - 2.0


def _world() -> tuple[World, int]:
    world = World("loop")
    point = world.roadmap.spawn_points[0]
    return world, world.spawn(blueprints.describe("vehicle.audi.tt"), point).id


def _changed(**changes) -> structs.VehiclePhysicsControl:
    control = blueprints.physics_control("vehicle.audi.tt")
    wheels = {name: value for name, value in changes.items() if name in structs.WheelPhysicsControl._fields}
    others = {name: value for name, value in changes.items() if name not in wheels}
    return control._replace(wheels=[w._replace(**wheels) for w in control.wheels])._replace(**others)


@pytest.mark.parametrize("model", [m.id for m in MODELS])
def test_the_usual_control_tells_of_the_dynamics_as_they_are(model):
    """Engine, gears and wheels as a client reads them give the thrust that the model has."""
    track = Track(model)
    control = blueprints.physics_control(model)
    engine, spec = Engine(control._replace(moi=0.0)), MODELS[track.bodies.model[0]]
    assert engine.top(len(engine)) * 3.6 == pytest.approx(spec.top_speed, rel=1e-6)
    for share in (0.3, 0.6, 0.9):
        speed = share * spec.top_speed / 3.6
        track.roll(speed)
        track.drive(DT, throttle=1.0)
        gear = engine.choose(speed)
        assert gear == track.bodies.gear[0]
        drag = 0.6 * spec.drag_area * speed**2
        expected = min(engine.push(speed, gear) / spec.mass, spec.launch) - drag / spec.mass - 0.12
        assert track.bodies.acceleration[0, 0] == pytest.approx(expected, abs=0.05 * spec.launch + 0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mass": 0.0}, "mass is 0"),
        ({"mass": math.nan}, "mass is nan"),
        ({"max_rpm": math.inf}, "max_rpm"),
        ({"drag_coefficient": -1.0}, "drag_coefficient"),
        ({"torque_curve": []}, "torque_curve has 0 points"),
        ({"steering_curve": [structs.Vector2D(0.0, math.nan)]}, "steering_curve"),
        ({"torque_curve": [structs.Vector2D(0.0, 1.0)] * 10_000}, "torque_curve has 10000 points"),
        ({"forward_gears": []}, "0 forward gears"),
        ({"forward_gears": [structs.GearPhysicsControl(0.0)]}, "forward gear"),
        ({"wheels": []}, "0 wheels"),
        ({"wheels": [structs.WheelPhysicsControl()] * 10_000}, "10000 wheels"),
        ({"tire_friction": math.nan}, "tire_friction of wheel 0"),
        ({"radius": 0.0}, "radius of wheel 0"),
        ({"center_of_mass": structs.Vector3D(math.nan)}, "center_of_mass"),
    ],
)
def test_a_control_with_which_nothing_can_move_is_refused(changes, message):
    world, car = _world()
    before = world.episode.vehicles.physics_control(car)
    with pytest.raises(CarlaError, match=message):
        world.episode.vehicles.set_physics_control(car, _changed(**changes))
    assert world.episode.vehicles.physics_control(car) == before


def test_extreme_controls_give_finite_motion():
    rng = np.random.default_rng(2)
    world, car = _world()
    row = world.bodies.row(car)
    for _ in range(150):
        size = lambda low, high: float(10.0 ** rng.uniform(low, high))  # noqa: E731
        world.episode.vehicles.set_physics_control(
            car,
            _changed(
                mass=size(0, 7),
                max_rpm=size(0, 6),
                moi=rng.choice([0.0, size(0, 6)]),
                final_ratio=size(-3, 3),
                drag_coefficient=rng.choice([0.0, size(0, 6)]),
                gear_switch_time=rng.choice([0.0, 0.3]),
                damping_rate_zero_throttle_clutch_engaged=rng.choice([0.0, size(0, 6)]),
                torque_curve=[structs.Vector2D(size(0, 8), rng.choice([0.0, size(0, 8)])) for _ in range(3)],
                steering_curve=[structs.Vector2D(size(0, 8), rng.choice([0.0, size(0, 8)]))],
                forward_gears=[structs.GearPhysicsControl(size(-3, 3), *rng.random(2)) for _ in range(5)],
                tire_friction=rng.choice([0.0, size(-3, 4)]),
                max_steer_angle=rng.uniform(0, 90),
                radius=size(0, 3),
                max_brake_torque=rng.choice([0.0, size(0, 9)]),
                max_handbrake_torque=rng.choice([0.0, size(0, 9)]),
                lat_stiff_value=rng.choice([0.0, size(0, 9)]),
            ),
        )
        throttle, brake, steer = rng.uniform([0, 0, -1], 1)
        world.episode.vehicles.apply(
            car, structs.VehicleControl(throttle, steer, brake, bool(rng.integers(2)))
        )
        for _ in range(4):
            world.tick()
        for column in ("position", "rotation", "velocity", "angular_velocity", "acceleration"):
            assert np.isfinite(getattr(world.bodies, column)[row]).all()
        assert world.bodies.mass[row] == pytest.approx(world.episode.vehicles.physics_control(car).mass)


def test_gears_shift_where_they_are_told_to_and_take_their_time():
    gears = [structs.GearPhysicsControl(ratio, 0.2, up) for ratio, up in ((4.0, 0.5), (2.0, 0.5), (1.0, 0.9))]
    handling = Handling(
        0, _changed(forward_gears=gears, gear_switch_time=0.2), blueprints.physics_control("vehicle.audi.tt")
    )
    shifts = [handling.shift(0.5 * k, 1.0, None, DT) for k in range(100)]
    seen = [shift.gear for shift in shifts]
    assert seen == sorted(seen) and set(seen) == {1, 2, 3}
    second = seen.index(2)
    assert [shift.share == 0.0 for shift in shifts[second - 1 : second + 6]] == [
        False, True, True, True, True, False, False
    ]  # fmt: skip
    speed = 0.5 * second
    assert handling.engine.rpm(speed - 0.5, 1) <= 3000.0 < handling.engine.rpm(speed, 1)
    assert handling.shift(1.0, 1.0, None, DT).gear == 1
    assert handling.shift(1.0, 1.0, 3, DT).gear == 3
    assert handling.shift(1.0, -1.0, None, DT).gear == -1


def test_telemetry_shows_what_the_vehicle_does(serve):
    out = serve().client(
        _LAB
        + """
def shown():
    data = car.get_telemetry_data()
    wheel = lambda w: {name: getattr(w, name) for name in dir(w) if not name.startswith("_")}
    rest = {name: getattr(data, name) for name in dir(data) if not name.startswith("_") and name != "wheels"}
    return rest, [wheel(w) for w in data.wheels], car.get_acceleration().length(), speed()

start(20.0)
car.apply_control(carla.VehicleControl(throttle=0.6))
for _ in range(10):
    world.tick()
driving = shown()
car.apply_control(carla.VehicleControl(brake=0.3))
for _ in range(5):
    world.tick()
braking = shown()
start(15.0)
car.apply_control(carla.VehicleControl(throttle=0.2, steer=0.1))
for _ in range(30):
    world.tick()
turning = shown(), car.get_transform().get_right_vector().dot(car.get_acceleration())
start(0.0)
for _ in range(5):
    world.tick()
print(json.dumps([driving, braking, turning, shown()]))
"""
    )
    driving, braking, (turning, across), standing = json.loads(out.splitlines()[-1])
    mass = 1845.0

    whole, wheels, acceleration, speed = driving
    assert whole["speed"] == pytest.approx(speed, rel=1e-4) and whole["gear"] == 1
    assert whole["throttle"] == pytest.approx(0.6) and whole["brake"] == 0.0
    assert whole["drag"] == pytest.approx(0.6 * 0.51 * speed**2, rel=1e-3)
    assert whole["engine_rpm"] == pytest.approx(speed / 0.35 * 9.0 * 60 / math.tau, rel=1e-3)
    assert sum(w["long_force"] for w in wheels) == pytest.approx(
        mass * acceleration + whole["drag"], rel=1e-3
    )
    assert wheels[0]["long_force"] == 0.0 < wheels[2]["long_force"], "it drives with its rear wheels"
    assert wheels[2]["torque"] == pytest.approx(0.35 * wheels[2]["long_force"], rel=1e-4)
    for wheel in wheels:
        assert wheel["omega"] == pytest.approx(speed / 0.35, rel=1e-3)
        assert wheel["tire_load"] == pytest.approx(mass * 9.81 / 4)
        assert wheel["tire_friction"] == 3.5 and abs(wheel["lat_slip"]) < 0.01

    whole, wheels, acceleration, _ = braking
    assert sum(w["long_force"] for w in wheels) == pytest.approx(
        -mass * acceleration + whole["drag"], rel=1e-2
    )
    assert wheels[0]["long_force"] == wheels[3]["long_force"] < 0.0

    _, wheels, _, _ = turning
    assert sum(w["lat_force"] for w in wheels) == pytest.approx(mass * across, rel=0.02) and across > 1.0
    assert all(-5.0 < w["lat_slip"] < -0.05 for w in wheels), "tyres slip away from the bend's centre"
    assert wheels[0]["omega"] > wheels[1]["omega"], "the outer wheel has the longer way"
    assert wheels[0]["normalized_lat_force"] == pytest.approx(across / 9.81, rel=0.02)

    whole, wheels, _, _ = standing
    assert whole["engine_rpm"] == whole["speed"] == whole["drag"] == 0.0
    assert not any(w["omega"] or w["lat_slip"] or w["long_force"] or w["lat_force"] for w in wheels)


def test_what_else_clients_switch_on_vehicles(serve):
    """Collisions, gravity, wheels that are posed, the gravity that inertial sensors know, lights' heads."""
    serve(map="grid").client(
        """
world = synchronous()
library = world.get_blueprint_library()
model = library.find("vehicle.tesla.model3")
def put(x, y, z=0.0):
    return world.spawn_actor(model, carla.Transform(carla.Location(x, y, z)))
car, post = put(2000, 2000), put(2012, 2000)
def collide():
    car.set_transform(carla.Transform(carla.Location(2000, 2000, 0)))
    car.set_target_velocity(carla.Vector3D(x=15))
    for _ in range(20):
        world.tick()
    return car.get_velocity().x, post.get_location().x
post.set_collisions(False)
speed, place = collide()
assert speed > 12 and abs(place - 2012) < 0.01, (speed, place)
car.set_transform(carla.Transform(carla.Location(2000, 2000, 0)))
post.set_collisions(True)
speed, place = collide()
assert speed < 9 and place > 2013, (speed, place)

aloft = put(2000, 2100, 1.0)
aloft.set_enable_gravity(False)
aloft.set_target_velocity(carla.Vector3D(y=20))
for _ in range(40):
    world.tick()
assert abs(aloft.get_location().z - 1.0) < 1e-5 and abs(aloft.get_velocity().y - 20) < 1e-4
aloft.set_enable_gravity(True)
for _ in range(40):
    world.tick()
assert aloft.get_location().z == 0 and aloft.get_velocity().y < 19.5

wheel = carla.VehicleWheelLocation
post.set_wheel_steer_direction(wheel.FL_Wheel, 20.0)
assert post.get_wheel_steer_angle(wheel.FL_Wheel) == 0.0
post.set_simulate_physics(False)
post.set_wheel_steer_direction(wheel.FL_Wheel, 20.0)
assert [post.get_wheel_steer_angle(w) for w in (wheel.FL_Wheel, wheel.FR_Wheel)] == [20.0, 0.0]

readings = queue.Queue()
imu = world.spawn_actor(library.find("sensor.other.imu"), carla.Transform(), attach_to=post)
imu.listen(readings.put)
for gravity in (9.81, 1.62):
    world.set_imui_sensor_gravity(gravity)
    assert abs(world.get_imui_sensor_gravity() - gravity) < 1e-6
    data = message(readings, world.tick())
    assert abs(data.accelerometer.z - gravity) < 1e-5

light = world.get_actors().filter("traffic.traffic_light")[0]
(head,) = light.get_light_boxes()
foot = light.get_location()
assert 2.0 < head.location.z - foot.z < 4.0 and 0.3 < head.extent.z < 1.0
assert abs(head.location.x - foot.x) < 0.01 and abs(head.location.y - foot.y) < 0.01
"""
    )
