"""How vehicles accelerate, brake, turn and stand still, against published figures.

Model 3 Standard Range Plus, as Tesla published it (press kit and owner's manual, 2019-2020):
0-100 km/h in 5.6 s, top speed 225 km/h, turning circle 11.8 m kerb to kerb (11.6 m in some
markets), wheelbase 2.875 m.  Braking from 100 km/h: 35 to 40 m in the motor press's tests
(Consumer Reports after Tesla's update of 2018: 133 ft from 60 mph, which is 43 m from 100 km/h at
equal deceleration; Motor Trend 2017: 119 ft, 39 m; Auto Motor und Sport 2019: 36 m).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minicarla.bodies import Bodies
from minicarla.physics import MODELS, Physics, models
from minicarla.physics.pedals import pedals, steering

from .physics_world import DT, Track, add_vehicle, plain


def seconds_to(car: Track, speed: float, limit: float = 120.0) -> float:
    while car.speed < speed:
        before = car.speed
        car.drive(DT)
        assert car.time < limit, f"it does not get to {speed} m/s"
    return car.time - DT * (car.speed - speed) / (car.speed - before)


def braking_distance(car: Track, **controls: float) -> float:
    start = car.place
    car.drive(DT, **controls)
    while car.speed > 0.0:
        car.drive(DT)
    return float(np.hypot(*(car.place - start)[:2]))


def circle(car: Track, seconds: float = 60.0) -> tuple[float, np.ndarray]:
    """(radius, centre) of the circle on which the origin moves at walking pace with the wheel held."""
    path = []
    for _ in range(round(seconds / DT)):
        car.drive(DT, throttle=0.3 if car.speed < 2.0 else 0.0)
        path.append(car.place[:2])
    path = np.array(path[len(path) // 3 :])
    centre = (path.max(axis=0) + path.min(axis=0)) / 2.0
    radius = np.hypot(*(path - centre).T)
    assert np.ptp(radius) < 0.1
    return float(radius.mean()), centre


def test_model_3_reaches_100_kmh_in_the_published_time():
    car = Track()
    car.drive(0.0, throttle=1.0)
    assert seconds_to(car, 100 / 3.6) == pytest.approx(5.6, abs=0.3)


def test_model_3_reaches_its_published_top_speed_and_no_more():
    car = Track()
    car.drive(90.0, throttle=1.0)
    assert car.speed * 3.6 == pytest.approx(225, abs=4)


def test_model_3_stops_from_100_kmh_within_the_published_distance():
    car = Track()
    car.roll(100 / 3.6)
    assert 35.0 < braking_distance(car, brake=1.0) < 40.0


def test_model_3_turns_in_the_published_circle():
    car = Track()
    car.drive(1.0, steer=1.0)
    radius, _ = circle(car)
    model = MODELS[0]
    # From the origin, half a wheelbase before the rear axle, to the outer front wheel.
    rear = np.sqrt(radius**2 - (model.wheelbase / 2.0) ** 2)
    outer = np.hypot(rear + model.track / 2.0, model.wheelbase)
    assert 2.0 * outer == pytest.approx(11.7, abs=0.25)


def test_steer_is_70_degrees_a_unit_thinned_by_carlas_curve():
    """CARLA's Model 3: max_steer_angle 70, steering curve 1.0, 0.9, 0.8, 0.7 at 0, 20, 60, 120 km/h."""
    for kmh, share in ((0, 1.0), (20, 0.9), (60, 0.8), (120, 0.7)):
        car = Track()
        car.roll(kmh / 3.6)
        car.drive(DT, steer=0.2)
        assert car.bodies.wheel_angle[0] == pytest.approx(14.0 * share, abs=0.1)


def test_wheels_take_time_to_turn():
    car = Track()
    car.drive(DT, steer=1.0)
    assert car.bodies.wheel_angle[0] == pytest.approx(20.0, abs=0.5)
    car.drive(1.0)
    assert car.bodies.wheel_angle[0] == pytest.approx(MODELS[0].lock, abs=1e-6)


def test_front_wheels_point_at_one_centre():
    """Ackermann: both front wheels' axles meet on the rear axle's line."""
    model = MODELS[0]
    for inner in (20.0, -35.0, 0.0):
        left, right = models.front_wheels(0, inner)
        assert (right if inner > 0 else left) == inner
        if inner:
            a, b = (model.wheelbase / np.tan(np.radians(v)) for v in (left, right))
            assert a - b == pytest.approx(model.track)


def test_positive_steer_turns_right_and_yaw_grows():
    car = Track()
    car.roll(5.0)
    car.drive(1.0, steer=0.2, throttle=0.2)
    assert car.bodies.rotation[0, 1] > 5.0
    assert car.place[1] > 0.2
    assert car.bodies.angular_velocity[0, 2] > 5.0


def test_a_slow_car_follows_its_wheels():
    """The kinematic single-track model: R = wheelbase / tan(angle) + half a track at the rear axle."""
    car = Track()
    car.drive(1.0, steer=0.3)
    radius, _ = circle(car)
    model = MODELS[0]
    angle = np.radians(car.bodies.wheel_angle[0])
    rear = model.wheelbase / np.tan(angle) + model.track / 2.0
    assert radius == pytest.approx(np.hypot(rear, model.wheelbase / 2.0), rel=0.03)


@pytest.mark.parametrize("speed", [10.0, 20.0, 35.0])
def test_no_bend_is_tighter_than_the_tyres_hold(speed):
    car = Track()
    car.roll(speed)
    grip = MODELS[0].grip * 9.81
    car.drive(0.0, throttle=0.4, steer=1.0)
    for _ in range(40):
        before = car.bodies.velocity[0].copy()
        car.drive(DT)
        change = np.hypot(*(car.bodies.velocity[0] - before)[:2]) / DT
        assert change < 1.05 * grip
    # It understeers: the yaw rate is held down to what the tyres can bend the path with.
    assert abs(np.radians(car.bodies.angular_velocity[0, 2])) * car.speed < 1.1 * grip


def test_braking_in_a_bend_takes_longer_than_straight_on():
    bend, straight = Track(), Track()
    bend.roll(25.0)
    bend.drive(0.5, throttle=0.3, steer=0.15)
    straight.roll(bend.speed)
    times = []
    for car in (bend, straight):
        car.time = 0.0
        car.drive(0.0, throttle=0.0, brake=1.0)
        while car.speed > 0.0:
            car.drive(DT)
        times.append(car.time)
    bend_time, straight_time = times
    assert bend_time > 1.02 * straight_time
    assert abs(bend.bodies.rotation[0, 1]) > 5.0, "it still turns"


def test_every_model_drives_brakes_and_turns():
    bodies = Bodies()
    for k, spec in enumerate(MODELS):
        add_vehicle(bodies, k, 0.0, 100.0 * k, model=spec.id)
    physics = Physics(plain())

    def drive(seconds: float, **controls: float) -> np.ndarray:
        for name, value in controls.items():
            getattr(bodies, name)[:] = value
        path = [bodies.position[:, :2].copy()]
        for _ in range(round(seconds / DT)):
            assert not physics.step(bodies, DT)
            path.append(bodies.position[:, :2].copy())
        return np.array(path)

    drive(80.0, throttle=1.0)
    speed = np.hypot(*bodies.velocity[:, :2].T)
    top = np.array([m.top_speed / 3.6 for m in MODELS])
    assert (speed < 1.02 * top).all()
    slow = [(m.id, v) for m, v, t in zip(MODELS, speed, top, strict=True) if v < 0.8 * t]
    assert not slow
    path = drive(20.0, throttle=0.0, brake=1.0)
    assert not bodies.velocity.any()
    distance = np.hypot(*(path[-1] - path[0]).T)
    assert (distance < speed**2 / (2 * 0.7 * 9.81)).all()
    drive(1.0, brake=0.0, steer=-1.0, throttle=1.0)
    path = drive(60.0, throttle=0.5)[400:]
    drive(1.0, throttle=0.0)
    width = np.ptp(path, axis=0).max(axis=1)
    # Fast ones push outward; nothing turns tighter than its published circle.
    circle_of_origin = np.array([2.0 * np.hypot(_rear_radius(m), m.wheelbase / 2.0) for m in MODELS])
    assert (width > 0.9 * circle_of_origin).all()
    assert (bodies.angular_velocity[:, 2] < 0.0).all()


def _rear_radius(model: models.VehicleModel) -> float:
    return np.sqrt((model.turning_circle / 2.0) ** 2 - model.wheelbase**2) - model.track / 2.0


def test_reverse_goes_backwards_and_says_so():
    car = Track()
    car.drive(3.0, throttle=0.5, reverse=True)
    assert car.bodies.velocity[0, 0] < -2.0
    assert car.bodies.gear[0] == -1
    car.drive(20.0, throttle=1.0)
    assert -11.0 < car.bodies.velocity[0, 0] < -9.0
    car.drive(DT, steer=1.0)
    car.drive(1.0)
    assert car.bodies.angular_velocity[0, 2] < 0.0, (
        "backwards with the wheels to the right: the nose goes left"
    )


def test_gears_as_carla_reports_them():
    electric = Track()
    electric.drive(10.0, throttle=1.0)
    assert electric.bodies.gear[0] == 1
    car = Track("vehicle.audi.tt")
    seen = []
    for _ in range(400):
        car.drive(DT, throttle=1.0)
        seen.append(int(car.bodies.gear[0]))
    assert seen[0] == 1 and seen[-1] > 4
    assert all(0 <= b - a <= 1 for a, b in itertools.pairwise(seen))


def test_a_manual_gear_is_obeyed():
    car = Track(manual_gear=True, gear=0)
    car.drive(1.0, throttle=1.0)
    assert car.speed == 0.0, "neutral"
    car.drive(1.0, gear=-1)
    assert car.bodies.velocity[0, 0] < 0.0
    assert car.bodies.gear[0] == -1


def test_rest_is_rest():
    car = Track()
    car.roll(8.0)
    car.drive(10.0, brake=0.5, steer=0.3)
    place, yaw = car.place, float(car.bodies.rotation[0, 1])
    for controls in ({"brake": 0.0}, {"steer": -1.0}, {"hand_brake": True}, {"brake": 1.0, "throttle": 0.3}):
        car.drive(5.0, **controls)
        assert np.array_equal(car.place, place)
        assert car.bodies.rotation[0, 1] == yaw
        for column in ("velocity", "angular_velocity", "acceleration"):
            assert not getattr(car.bodies, column).any()


def test_a_rolling_car_comes_to_rest_by_itself():
    car = Track()
    car.roll(5.0)
    car.drive(30.0)
    assert car.speed == 0.0
    assert 10.0 < car.place[0] < 60.0


def test_a_car_spawned_above_the_road_settles_and_then_stands():
    car = Track(position=(0.0, 0.0, 0.5))
    heights = []
    for _ in range(10):
        car.drive(DT, throttle=1.0 if len(heights) < 3 else 0.0)
        heights.append(car.place[2])
    assert heights[0] < 0.5 and heights[-1] == 0.0
    assert all(b <= a for a, b in itertools.pairwise(heights))
    car.drive(10.0)
    assert not car.bodies.velocity.any()


def test_wheels_in_the_air_do_not_push():
    car = Track(position=(0.0, 0.0, 5.0))
    car.drive(0.5, throttle=1.0, steer=1.0)
    assert abs(car.place[0]) < 1e-6
    assert car.bodies.velocity[0, 2] == pytest.approx(-9.81 * 0.5, rel=1e-6)


def test_hand_brake_stops_less_sharply_than_the_brake():
    distances = []
    for controls in ({"hand_brake": True}, {"brake": 1.0}):
        car = Track()
        car.roll(15.0)
        distances.append(braking_distance(car, **controls))
    assert 1.5 * distances[1] < distances[0] < 4.0 * distances[1]


def test_acceleration_is_the_change_of_velocity():
    car = Track()
    car.roll(10.0)
    before = car.bodies.velocity[0].copy()
    car.drive(DT, throttle=1.0, steer=0.2)
    assert np.allclose(car.bodies.acceleration[0], (car.bodies.velocity[0] - before) / DT)


def test_a_heavier_car_is_slower():
    light, heavy = Track(), Track(mass=4000.0)
    for car in (light, heavy):
        car.drive(3.0, throttle=1.0)
    assert heavy.speed < 0.7 * light.speed


@pytest.mark.parametrize("dt", [0.01, 0.02, 0.1, 0.2])
def test_the_step_size_changes_little(dt):
    reference, other = Track(), Track()
    for car, step in ((reference, DT), (other, dt)):
        car.roll(12.0)
        car.drive(4.0, step, throttle=0.5, steer=0.05)
    assert np.hypot(*(reference.place - other.place)[:2]) < 0.03 * 60.0
    assert other.speed == pytest.approx(reference.speed, rel=0.02)


def test_a_body_without_physics_stays_where_it_is():
    car = Track(simulate_physics=False, position=(1.0, 2.0, 3.0), rotation=(4.0, 5.0, 6.0))
    car.roll(10.0)
    car.drive(1.0, throttle=1.0, steer=1.0)
    assert car.place.tolist() == [1.0, 2.0, 3.0]
    assert car.bodies.rotation[0].tolist() == [4.0, 5.0, 6.0]


def test_cars_do_not_feel_each_other_from_afar():
    """A vehicle's motion does not depend, not by a bit, on how many others there are."""
    alone, crowd = Bodies(), Bodies()
    add_vehicle(alone, 1, 0.0, 0.0)
    for k in range(9):
        add_vehicle(crowd, k + 1, 0.0, 30.0 * k)
    for bodies in (alone, crowd):
        physics = Physics(plain())
        bodies.throttle[:], bodies.steer[:] = 0.6, 0.11
        for _ in range(200):
            physics.step(bodies, DT)
    assert np.array_equal(alone.position[0], crowd.position[0])
    assert np.array_equal(alone.velocity[0], crowd.velocity[0])


def test_equal_runs_are_equal_to_the_bit():
    def run() -> bytes:
        bodies = Bodies()
        rng = np.random.default_rng(5)
        for k in range(30):
            add_vehicle(bodies, k, *rng.uniform(-25, 25, 2), yaw=rng.uniform(-180, 180))
        physics = Physics(plain())
        for _ in range(100):
            bodies.throttle[:], bodies.steer[:] = rng.uniform(0, 1, 30), rng.uniform(-1, 1, 30)
            physics.step(bodies, DT)
        return bodies.position.tobytes() + bodies.velocity.tobytes() + bodies.rotation.tobytes()

    assert run() == run()


def test_wild_input_gives_finite_motion():
    rng = np.random.default_rng(3)
    bodies = Bodies()
    for k, model in enumerate(MODELS):
        add_vehicle(bodies, k, 20.0 * k, 0.0, model=model.id)
    physics = Physics(plain())
    n = len(bodies)
    for tick in range(300):
        bodies.throttle[:], bodies.brake[:] = rng.integers(0, 2, n), rng.integers(0, 2, n)
        bodies.steer[:] = rng.choice([-1.0, 0.0, 1.0], n)
        bodies.reverse[:] = rng.random(n) < 0.3
        bodies.mass[:] = 10.0 ** rng.uniform(-3, 6, n)
        if tick % 20 == 0:
            bodies.velocity[:] = rng.normal(size=(n, 3)) * 10.0 ** rng.uniform(0, 12)
            bodies.angular_velocity[:] = rng.normal(size=(n, 3)) * 1e9
        physics.step(bodies, float(rng.choice([0.001, 0.05, 1.0])) if tick % 7 == 0 else DT)
        for column in ("position", "rotation", "velocity", "angular_velocity", "acceleration", "wheel_angle"):
            assert np.isfinite(getattr(bodies, column)).all(), column


def test_pedals_give_the_acceleration_that_was_asked_for():
    table = models.table()[:, [0]]
    for speed, wanted in ((5.0, 1.0), (15.0, 2.0), (20.0, -0.1), (20.0, -4.0), (10.0, 0.0)):
        car = Track()
        car.roll(speed)
        throttle, brake = pedals(table, np.array([speed]), np.array([wanted]))
        car.drive(DT, throttle=throttle[0], brake=brake[0])
        assert car.bodies.acceleration[0, 0] == pytest.approx(wanted, abs=0.1)


def test_steering_gives_the_curvature_that_was_asked_for():
    table = models.table()[:, [0]]
    for speed, curvature in ((3.0, 0.1), (10.0, -0.03), (20.0, 0.01)):
        car = Track()
        car.roll(speed)
        car.drive(0.0, steer=steering(table, np.array([speed]), np.array([curvature]))[0])
        throttle, _ = pedals(table, np.array([speed]), np.array([0.0]))
        car.drive(1.5, throttle=throttle[0])
        turn = np.radians(car.bodies.angular_velocity[0, 2])
        assert turn / car.speed == pytest.approx(curvature, rel=0.05)
